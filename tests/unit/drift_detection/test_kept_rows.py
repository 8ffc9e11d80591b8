"""Which rows a watch leaves to the next ones, and its record."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components.drift_detection import kept_rows as module
from components.drift_detection.harm import AccuracyDrop
from components.drift_detection.kept_rows import MOST_WAITING, kept_rows, recorded_watch
from components.drift_detection.policy import Verdict
from driftloop.inference.log_files import LogCoverage
from driftloop.inference.traffic import Traffic
from driftloop.inference.watch_tables import ROW_SCHEMA, read_label_table, read_window_rows
from driftloop.store.local import LocalStore
from driftloop.watch_record import (
    AskedLabels,
    ClassRecall,
    RecordedTagWindow,
    RecordedWindow,
    StandingAcceptance,
    WatchRecord,
    WindowLabels,
)
from tests.factories.records import traffic_info


def cut(*windows: list[int], waiting: int = 0, sample: slice = slice(0)) -> Any:
    """Windows, as positions within the pending rows, those of them that were tested, and how many rows wait at their end."""
    parts = [SimpleNamespace(rows=np.array(rows), sample=np.array(rows[sample], np.int64)) for rows in windows]
    return SimpleNamespace(windows=parts, waiting=waiting, needed=0)


def outcomes(*drifted: bool) -> Any:
    return [SimpleNamespace(record=SimpleNamespace(drifted=flag)) for flag in drifted]


def rows(watch: list[int], window: list[int]) -> pd.DataFrame:
    names = [f"r{index}" for index in range(len(watch))]
    return pd.DataFrame({"request_id": names, "watch": watch, "window": window, "for_pool": False, "for_tag": False, "label_origin": None})


def left(
    frame: pd.DataFrame,
    pending: np.ndarray,
    windows: Any,
    tested: Any,
    *,
    asked: Any = (),
    earlier: Any = (True, True),
    adopted: bool = False,
    tag_waits: Any = (),
    of_tags: Any = (),
) -> pd.DataFrame:
    """What watch 4 leaves; `earlier`: whether the windows of the first two rows, of an earlier watch, drifted."""
    coverage = SimpleNamespace(drifted=np.array([*earlier, *[False] * (len(frame) - 2)]))
    names = np.array([tag_waits[index] if index < len(tag_waits) else "" for index in range(len(frame))], dtype=object)
    drifting = np.isin(frame["request_id"], list(of_tags))
    return kept_rows(frame, pending, windows, tested, 4, coverage=coverage, asked=asked, adopted=adopted, tag_waits=names, of_tags=drifting)  # type: ignore[arg-type]


def kept(frame: pd.DataFrame) -> list[tuple[str, int, int]]:
    return list(zip(frame["request_id"], frame["watch"], frame["window"], strict=True))


#: Two rows of a window of watch 3, and five that no window has tested.
ROWS = rows([3, 3, 0, 0, 0, 0, 0], [0, 0, -1, -1, -1, -1, -1])
PENDING = np.array([False, False, True, True, True, True, True])


def test_rows_of_drifted_windows_and_waiting_ones_are_kept_under_their_numbers() -> None:
    frame = left(ROWS, PENDING, cut([0, 1], [2, 3], waiting=1), outcomes(False, True))
    assert kept(frame) == [("r4", 4, 1), ("r5", 4, 1), ("r6", 0, -1)]
    assert list(ROWS["watch"]) == [3, 3, 0, 0, 0, 0, 0], "the traffic itself stays as it is"


def test_where_none_waits_and_none_drifted_nothing_is_kept() -> None:
    assert kept(left(ROWS, PENDING, cut([0, 1], [2, 3, 4]), outcomes(False, False))) == []


def test_windows_of_a_record_that_kept_no_rows_are_kept_now() -> None:
    frame = left(ROWS, PENDING, cut(waiting=5), outcomes(), adopted=True)
    assert kept(frame)[:2] == [("r0", 3, 0), ("r1", 3, 0)]
    assert kept(frame)[2:] == [(f"r{index}", 0, -1) for index in range(2, 7)]


def test_a_row_that_waits_was_in_no_window() -> None:
    frame = left(rows([3, 3], [1, 1]), np.array([True, True]), cut([0], waiting=1), outcomes(True))
    assert kept(frame) == [("r0", 4, 0), ("r1", 0, -1)]


def test_of_endless_copies_only_the_newest_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_WAITING == 20_000
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    frame = left(ROWS, PENDING, cut([0], waiting=4), outcomes(False))
    assert [name for name, _, _ in kept(frame)] == ["r4", "r5", "r6"]


def test_of_a_window_that_did_not_drift_what_labels_were_asked_for_is_kept_and_handed_on() -> None:
    frame = ROWS.assign(label_origin=[None, None, None, "random", "skipped", None, None])
    frame = left(frame, PENDING, cut([0, 1, 2, 3, 4]), outcomes(False), earlier=(False, True), asked={"r2"})
    # Of the two rows of an earlier watch the first one's window did not drift: it is handed on; the other's stay with their watch.
    assert kept(frame) == [("r0", 3, 0), ("r2", 4, 0), ("r3", 4, 0), ("r4", 4, 0)]


def test_of_the_latest_windows_what_was_tested_is_kept_once_for_those_that_follow() -> None:
    frame = left(ROWS, PENDING, cut([0, 1, 2], [3, 4], sample=slice(2)), outcomes(False, False), earlier=(True, True), asked={"r3"})
    assert kept(frame) == [("r2", 4, 0), ("r3", 4, 0), ("r5", 4, 1), ("r6", 4, 1)]
    # What may get a label is handed on; what was only tested stays with its watch.
    assert frame["for_pool"].tolist() == [True, False, True, True]
    later = left(frame.reset_index(drop=True), np.zeros(4, bool), cut(), outcomes(), earlier=(False, False), asked={"r5"})
    assert [*zip(later["request_id"], later["for_pool"], strict=True)] == [("r3", False), ("r5", False)]


def test_only_the_last_seven_windows_are_kept_for_others() -> None:
    frame = left(rows([0] * 9, [-1] * 9), np.ones(9, bool), cut(*([at] for at in range(9)), sample=slice(1)), outcomes(*[False] * 9))
    assert [name for name, _, _ in kept(frame)] == [f"r{at}" for at in range(2, 9)]


def test_rows_that_wait_for_a_window_of_their_tag_or_are_of_one_that_drifts_are_kept_for_its_sake_alone() -> None:
    frame = left(ROWS, PENDING, cut([0, 1], [2, 3, 4]), outcomes(False, False), tag_waits=["", "", "site", "device site"], of_tags=["r6"])
    assert kept(frame) == [("r2", 4, 0), ("r3", 4, 0), ("r6", 4, 1)]
    assert frame["tag_waits"].tolist() == ["site", "device site", ""]
    assert frame["for_tag"].all()
    again = left(frame.assign(fresh=False), np.zeros(3, bool), cut(), outcomes(), earlier=(False, False), tag_waits=["site"])
    assert kept(again) == [("r2", 4, 0)], "what no tag wants any more goes"


def test_a_row_that_is_kept_for_other_reasons_too_stays_without_its_tag() -> None:
    frame = left(ROWS, PENDING, cut([0, 1], [2, 3, 4]), outcomes(False, True), tag_waits=["", "", "site", "", "site"], asked=["r2"])
    assert kept(frame) == [("r2", 4, 0), ("r4", 4, 1), ("r5", 4, 1), ("r6", 4, 1)]
    assert not frame["for_tag"].any()


NOON = "2025-03-01T12:00:00+00:00"
RECALL = {"name": "b", "critical": True, "low": 0.1, "high": 0.9, "accepted": None, "bounded": False, "fallen": False}
#: Every field differs from every other's and from its default.
FOUND: dict[str, Any] = {
    "windows": [RecordedWindow(first=NOON, last=NOON, rows=40, drifted=True)],
    "tag_windows": [RecordedTagWindow(tag="site=B", first=NOON, last=NOON, groups=50, p_values={}, drifted=True, parts=[])],
    "tag": "site=B",
    "confirmed": True,
    "concept": True,
    "labels": 11,
    "labels_by_window": [WindowLabels(watch=7, window=part, drift=part, last=NOON, rows=40, labels=5, right=4) for part in (0, 1)],
    "drop": AccuracyDrop(0.1, 0.02, 0.2, 9).as_dict(),
    "recalls": [ClassRecall(**RECALL)],
    "harmless_drift": 6,
    "acceptances": [StandingAcceptance(drift=5)],
    "labels_requested": 3,
    "verdict": "needs_labels",
    "reason": "nobody knows yet",
    "asked": AskedLabels(images=3),
}
MEASURED = {
    "requests": 90,
    "p95_ms": None,
    "accuracy": {"value": 0.5, "low": 0.4},
    "baseline": {"accuracy": 0.75, "mean_confidence": 0.875, "architecture": "residual"},
    "alerts": [{"rule": "errors", "message": "too many errors", "value": 0.5}],
}
LABELS = pd.DataFrame({"request_id": ["r0"], "label": ["a"], "origin": ["random"], "labelled_at": pd.to_datetime([NOON])})


def findings(**given: Any) -> Any:
    found = FOUND | {"harmless": True} | given
    tallies = [SimpleNamespace(recorded=[tally]) for tally in found["labels_by_window"]]
    return SimpleNamespace(
        tested=[SimpleNamespace(record=record) for record in found["windows"]],
        tags=[SimpleNamespace(fresh=[window]) for window in found["tag_windows"]],
        harm=SimpleNamespace(tag=found["tag"], concept=found["concept"], drift=6),
        harms=tallies,
        drop=AccuracyDrop(0.1, 0.02, 0.2, 9) if found["drop"] else None,
        requests=pd.DataFrame(index=range(found["labels_requested"])),
        verdict=Verdict(found["verdict"], found["reason"], harmless=found["harmless"]),
        **{name: found[name] for name in ("confirmed", "labels", "recalls", "acceptances", "asked")},
    )


def recorded(store: LocalStore, found: Any, measured: dict[str, Any], **info: Any) -> WatchRecord:
    covered = {"sequence": 7, "since": "2025-02-28T00:00:00+00:00", "until": NOON, "champion_version": "4", "requests": 120, "sampled": 0.5}
    covered |= {"coverage": LogCoverage(files={"a": "1-3"}), "label_table": "watch/labels/before", "labels_through": "labels/9"}
    kept = left(ROWS, PENDING, cut([0, 1], [2, 3], waiting=1), outcomes(False, True)).assign(time=pd.to_datetime(NOON))
    kept = kept.reindex(columns=ROW_SCHEMA.names).astype(object)  # as rows that were read have them
    return recorded_watch(store, Traffic(ROWS, traffic_info(**covered | info), labels=LABELS), found, kept, measured)


def test_a_record_says_all_that_the_watch_found_and_where_its_rows_and_labels_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTLOOP_RUN_ID", "watch-of-noon")
    store = LocalStore(str(tmp_path))
    record = recorded(store, findings(), MEASURED, new_labels=True)
    assert record == WatchRecord(
        sequence=7,
        run_id="watch-of-noon",
        since="2025-02-28T00:00:00+00:00",
        until=NOON,
        champion_version="4",
        rows=120,
        sampled=0.5,
        coverage=LogCoverage(files={"a": "1-3"}),
        window_rows=record.window_rows,
        label_table=record.label_table,
        labels_through="labels/9",
        metrics={"requests": 90.0, "accuracy": 0.5},
        baseline={"accuracy": 0.75, "mean_confidence": 0.875},
        alerts={"errors": "too many errors"},
        decision=None,
        promoted_version=None,
        **FOUND,
    )
    assert read_window_rows(store, record.window_rows)["request_id"].tolist() == ["r4", "r5", "r6"]
    assert read_label_table(store, record.label_table)["request_id"].tolist() == ["r0"]
    assert record.window_rows.startswith("watch/rows/00000007-")
    assert record.label_table.startswith("watch/labels/00000007-")


def test_without_new_labels_the_table_of_the_watch_before_stays_and_what_was_not_measured_is_not_recorded(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    record = recorded(store, findings(harmless=False, drop=None), {"requests": 0})
    assert (record.label_table, record.harmless_drift, record.drop) == ("watch/labels/before", 0, None)
    assert (record.metrics, record.baseline, record.alerts) == ({"requests": 0.0}, {}, {})
    assert not (tmp_path / "watch" / "labels").exists()
