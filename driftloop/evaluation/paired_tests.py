"""Exact tests on discordant pairs, and Holm's correction for several of them."""

from collections.abc import Sequence

import numpy as np
from scipy import stats


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
    _check(gained, lost)
    return float(min(1.0, 2 * stats.binom.cdf(min(gained, lost), gained + lost, 0.5)))


def mcnemar_worse(gained: int, lost: int) -> float:
    """One-sided exact McNemar p-value for "the first model is not worse": P(X >= lost), X ~ Binomial(gained + lost, 1/2).

    Its level holds at any number of images. Arguments and errors as in `mcnemar_exact`.
    """
    _check(gained, lost)
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


def _check(gained: int, lost: int) -> None:
    if gained < 0 or lost < 0:
        raise ValueError(f"mcnemar: needs counts >= 0, got {gained} and {lost}")
