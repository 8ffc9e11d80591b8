"""Cutting a log into windows, and finding rows in windows tested before."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from components.drift_detection.reference import first_of_each
from components.drift_detection.windows import cover_rows, cut_windows, effective_size, read_history, untested, window_of
from driftloop.watch_record import RecordedWindow, WatchRecord

START = datetime(2025, 1, 1, tzinfo=UTC)


def log(count: int, groups: list[str | None] | None = None, copies: list[str] | None = None) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "request_id": [f"r{index}" for index in range(count)],
            "time": pd.to_datetime([START + timedelta(minutes=index) for index in range(count)]),
            "group": groups or [None] * count,
            "image_sha256": copies or [f"image {index}" for index in range(count)],
            "watch": 0,
            "window": -1,
        }
    )


def in_windows(rows: pd.DataFrame, watch: int, sizes: list[int]) -> pd.DataFrame:
    """The rows, of which the first so many were windows of a watch."""
    window = np.repeat([*range(len(sizes)), -1], [*sizes, len(rows) - sum(sizes)])
    return rows.assign(watch=np.where(window >= 0, watch, 0), window=window)


def recorded_window(first: int, last: int, *, drifted: bool = False) -> RecordedWindow:
    times = [(START + timedelta(minutes=minute)).isoformat() for minute in (first, last)]
    return RecordedWindow(first=times[0], last=times[1], rows=last - first + 1, p_statistics=0.5, p_embedding=0.5, drifted=drifted)


def record(sequence: int, windows: list[RecordedWindow], *, version: str = "1", decision: str | None = None, day: float = 0) -> WatchRecord:
    until = (START + timedelta(days=day)).isoformat()
    return WatchRecord(
        sequence=sequence,
        run_id="run",
        since="",
        until=until,
        finished=until,
        champion_version=version,
        rows=0,
        windows=windows,
        confirmed=False,
        verdict="stable",
        reason="",
        decision=decision,
        outcome="watched",
        promoted_version=None,
    )


@pytest.mark.parametrize(
    ("window", "reference", "size"),
    [(200, 800, 200), (200, 799, 199), (200, 5000, 200), (200, 40, 10), (200, 31, 8), (200, 5, 5), (4, 40, 8)],
)
def test_a_window_is_at_most_a_quarter_of_the_reference_and_eight_groups(window: int, reference: int, size: int) -> None:
    assert effective_size(window, reference) == size


def test_a_backlog_is_cut_in_time_order_and_the_rest_is_a_window_when_it_is_large_enough() -> None:
    pieces = cut_windows(log(250), size=100, minimum=50, most=10)
    assert [(window.rows[0], window.rows[-1]) for window in pieces.windows] == [(0, 99), (100, 199), (200, 249)]
    assert pieces.waiting == 0


def test_a_rest_of_few_and_large_groups_is_a_window() -> None:
    lots = [f"lot {index % 8}" for index in range(100)]
    assert len(cut_windows(log(100, groups=lots), size=100, minimum=50, most=10).windows) == 1
    assert cut_windows(log(99, groups=lots[:99]), size=100, minimum=50, most=10).waiting == 99
    seven = [f"lot {index % 7}" for index in range(100)]
    assert cut_windows(log(100, groups=seven), size=100, minimum=50, most=10).waiting == 100


def test_the_rows_of_a_window_know_their_groups_and_copies_belong_to_none() -> None:
    groups = ["a", "b", "a", "a", None, "c", "b"]
    copies = ["1", "2", "3", "1", "4", "3", "2"]
    (window,) = cut_windows(log(7, groups=groups, copies=copies), size=10, minimum=2, most=10).windows
    assert window.sample.tolist() == [0, 1, 4, 5]
    assert window.owners.tolist() == [0, 1, 0, -1, 2, 3, -1]


def test_requests_without_a_group_are_counted() -> None:
    assert cut_windows(log(3, groups=["a", None, ""]), size=10, minimum=2, most=10).ungrouped == 2


def test_a_rest_below_the_minimum_waits() -> None:
    pieces = cut_windows(log(249), size=100, minimum=50, most=10)
    assert len(pieces.windows) == 2
    assert (pieces.waiting, pieces.waiting_groups) == (49, 49)


def test_nothing_gives_nothing() -> None:
    pieces = cut_windows(log(0), size=100, minimum=50, most=10)
    assert (pieces.windows, pieces.waiting, pieces.stuck) == ([], 0, False)


def test_a_window_counts_groups_and_keeps_all_their_rows() -> None:
    groups: list[str | None] = [f"patient {index // 3}" for index in range(30)]
    pieces = cut_windows(log(30, groups), size=5, minimum=2, most=10)
    assert [len(window.rows) for window in pieces.windows] == [15, 15]
    assert pieces.windows[0].sample.tolist() == [0, 3, 6, 9, 12]


def test_the_minimum_counts_groups_not_rows() -> None:
    groups: list[str | None] = [f"patient {index % 4}" for index in range(400)]
    pieces = cut_windows(log(400, groups), size=100, minimum=50, most=10)
    assert pieces.windows == []
    assert (pieces.waiting, pieces.waiting_groups, pieces.stuck) == (400, 4, False)


def test_rows_without_a_group_stand_for_themselves_but_copies_do_not() -> None:
    pieces = cut_windows(log(6, [None, "", None, "a", "a", None], ["x", "y", "x", "z", "w", "v"]), size=10, minimum=2, most=10)
    assert pieces.windows[0].sample.tolist() == [0, 1, 3, 5]
    assert len(pieces.windows[0].rows) == 6


def test_mostly_copies_means_that_something_is_stuck() -> None:
    assert cut_windows(log(100, copies=[f"image {index % 10}" for index in range(100)]), size=100, minimum=50, most=10).stuck
    assert not cut_windows(log(40), size=100, minimum=50, most=10).stuck


def test_of_a_huge_backlog_the_newest_windows_are_kept() -> None:
    pieces = cut_windows(log(1000), size=10, minimum=5, most=3)
    assert pieces.skipped == 97
    assert pieces.windows[-1].rows[-1] == 999


def test_the_first_image_of_a_group_stands_for_it() -> None:
    assert first_of_each(np.array(["b", "a", "b", "", "a", ""])).tolist() == [0, 1, 3, 5]


def test_history_counts_only_windows_of_this_champion_but_decisions_of_any() -> None:
    records = [
        record(1, [recorded_window(0, 9, drifted=True)], decision="promote", day=-40),
        record(2, [recorded_window(10, 19)], version="2", decision="reject", day=-12),
        record(3, [recorded_window(20, 29, drifted=True), recorded_window(30, 39)], version="2", day=-1),
    ]
    history = read_history(records, champion_version="2", until=START.isoformat())
    assert len(history.windows) == 3
    assert history.open_flags == [True, False]
    assert history.days_since_retraining == pytest.approx(12)
    assert history.recent_retrainings == 1


def test_history_knows_on_how_many_labels_a_candidate_for_this_champion_was_refused_lately() -> None:
    older = record(1, [], version="1", decision="reject", day=-5).model_copy(update={"labels": 900})
    refused = record(2, [], version="2", decision="inconclusive", day=-12).model_copy(update={"labels": 400})
    watched = record(3, [], version="2", day=-1).model_copy(update={"labels": 700})
    assert read_history([older, refused, watched], champion_version="2", until=START.isoformat()).labels_at_refusal == 400
    long_ago = record(2, [], version="2", decision="reject", day=-31)
    assert read_history([long_ago, watched], champion_version="2", until=START.isoformat()).labels_at_refusal is None


def test_an_empty_history() -> None:
    history = read_history([], champion_version="1", until=START.isoformat())
    assert (history.windows, history.open_flags, history.days_since_retraining, history.recent_retrainings) == ([], [], None, 0)


def test_rows_that_no_window_covers_are_untested_whatever_their_times() -> None:
    history = read_history([record(4, [recorded_window(2, 11)])], champion_version="1", until=START.isoformat())
    late_first = in_windows(log(12).iloc[::-1], 4, [10]).sort_values("time", ignore_index=True)
    assert untested(late_first).tolist() == [True] * 2 + [False] * 10
    assert window_of(late_first, history).tolist() == [-1] * 2 + [0] * 10


def test_rows_of_windows_that_no_record_knows_are_in_none_of_its_windows() -> None:
    history = read_history([record(4, [recorded_window(0, 9)])], champion_version="1", until=START.isoformat())
    assert window_of(in_windows(log(10), 3, [10]), history).tolist() == [-1] * 10


def test_coverage_numbers_windows_around_this_watch_and_marks_the_confirming_ones() -> None:
    history = read_history(
        [record(1, [recorded_window(0, 9), recorded_window(10, 19, drifted=True), recorded_window(20, 29)])],
        champion_version="1",
        until=START.isoformat(),
    )
    rows = in_windows(log(55), 1, [10, 10, 10])
    pending = untested(rows)
    pieces = cut_windows(rows[pending], size=10, minimum=10, most=10)
    table = cover_rows(rows, pending, pieces.windows, [True, False], history).frame(rows)
    assert table.groupby("window").size().to_dict() == {-3: 10, -2: 10, -1: 10, 0: 10, 1: 10}
    assert table[table["confirmed"]]["window"].unique().tolist() == [-2, 0]
    assert table[table["drifted"]]["window"].unique().tolist() == [-2, 0]
