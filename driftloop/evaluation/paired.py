"""Two classifiers on the same images: the difference of their accuracies, with bounds that hold at any number of images.

On the same images only the discordant ones carry information: `gained` counts those that the first model has right and the
second wrong, `lost` the reverse. Everything here takes these two counts and the number of images.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from driftloop.evaluation.paired_brier import BrierIncrease, brier_increase, brier_scores
from driftloop.evaluation.paired_clusters import design_effect
from driftloop.evaluation.paired_tests import holm, mcnemar_exact, mcnemar_worse

__all__ = [
    "BrierIncrease",
    "PairedDifference",
    "brier_increase",
    "brier_scores",
    "compare",
    "design_effect",
    "discordance",
    "holm",
    "labels_needed",
    "mcnemar_exact",
    "mcnemar_worse",
    "tango_interval",
    "tango_lower_bound",
    "tango_upper_bound",
]

#: (z(.95) + z(.90))^2: one-sided level 5 %, power 90 %.
LEVEL_AND_POWER = 8.56


@dataclass(frozen=True)
class PairedDifference:
    """Accuracy of the first model minus that of the second on the same images.

    `low` and `high` are one-sided bounds, each at the confidence asked for. `n`, `gained` and `lost` count images; where these come in
    clusters, `effective_n` is the number of independent images that would say as much (else it equals n).
    """

    estimate: float
    low: float
    high: float
    n: int
    gained: int
    lost: int
    effective_n: float

    @property
    def discordance(self) -> float:
        """The share of images on which exactly one of the two is right."""
        return discordance(self.gained, self.lost, self.n)


def compare(
    first_right: np.ndarray, second_right: np.ndarray, *, confidence: float = 0.95, groups: np.ndarray | None = None
) -> PairedDifference:
    """The difference of two accuracies from what each model has right, image by image.

    Where `groups` names the patient or site of each image, the counts are divided by the design effect first (Rao & Scott 1992), so that
    ten images of one patient do not pass for ten patients; with one image a group nothing changes.

    Args:
        first_right: bool (N,), of the model in question.
        second_right: bool (N,), of the model it is measured against.
        confidence: of each one-sided bound.
        groups: (N,) of any type, or None.

    Raises:
        ValueError: no images, or arrays of different length.
    """
    first_right, second_right = np.asarray(first_right, bool), np.asarray(second_right, bool)
    if first_right.ndim != 1 or first_right.shape != second_right.shape or not len(first_right):
        raise ValueError(f"compare: needs two arrays of one length, at least 1, got {first_right.shape} and {second_right.shape}")
    n = len(first_right)
    gained, lost = int((first_right & ~second_right).sum()), int((second_right & ~first_right).sum())
    effect = 1.0 if groups is None else design_effect(first_right.astype(float) - second_right, groups)
    counts = gained / effect, lost / effect, n / effect
    low, high = tango_lower_bound(*counts, confidence=confidence), tango_upper_bound(*counts, confidence=confidence)
    return PairedDifference((gained - lost) / n, low, high, n, gained, lost, n / effect)


def tango_interval(gained: float, lost: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided score interval for a difference of paired proportions, (gained - lost) / n (Tango 1998, Statistics in Medicine 17:891).

    The values that a score test does not refute, with the nuisance parameter at its maximum-likelihood value under each of them. Unlike
    Wald and bootstrap intervals it keeps its level at small n and few discordant pairs, none included: with gained = lost = 0 it is
    +/- z^2 / (n + z^2).

    Args:
        gained: images that the first model has right and the second wrong; fractions are allowed (adjusted counts).
        lost: the reverse.
        n: number of images, > 0, at least gained + lost.
        confidence: in (0, 1); 0.90 makes each end a one-sided 95 % bound.

    Raises:
        ValueError: counts that are not possible, or a confidence outside (0, 1).
    """
    one_sided = (1 + confidence) / 2
    return tango_lower_bound(gained, lost, n, confidence=one_sided), tango_upper_bound(gained, lost, n, confidence=one_sided)


def tango_lower_bound(gained: float, lost: float, n: float, *, confidence: float = 0.95) -> float:
    """One-sided lower bound of Tango's score interval; arguments and errors as in `tango_interval`."""
    _check(gained, lost, n, confidence)
    z = float(stats.norm.ppf(confidence))
    estimate = (gained - lost) / n
    return _root(gained, lost, n, z, -1.0, estimate - 1e-12) if estimate > -1 else -1.0


def tango_upper_bound(gained: float, lost: float, n: float, *, confidence: float = 0.95) -> float:
    """One-sided upper bound of Tango's score interval; arguments and errors as in `tango_interval`."""
    return -tango_lower_bound(lost, gained, n, confidence=confidence)


def discordance(gained: float, lost: float, n: float) -> float:
    """The share of images on which exactly one of two models is right."""
    return (gained + lost) / n


def labels_needed(discordance: float, margin: float, difference: float) -> int | None:
    """How many labelled images would decide whether a difference lies above -margin: n = 8.56 psi / (margin + difference)^2.

    One-sided level 5 %, power 90 %, for a true difference equal to the one seen (Lachin 1992's normal approximation).

    Args:
        discordance: psi, the share of images on which exactly one model is right, > 0.
        margin: >= 0; 0 asks for superiority.
        difference: of the accuracies.

    Returns:
        None when no number would: the difference lies on the margin.
    """
    distance = abs(margin + difference)
    if distance < 1e-9:
        return None
    return math.ceil(LEVEL_AND_POWER * discordance / distance**2)


def _root(gained: float, lost: float, n: float, z: float, left: float, right: float) -> float:
    """Where the score statistic equals z; it falls from the left end (at least z) to the estimate (0)."""

    def excess(delta: float) -> float:
        return gained - lost - n * delta - z * math.sqrt(n * _variance(gained, lost, n, delta))

    if right <= left or excess(left) <= 0:
        return left
    return float(optimize.brentq(excess, left, right, xtol=1e-12))


def _variance(gained: float, lost: float, n: float, delta: float) -> float:
    """n times the variance of the difference under `delta`, with the discordance at its restricted maximum-likelihood value."""
    if delta < 0:  # By symmetry; for delta >= 0 the root below is free of cancellation.
        gained, lost, delta = lost, gained, -delta
    b = (2 * n - gained + lost) * delta - gained - lost
    c = -lost * delta * (1 - delta)
    root = math.sqrt(b * b - 8 * n * c)
    lost_share = (root - b) / (4 * n) if b <= 0 else -2 * c / (b + root)
    return max(0.0, 2 * lost_share + delta * (1 - delta))


def _check(gained: float, lost: float, n: float, confidence: float) -> None:
    possible = gained >= 0 and lost >= 0 and n > 0 and gained + lost <= n * (1 + 1e-9)
    if not possible:  # NaN fails these comparisons too.
        raise ValueError(f"tango: needs gained, lost >= 0, n > 0 and gained + lost <= n, got {gained}, {lost}, {n}")
    if not 0 < confidence < 1:
        raise ValueError(f"tango: confidence {confidence} is outside (0, 1)")
