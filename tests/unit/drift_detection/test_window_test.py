"""The test that decides about a window: its level, what it is tested against, and what is recorded of it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from components.drift_detection import detectors, window_test
from components.drift_detection.clusters import clusters_of
from components.drift_detection.detectors import Detector, DetectorResult
from components.drift_detection.reference import Regimes, Sample, prepare_regimes
from components.drift_detection.windows import cut_windows, level_of
from driftloop.errors import InputError
from driftloop.settings import DriftSettings

START = datetime(2025, 3, 1, tzinfo=UTC)
Calls = list[tuple[int, int, int]]


def sample(count: int, rng: np.random.Generator, *, width: int = 8) -> Sample:
    return Sample(
        rng.normal(size=(count, width)).astype(np.float32),
        rng.normal(size=(count, 6)).astype(np.float32),
        np.full((count, 2), 0.5, np.float32),
    )


def regimes_of(*counts: int) -> Regimes:
    rng = np.random.default_rng(0)
    return prepare_regimes([f"regime {index}" for index in range(len(counts))], [sample(count, rng) for count in counts], rng)


def register(monkeypatch: pytest.MonkeyPatch, **p_values: list[float]) -> Calls:
    """Detectors that give these p-values in turn; what each was given: rows of the reference and of the window, and permutations."""
    calls: Calls = []

    def detector(name: str, given: list[float]) -> Detector:
        left = iter(given)

        def test(reference: Sample, window: Sample, permutations: int, rng: np.random.Generator) -> DetectorResult:
            calls.append((len(reference), len(window), permutations))
            return DetectorResult(next(left))

        return Detector(name, name, "given", "a given p-value", test)

    monkeypatch.setattr(detectors, "DETECTORS", tuple(detector(name, given) for name, given in p_values.items()))
    return calls


@pytest.mark.parametrize(
    ("first", "second", "drifted", "p_value"),
    [(0.025, 0.9, True, 0.05), (0.9, 0.025, True, 0.05), (0.0251, 0.9, False, 0.0502), (0.7, 0.9, False, 1.0)],
)
def test_each_detector_rejects_at_its_part_of_the_level(
    monkeypatch: pytest.MonkeyPatch, first: float, second: float, drifted: bool, p_value: float
) -> None:
    calls = register(monkeypatch, one=[first], two=[second])
    rng = np.random.default_rng(1)
    test = window_test.window_test(sample(100, rng), regimes_of(400), alpha=0.05, permutations=199, rng=rng)
    assert calls == [(400, 100, 199), (400, 100, 199)]
    assert (test.drifted, test.p_value) == (drifted, pytest.approx(p_value))
    assert test.p_values == {"one": first, "two": second}
    assert (test.rows, test.reference_rows, test.share, test.averaged) == (100, 400, 0.2, 1)
    assert test.weights.tolist() == [1.0]


def test_what_fits_a_mixture_or_a_regime_alone_has_not_drifted_and_is_tested_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    window, regimes = sample(100, rng), regimes_of(300, 200)
    for given, rows in (([0.01, 0.2], 300), ([0.01, 0.02, 0.2], 200)):
        calls = register(monkeypatch, one=given)
        test = window_test.window_test(window, regimes, alpha=0.05, permutations=99, rng=rng)
        assert (test.drifted, test.p_value, test.reference_rows) == (False, 0.2, rows)
        assert [call[1:] for call in calls] == [(100, 99)] * len(given)
    calls = register(monkeypatch, one=[0.2])
    test = window_test.window_test(window, regimes, alpha=0.05, permutations=99, rng=rng)
    assert (test.drifted, test.p_value, len(calls)) == (False, 0.2, 1)
    # Both regimes are of one distribution here: the mixture has rows of each.
    assert test.weights.sum() == pytest.approx(1)


def test_of_a_window_that_fits_nothing_the_nearest_reference_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    window, regimes = sample(100, rng), regimes_of(300, 200)
    for given, rows in (([0.01, 0.03, 0.02], 300), ([0.01, 0.02, 0.03], 200)):
        calls = register(monkeypatch, one=given)
        test = window_test.window_test(window, regimes, alpha=0.05, permutations=99, rng=rng)
        assert (test.drifted, test.p_value, test.reference_rows) == (True, 0.03, rows)
        assert [call[0] for call in calls[1:]] == [300, 200]


def log_of(count: int, groups: int, *, width: int = 8) -> pd.DataFrame:
    """Requests one a minute, of groups in turn; half are predicted "a". Each has a random label, of which every fourth says otherwise."""
    vectors = sample(count, np.random.default_rng(4), width=width)
    predicted = np.where(np.arange(count) % 2, "b", "a")
    return pd.DataFrame(
        {
            "request_id": [f"r{row}" for row in range(count)],
            "time": [START + timedelta(minutes=row) for row in range(count)],
            "group": [f"g{row % groups}" for row in range(count)],
            "image_sha256": [f"{row:016d}" for row in range(count)],
            "embedding": [row.astype("<f2").tobytes() for row in vectors.embedding],
            "statistics": list(vectors.statistics),
            "probabilities": list(vectors.probabilities),
            "predicted": predicted,
            "label": np.where(np.arange(count) % 4, predicted, "c"),
            "label_origin": "random",
        }
    )


def windows_of(rows: pd.DataFrame, regimes: Regimes, *, size: int) -> list[window_test.TestedWindow]:
    level = replace(level_of(0.05, DriftSettings(), windows=90), alpha=0.05, permutations=99)
    return window_test.tested_windows(
        rows, cut_windows(rows, size=size, minimum=2, most=9).windows, regimes, level, np.random.default_rng(5)
    )


def test_of_each_window_its_time_rows_answers_and_test_are_recorded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = register(monkeypatch, one=[0.5, 0.04])
    windows = windows_of(log_of(120, 120), regimes_of(200), size=60)
    assert calls == [(200, 60, 99), (200, 60, 99)]
    first, second = (window.record for window in windows)
    assert (first.first, first.last) == ("2025-03-01T00:00:00+00:00", "2025-03-01T00:59:00+00:00")
    assert (second.first, second.last) == ("2025-03-01T01:00:00+00:00", "2025-03-01T01:59:00+00:00")
    assert (first.rows, first.groups, first.predicted, first.accuracy) == (60, 60, {"a": 30, "b": 30}, 0.75)
    assert (first.p_values, first.drifted) == ({"one": 0.5}, False)
    assert (second.p_values, second.drifted) == ({"one": 0.04}, True)
    assert (windows[1].test.p_value, len(windows[1].sample)) == (0.04, 60)
    assert [line.split("] ")[1] for line in capsys.readouterr().out.splitlines()] == ["0.500 window 1 of 2", "1.000 window 2 of 2"]


def test_without_random_labels_a_window_has_no_accuracy(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, one=[0.5])
    (window,) = windows_of(log_of(60, 60).assign(label=None, label_origin=None), regimes_of(200), size=999)
    assert window.record.accuracy is None


def test_vectors_of_another_length_than_the_references_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, one=[0.5])
    with pytest.raises(InputError, match="embedding of 7 numbers, the champion's reference has 8; was another model served"):
        windows_of(log_of(60, 60, width=7), regimes_of(200), size=999)
    with pytest.raises(InputError, match="statistics of 5 numbers, the champion's reference has 6"):
        windows_of(log_of(60, 60).assign(statistics=[np.zeros(5, np.float32)] * 60), regimes_of(200), size=999)
    with pytest.raises(InputError, match="probabilities of 3 numbers, the champion's reference has 2"):
        windows_of(log_of(60, 60).assign(probabilities=[np.full(3, 1 / 3, np.float32)] * 60), regimes_of(200), size=999)


def of_lots(lots: int, each: int) -> Regimes:
    """A regime of as many lots of images each, with all of its images."""
    rng = np.random.default_rng(6)
    whole = sample(lots * each, rng), clusters_of(np.arange(lots * each) % lots, lots)
    return replace(prepare_regimes(["reference"], [whole[0].take(np.arange(lots))], rng), whole=(whole,))


@pytest.mark.parametrize(
    ("groups", "each", "averaged", "rows"),
    [
        (12, 20, 20, 12),  # few large groups: by their means
        (8, 20, 20, 8),  # the fewest that a test of means takes
        (7, 20, 1, 7),
        (49, 20, 20, 49),
        (50, 20, 1, 50),  # many groups: an image of each
        (12, 2, 2, 12),
        (12, 1, 1, 12),
    ],
)
def test_windows_of_few_large_groups_are_tested_by_their_means(
    monkeypatch: pytest.MonkeyPatch, groups: int, each: int, averaged: int, rows: int
) -> None:
    calls = register(monkeypatch, one=[0.5])
    (window,) = windows_of(log_of(groups * each, groups), of_lots(15, 20), size=999)
    assert (window.test.averaged, window.test.rows, window.record.groups) == (averaged, rows, groups)
    assert calls == [(15, rows, 99)]
    assert (window.record.rows, len(window.sample)) == (groups * each, groups)


def test_a_champion_without_all_images_of_its_groups_tests_an_image_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, one=[0.5])
    (window,) = windows_of(log_of(240, 12), replace(of_lots(15, 20), whole=()), size=999)
    assert (window.test.averaged, window.test.rows) == (1, 12)


def test_lots_of_the_reference_that_have_too_few_images_leave_the_ordinary_test(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = register(monkeypatch, one=[0.04])
    (window,) = windows_of(log_of(240, 12), of_lots(15, 1), size=999)
    assert (window.test.averaged, window.test.drifted) == (1, True)
    assert calls == [(15, 12, 99)]


def test_the_report_shows_lots_that_had_images_enough_to_be_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five lots of one image come before ten of twenty."""
    register(monkeypatch, one=[0.5])
    owners = np.concatenate([np.arange(5), np.repeat(np.arange(5, 15), 20)])
    whole = sample(len(owners), np.random.default_rng(7)), clusters_of(owners, 15)
    regimes = prepare_regimes(["reference"], [whole[0].take(np.unique(owners, return_index=True)[1])], np.random.default_rng(8))
    (window,) = windows_of(log_of(240, 12), replace(regimes, whole=(whole,)), size=999)
    assert window.test.averaged == 20
    assert sorted(window.test.drawn[0].tolist()) == list(range(5, 15))
