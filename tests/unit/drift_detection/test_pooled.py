"""The latest windows, taken together."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from components.drift_detection import window_test
from components.drift_detection import windows as windows_module
from components.drift_detection.pooled import PooledTest, drifted_together, with_marks
from components.drift_detection.reference import Regimes, Sample, prepare_regimes
from components.drift_detection.windows import (
    AlarmLevel,
    CutWindow,
    WatchHistory,
    cut_windows,
    drift_is_confirmed,
    expected_in_90_days,
    level_of,
)
from driftloop.settings import DriftSettings
from driftloop.watch_record import RecordedWindow, with_pools
from tests.factories.records import watch_record

SIZE = 40
#: Fewer permutations than a watch makes: enough for these levels, in a fraction of the time.
LEVEL = replace(level_of(0.05, DriftSettings(), windows=90), permutations=1_999, pooled_permutations=4_999)
START = datetime(2025, 1, 1, tzinfo=UTC)


def vectors(count: int, rng: np.random.Generator, shift: float = 0.0) -> Sample:
    return Sample(
        (rng.normal(size=(count, 6)) + shift).astype(np.float16).astype(np.float32),
        rng.normal(size=(count, 3)).astype(np.float32),
        np.full((count, 2), 0.5, np.float32),
    )


@pytest.fixture(scope="module")
def regimes() -> Regimes:
    rng = np.random.default_rng(0)
    return prepare_regimes(["clean"], [vectors(800, rng)], rng)


def log_of(parts: list[Sample], *, watch: int = 1) -> pd.DataFrame:
    """Windows of an earlier watch, one below the other."""
    tables = []
    for number, part in enumerate(parts):
        names = [f"{number}-{row}" for row in range(len(part))]
        tables.append(
            pd.DataFrame(
                {
                    "request_id": names,
                    "time": [START + timedelta(hours=number, seconds=row) for row in range(len(part))],
                    "group": None,
                    "image_sha256": names,
                    "embedding": [row.astype("<f2").tobytes() for row in part.embedding],
                    "statistics": list(part.statistics),
                    "probabilities": list(part.probabilities),
                    "label": None,
                    "label_origin": None,
                    "predicted": "a",
                    "watch": watch,
                    "window": number,
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def situation(
    parts: list[Sample], regimes: Regimes, level: AlarmLevel
) -> tuple[pd.DataFrame, np.ndarray, list[CutWindow], list[window_test.TestedWindow], WatchHistory]:
    """The last of the windows is this watch's, the others are of the one before."""
    rows = log_of(parts)
    rng = np.random.default_rng(5)
    pending = (rows["window"] == len(parts) - 1).to_numpy()
    past = [
        window_test.tested_windows(
            rows[rows["window"] == number],
            cut_windows(rows[rows["window"] == number], size=999, minimum=2, most=9).windows,
            regimes,
            level,
            rng,
        )[0]
        for number in range(len(parts) - 1)
    ]
    windows = cut_windows(rows[pending], size=999, minimum=2, most=9).windows
    tested = window_test.tested_windows(rows[pending], windows, regimes, level, rng)
    history = WatchHistory(
        windows=[window.record for window in past],
        places=[(1, number) for number in range(len(past))],
        open_windows=len(past),
        days_since_retraining=None,
        recent_retrainings=0,
    )
    rows.loc[pending, ["watch", "window"]] = 0, -1
    return rows, pending, windows, tested, history


def look(parts: list[Sample], regimes: Regimes, *, history: WatchHistory | None = None, dropped: int = 0) -> PooledTest | None:
    rows, pending, windows, tested, known = situation(parts, regimes, LEVEL)
    if dropped:
        pending, rows = pending[dropped:], rows.iloc[dropped:].reset_index(drop=True)
    return drifted_together(rows, pending, windows, tested, history or known, regimes, LEVEL, np.random.default_rng(6))


def weak(count: int, shift: float = 0.12) -> list[Sample]:
    rng = np.random.default_rng(1)
    return [vectors(SIZE, rng, shift) for _ in range(count)]


def test_a_drift_that_no_window_shows_alone_is_found_in_eight(regimes: Regimes) -> None:
    _, _, _, tested, history = situation(weak(8), regimes, LEVEL)
    assert not drift_is_confirmed(history.open_flags, [window.record.drifted for window in tested])
    pooled = look(weak(8), regimes)
    assert pooled is not None
    assert (pooled.windows, pooled.test.rows) == (8, 8 * SIZE)
    assert f"The last 8 windows together, {8 * SIZE} images" in pooled.sentence()
    # None of them is looked at across a decision, nor beyond a window whose rows have gone.
    assert look(weak(8), regimes, history=replace(history, open_windows=3)) is None
    assert look(weak(8), regimes, dropped=5) is None


def test_clean_windows_and_a_single_odd_one_are_not_confirmed(regimes: Regimes) -> None:
    assert look(weak(8, 0.0), regimes) is None
    for place in (0, 3, 7):
        parts = weak(8, 0.0)
        parts[place] = vectors(SIZE, np.random.default_rng(2), 1.5)
        assert look(parts, regimes) is None


def test_no_more_images_are_taken_together_than_the_reference_has(regimes: Regimes) -> None:
    rng = np.random.default_rng(3)
    small = prepare_regimes(["clean"], [vectors(8 * SIZE - 1, rng)], rng)
    assert look(weak(8), small) is None


def test_windows_that_drifted_together_are_marked_in_old_records_and_confirm() -> None:
    def window(*, pooled: int = 0, drifted: bool = False) -> RecordedWindow:
        return RecordedWindow(first="", last="", rows=1, drifted=drifted, pooled=pooled)

    marked = with_pools([window(), window(), window(drifted=True), window(), window(pooled=4, drifted=True), window()])
    assert [one.drifted for one in marked] == [False, True, True, True, True, False]
    assert [one.together for one in marked] == [False, True, False, True, False, False]
    assert with_pools([window(pooled=0), window()]) == [window(), window()]


def test_the_marks_of_a_watch_reach_into_its_history(regimes: Regimes) -> None:
    _, _, _, tested, history = situation(weak(8), regimes, LEVEL)
    pooled = look(weak(8), regimes)
    assert pooled is not None
    after, before = with_marks(tested, history, pooled)
    assert before.open_flags == [True] * 7
    assert (after[-1].record.drifted, after[-1].record.pooled) == (True, 8)
    assert drift_is_confirmed(before.open_flags, [True])
    assert not any(window.drifted and not window.together for window in before.windows if window not in history.windows)


def test_a_row_of_each_group_stands_for_them_copies_once() -> None:
    rows = pd.DataFrame(
        {"request_id": list("abcdef"), "group": ["p", "p", None, "q", "r", ""], "image_sha256": ["1", "2", "3", "1", "4", "5"]}
    )
    assert windows_module.tested_rows(rows).tolist() == [0, 2, 4, 5]
    assert (windows_module.tested_rows(rows[:0]).tolist(), windows_module.tested_rows(rows[:0]).dtype) == ([], np.int64)
    cut = cut_windows(rows, size=99, minimum=2, most=1)
    assert cut.windows[0].sample.tolist() == windows_module.tested_rows(rows).tolist()


@pytest.mark.parametrize(("windows", "looks"), [(90, 90), (2160, 2160), (18_000, 90), (10, 5)])
def test_both_ways_to_confirm_share_the_budget(windows: int, looks: int) -> None:
    level = level_of(0.05, DriftSettings(), windows=windows, looks=looks)
    assert 2 * level.alpha**2 * max(windows, 90) + 2 * level.pooled_alpha * max(looks, 90) <= 1 + 1e-9
    # None of these tests is too coarse for its level.
    assert 40 / level.pooled_alpha <= level.pooled_permutations + 1 or level.pooled_permutations == 999_999


def test_looks_are_watches_not_windows() -> None:
    def hour(number: float) -> str:
        return (START + timedelta(hours=number)).isoformat()

    windows = [RecordedWindow(first=hour(part / 10), last=hour((part + 1) / 10), rows=1, drifted=False) for part in range(240)]
    expected = expected_in_90_days([watch_record(1, windows=windows)], pd.DataFrame({"time": []}), [], hour(24))
    assert (expected.windows, expected.looks) == (pytest.approx(90 * 240), pytest.approx(90))


def test_the_fewest_windows_that_drifted_together_are_told_and_never_more_than_the_latest_eight(regimes: Regimes) -> None:
    strong = look([*weak(6, 0.0), *weak(4, 0.4)], regimes)
    assert strong is not None
    assert (strong.windows, strong.test.rows) == (4, 4 * SIZE)
    many = look([*weak(1, 9.0), *weak(8)], regimes)
    assert many is not None
    assert (many.windows, many.test.rows) == (8, 8 * SIZE), "not the ninth, which is far off"
    assert many.sentence() == (
        f"The last 8 windows together, {8 * SIZE} images, do not fit what the champion was accepted for (p = {many.test.p_value:.2g}); "
        "one alone may be too small to show it."
    )
    assert look(weak(3, 0.4), regimes) is None, "of three none are taken together"


def test_a_watch_with_several_windows_takes_its_own_and_those_before(regimes: Regimes) -> None:
    parts = weak(4, 0.4)
    rows, pending, _, _, history = situation(parts, regimes, LEVEL)
    pending = (rows["request_id"].str[0].isin(["2", "3"])).to_numpy()
    windows = cut_windows(rows[pending], size=SIZE, minimum=2, most=9).windows
    tested = window_test.tested_windows(rows[pending], windows, regimes, LEVEL, np.random.default_rng(5))
    assert len(windows) == 2
    before = replace(history, windows=history.windows[:2], places=history.places[:2], open_windows=2)
    found = drifted_together(rows, pending, windows, tested, before, regimes, LEVEL, np.random.default_rng(6))
    assert found is not None
    assert (found.windows, found.test.rows) == (4, 4 * SIZE)
    assert drifted_together(rows, pending, [], [], before, regimes, LEVEL, np.random.default_rng(6)) is None


def test_windows_whose_size_is_not_known_or_whose_rows_have_gone_end_the_look_back(regimes: Regimes) -> None:
    parts = weak(4, 0.4)
    rows, pending, windows, tested, history = situation(parts, regimes, LEVEL)

    def found(rows: pd.DataFrame, pending: np.ndarray, history: WatchHistory) -> bool:
        return drifted_together(rows, pending, windows, tested, history, regimes, LEVEL, np.random.default_rng(6)) is not None

    assert found(rows, pending, history)
    old = [history.windows[0].model_copy(update={"groups": 0}), *history.windows[1:]]
    assert not found(rows, pending, replace(history, windows=old))
    gone = np.arange(len(rows)) != 3
    assert not found(rows[gone].reset_index(drop=True), pending[gone], history)
    assert not found(rows, pending, replace(history, open_windows=2))


@pytest.mark.parametrize(("missing", "seen"), [(0, True), (1, False)])
def test_windows_together_may_be_as_large_as_the_reference_and_no_larger(missing: int, seen: bool) -> None:
    rng = np.random.default_rng(3)
    small = prepare_regimes(["clean"], [vectors(4 * SIZE - missing, rng)], rng)
    assert (look(weak(4, 1.0), small) is not None) == seen
    # Beside two of which one is nearly out of the mixture, few of the reference's rows are drawn.
    both = prepare_regimes(["clean", "learned"], [vectors(4 * SIZE, rng), vectors(30, rng, 3.0)], rng)
    assert look([*weak(2, 1.0), *weak(2, 2.5)], both) is None
