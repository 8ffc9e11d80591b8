"""The share of images that are right, where several of them are of one patient or lot: ten images of one do not say as much as ten."""

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
from scipy import stats

from driftloop.evaluation.intervals import Proportion, score_ends
from driftloop.evaluation.paired import Clustering, clustering

#: Images of the rarer kind, right or wrong, that count into the design effect as though they came with a whole group of it: one error
#: alone says nothing of whether errors come in groups. Coverage and level: bench/README.md, "An accuracy by patients".
UNSEEN_IMAGES = 0.5
#: Where Student's quantile is taken for `independent_images`: bounds further out would ask for more, and keep their level as it is
#: (bench/harm_of_groups.py).
QUANTILE = 0.99


def proportion_right(right: np.ndarray, groups: np.ndarray | None = None, *, confidence: float = 0.95) -> Proportion:
    """Wilson's interval with the number of images divided by the design effect of their groups (Rao & Scott 1992), and Student's quantile
    by the number of groups.

    With one image a group, or without groups, it is Wilson's.

    Args:
        right: bool (N,), N >= 1.
        groups: (N,), the patient or lot of each image; None where that is not known.
        confidence: of the two-sided interval; 0.90 makes each end a one-sided 95 % bound.

    Raises:
        ValueError: no images, or groups that do not fit.
    """
    right = np.asarray(right, bool)
    if right.ndim != 1 or not len(right):
        raise ValueError(f"proportion_right: needs at least one image, got {right.shape}")
    jackknifed = _jackknifed(right, groups)
    clusters = _with_unseen(right, jackknifed)
    n, share = len(right), int(right.sum()) / len(right)
    low, high = score_ends(share, n / clusters.effect, NormalDist().inv_cdf(clusters.one_sided(0.5 + confidence / 2)))
    independent = _independent(n, jackknifed)
    return Proportion(
        value=share,
        low=low,
        high=high,
        n=n,
        effective_n=None if independent == n else independent,
        groups=0 if groups is None else clusters.groups,
    )


def clusters_of(right: np.ndarray, groups: np.ndarray | None) -> Clustering:
    """What groups make of the bounds on a share: the jackknife's design effect, drawn towards whole groups by `UNSEEN_IMAGES`.

    Where all are right, or all wrong, that is the size of a group: each counts as one image.
    """
    right = np.asarray(right, bool)
    return _with_unseen(right, _jackknifed(right, groups))


def independent_images(right: np.ndarray, groups: np.ndarray | None) -> float:
    """As many independent images as these say as much as: their number over the design effect (Kish 1965; Rao & Scott 1992).

    That is known the less the fewer groups there are: as many fewer count as Student's quantile is beyond the normal one. No unseen group
    counts, as one does in `proportion_right`: bounds of about three standard errors hold without it.

    Args:
        right: bool (N,).
        groups: (N,), the patient or lot of each; None where each image stands for itself.
    """
    return _independent(len(right), _jackknifed(right, groups))


def _jackknifed(right: np.ndarray, groups: np.ndarray | None) -> Clustering:
    return clustering(right, groups, extreme=0.0)


def _with_unseen(right: np.ndarray, clusters: Clustering) -> Clustering:
    rarer = min(int(right.sum()), int((~right).sum()))
    largest = max(clusters.effect, clusters.size)
    return replace(clusters, effect=(rarer * clusters.effect + UNSEEN_IMAGES * largest) / (rarer + UNSEEN_IMAGES))


def _independent(n: int, clusters: Clustering) -> float:
    if math.isinf(clusters.freedom):
        return float(n)
    widened = stats.t.ppf(QUANTILE, clusters.freedom) / stats.norm.ppf(QUANTILE)
    return float(n / (clusters.effect * widened**2))
