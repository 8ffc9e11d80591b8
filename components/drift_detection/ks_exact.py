"""p-values of the two-sample Kolmogorov-Smirnov statistic, for many features at once."""

import math

import numpy as np
from scipy import stats

#: scipy.stats.ks_2samp computes exact p-values up to this many rows a side; so do we.
LARGEST_EXACT = 10_000
#: Anti-diagonals whose masks are computed together; a matter of speed only.
BLOCK = 64


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
