"""The test that decides about one window: image statistics and embeddings, at half the level each.

Judging all fresh windows of a watch, one after the other.

An accuracy estimate that needs no labels: average thresholded confidence (Garg et al. 2022). Shown with its caveat.

It assumes that the model is as calibrated under the drift as before. Under noise a network can stay confident and be wrong: the
estimate may then be far too high. It may therefore ask for labels, but it never calms.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from components.drift_detection.harm import correct_answers
from components.drift_detection.ks import KSResult, ks_test
from components.drift_detection.mmd import MMDResult, mmd_test
from components.drift_detection.reference import AcceptedTraffic, Regimes, Sample, draw_rows, drawn_sample, fit_weights, window_sample
from components.drift_detection.windows import CutWindow, TestLevel
from driftloop.errors import InputError
from driftloop.runtime import progress
from driftloop.watch_record import RecordedWindow


@dataclass(frozen=True)
class WindowTest:
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


def window_test(window: Sample, regimes: Regimes, *, alpha: float, permutations: int, rng: np.random.Generator) -> WindowTest:
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


def _compare(
    window: Sample, regimes: Regimes, weights: np.ndarray, alpha: float, permutations: int, rng: np.random.Generator
) -> WindowTest:
    drawn = draw_rows(regimes, weights, rng)
    reference = drawn_sample(regimes, drawn)
    alone = weights.argmax() if weights.max() == 1 else None
    statistics = ks_test(reference.statistics if alone is None else regimes.ordered[alone], window.statistics)
    embedding = mmd_test(reference.embedding, window.embedding, permutations=permutations, rng=rng)
    drifted = min(statistics.p_value, embedding.p_value) <= alpha / 2
    return WindowTest(statistics, embedding, weights, drawn, len(window), drifted)


@dataclass(frozen=True)
class TestedWindow:
    """A fresh window as it will be recorded, the test behind it, and the images that were tested."""

    window: RecordedWindow
    judgement: WindowTest
    sample: Sample


def tested_windows(
    rows: pd.DataFrame, windows: Sequence[CutWindow], regimes: Regimes, level: TestLevel, rng: np.random.Generator
) -> list[TestedWindow]:
    """Test each window of `rows` (the log's columns, in time order) and write down what will be recorded of it.

    Raises:
        InputError: vectors of another length than the reference's, or numbers that are not finite.
    """
    judged = []
    for index, window in enumerate(windows):
        judged.append(_judge_window(rows, window, regimes, level, rng))
        progress((index + 1) / len(windows), f"window {index + 1} of {len(windows)}")
    return judged


def _judge_window(rows: pd.DataFrame, window: CutWindow, regimes: Regimes, level: TestLevel, rng: np.random.Generator) -> TestedWindow:
    sample = window_sample(rows.iloc[window.sample])
    expected = regimes.samples[0]
    for what in ("embedding", "statistics", "probabilities"):
        here, there = getattr(sample, what).shape[1], getattr(expected, what).shape[1]
        if here != there:
            raise InputError(f"inference log: {what} of {here} numbers, the champion's reference has {there}; was another model served?")
    judgement = window_test(sample, regimes, alpha=level.alpha, permutations=level.permutations, rng=rng)
    covered = rows.iloc[window.rows]
    correct, labels = correct_answers(covered)
    record = RecordedWindow(
        first=covered["time"].iloc[0].isoformat(),
        last=covered["time"].iloc[-1].isoformat(),
        rows=len(covered),
        p_statistics=judgement.statistics.p_value,
        p_embedding=judgement.embedding.p_value,
        drifted=judgement.drifted,
        accuracy=correct / labels if labels else None,
    )
    return TestedWindow(record, judgement, sample)


CAVEAT = (
    "This estimate trusts the champion's own confidence, which some drifts (noise above all) leave high while accuracy falls. "
    "It can be far too optimistic; only random labels tell."
)


@dataclass(frozen=True)
class LabelFreeEstimate:
    """Estimated accuracy without labels, and how much lower that is than the same estimate for what the champion was accepted for."""

    accuracy: float
    drop: float


def estimate_without_labels(accepted: AcceptedTraffic, judged: Sequence[TestedWindow]) -> LabelFreeEstimate | None:
    """The estimate over this watch's drifted windows, or over its newest where none drifted.

    The drop is from the mixture of regimes that each window was compared with: a champion that was accepted for a hard drift is not as
    sure there as on clean images, and that is no news.

    None where no window was judged or the champion's clean accuracy is unknown.
    """
    if not judged or accepted.clean is None:
        return None
    confidences = [sample.probabilities.max(axis=1) for sample in accepted.regimes.samples]

    def estimate(of: np.ndarray) -> float:
        return thresholded_confidence(confidences[0], of, accepted.clean.value)  # type: ignore[union-attr]

    by_regime = np.array([estimate(of) for of in confidences])
    concerned = [one for one in judged if one.window.drifted] or [judged[-1]]
    sizes = [len(one.sample) for one in concerned]
    accuracy = float(np.average([estimate(one.sample.probabilities.max(axis=1)) for one in concerned], weights=sizes))
    expected = float(np.average([one.judgement.weights @ by_regime for one in concerned], weights=sizes))
    return LabelFreeEstimate(accuracy, expected - accuracy)


def thresholded_confidence(reference: np.ndarray, window: np.ndarray, clean_accuracy: float) -> float:
    """Estimated accuracy on a window: the share of its confidences above the threshold that fits the clean accuracy.

    The threshold is chosen so that the same share of the clean reference lies above it as the champion gets right.

    Args:
        reference: largest class probabilities (N,) on the clean reference.
        window: the same (M,) on the window.
        clean_accuracy: of the champion as served, in [0, 1].

    Raises:
        ValueError: an empty sample, or an accuracy outside [0, 1].
    """
    if len(reference) == 0 or len(window) == 0 or not 0 <= clean_accuracy <= 1:
        sizes = f"{len(reference)} and {len(window)}"
        raise ValueError(f"thresholded confidence: needs values on both sides and an accuracy in [0, 1], got {sizes}, {clean_accuracy}")
    threshold = np.quantile(reference, 1 - clean_accuracy)
    return float(np.mean(window >= threshold))
