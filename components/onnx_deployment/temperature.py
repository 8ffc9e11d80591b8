"""Temperature scaling: a single number that makes confidence agree with accuracy and changes no prediction."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from driftloop.errors import InputError

#: Below this many images the number would be guessed rather than fitted.
LEAST_IMAGES = 30
LOWEST, HIGHEST = 0.2, 5.0
RELIABILITY_BINS = 10


@dataclass(frozen=True)
class TemperatureFit:
    """The temperature, and what it does on the images of the fit."""

    temperature: float
    """Divides the logits."""
    nll_before: float
    """Mean negative log-likelihood at temperature 1."""
    nll_after: float
    """The same at `temperature`."""
    ece_before: float
    """Expected calibration error at temperature 1."""
    ece_after: float
    """The same at `temperature`."""
    n: int
    """Number of images."""
    note: str
    """Why it was not fitted, or that it lies at the end of the range; else empty."""


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> TemperatureFit:
    """The temperature that minimises the negative log-likelihood on held-out images (Guo et al. 2017), within 0.2 to 5.

    It stays 1 where the images cannot tell: fewer than 30 of them, or all classified right (the likelihood would then rise for ever
    as the temperature falls to 0).

    Args:
        logits: float (N, K).
        labels: int (N,).

    Raises:
        InputError: a logit that is not finite.
    """
    logits = np.asarray(logits, np.float64)
    if not np.isfinite(logits).all():
        raise InputError("the model's outputs are not finite: its training diverged; train it again at a lower learning rate")
    if len(labels) < LEAST_IMAGES:
        return _temperature_fit(1.0, logits, labels, f"not fitted: {len(labels)} validation images, at least {LEAST_IMAGES} are needed")
    if (logits.argmax(axis=1) == labels).all():
        return _temperature_fit(1.0, logits, labels, "not fitted: every validation image is classified right")
    minimum = minimize_scalar(
        lambda log_t: negative_log_likelihood(logits / math.exp(log_t), labels),
        bounds=(math.log(LOWEST), math.log(HIGHEST)),
        method="bounded",
    )
    temperature = round(math.exp(minimum.x), 4)
    at_the_end = not 1.01 * LOWEST < temperature < 0.99 * HIGHEST
    return _temperature_fit(temperature, logits, labels, f"at the end of the range {LOWEST:g} to {HIGHEST:g}" if at_the_end else "")


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray) -> float:
    """The mean over images of -log p(label)."""
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


def reliability_bins(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean confidence, accuracy and number of images in 10 bins of equally many images, by rising confidence."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    parts = [part for part in np.array_split(np.argsort(confidence, kind="stable"), RELIABILITY_BINS) if len(part)]
    return (
        np.array([confidence[part].mean() for part in parts]),
        np.array([right[part].mean() for part in parts]),
        np.array([len(part) for part in parts]),
    )


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Expected calibration error: the mean distance of confidence from accuracy over the bins of `reliability`."""
    confidence, accuracy, count = reliability_bins(probabilities, labels)
    return float((np.abs(confidence - accuracy) * count).sum() / count.sum())


def _temperature_fit(temperature: float, logits: np.ndarray, labels: np.ndarray, note: str) -> TemperatureFit:
    return TemperatureFit(
        temperature=temperature,
        nll_before=negative_log_likelihood(logits, labels),
        nll_after=negative_log_likelihood(logits / temperature, labels),
        ece_before=expected_calibration_error(softmax(logits, axis=1), labels),
        ece_after=expected_calibration_error(softmax(logits / temperature, axis=1), labels),
        n=len(labels),
        note=note,
    )
