"""Images that belong together: several of one patient say less than as many patients."""

import numpy as np

#: With fewer groups than this the variance between them is a guess, and groups are sites that will come again, not a sample.
MINIMUM_GROUPS = 30


def design_effect(differences: np.ndarray, groups: np.ndarray) -> float:
    """By how much clustering inflates the variance of a mean, at least 1 (Kish 1965; Rao & Scott 1992 divide counts by it).

    The variance of the mean from group sums, over the variance it would have were all images independent. One image a group gives 1;
    so do fewer than 30 groups, which cannot be taken as a sample of groups, and differences that are all equal.

    Args:
        differences: (N,), the quantity whose mean is wanted.
        groups: (N,), the group of each.

    Raises:
        ValueError: arrays of different length.
    """
    differences, groups = np.asarray(differences, dtype=float), np.asarray(groups)
    if differences.shape != groups.shape or differences.ndim != 1:
        raise ValueError(f"design_effect: {differences.shape} differences and {groups.shape} groups do not fit")
    n = len(differences)
    _, member = np.unique(groups, return_inverse=True)
    count = int(member.max(initial=-1)) + 1
    if count == n or count < MINIMUM_GROUPS:
        return 1.0
    centred = differences - differences.mean()
    independent = float((centred**2).sum()) / (n * (n - 1))
    if independent == 0:
        return 1.0
    sums = np.bincount(member, weights=centred, minlength=count)
    clustered = count / (count - 1) * float((sums**2).sum()) / n**2
    return max(1.0, clustered / independent)
