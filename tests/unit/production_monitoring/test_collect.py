"""Periods, samples and joins of a watch, without a store."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from components.production_monitoring.collect import (
    FreshRows,
    RowSample,
    answered_by,
    champion_rows,
    joined_rows,
    next_period,
    open_drift_since,
    parse_time,
    with_labels,
)
from driftloop.errors import InputError
from driftloop.inference.log import LOG_SCHEMA
from driftloop.inference.log_files import LogCoverage
from driftloop.inference.watch_tables import ROW_SCHEMA
from driftloop.watch_record import RecordedWindow
from tests.factories.records import watch_record

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def rows(ids: list[str], *, version: str = "1", status: str = "ok", schema: object = LOG_SCHEMA) -> pd.DataFrame:
    """Log rows, a second apart in this order."""
    frame = schema.empty_table().to_pandas().reindex(range(len(ids)))  # type: ignore[attr-defined]
    times = pd.to_datetime([NOW + index * SECOND for index in range(len(ids))])
    return frame.assign(request_id=ids, time=times, model_version=version, status=status)


def test_the_first_period_has_no_beginning_and_ends_where_it_is_told() -> None:
    period = next_period([], "", NOW)
    assert (period.sequence, period.since, period.until, period.coverage) == (1, None, NOW, LogCoverage())
    assert next_period([], (NOW - SECOND).isoformat(), NOW).until == NOW - SECOND


def test_an_end_may_lie_an_hour_ahead_and_not_a_second_more() -> None:
    hour = timedelta(hours=1)
    assert next_period([], (NOW + hour).isoformat(), NOW).until == NOW + hour
    with pytest.raises(InputError, match="lies in the future"):
        next_period([], (NOW + hour + SECOND).isoformat(), NOW)


def test_the_next_period_has_the_next_number_and_never_ends_before_the_last() -> None:
    records = [watch_record(number, until=(NOW - number * SECOND).isoformat()) for number in (9, 4)]
    period = next_period(records, (NOW - 8 * SECOND).isoformat(), NOW)
    assert (period.sequence, period.since, period.until) == (5, NOW - 4 * SECOND, NOW - 4 * SECOND)
    assert period.coverage == LogCoverage(since="logs/dt=2026-03-01/hour=11/", until=(NOW - 4 * SECOND).isoformat())


def test_a_time_without_a_zone_is_in_utc_and_one_with_a_zone_is_brought_there() -> None:
    assert parse_time(" 2026-03-01T12:00:00 ") == parse_time("2026-03-01T13:00:00+01:00") == NOW
    assert parse_time("2026-03-01T13:00:00+01:00").utcoffset() == timedelta(0)


def test_all_rows_are_looked_at_unless_there_were_more() -> None:
    for total, share in ((2, 1.0), (1, 1.0), (8, 0.25)):
        assert FreshRows(rows(["a", "b"]), {"1": total - 1, "2": 1}, 0, LogCoverage()).sampled == share


def test_a_sample_holds_at_most_what_it_is_told_and_never_more_than_twice_as_much() -> None:
    ids = [f"r{number}" for number in range(40)]
    smallest = {ids[place] for place in np.argsort(pd.util.hash_array(np.array(ids, object), categorize=False))[:4]}
    sample, held = RowSample(4), []
    for number in ids:
        sample.add(rows([number]))
        held.append(sample._held)
    assert held[:9] == [1, 2, 3, 4, 5, 6, 7, 8, 4]
    assert max(held) == 8
    assert set(sample.rows()["request_id"]) == smallest
    assert sample._held == 4
    few = RowSample(4)
    few.add(rows(ids[:4]))
    assert list(few.rows()["request_id"]) == ids[:4]
    few.add(rows(ids[4:5]))
    assert len(few.rows()) == 4
    assert RowSample(4).rows().empty


def test_parts_are_joined_in_time_order_with_one_row_a_request_and_the_first_parts_columns() -> None:
    joined = joined_rows([rows(["b", "a"]), rows(["c", "b"]).iloc[::-1], rows([])])
    assert list(joined["request_id"]) == ["b", "c", "a"]
    assert list(joined.index) == [0, 1, 2]
    empty = joined_rows([rows([], schema=ROW_SCHEMA), rows([])])
    assert list(empty.columns) == ROW_SCHEMA.names


def test_only_answers_of_the_version_are_judged() -> None:
    frame = pd.concat([rows(["a"]), rows(["b"], version="2"), rows(["c"], status="error")])
    assert list(answered_by(frame, "1")["request_id"]) == ["a"]


def test_what_is_context_already_is_not_fresh_again() -> None:
    context = rows(["b"], schema=ROW_SCHEMA).assign(watch=3, window=1)
    joined = champion_rows(rows(["a", "b"]), context, "1").set_index("request_id")
    assert joined[["fresh", "watch", "window"]].to_dict("index") == {
        "a": {"fresh": True, "watch": 0, "window": -1},
        "b": {"fresh": False, "watch": 3, "window": 1},
    }


def test_rows_get_their_labels_and_none_where_none_has_come() -> None:
    labels = pd.DataFrame({"request_id": ["a", "x"], "label": ["dark", "dark"], "origin": ["random", "import"]})
    labelled = with_labels(rows(["a", "b"]), labels)
    assert labelled[["label", "label_origin"]].to_numpy().tolist() == [["dark", "random"], [None, None]]


def test_a_drift_of_a_watch_begins_with_that_watch_whatever_the_order_of_its_windows() -> None:
    def windows(day: int, flags: str) -> list[RecordedWindow]:
        time = (NOW + timedelta(days=day)).isoformat()
        return [RecordedWindow(first=time, last=time, rows=1, drifted=flag == "T") for flag in flags]

    assert open_drift_since([watch_record(1, windows=windows(0, "TT")), watch_record(2, windows=windows(9, "FFFT"))], "1") == 2
    assert open_drift_since([watch_record(1, windows=windows(0, "TF")), watch_record(2, windows=windows(9, "TF"))], "1") == 1
