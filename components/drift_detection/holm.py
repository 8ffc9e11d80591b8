"""Holm's correction for looking at several features at once."""

import numpy as np


def holm(p_values: np.ndarray) -> np.ndarray:
    """Step-down adjusted p-values (Holm 1979): rejecting where they are <= alpha keeps the family-wise error below alpha.

    Holm rejects whatever Bonferroni rejects and more, under any dependence between the features. The smallest adjusted value is
    the p-value of "no feature moved".

    Args:
        p_values: (F,) in [0, 1], F >= 1.

    Returns:
        (F,) adjusted p-values in [0, 1], in the order given.
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return adjusted
