"""Two-sample Kolmogorov-Smirnov tests of many features at once, with Holm's correction; and the same over softmax outputs (BBSD).

A loop over `scipy.stats.ks_2samp` handles one feature at a time and works out each p-value anew; here all features go together.
Statistics and p-values are those of scipy.

The distance between the distribution functions is a multiple of 1 / (N M), so N M times it is counted, in integers: ties and rounding
cannot blur it. For float32, the type of the log, reference and window are merged by one sort of integers that carry in their lowest bit
which sample they come from; numpy sorts integers with vector instructions, which beats a binary search by far. Other types take the
binary search.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from components.drift_detection.mmd import check_samples
from driftloop.evaluation.paired import holm

#: Features handled together: their working set stays in the processor's cache.
FEATURES = 8
#: scipy.stats.ks_2samp computes exact p-values up to this many rows a side; so does this module.
LARGEST_EXACT = 10_000
#: Anti-diagonals whose masks are computed together; a matter of speed only.
BLOCK = 64


@dataclass(frozen=True)
class SortedReference:
    """A reference ready to be compared with many windows."""

    columns: np.ndarray
    """(F, N), each row ascending."""

    @property
    def rows(self) -> int:
        return self.columns.shape[1]


@dataclass(frozen=True)
class KSResult:
    """The test by feature."""

    distances: np.ndarray
    """(F,) largest gaps between the two distribution functions, in [0, 1]: effect sizes."""
    p_values: np.ndarray
    """(F,) as they are."""
    adjusted: np.ndarray
    """(F,) after Holm's correction."""

    @property
    def p_value(self) -> float:
        """The smallest adjusted p-value: that of "no feature moved"."""
        return float(self.adjusted.min())


def sort_reference(reference: np.ndarray) -> SortedReference:
    """Sort a reference (N, F) by feature, once for all windows."""
    check_samples(reference, reference)
    return SortedReference(np.sort(np.ascontiguousarray(reference.T), axis=1))


def ks_test(reference: SortedReference | np.ndarray, window: np.ndarray) -> KSResult:
    """Two-sample Kolmogorov-Smirnov test of each feature, with Holm's correction.

    Equal to `scipy.stats.ks_2samp(reference[:, f], window[:, f])` in float64: exact p-values up to 10,000 rows a side, and beyond Smirnov's
    asymptotic ones.

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


def bbsd_test(reference: np.ndarray, window: np.ndarray) -> KSResult:
    """Kolmogorov-Smirnov over the softmax outputs, with Holm's correction over the classes.

    With two classes the second output is one minus the first and says nothing new, so only the first is tested.

    Args:
        reference: probabilities (N, K).
        window: probabilities (M, K).

    Raises:
        ValueError: fewer than 2 rows on a side, different K, or a value that is not finite (the message says where).
    """
    if reference.ndim == window.ndim == 2 and reference.shape[1] == window.shape[1] == 2:
        reference, window = reference[:, :1], window[:, :1]
    return ks_test(reference, window)


def largest_gaps(reference: np.ndarray, window: np.ndarray) -> np.ndarray:
    """N * M times the largest gap between the two distribution functions, by feature.

    Args:
        reference: (F, N), each row ascending.
        window: (F, M), in any order, of the same type.

    Returns:
        (F,) int64 in 0..N*M.
    """
    method = _by_merging if reference.dtype == window.dtype == np.float32 else _by_searching
    parts = [method(reference[first : first + FEATURES], window[first : first + FEATURES]) for first in range(0, len(reference), FEATURES)]
    return np.concatenate(parts)


def _by_merging(reference: np.ndarray, window: np.ndarray) -> np.ndarray:
    n, m = reference.shape[1], window.shape[1]
    merged = np.concatenate([_ordered(reference), _ordered(window) | 1], axis=1)
    merged.sort(axis=1)
    # After i values of which c are the window's: N M (c / M - (i - c) / N) = c (N + M) - i M.
    gaps = np.cumsum(merged & 1, axis=1)
    gaps *= n + m
    gaps -= np.arange(1, n + m + 1, dtype=np.int64) * m
    merged >>= 1
    # Within a run of equal values only the last counts. The overall last gap is zero, as is what is masked.
    gaps[:, :-1] *= merged[:, :-1] != merged[:, 1:]
    return np.maximum(gaps.max(axis=1), -gaps.min(axis=1))


def _ordered(values: np.ndarray) -> np.ndarray:
    """float32 as even int64 in the same order; adding zero turns -0.0 into 0.0, which equals it."""
    bits = (values + np.float32(0)).view(np.int32)
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).astype(np.int64) << 1


def _by_searching(reference: np.ndarray, window: np.ndarray) -> np.ndarray:
    """The window's function jumps only at its own values, so the gap is largest at one of them or just before it.

    Within a run of equal window values the ranks between first and last give smaller gaps, so they need no special care.
    """
    n, m = reference.shape[1], window.shape[1]
    rank = np.arange(m, dtype=np.int64)
    gaps = np.empty(len(reference), dtype=np.int64)
    for feature, (kept, seen) in enumerate(zip(reference, np.sort(window, axis=1), strict=True)):
        above = (rank + 1) * n - kept.searchsorted(seen, "right") * m
        below = kept.searchsorted(seen, "left") * m - rank * n
        gaps[feature] = max(above.max(), below.max())
    return gaps


def ks_p_values(steps: np.ndarray, n: int, m: int) -> np.ndarray:
    """Two-sided p-values of the statistics D = steps / (n * m).

    Args:
        steps: (F,) integers in 0..n*m.
        n, m: rows of the two samples.

    Returns:
        (F,) float64 in [0, 1]: exact (lattice paths, Hodges 1958) up to 10,000 rows a side, else Smirnov's asymptotic formula.
    """
    distinct, position = np.unique(steps, return_inverse=True)
    if max(n, m) > LARGEST_EXACT:
        p_values = stats.kstwo.sf(distinct / (n * m), np.round(n * m / (n + m)))
    elif n == m:
        p_values = _leaves_square(n, distinct // n)
    else:
        p_values = _leaves_band(max(n, m), min(n, m), distinct // math.gcd(n, m))
    return np.clip(p_values, 0.0, 1.0)[position.reshape(np.shape(steps))]


def _leaves_square(n: int, heights: np.ndarray) -> np.ndarray:
    """Probability that a random path from (0, 0) to (n, n) somewhere has |x - y| >= h, for each h.

    By reflection it is 2 * sum over k >= 1 of (-1)^(k + 1) C(2n, n - k h) / C(2n, n), a series that falls faster than geometrically.
    """
    j = np.arange(n, dtype=np.float64)
    shares = np.cumprod((n - j) / (n + j + 1.0))
    p_values = np.ones(len(heights))
    for index, height in enumerate(heights):
        if height > 0:
            terms = shares[height - 1 :: height]
            p_values[index] = 2.0 * (terms[::2].sum() - terms[1::2].sum())
    return p_values


def _leaves_band(n: int, m: int, heights: np.ndarray) -> np.ndarray:
    """Probability that a random path from (0, 0) to (n, m), n > m, somewhere has |x m - y n| / gcd >= h, for each h.

    The path is followed by its number of steps s = x + y. On each anti-diagonal only the points near the straight line can still
    lie inside, so only that strip is kept; points outside it have left with probability 1. All weights are positive, so nothing
    cancels and even the smallest p-values keep their digits.
    """
    a, b = n // math.gcd(n, m), m // math.gcd(n, m)
    reach = int(min(heights.max() // (a + b) + 2, m + 2))
    offsets = np.arange(-reach, reach + 1, dtype=np.int64)
    # One more column of ones on either side: what lies beyond the strip has left the band.
    left, following = np.ones((2, len(heights), len(offsets) + 2))
    left[:, 1:-1] = _outside(np.zeros(1, np.int64), offsets[None], a, b, heights)[0]
    part = np.empty((len(heights), len(offsets)))
    low = 0
    for first in range(1, n + m + 1, BLOCK):
        s = np.arange(first, min(first + BLOCK, n + m + 1), dtype=np.int64)
        y = (s * b // (a + b))[:, None] + offsets
        outside, from_below = _outside(s, y, a, b, heights), y / s[:, None]
        for step in range(len(s)):
            shift = int(y[step, 0] - offsets[0]) - low
            low += shift
            inner = following[:, 1:-1]
            np.multiply(left[:, 1 + shift : 1 + shift + len(offsets)], 1.0 - from_below[step], out=inner)
            np.multiply(left[:, shift : shift + len(offsets)], from_below[step], out=part)
            inner += part
            np.maximum(inner, outside[step], out=inner)
            left, following = following, left
    return left[:, 1 + m - low + reach]


def _outside(s: np.ndarray, y: np.ndarray, a: int, b: int, heights: np.ndarray) -> np.ndarray:
    """1.0 at the points of the anti-diagonals x + y = s that lie on or beyond the band or are no lattice points, else 0: (S, H, Y)."""
    distance = np.abs(s[:, None] * b - y * (a + b))
    distance[(y < 0) | (y > s[:, None])] = np.iinfo(np.int64).max
    return (distance[:, None] >= heights[:, None]).astype(np.float64)
