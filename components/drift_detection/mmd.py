"""Kernel maximum mean discrepancy between two sets of embeddings, with a permutation p-value, and what else its kernel tells.

MMD^2 = mean k(x, x') + mean k(y, y') - 2 mean k(x, y) with a Gaussian kernel is zero only where the two distributions are equal
(Gretton et al. 2012). The kernel is computed once, strip by strip, and never held as a whole: each strip is multiplied with the
memberships of all permutations at once, so 10,000 x 10,000 rows take seconds and some hundred megabytes.

`shift_scores` is the MMD witness function: large where drifted images are many and reference images few. `check_samples` is what every
test asks of its two samples: the same columns, enough rows, only finite numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

#: Beyond this a float32 squared distance overflows; the kernel of such a pair is zero either way.
LARGEST = 1e15
#: Rows from which the median distance is estimated: half a million pairs.
MEDIAN_ROWS = 1_000
#: Permutations multiplied at once; bounds the memory of the memberships.
PERMUTATIONS_AT_ONCE = 512
#: Exceedances at a look that leave no doubt, and the permutations of a quick one, which hardly any clean window passes.
PLENTY, QUICK_LOOK = 10, 999
#: Rows of either sample that densities are estimated from.
DENSITY_ROWS = 5_000


def check_samples(reference: np.ndarray, window: np.ndarray, *, least: int = 2) -> None:
    """Refuse samples that no test can compare.

    Args:
        reference: (N, D) numbers.
        window: (M, D) numbers.
        least: rows that each side must have.

    Raises:
        ValueError: not two-dimensional, different D, D = 0, too few rows, or a value that is not finite; the message says where.
    """
    for name, sample in (("reference", reference), ("window", window)):
        if sample.ndim != 2 or sample.shape[1] == 0:
            raise ValueError(f"{name}: expected rows of numbers, shape (rows, columns), got {sample.shape}")
        if len(sample) < least:
            raise ValueError(f"{name}: {len(sample)} rows, at least {least} are needed")
        finite = np.isfinite(sample)
        if not finite.all():
            row, column = (int(index) for index in np.argwhere(~finite)[0])
            raise ValueError(f"{name}: {sample[row, column]} at row {row}, column {column}; only finite numbers can be compared")
    if reference.shape[1] != window.shape[1]:
        raise ValueError(f"reference has {reference.shape[1]} columns and window {window.shape[1]}; both must come from the same graph")


@dataclass(frozen=True)
class MMDResult:
    """The test, and the kernel exp(-gamma |x - y|^2) that it used."""

    mmd2: float
    """Unbiased estimate of MMD^2, the effect size; it may be below zero."""
    p_value: float
    """In (0, 1]."""
    gamma: float
    """Of the kernel."""
    permutations: int
    """That the p-value was computed from."""


def mmd_test(reference: np.ndarray, window: np.ndarray, *, permutations: int, rng: np.random.Generator, first_look: int = 0) -> MMDResult:
    """Two-sample kernel MMD test.

    p = (1 + #{b : MMD_b >= MMD}) / (1 + B): never 0, and at most alpha with probability alpha at any B (Phipson & Smyth 2010).
    The bandwidth follows from the median distance of the pooled rows, so it does not know which row is whose.

    Args:
        reference: embeddings (N, D).
        window: embeddings (M, D).
        permutations: B >= 1.
        rng: draws the permutations.
        first_look: stop after so many permutations, fewer than B, where these leave no doubt: none reaches the observed value, or ten do.
            The p-value keeps its level all the same (`p_of_two_looks`), and is at least 1 / (1 + first_look). 0: no such look. Where it is
            far beyond 999, ten that reach the value among the first 999 end the test too.

    Raises:
        ValueError: fewer than 2 rows on a side, different D, or a value that is not finite (the message says where).
    """
    check_samples(reference, window)
    # The statistic is symmetric. The smaller sample comes first: what is summed for it in float32 stays small.
    fewer, more = sorted((window, reference), key=len)
    pooled = centred(fewer, more)
    gamma = median_gamma(pooled, rng)
    first = first_look if 0 < first_look < permutations else permutations
    looks = [QUICK_LOOK] * (2 * QUICK_LOOK < first < permutations) + [first] * (first < permutations) + [permutations]
    done = exceeding = 0
    for look in looks:
        observed, more_exceeding = _exceedances(pooled, len(fewer), gamma, look - done, rng)
        done, exceeding = look, exceeding + more_exceeding
        # Whoever stops at the quick look has gone no further than those that passed it: its p-value is that of the look alone.
        if exceeding >= PLENTY or (exceeding == 0 and done == first):
            break
    two_looks = done > first
    p_value = p_of_two_looks(exceeding, first, done) if two_looks else (1 + exceeding) / (1 + done)
    return MMDResult(observed, p_value, gamma, done)


def _exceedances(pooled: np.ndarray, n: int, gamma: float, permutations: int, rng: np.random.Generator) -> tuple[float, int]:
    """MMD^2 as observed, and how many of so many permutations reach it."""
    statistics = _permuted_statistics(pooled, n, gamma, permutations, rng)
    observed, permuted = statistics[0], statistics[1:]
    # A permutation that only swaps equal rows, or the two halves, has the same value but for rounding: it counts as equal.
    tolerance = 1e-4 * permuted.std() + 1e-6 / n
    return float(observed), int(np.sum(permuted >= observed - tolerance))


def p_of_two_looks(exceeding: int, first: int, permutations: int) -> float:
    """The p-value of a test that went on after its first look, which had at least one exceedance and fewer than ten.

    Without drift the number of exceedances among `first` permutations is uniform on 0..first (but for ties, which make it larger), and so
    is that among all of them; given the latter the former is hypergeometric. Outcomes are ordered: none at the first look, then those
    that went on by their total, then those that stopped with ten or more by their number. The p-value is the probability of what is as
    extreme or more, so its level is exact; those that stop have (1 + exceedances) / (1 + first), as if they had had no second look.

    Args:
        exceeding: of all permutations.
        first: permutations of the first look.
        permutations: of both.
    """
    totals = np.arange(exceeding + 1)
    seen_first = stats.hypergeom(permutations, totals, first)
    return float(1 / (1 + first) + (seen_first.cdf(PLENTY - 1) - seen_first.cdf(0)).sum() / (1 + permutations))


def centred(*samples: np.ndarray) -> np.ndarray:
    """The samples, one below the other, as float32 around their common median: keeps squared distances from cancelling."""
    pooled = np.concatenate(samples)
    return around(location(pooled), pooled)


def location(rows: np.ndarray) -> np.ndarray:
    """The median by column, (D,) float64; unlike the mean it does not follow a huge outlier."""
    return np.median(rows.astype(np.float64), axis=0)


def around(centre: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rows (N, D) relative to `centre`, float32."""
    return np.clip(rows.astype(np.float64) - centre, -LARGEST, LARGEST).astype(np.float32)


def median_gamma(pooled: np.ndarray, rng: np.random.Generator) -> float:
    """1 / median squared distance between rows (the median heuristic), from at most 1,000 rows (N, D) drawn at random.

    Where more than half of the pairs are equal the mean takes the median's place; where all are, any bandwidth serves: 1.
    """
    if len(pooled) > MEDIAN_ROWS:
        pooled = pooled[rng.choice(len(pooled), MEDIAN_ROWS, replace=False)]
    distances = _squared_distances(pooled, pooled)[np.triu_indices(len(pooled), 1)]
    scale = float(np.median(distances)) or float(distances.mean(dtype=np.float64))
    return 1.0 / scale if scale > 0 else 1.0


def mean_kernel(left: np.ndarray, right: np.ndarray, gamma: float) -> np.ndarray:
    """For each row of `left` (N, D), the mean of its kernel with all rows of `right` (M, D): (N,) float64, a density estimate."""
    means = np.empty(len(left))
    height = max(1, 4_000_000 // len(right))
    for first in range(0, len(left), height):
        strip = _squared_distances(left[first : first + height], right)
        means[first : first + height] = np.exp(strip * np.float32(-gamma)).mean(axis=1, dtype=np.float64)
    return means


def shift_scores(reference: np.ndarray, drifted: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How much each drifted row belongs to the drift: its mean kernel with the drifted rows minus that with the reference.

    Args:
        reference: embeddings (N, D).
        drifted: embeddings (M, D).

    Returns:
        (M,) in (-1, 1); the largest are the most shifted. A row's kernel with itself is left out, unless the rows were thinned.
    """
    centre = location(np.concatenate([reference, drifted]))
    gamma = median_gamma(around(centre, np.concatenate([reference, drifted])), rng)
    near, far = around(centre, reference), around(centre, drifted)
    inner = mean_kernel(far, _thin(far, rng), gamma)
    if 1 < len(far) <= DENSITY_ROWS:
        inner = (inner * len(far) - 1) / (len(far) - 1)
    return inner - mean_kernel(far, _thin(near, rng), gamma)


def nearest(reference: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """For each of some rows (M, D) the index of the nearest reference row (N, D): (M,) int64."""
    centre = location(reference)
    near, far = around(centre, reference), around(centre, rows)
    distances = (far**2).sum(axis=1)[:, None] - 2 * far @ near.T + (near**2).sum(axis=1)
    return distances.argmin(axis=1)


def _squared_distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """|x - y|^2 for all pairs of rows, float32, never below zero."""
    distances = left @ right.T
    distances *= -2
    distances += np.einsum("ij,ij->i", left, left)[:, None]
    distances += np.einsum("ij,ij->i", right, right)
    return np.maximum(distances, 0, out=distances)


def _permuted_statistics(pooled: np.ndarray, n: int, gamma: float, permutations: int, rng: np.random.Generator) -> np.ndarray:
    """Unbiased MMD^2 of the samples as they are, then of B random splits of the pooled rows into n and the rest: (1 + B,) float64."""
    total, m = len(pooled), len(pooled) - n
    members = _memberships(total, n, permutations, rng)
    of_first = np.zeros(permutations + 1)
    row_sums = np.zeros(total)
    for first, strip in _strips(pooled, gamma):
        height = len(strip)
        row_sums[first : first + height] += strip.sum(axis=1, dtype=np.float64)
        row_sums[first + height :] += strip[:, height:].sum(axis=0, dtype=np.float64)
        # The kernel is symmetric: what lies right of the diagonal square counts twice, and nothing left of it is computed.
        strip[:, height:] *= 2
        for start in range(0, permutations + 1, PERMUTATIONS_AT_ONCE):
            chunk = members[first:, start : start + PERMUTATIONS_AT_ONCE].astype(np.float32)
            product = strip @ chunk
            product *= chunk[:height]
            of_first[start : start + PERMUTATIONS_AT_ONCE] += product.sum(axis=0, dtype=np.float64)
    from_first = np.concatenate(
        [row_sums @ members[:, start : start + PERMUTATIONS_AT_ONCE] for start in range(0, permutations + 1, PERMUTATIONS_AT_ONCE)]
    )
    across = from_first - of_first
    of_second = row_sums.sum() - of_first - 2 * across
    return of_first / (n * (n - 1)) + of_second / (m * (m - 1)) - 2 * across / (n * m)


def _memberships(total: int, n: int, permutations: int, rng: np.random.Generator) -> np.ndarray:
    """Which rows belong to the first sample: (total, 1 + B) bool; the first column is the observed split."""
    members = np.zeros((permutations + 1, total), dtype=bool)
    members[0, :n] = True
    for row in members[1:]:
        row[rng.choice(total, n, replace=False, shuffle=False)] = True
    return np.ascontiguousarray(members.T)


def _strips(pooled: np.ndarray, gamma: float) -> Iterator[tuple[int, np.ndarray]]:
    """The kernel matrix, zero on its diagonal, as strips (rows first.., columns first..) of its upper triangle.

    A constant is taken off (the kernel at the median distance): it drops out of MMD^2, and float32 sums keep more digits.
    """
    total = len(pooled)
    height = int(np.clip(total // 8, 64, 512))
    for first in range(0, total, height):
        strip = _squared_distances(pooled[first : first + height], pooled[first:])
        strip *= np.float32(-gamma)
        np.exp(strip, out=strip)
        strip -= np.float32(np.exp(-1.0))
        np.fill_diagonal(strip[:, : len(strip)], 0)
        yield first, strip


def _thin(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rows if len(rows) <= DENSITY_ROWS else rows[rng.choice(len(rows), DENSITY_ROWS, replace=False)]
