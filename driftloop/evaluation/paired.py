"""Two classifiers on the same images: how far they differ, with bounds that hold at any number of images.

On the same images only the discordant ones carry information about accuracy: `gained` counts those that the first model has right and
the second wrong, `lost` the reverse.

accuracy       `compare`: the difference with one-sided bounds by Tango's score interval
Brier score    `brier_increase`: has the first model become worse calibrated or less sharp?
exact tests    `mcnemar_exact`, `mcnemar_worse`, and `holm` for several of them at once
labels         `labels_needed`, where bounds decide nothing
clusters       `clustering`: several images of one patient say less than as many patients; `group_signs_worse` for whole groups
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from scipy import optimize, special, stats

#: How likely `labels_needed` labels decide.
DECIDING_CHANCE = 0.80
#: Where so many times the images at hand do not decide, none do.
MOST_TIMES = 1000


@dataclass(frozen=True)
class Clustering:
    """What groups of images (patients, production lots) make of the bounds on a mean."""

    groups: int
    """how many there are; one an image where images are independent"""
    effect: float
    """by how much they inflate the variance of the mean, at least 1; 1 where no group has two images"""
    freedom: float
    """degrees of freedom of that variance; infinite where no group has two images"""
    size: float
    """images of a group, as the mean sees it: a few large groups count for more than many small ones"""

    def one_sided(self, confidence: float) -> float:
        """The confidence at which the normal quantile is Student's at `confidence`; below 1, which has no quantile."""
        if math.isinf(self.freedom):
            return confidence
        return min(float(stats.norm.cdf(stats.t.ppf(confidence, self.freedom))), math.nextafter(1.0, 0.0))


@dataclass(frozen=True)
class PairedDifference:
    """Accuracy of the first model minus that of the second on the same images."""

    estimate: float
    """the difference, as a share"""
    low: float
    """one-sided lower bound, at the confidence asked for"""
    high: float
    """one-sided upper bound, likewise"""
    n: int
    """images"""
    gained: int
    """images that only the first model has right"""
    lost: int
    """images that only the second model has right"""
    effective_n: float
    """independent images that would say as much; n unless the images come in clusters"""
    groups: int
    """patients or lots that the images come from; n where each image stands for itself"""
    one_sided: float = 0.95
    """confidence at which Tango's bounds were taken: higher than what was asked for where there are few groups"""

    @property
    def discordance(self) -> float:
        """The share of images on which exactly one of the two is right."""
        return (self.gained + self.lost) / self.n


@dataclass(frozen=True)
class BrierIncrease:
    """Mean Brier score of the first model minus that of the second: positive where the first is worse."""

    estimate: float
    """the difference of the means"""
    low: float
    """one-sided lower bound, at the confidence asked for"""
    high: float
    """one-sided upper bound, likewise"""
    n: int
    """images"""
    error: float
    """standard error of the estimate"""
    groups: int
    """patients or lots that the images come from; n where each image stands for itself"""


def compare(
    first_right: np.ndarray, second_right: np.ndarray, *, confidence: float = 0.95, groups: np.ndarray | None = None
) -> PairedDifference:
    """The difference of two accuracies from what each model has right, image by image.

    Where `groups` names the patient or lot of each image, the counts are divided by the design effect first (Rao & Scott 1992), so that
    ten images of one patient do not pass for ten patients, and the quantile is Student's by the number of groups: no bound is narrower
    than Tango's. With one image a group nothing changes.

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
    clusters = clustering(first_right.astype(float) - second_right, groups)
    effect, one_sided = clusters.effect, clusters.one_sided(confidence)
    counts = gained / effect, lost / effect, n / effect
    low, high = tango_lower_bound(*counts, confidence=one_sided), tango_upper_bound(*counts, confidence=one_sided)
    return PairedDifference((gained - lost) / n, low, high, n, gained, lost, n / effect, clusters.groups, one_sided)


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
    _check_shares(gained, lost, n, confidence)
    z = float(special.ndtri(confidence))

    def excess(delta: float) -> float:
        return gained - lost - n * delta - z * math.sqrt(n * _score_variance(gained, lost, n, delta))

    # The score statistic equals z between the end of the scale and the estimate, where it is 0 and may have no variance.
    return -1.0 if excess(-1.0) <= 0 else float(optimize.brentq(excess, -1.0, (gained - lost) / n - 1e-12, xtol=1e-12))


def tango_upper_bound(gained: float, lost: float, n: float, *, confidence: float = 0.95) -> float:
    """One-sided upper bound of Tango's score interval; arguments and errors as in `tango_interval`."""
    return -tango_lower_bound(lost, gained, n, confidence=confidence)


def labels_needed(
    estimate: float, deviation: float, n: int, limit: float, *, hopeless: float | None = None, confidence: float = 0.95
) -> int | None:
    """How many labelled images in all would decide with probability 80 % whether a mean lies above `limit`, given those at hand.

    Those at hand stay, and the mean is known no better than they say: after N images the estimate is normal around the present one with
    variance deviation^2 (1/n - 1/N). It decides where its lower bound lies above the limit or its upper one below `hopeless`. Taking
    the estimate for the truth would be right in half of the cases only.

    Args:
        estimate: of the mean.
        deviation: standard deviation of one image, > 0; of clustered ones times the root of their design effect.
        n: images at hand, >= 1.
        limit: what the mean is to exceed.
        hopeless: what it is refuted below, at 95 %; the limit by default.
        confidence: of the lower bound.

    Returns:
        More than n; never more than about fifty times as many, but where what is refuted lies below the limit: None where no number
        decides so often what may lie between the two.
    """
    ceiling, normal = limit if hopeless is None else hopeless, NormalDist()
    below_limit, above_ceiling = normal.inv_cdf(confidence), normal.inv_cdf(0.95)

    def chance(total: float) -> float:
        scatter, error = deviation * math.sqrt(1 / n - 1 / total), deviation / math.sqrt(total)
        shown = normal.cdf((estimate - limit - below_limit * error) / scatter)
        return shown + normal.cdf((ceiling - above_ceiling * error - estimate) / scatter)

    fewest, most = n + 1, 2 * n + 2
    while chance(most) < DECIDING_CHANCE:
        if most > MOST_TIMES * n:
            return None
        fewest, most = most, 2 * most
    while fewest < most:
        middle = (fewest + most) // 2
        fewest, most = (fewest, middle) if chance(middle) >= DECIDING_CHANCE else (middle + 1, most)
    return most


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
    """Paired difference of Brier scores with one-sided bounds on the per-image differences.

    Few images that are answered confidently wrong make these differences skewed, and Student's t errs in .11 instead of .05 of 100
    images. Where it widens a bound, Johnson's (1978) correction for skewness is added; and one unseen image with a difference of 1 counts
    into the variance, since the one that matters may not be among few. Level by simulation: bench/README.md, "The Brier score's bound".

    Where `groups` is given the standard error is widened by the design effect of the clusters, the unseen image is an unseen group, and
    Student's t goes by the number of groups.

    Args:
        first: (N,) scores of the model in question, from `brier_scores`.
        second: (N,) scores of the model it is measured against, on the same images.
        confidence: of each bound.
        groups: (N,) patient or lot of each image, or None.

    Raises:
        ValueError: fewer than 2 images, or arrays of different length.
    """
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if first.shape != second.shape or first.ndim != 1 or len(first) < 2:
        raise ValueError(f"brier_increase: needs two arrays of one length, at least 2, got {first.shape} and {second.shape}")
    difference = first - second
    n, mean = len(difference), float(difference.mean())
    clusters = clustering(difference, groups, extreme=0.0)
    variance = float(difference.var(ddof=1))
    error = math.sqrt(variance * clusters.effect / n + (clusters.size / n) ** 2)
    t = float(stats.t.ppf(confidence, min(n - 1, clusters.freedom)))
    third = float(((difference - mean) ** 3).mean())
    skew = third / variance / 6 * (1 + 2 * t**2) * clusters.effect / n if variance else 0.0
    low, high = mean - t * error + min(0.0, skew), mean + t * error + max(0.0, skew)
    return BrierIncrease(mean, low, high, n, error, clusters.groups)


def mcnemar_exact(gained: int, lost: int) -> float:
    """McNemar's exact test (1947): two-sided p-value for "both models are equally often right".

    Given their number the discordant images are coin tosses: p = min(1, 2 P(X <= min(gained, lost))), X ~ Binomial(gained + lost, 1/2).

    Args:
        gained: images that only the first model has right.
        lost: images that only the second model has right.

    Returns:
        p in (0, 1]; 1 without discordant images.

    Raises:
        ValueError: a negative count.
    """
    _check_counts(gained, lost)
    return float(min(1.0, 2 * stats.binom.cdf(min(gained, lost), gained + lost, 0.5)))


def mcnemar_worse(gained: int, lost: int) -> float:
    """One-sided exact McNemar p-value for "the first model is not worse": P(X >= lost), X ~ Binomial(gained + lost, 1/2).

    Its level holds at any number of images. Arguments and errors as in `mcnemar_exact`.
    """
    _check_counts(gained, lost)
    return float(stats.binom.sf(lost - 1, gained + lost, 0.5))


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Holm's (1979) step-down adjusted p-values: reject where they are below alpha, and the family-wise error is at most alpha.

    No assumption on dependence. adjusted_(i) = max over j <= i of min(1, (m - j + 1) p_(j)), p_(1) <= ... <= p_(m).

    Args:
        p_values: (m,), each in [0, 1]; m = 0 is allowed.

    Returns:
        (m,) float64, in the order given.

    Raises:
        ValueError: more than one dimension, or a value outside [0, 1], NaN included.
    """
    p = np.asarray(p_values, dtype=float)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"holm: needs a list of p-values in [0, 1], got {p_values!r}")
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, stepped)
    return adjusted


def group_signs_worse(differences: np.ndarray, groups: np.ndarray | None = None) -> float:
    """One-sided exact p-value for "the first model is not worse", with whole groups as the unit (Fisher's randomisation test).

    Were the models alike, each group's sum of differences could as well have the other sign: p is the share of all assignments of signs
    whose total is as low as the one seen. With one image a group this is McNemar's exact test, and its level holds at any number of
    groups; fewer than five can show nothing at 5 %.

    Args:
        differences: (N,) of whole numbers: 1 where only the first model is right, -1 where only the second is, else 0.
        groups: (N,), the group of each; None where each image stands for itself.

    Raises:
        ValueError: arrays of different length.
    """
    differences, member = _members("group_signs_worse", differences, groups)
    sums = np.rint(np.bincount(member, weights=differences)).astype(int)
    if not (np.abs(sums) > 1).any():
        return mcnemar_worse(int((sums == 1).sum()), int((sums == -1).sum()))
    sizes, counts = np.unique(np.abs(sums[sums != 0]), return_counts=True)
    # How likely each total of the groups that turn negative is: entry k for a total of k, built up size by size.
    chances = np.ones(1)
    for size, count in zip(sizes, counts, strict=True):
        spread = np.zeros(size * count + 1)
        spread[::size] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        chances = np.convolve(chances, spread)
    return float(min(1.0, chances[-int(sums[sums < 0].sum()) :].sum()))


def clustering(differences: np.ndarray, groups: np.ndarray | None, *, extreme: float = 1.0) -> Clustering:
    """By how much groups inflate the variance of a mean (Kish 1965; Rao & Scott 1992 divide counts by it), and how well that is known.

    The variance of the mean from the jackknife over groups (CR3: it keeps its level with few groups of unequal size), over the variance
    it would have were all images independent. One more group counts into it, as large as the others and with `extreme` differences
    throughout: with few groups, one that goes wrong as a whole may just not be among them. That is as if each group were one image at
    most: the effect of this unseen group ends there. Degrees of freedom: the groups that would say as much were all equally large, less
    one. Level by simulation: bench/README.md, "Patients in the gate".

    All groups are taken as a sample of those to come, however few they are: splits never separate one, so a group in the test split is
    new to the model, as a patient or a lot is.

    Args:
        differences: (N,), the quantity whose mean is wanted.
        groups: (N,), the group of each; None where each image stands for itself.
        extreme: the largest size that a difference can have.

    Raises:
        ValueError: arrays of different length.
    """
    differences, member = _members("clustering", differences, groups)
    n, sizes = len(differences), np.bincount(member)
    if len(sizes) == n:
        return Clustering(n, 1.0, math.inf, 1.0)
    size = float((sizes**2).sum()) / n
    if len(sizes) == 1:  # One group says nothing of the others.
        return Clustering(1, float(n), 1.0, size)
    centred = differences - differences.mean()
    left_out = np.bincount(member, weights=centred) / (1 - sizes / n)
    clustered = (1 - 1 / len(sizes)) * float((left_out**2).sum())
    unseen = extreme**2 * float((sizes**2).mean())
    independent = float((centred**2).sum()) * n / (n - 1)
    # No variance at all is no evidence of none: the next group may differ.
    effect = max(1.0, clustered / independent, min((clustered + unseen) / independent, size)) if independent else size
    return Clustering(len(sizes), effect, max(1.0, n / size - 1), size)


def _members(name: str, differences: np.ndarray, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The differences as numbers, and the number of each one's group, (N,) from 0."""
    differences = np.asarray(differences, dtype=float)
    if groups is None:
        return differences, np.arange(len(differences))
    if differences.shape != np.shape(groups) or differences.ndim != 1:
        raise ValueError(f"{name}: {differences.shape} differences and {np.shape(groups)} groups do not fit")
    return differences, np.unique(np.asarray(groups), return_inverse=True)[1]


def _score_variance(gained: float, lost: float, n: float, delta: float) -> float:
    """n times the variance of the difference under `delta`, with the discordance at its restricted maximum-likelihood value."""
    if delta < 0:  # By symmetry; for delta >= 0 the root below is free of cancellation.
        gained, lost, delta = lost, gained, -delta
    b = (2 * n - gained + lost) * delta - gained - lost
    c = -lost * delta * (1 - delta)
    root = math.sqrt(b * b - 8 * n * c)
    lost_share = (root - b) / (4 * n) if b <= 0 else -2 * c / (b + root)
    return max(0.0, 2 * lost_share + delta * (1 - delta))


def _check_shares(gained: float, lost: float, n: float, confidence: float) -> None:
    possible = gained >= 0 and lost >= 0 and n > 0 and gained + lost <= n * (1 + 1e-9)
    if not possible:  # NaN fails these comparisons too.
        raise ValueError(f"tango: needs gained, lost >= 0, n > 0 and gained + lost <= n, got {gained}, {lost}, {n}")
    if not 0 < confidence < 1:
        raise ValueError(f"tango: confidence {confidence} is outside (0, 1)")


def _check_counts(gained: int, lost: int) -> None:
    if gained < 0 or lost < 0:
        raise ValueError(f"mcnemar: needs counts >= 0, got {gained} and {lost}")
