"""A share of images that come in groups: ten images of one patient do not say as much as ten patients."""

import numpy as np

from driftloop.evaluation.intervals import Proportion, wilson, wilson_bounds
from driftloop.evaluation.paired import clustering


def independent_images(right: np.ndarray, groups: np.ndarray | None) -> float:
    """As many independent images as these say as much as: their number over the design effect (Kish 1965; Rao & Scott 1992).

    No unseen group counts into the effect, as one does at the gate: harm has bounds of about three standard errors, which hold without it.

    Args:
        right: bool (N,).
        groups: (N,), the patient or lot of each; None where each image stands for itself.
    """
    return len(right) / clustering(np.asarray(right, dtype=float), groups, extreme=0.0).effect


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
