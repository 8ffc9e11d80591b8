"""Temperature scaling: a single number that makes confidence agree with accuracy and changes no prediction."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from driftloop.errors import InputError
from driftloop.evaluation.calibration import expected_calibration_error

#: Below this many images the number would be guessed rather than fitted.
LEAST_IMAGES = 30
LOWEST, HIGHEST = 0.2, 5.0


@dataclass(frozen=True)
class Calibration:
    """How well confidence agrees with accuracy on N images, without and with the temperature."""

    nll_before: float
    """Mean negative log-likelihood at temperature 1."""
    nll_after: float
    """The same at the temperature."""
    ece_before: float
    """Expected calibration error at temperature 1."""
    ece_after: float
    """The same at the temperature."""
    n: int
    """Number of images."""


@dataclass(frozen=True)
class TemperatureFit:
    """The temperature, and what it does on the images of the fit, which is kinder than on others."""

    temperature: float
    """Divides the logits."""
    fitted_on: Calibration
    """On the images of the fit."""
    note: str
    """Why it stays 1, or that it lies at the end of the range; else empty."""


def fit_temperature(logits: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None) -> TemperatureFit:
    """The temperature that minimises the negative log-likelihood on held-out images (Guo et al. 2017), within 0.2 to 5.

    It stays 1 where the images cannot tell: fewer than 30 of them, or all classified right (the likelihood would then rise for ever
    as the temperature falls to 0). It stays 1, too, where it does not help on images that did not fit it: each half, by group, is tried
    with the temperature of the other.

    Args:
        logits: float (N, K).
        labels: int (N,).
        groups: (N,) patient or site of each image; None where each is on its own.

    Raises:
        InputError: a logit that is not finite.
    """
    logits = np.asarray(logits, np.float64)
    if not np.isfinite(logits).all():
        raise InputError("the model's outputs are not finite: its training diverged; train it again at a lower learning rate")

    def unscaled(why: str) -> TemperatureFit:
        return TemperatureFit(1.0, calibration_on(logits, labels, 1.0), f"not scaled: {why}")

    if len(labels) < LEAST_IMAGES:
        return unscaled(f"{len(labels)} validation images, at least {LEAST_IMAGES} are needed")
    if (logits.argmax(axis=1) == labels).all():
        return unscaled("every validation image is classified right")
    if not _helps_elsewhere(logits, labels, np.arange(len(labels)) if groups is None else groups):
        return unscaled("on validation images that did not fit it, a temperature makes confidence no better")
    temperature = _likeliest(logits, labels)
    at_the_end = not 1.01 * LOWEST < temperature < 0.99 * HIGHEST
    note = f"at the end of the range {LOWEST:g} to {HIGHEST:g}" if at_the_end else ""
    return TemperatureFit(temperature, calibration_on(logits, labels, temperature), note)


def _likeliest(logits: np.ndarray, labels: np.ndarray) -> float:
    minimum = minimize_scalar(
        lambda log_t: negative_log_likelihood(logits / math.exp(log_t), labels),
        bounds=(math.log(LOWEST), math.log(HIGHEST)),
        method="bounded",
    )
    return round(math.exp(minimum.x), 4)


def _helps_elsewhere(logits: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> bool:
    """Whether a temperature of one half of the groups raises the likelihood of the other half, over both together."""
    first = np.unique(groups, return_inverse=True)[1] % 2 == 0
    before = after = 0.0
    for fitting in (first, ~first):
        other = ~fitting
        if not other.any() or (logits[fitting].argmax(axis=1) == labels[fitting]).all():
            continue
        before += other.sum() * negative_log_likelihood(logits[other], labels[other])
        after += other.sum() * negative_log_likelihood(logits[other] / _likeliest(logits[fitting], labels[fitting]), labels[other])
    return after < before


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray) -> float:
    """The mean over images of -log p(label)."""
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


def calibration_on(logits: np.ndarray, labels: np.ndarray, temperature: float) -> Calibration:
    """What a temperature does on these images: logits float (N, K), labels int (N,)."""
    logits = np.asarray(logits, np.float64)
    return Calibration(
        nll_before=negative_log_likelihood(logits, labels),
        nll_after=negative_log_likelihood(logits / temperature, labels),
        ece_before=expected_calibration_error(softmax(logits, axis=1), labels),
        ece_after=expected_calibration_error(softmax(logits / temperature, axis=1), labels),
        n=len(labels),
    )
