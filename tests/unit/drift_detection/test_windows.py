"""Cutting a log into windows, and finding rows in windows tested before."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from components.drift_detection.reference import first_of_each
from components.drift_detection.windows import (
    WatchHistory,
    cover_rows,
    cut_windows,
    effective_size,
    read_history,
    untested,
    window_of,
)
from driftloop.errors import SettingError
from driftloop.settings import DriftSettings
from driftloop.watch_record import RecordedWindow, WatchRecord
from driftloop.watch_store import HISTORY_KEPT

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
    [(200, 800, 200), (200, 799, 199), (200, 5000, 200), (200, 40, 10), (200, 31, 8), (200, 5, 5), (4, 40, 8), (200, 1, 2)],
)
def test_a_window_is_at_most_a_quarter_of_the_reference_and_eight_groups(window: int, reference: int, size: int) -> None:
    assert effective_size(window, reference) == size


def test_a_backlog_is_cut_in_time_order_and_the_rest_is_a_window_when_it_is_large_enough() -> None:
    pieces = cut_windows(log(250), size=100, minimum=50, most=10)
    assert [(window.rows[0], window.rows[-1]) for window in pieces.windows] == [(0, 99), (100, 199), (200, 249)]
    assert (pieces.waiting, pieces.skipped, pieces.needed) == (0, 0, 50)


@pytest.mark.parametrize(
    ("count", "ripe", "windows", "needed"),
    [(79, 0, 1, 50), (79, -1, 0, 80), (80, -1, 1, 80), (100, -1, 1, 80), (179, 99, 1, 80), (179, 100, 2, 50), (0, 0, 0, 80)],
)
def test_a_rest_waits_for_more_until_its_first_row_is_ripe_or_it_is_nearly_full(count: int, ripe: int, windows: int, needed: int) -> None:
    """Of a row a minute and 100 in a window; `ripe` is a minute."""
    pieces = cut_windows(log(count), size=100, minimum=50, most=10, ripe=START + timedelta(minutes=ripe))
    assert (len(pieces.windows), pieces.needed) == (windows, needed)
    assert pieces.waiting == count - sum(len(window.rows) for window in pieces.windows)


@pytest.mark.parametrize("ripe", [START - timedelta(days=1), START, None])
def test_a_rest_that_is_nearly_full_is_a_window_however_long_it_waited(ripe: datetime | None) -> None:
    """A window of 50 groups, of which no fewer than 50 should be tested after a wait: 40 are nearly full at any time."""
    pieces = cut_windows(log(45), size=50, minimum=50, most=10, ripe=ripe)
    assert (len(pieces.windows), pieces.waiting, pieces.needed) == (1, 0, 40)


def test_two_groups_are_the_fewest_of_a_window() -> None:
    assert len(cut_windows(log(2), size=10, minimum=2, most=10).windows) == 1
    assert cut_windows(log(1), size=1, minimum=1, most=10).waiting == 1


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
    assert [window.owners.tolist() for window in pieces.windows] == [np.repeat(np.arange(5), 3).tolist()] * 2


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
    other = record(4, [], version="1", decision="reject", day=-1).model_copy(update={"labels": 800})
    for records in ([older, refused, watched], [refused, watched, other]):
        history = read_history(records, champion_version="2", until=START.isoformat())
        assert (history.labels_at_refusal("", 1), history.labels_at_refusal("site=B", 1)) == (400, None)
    of_a_site = record(4, [], version="2", decision="reject", day=-6).model_copy(update={"tag": "site=B", "labels": 150})
    history = read_history([refused, of_a_site], champion_version="2", until=START.isoformat())
    assert (history.labels_at_refusal("", 1), history.labels_at_refusal("site=B", 1)) == (400, 150)
    failed = record(3, [], version="2", day=-1).model_copy(update={"verdict": "retrain", "state": "failed", "labels": 700})
    assert failed.tried_to_retrain
    assert read_history([refused, failed], champion_version="2", until=START.isoformat()).labels_at_refusal("", 1) == 400
    last_day = record(2, [], version="2", decision="reject", day=-30)
    assert read_history([last_day], champion_version="2", until=START.isoformat()).labels_at_refusal("", 1) == 0
    long_ago = record(2, [], version="2", decision="reject", day=-31)
    assert read_history([long_ago, watched], champion_version="2", until=START.isoformat()).labels_at_refusal("", 1) is None


def test_a_champion_that_serves_again_after_its_successor_was_rolled_back_and_not_refused_one() -> None:
    promoted = record(6, [], version="2", decision="promote", day=-12).model_copy(update={"labels": 400})
    back = read_history([promoted], champion_version="2", until=START.isoformat())
    assert (back.labels_at_refusal("", 1), back.rolled_back("", 1), back.rolled_back("", 7)) == (400, True, False)
    refused = record(8, [], version="2", decision="reject", day=-6).model_copy(update={"labels": 600})
    again = read_history([promoted, refused], champion_version="2", until=START.isoformat())
    assert (again.labels_at_refusal("", 1), again.rolled_back("", 1)) == (600, False)


def test_a_refusal_holds_back_no_other_drift_and_no_changed_meaning() -> None:
    refused = record(6, [], version="2", decision="inconclusive", day=-12).model_copy(update={"labels": 400})
    history = read_history([refused], champion_version="2", until=START.isoformat())
    assert [history.labels_at_refusal("", drift) for drift in (1, 6, 7, 0)] == [400, 400, None, None]
    of_a_meaning = refused.model_copy(update={"concept": True})
    assert read_history([of_a_meaning], champion_version="2", until=START.isoformat()).labels_at_refusal("", 1) is None


@pytest.mark.parametrize(
    ("concept", "decision", "known"), [(True, "reject", True), (True, "inconclusive", False), (False, "reject", False)]
)
def test_history_knows_whether_a_candidate_that_learned_a_changed_meaning_was_rejected(concept: bool, decision: str, known: bool) -> None:
    """One that was left open may pass with more labels."""
    tried = record(2, [], version="2", decision=decision, day=-12).model_copy(update={"concept": concept})
    assert read_history([tried], champion_version="2", until=START.isoformat()).concept_rejected("") is known
    assert not read_history([tried], champion_version="3", until=START.isoformat()).concept_rejected("")


def test_that_a_changed_meaning_was_rejected_is_not_forgotten_for_a_refusal_of_something_else() -> None:
    tried = record(2, [], version="2", decision="reject", day=-12).model_copy(update={"concept": True})
    of_a_site = record(3, [], version="2", decision="reject", day=-6).model_copy(update={"tag": "site=B"})
    of_a_drift = record(4, [], version="2", decision="inconclusive", day=-3)
    history = read_history([tried, of_a_site, of_a_drift], champion_version="2", until=START.isoformat())
    assert history.concept_rejected("")
    assert not history.concept_rejected("site=B")


def test_an_empty_history() -> None:
    history = read_history([], champion_version="1", until=START.isoformat())
    assert (history.windows, history.open_flags, history.days_since_retraining, history.recent_retrainings) == ([], [], None, 0)
    assert (history.days_served, history.labels_at_refusal("", 1), history.concept_rejected(""), history.decided) == (0, None, False, -1)


def test_the_longest_calendar_is_due_though_records_of_long_ago_are_left_out() -> None:
    with pytest.raises(SettingError, match="retrain_every_days"):
        DriftSettings.complete({"retrain_every_days": 366})
    now, kept = START + timedelta(days=800), HISTORY_KEPT.days
    known = [record(day, [recorded_window(1440 * day, 1440 * day + 9)], day=day) for day in range(800 - kept, 800, 10)]
    history = read_history(known, champion_version="1", until=now.isoformat())
    assert history.calendar_due(DriftSettings.complete({"retrain_every_days": 365}))


def test_a_champion_serves_since_the_first_request_of_its_first_window() -> None:
    own = [record(1, [recorded_window(60, 90), recorded_window(0, 9)]), record(2, [recorded_window(120, 130)])]
    other = record(3, [recorded_window(-600, -590)], version="2", decision="reject")
    history = read_history([*own, other], champion_version="1", until=(START + timedelta(hours=36)).isoformat())
    assert (history.days_served, history.decided, history.open_windows) == (1.5, 3, 0)
    undecided = read_history(own, champion_version="1", until=START.isoformat())
    assert (undecided.decided, undecided.open_windows) == (-1, 3)


@pytest.mark.parametrize(
    ("every", "served", "since", "due"),
    [
        (30, 30, None, True),
        (30, 29.9, None, False),
        (30, 40, 30, True),
        (30, 40, 29.9, False),
        (30, 29.9, 40, False),
        (1, 1, None, True),
        (0, 40, 40, False),
    ],
)
def test_the_calendar_counts_from_the_last_try_and_from_when_the_champion_began(
    every: float, served: float, since: float | None, due: bool
) -> None:
    history = WatchHistory([], [], 0, days_since_retraining=since, recent_retrainings=0, days_served=served)
    assert history.calendar_due(DriftSettings(retrain_every_days=every)) == due


def test_rows_that_no_window_covers_are_untested_whatever_their_times() -> None:
    history = read_history([record(4, [recorded_window(2, 11)])], champion_version="1", until=START.isoformat())
    late_first = in_windows(log(12).iloc[::-1], 4, [10]).sort_values("time", ignore_index=True)
    assert untested(late_first).tolist() == [True] * 2 + [False] * 10
    assert window_of(late_first, history).tolist() == [-1] * 2 + [0] * 10


def test_rows_of_windows_that_no_record_knows_are_in_none_of_its_windows() -> None:
    history = read_history([record(4, [recorded_window(0, 9)])], champion_version="1", until=START.isoformat())
    assert window_of(in_windows(log(10), 3, [10]), history).tolist() == [-1] * 10
    assert window_of(log(0), history).dtype == np.int64


def test_coverage_numbers_windows_around_this_watch_and_marks_the_confirming_ones() -> None:
    history = read_history(
        [record(1, [recorded_window(0, 9), recorded_window(10, 19, drifted=True), recorded_window(20, 29)])],
        champion_version="1",
        until=START.isoformat(),
    )
    rows = in_windows(log(55), 1, [10, 10, 10])
    pending = untested(rows)
    pieces = cut_windows(rows[pending], size=10, minimum=10, most=10)
    coverage = cover_rows(rows, pending, pieces.windows, [True, False], history)
    assert [flags[50:].any() for flags in (coverage.covered, coverage.drifted, coverage.confirmed)] == [False] * 3
    table = coverage.frame(rows)
    assert table.columns.tolist() == ["request_id", "window", "drifted", "confirmed"]
    assert table["request_id"].tolist() == rows["request_id"][:50].tolist()
    assert table.groupby("window").size().to_dict() == {-3: 10, -2: 10, -1: 10, 0: 10, 1: 10}
    assert table[table["confirmed"]]["window"].unique().tolist() == [-2, 0]
    assert table[table["drifted"]]["window"].unique().tolist() == [-2, 0]


@pytest.mark.parametrize(("days", "confirmed"), [(2.49, [-6, -5, 0, 1]), (2.5, [0, 1])])
def test_a_drift_goes_on_over_windows_that_fit_until_a_gap_that_ends_with_the_last_request(days: float, confirmed: list[int]) -> None:
    """Six earlier windows, of which the first two drifted, and two of this watch that did; its first one ends much later than it began."""
    past = [recorded_window(10 * number, 10 * number + 9, drifted=number < 2) for number in range(6)]
    history = read_history([record(1, past)], champion_version="1", until=START.isoformat())
    rows = in_windows(log(80), 1, [10] * 6)
    last_of_past, gap = START + timedelta(minutes=19), timedelta(days=days)
    rows.loc[69:78, "time"] = last_of_past + gap
    rows.loc[79:, "time"] = last_of_past + gap + timedelta(minutes=1)
    pending = untested(rows)
    pieces = cut_windows(rows[pending], size=10, minimum=10, most=10)
    table = cover_rows(rows, pending, pieces.windows, [True, True], history).frame(rows)
    assert table[table["confirmed"]]["window"].unique().tolist() == confirmed
