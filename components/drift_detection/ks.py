"""Kolmogorov-Smirnov over features, against a reference that is sorted once and kept.

A loop over `scipy.stats.ks_2samp` handles one feature at a time and works out each p-value anew; here all features go together.
Statistics and p-values are those of scipy.
"""

from dataclasses import dataclass

import numpy as np

from components.drift_detection.arrays import check_samples
from components.drift_detection.holm import holm
from components.drift_detection.ks_exact import ks_p_values
from components.drift_detection.ks_gaps import largest_gaps


@dataclass(frozen=True)
class SortedReference:
    """A reference ready to be compared with many windows: `columns` is (F, N), each row ascending."""

    columns: np.ndarray

    @property
    def rows(self) -> int:
        return self.columns.shape[1]


@dataclass(frozen=True)
class KSResult:
    """The test by feature.

    `distances` are the largest gaps between the two distribution functions, in [0, 1], which serve as effect sizes; `p_values`
    are raw, `adjusted` after Holm; `p_value` is the smallest adjusted one, the p-value of "no feature moved".
    """

    distances: np.ndarray
    p_values: np.ndarray
    adjusted: np.ndarray

    @property
    def p_value(self) -> float:
        return float(self.adjusted.min())


def sort_reference(reference: np.ndarray) -> SortedReference:
    """Sort a reference (N, F) by feature, once for all windows."""
    check_samples(reference, reference)
    return SortedReference(np.sort(np.ascontiguousarray(reference.T), axis=1))


def ks_test(reference: SortedReference | np.ndarray, window: np.ndarray) -> KSResult:
    """Two-sample Kolmogorov-Smirnov test of each feature, with Holm's correction.

    Equal to `scipy.stats.ks_2samp(reference[:, f], window[:, f])` in float64: exact p-values up to 10,000 rows a side, Smirnov's asymptotic
    ones beyond.

    Args:
        reference: (N, F), or the same sorted by `sort_reference`.
        window: (M, F).

    Raises:
        ValueError: fewer than 2 rows on a side, different F, or a value that is not finite (the message says where).
    """
    if not isinstance(reference, SortedReference):
        reference = sort_reference(reference)
    check_samples(reference.columns.T[:2], window)
    n, m = reference.rows, len(window)
    steps = largest_gaps(reference.columns, np.ascontiguousarray(window.T))
    p_values = ks_p_values(steps, n, m)
    return KSResult(steps / (n * m), p_values, holm(p_values))
