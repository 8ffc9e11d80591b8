"""The test that decides about a window, and the test of all fresh windows of a watch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from components.drift_detection import detectors
from components.drift_detection.clusters import FEW_GROUPS, Clusters, clusters_of, images_to_average
from components.drift_detection.detectors import DetectorResult, level_of_each
from components.drift_detection.label_tallies import correct_answers
from components.drift_detection.reference import (
    Regimes,
    Sample,
    averaged_regimes,
    draw_rows,
    drawn_sample,
    fit_weights,
    window_sample,
)
from components.drift_detection.windows import AlarmLevel, CutWindow
from driftloop.contracts import LEAST_GROUPS
from driftloop.errors import InputError
from driftloop.runtime import progress
from driftloop.watch_record import RecordedWindow


@dataclass(frozen=True)
class WindowTest:
    """Against which reference a window was tested, and what came out."""

    results: dict[str, DetectorResult]
    """By detector."""
    weights: np.ndarray
    """(R,) shares of the regimes in the reference."""
    drawn: list[np.ndarray]
    """Its rows, by regime."""
    rows: int
    """Of the window."""
    drifted: bool
    """Whether a detector rejects."""
    averaged: int = 1
    """Images of a group whose mean was tested."""

    @property
    def reference_rows(self) -> int:
        return sum(len(rows) for rows in self.drawn)

    @property
    def share(self) -> float:
        """n / (n + m), the window's part in all rows compared: the smaller, the less the level depends on this one reference."""
        return self.rows / (self.rows + self.reference_rows)

    @property
    def p_values(self) -> dict[str, float]:
        """By detector."""
        return {name: result.p_value for name, result in self.results.items()}

    @property
    def p_value(self) -> float:
        """The smallest p-value, multiplied for having looked as often: the window's."""
        return min(1.0, len(self.results) * min(self.p_values.values()))


def window_test(window: Sample, regimes: Regimes, *, alpha: float, permutations: int, rng: np.random.Generator) -> WindowTest:
    """Test a window against what its champion was accepted for.

    It has drifted when a detector rejects at its part of alpha, for the best-fitting mixture of the regimes and for each regime alone.
    With one regime that is one test at level alpha.
    """
    if len(regimes.samples) == 1:
        return _compare(window, regimes, np.ones(1), alpha, permutations, rng)
    tests = []
    for weights in (fit_weights(regimes, window), *np.eye(len(regimes.samples))):
        test = _compare(window, regimes, weights, alpha, permutations, rng)
        if not test.drifted:
            return test
        tests.append(test)
    return max(tests, key=lambda test: test.p_value)


def clustered_test(
    window: tuple[Sample, Clusters], regimes: Regimes, *, alpha: float, permutations: int, rng: np.random.Generator
) -> WindowTest | None:
    """The test of a window of few groups by their means; None where one image a group tells as much.

    Args:
        window: all its images, and whose they are.
        regimes: with all of their images.
        alpha, permutations, rng: as for `window_test`.
    """
    sample, clusters = window
    images = images_to_average([clusters, *(of_regime for _, of_regime in regimes.whole)])
    if images == 1:
        return None
    averaged, members = averaged_regimes(regimes, images, rng)
    means = sample.averaged(clusters.rows(clusters.of_at_least(images), images))
    test = window_test(means, averaged, alpha=alpha, permutations=permutations, rng=rng)
    # The report shows images: the ones that stand for the groups.
    drawn = [groups[rows] for groups, rows in zip(members, test.drawn, strict=True)]
    return replace(test, drawn=drawn, averaged=images)


def _compare(
    window: Sample, regimes: Regimes, weights: np.ndarray, alpha: float, permutations: int, rng: np.random.Generator
) -> WindowTest:
    drawn = draw_rows(regimes, weights, rng)
    reference = drawn_sample(regimes, drawn)
    results = {detector.name: detector.test(reference, window, permutations, rng) for detector in detectors.DETECTORS}
    drifted = min(result.p_value for result in results.values()) <= level_of_each(alpha)
    return WindowTest(results, weights, drawn, len(window), drifted)


@dataclass(frozen=True)
class TestedWindow:
    """A fresh window."""

    record: RecordedWindow
    """As it will be recorded."""
    test: WindowTest
    """The test behind it."""
    sample: Sample
    """The images that were tested."""


def tested_windows(
    rows: pd.DataFrame, windows: Sequence[CutWindow], regimes: Regimes, level: AlarmLevel, rng: np.random.Generator
) -> list[TestedWindow]:
    """Test each window of `rows` (the log's columns, in time order) and write down what will be recorded of it.

    Raises:
        InputError: vectors of another length than the reference's, or numbers that are not finite.
    """
    tested = []
    for number, window in enumerate(windows, 1):
        tested.append(_tested_window(rows, window, regimes, level, rng))
        progress(number / len(windows), f"window {number} of {len(windows)}")
    return tested


def _tested_window(rows: pd.DataFrame, window: CutWindow, regimes: Regimes, level: AlarmLevel, rng: np.random.Generator) -> TestedWindow:
    sample = window_sample(rows.iloc[window.sample])
    expected = regimes.samples[0]
    for what in ("embedding", "statistics", "probabilities"):
        here, there = getattr(sample, what).shape[1], getattr(expected, what).shape[1]
        if here != there:
            raise InputError(f"inference log: {what} of {here} numbers, the champion's reference has {there}; was another model served?")
    covered = rows.iloc[window.rows]
    test = None
    if LEAST_GROUPS <= len(sample) < FEW_GROUPS and regimes.whole:
        clusters = clusters_of(window.owners, len(sample))
        if images_to_average([clusters]) > 1:
            test = clustered_test((window_sample(covered), clusters), regimes, alpha=level.alpha, permutations=level.permutations, rng=rng)
    if test is None:
        test = window_test(sample, regimes, alpha=level.alpha, permutations=level.permutations, rng=rng)
    correct, labels = correct_answers(covered)
    record = RecordedWindow(
        first=covered["time"].iloc[0].isoformat(),
        last=covered["time"].iloc[-1].isoformat(),
        rows=len(covered),
        predicted={str(name): int(count) for name, count in covered["predicted"].value_counts().items()},
        p_values=test.p_values,
        drifted=test.drifted,
        groups=len(sample),
        accuracy=correct / labels if labels else None,
    )
    return TestedWindow(record, test, sample)
