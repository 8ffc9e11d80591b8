"""A share of images that come in groups: ten images of one patient do not say as much as ten patients."""

import math

import numpy as np
from scipy import stats

from driftloop.evaluation.intervals import Proportion, wilson, wilson_bounds
from driftloop.evaluation.paired import clustering

#: Where Student's quantile is taken: bounds further out would ask for more, and keep their level as it is (bench/harm_of_groups.py).
QUANTILE = 0.99


def independent_images(right: np.ndarray, groups: np.ndarray | None) -> float:
    """As many independent images as these say as much as: their number over the design effect (Kish 1965; Rao & Scott 1992).

    That is known the less the fewer groups there are: as many fewer count as Student's quantile is beyond the normal one. No unseen group
    counts, as one does at the gate: bounds of about three standard errors hold without it.

    Args:
        right: bool (N,).
        groups: (N,), the patient or lot of each; None where each image stands for itself.
    """
    clusters = clustering(np.asarray(right, dtype=float), groups, extreme=0.0)
    if math.isinf(clusters.freedom):
        return float(len(right))
    widened = stats.t.ppf(QUANTILE, clusters.freedom) / stats.norm.ppf(QUANTILE)
    return float(len(right) / (clusters.effect * widened**2))


def share_right(right: np.ndarray, groups: np.ndarray | None) -> Proportion:
    """The share right with Wilson's 95 % interval, at as many images as `independent_images` says.

    Args:
        right: bool (N,), at least one.
        groups: (N,), the patient or lot of each; None where each image stands for itself.
    """
    found, effective = wilson(int(np.sum(right)), len(right)), independent_images(right, groups)
    if effective == found.n:
        return found
    low, high = wilson_bounds(found.value, effective)
    return found.model_copy(update={"low": low, "high": high, "effective_n": effective})
