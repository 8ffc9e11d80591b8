"""The Brier score of two classifiers on the same images: has the candidate become worse calibrated or less sharp?"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from driftloop.evaluation.paired_clusters import design_effect


@dataclass(frozen=True)
class BrierIncrease:
    """Mean Brier score of the first model minus that of the second (positive: worse), its one-sided bounds and standard error."""

    estimate: float
    low: float
    high: float
    n: int
    error: float


def brier_scores(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The Brier score (1950) of each image, halved to the range [0, 1]: sum over k of (p_k - y_k)^2 / 2.

    With two classes this is the familiar (p - y)^2.

    Args:
        probabilities: (N, K).
        labels: int (N,), in 0..K-1.

    Returns:
        (N,) float64.

    Raises:
        ValueError: shapes that do not fit, labels out of range, or a probability that is not finite.
    """
    probabilities, labels = np.asarray(probabilities, dtype=float), np.asarray(labels)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(f"brier_scores: probabilities {probabilities.shape} and labels {labels.shape} do not fit")
    if not np.isfinite(probabilities).all():
        raise ValueError("brier_scores: a probability is not finite")
    if len(labels) and not 0 <= labels.min() <= labels.max() < probabilities.shape[1]:
        raise ValueError(f"brier_scores: a label is outside 0..{probabilities.shape[1] - 1}")
    of_truth = probabilities[np.arange(len(labels)), labels]
    return ((probabilities**2).sum(axis=1) - 2 * of_truth + 1) / 2


def brier_increase(first: np.ndarray, second: np.ndarray, *, confidence: float = 0.95, groups: np.ndarray | None = None) -> BrierIncrease:
    """Paired difference of Brier scores with one-sided Student-t bounds on the per-image differences.

    Where `groups` is given the standard error is widened by the design effect of the clusters.

    Args:
        first: (N,) scores of the model in question, from `brier_scores`.
        second: (N,) scores of the model it is measured against, on the same images.
        confidence: of each bound.
        groups: (N,) patient or site of each image, or None.

    Raises:
        ValueError: fewer than 2 images, or arrays of different length.
    """
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if first.shape != second.shape or first.ndim != 1 or len(first) < 2:
        raise ValueError(f"brier_increase: needs two arrays of one length, at least 2, got {first.shape} and {second.shape}")
    difference = first - second
    effect = 1.0 if groups is None else design_effect(difference, groups)
    n = len(difference)
    error = math.sqrt(float(difference.var(ddof=1)) * effect / n)
    half = float(stats.t.ppf(confidence, max(1.0, n / effect - 1))) * error
    mean = float(difference.mean())
    return BrierIncrease(mean, mean - half, mean + half, n, error)
