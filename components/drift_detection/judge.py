"""The test that decides about one window: image statistics and embeddings, at half the level each."""

from dataclasses import dataclass

import numpy as np

from components.drift_detection.ks import KSResult, ks_test
from components.drift_detection.mmd import MMDResult, mmd_test
from components.drift_detection.regimes import Regimes, draw, fit_weights, gather
from components.drift_detection.samples import Sample


@dataclass(frozen=True)
class Judgement:
    """Against which reference a window was tested, and what came out.

    `weights` (R,) are the shares of the regimes in that reference, `drawn` its rows by regime. `share` is n / (n + m), the window's
    part in all rows compared: the smaller, the less the level depends on this one reference.
    """

    statistics: KSResult
    embedding: MMDResult
    weights: np.ndarray
    drawn: list[np.ndarray]
    rows: int
    drifted: bool

    @property
    def reference_rows(self) -> int:
        return sum(len(rows) for rows in self.drawn)

    @property
    def share(self) -> float:
        return self.rows / (self.rows + self.reference_rows)

    @property
    def smaller(self) -> float:
        """The smaller of the two p-values, doubled for having looked twice: the window's p-value."""
        return min(1.0, 2 * min(self.statistics.p_value, self.embedding.p_value))


def judge(window: Sample, regimes: Regimes, *, alpha: float, permutations: int, rng: np.random.Generator) -> Judgement:
    """Test a window against what its champion was accepted for.

    It has drifted when Kolmogorov-Smirnov with Holm over the image statistics or MMD over the embeddings rejects at alpha / 2, for
    the best-fitting mixture of the regimes and for each regime alone. With one regime that is one test at level alpha.
    """
    if len(regimes.samples) == 1:
        return _compare(window, regimes, np.ones(1), alpha, permutations, rng)
    candidates = [fit_weights(regimes, window), *np.eye(len(regimes.samples))]
    best = None
    for weights in candidates:
        judgement = _compare(window, regimes, weights, alpha, permutations, rng)
        if not judgement.drifted:
            return judgement
        if best is None or judgement.smaller > best.smaller:
            best = judgement
    assert best is not None
    return best


def _compare(window: Sample, regimes: Regimes, weights: np.ndarray, alpha: float, permutations: int, rng: np.random.Generator) -> Judgement:
    drawn = draw(regimes, weights, rng)
    reference = gather(regimes, drawn)
    alone = weights.argmax() if weights.max() == 1 else None
    statistics = ks_test(reference.statistics if alone is None else regimes.ordered[alone], window.statistics)
    embedding = mmd_test(reference.embedding, window.embedding, permutations=permutations, rng=rng)
    drifted = min(statistics.p_value, embedding.p_value) <= alpha / 2
    return Judgement(statistics, embedding, weights, drawn, len(window), drifted)
