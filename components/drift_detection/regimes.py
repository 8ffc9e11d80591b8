"""Accepted regimes: a champion may carry up to three references, and a window may fit any mixture of them.

A hospital whose second scanner was learned sends images of both; each alone would look like drift against the other. So the
mixture that fits a window best is drawn from the references, and the ordinary test asks whether even that is refuted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from components.drift_detection.ks import SortedReference, sort_reference
from components.drift_detection.mmd import around, location, mean_kernel, median_gamma
from components.drift_detection.samples import Sample, join

#: More references than this would let almost any window fit some mixture.
MOST = 3


@dataclass(frozen=True)
class View:
    """One way to look at images when regimes are weighed: vectors relative to `centre` in units of `scale`, a kernel of width `gamma`.

    `rows` are the regimes in these coordinates, `inner` (R, R) the mean kernels between and within them.
    """

    centre: np.ndarray
    scale: np.ndarray
    gamma: float
    rows: list[np.ndarray]
    inner: np.ndarray

    def towards(self, vectors: np.ndarray) -> np.ndarray:
        """The mean kernel of a window's vectors (M, D) with each regime: (R,)."""
        placed = around(self.centre, vectors) / self.scale
        return np.array([mean_kernel(placed, rows, self.gamma).mean() for rows in self.rows])


@dataclass(frozen=True)
class Regimes:
    """The accepted regimes, ready for many windows: `ordered` are their statistics, sorted once."""

    names: tuple[str, ...]
    samples: tuple[Sample, ...]
    ordered: tuple[SortedReference, ...]
    embedding: View
    statistics: View


def prepare(names: Sequence[str], samples: Sequence[Sample], rng: np.random.Generator) -> Regimes:
    """Compare the regimes with each other, once for all windows.

    Raises:
        ValueError: no regime or more than three, or one with fewer than 2 rows.
    """
    if not 1 <= len(samples) <= MOST or min(len(sample) for sample in samples) < 2:
        raise ValueError(f"a champion carries 1 to {MOST} references of at least 2 rows, got {[len(sample) for sample in samples]}")
    return Regimes(
        names=tuple(names),
        samples=tuple(samples),
        ordered=tuple(sort_reference(sample.statistics) for sample in samples),
        embedding=_view([sample.embedding for sample in samples], rng, by_column=False),
        statistics=_view([sample.statistics for sample in samples], rng, by_column=True),
    )


def _view(sides: Sequence[np.ndarray], rng: np.random.Generator, *, by_column: bool) -> View:
    """`by_column`: columns of different units are brought to a common scale, their interquartile range."""
    pooled = np.concatenate(sides)
    centre, scale = location(pooled), np.ones(pooled.shape[1], np.float32)
    if by_column:
        spread = np.subtract(*np.quantile(pooled.astype(np.float64), [0.75, 0.25], axis=0))
        scale = np.where(spread > 0, spread, 1.0).astype(np.float32)
    rows = [around(centre, side) / scale for side in sides]
    gamma = median_gamma(np.concatenate(rows), rng)
    inner = np.array([[mean_kernel(one, other, gamma).mean() for other in rows] for one in rows])
    for index, side in enumerate(sides):
        # Unbiased: a row's kernel with itself, 1, says nothing about its distribution.
        inner[index, index] = (inner[index, index] * len(side) - 1) / (len(side) - 1)
    return View(centre, scale, gamma, rows, inner)


def fit_weights(regimes: Regimes, window: Sample) -> np.ndarray:
    """The shares (R,) of the mixture of regimes with the least MMD^2 to the window; they sum to one.

    The kernel is the sum of one on embeddings and one on image statistics: a champion that was trained not to mind a drift hardly
    sees it in its embedding, while the statistics do, and the mixture must satisfy the tests on both.

    MMD^2 is a quadratic w'Kw - 2 w'k + const; its minimiser over each face of the simplex has a closed form, and the best of the
    at most seven faces is the minimiser. For two regimes this is the minimiser on [0, 1].
    """
    towards = regimes.embedding.towards(window.embedding) + regimes.statistics.towards(window.statistics)
    return simplex_minimiser(regimes.embedding.inner + regimes.statistics.inner, towards)


def simplex_minimiser(inner: np.ndarray, towards: np.ndarray) -> np.ndarray:
    """The w >= 0 with sum(w) = 1 that minimises w'Kw - 2 w'k, for a symmetric K (R, R) and k (R,)."""
    count = len(towards)
    best, least = np.full(count, np.nan), np.inf
    for face in (face for size in range(1, count + 1) for face in combinations(range(count), size)):
        at = list(face)
        # Stationary on the face: K w - k + mu = 0 and sum(w) = 1.
        system = np.ones((len(at) + 1, len(at) + 1))
        system[:-1, :-1], system[-1, -1] = inner[np.ix_(at, at)], 0.0
        solution = np.linalg.lstsq(system, np.append(towards[at], 1.0), rcond=None)[0][:-1]
        if (solution < 0).any():
            continue
        weights = np.zeros(count)
        weights[at] = solution / solution.sum()
        value = float(weights @ inner @ weights - 2 * weights @ towards)
        if value < least:
            best, least = weights, value
    return best


def draw(regimes: Regimes, weights: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Rows of each regime in the proportions of `weights`, without replacement and as many as there are."""
    sizes = np.array([len(sample) for sample in regimes.samples])
    used = weights > 0
    total = float(np.min(sizes[used] / weights[used]))
    counts = np.minimum(np.round(total * weights).astype(int), sizes)
    return [np.sort(rng.choice(size, count, replace=False)) for size, count in zip(sizes, counts, strict=True)]


def gather(regimes: Regimes, drawn: Sequence[np.ndarray]) -> Sample:
    """The drawn rows as one sample."""
    return join([sample.take(rows) for sample, rows in zip(regimes.samples, drawn, strict=True)])
