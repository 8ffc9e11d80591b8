"""The Kolmogorov-Smirnov statistic of many features at once, in integers: ties and rounding cannot blur it.

The distance between the distribution functions is a multiple of 1 / (N M), so N M times it is counted. For float32, the type of
the log, reference and window are merged by one sort of integers that carry in their lowest bit which sample they come from; numpy
sorts integers with vector instructions, which beats a binary search by far. Other types take the binary search.
"""

import numpy as np

#: Features handled together: their working set stays in the processor's cache.
FEATURES = 8


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
