"""The watch record is committed once, whoever runs twice."""

import json

import numpy as np
import pandas as pd
import pytest

from components.synthesis_report.step import commit_watch_record
from driftloop.inference.traffic import Traffic, TrafficInfo
from driftloop.store import Store
from driftloop.summary import Summary
from driftloop.watch_record import HEARTBEAT, WatchRecord, record_key

DRIFT = {"verdict": "stable", "reason": "the window fits", "confirmed": False, "windows": []}


def traffic(sequence: int = 1) -> Traffic:
    info = TrafficInfo(
        sequence=sequence,
        store="",
        champion_version="1",
        since="2026-01-01T00:00:00+00:00",
        until="2026-01-02T00:00:00+00:00",
        classes=["a", "b"],
        statistic_names=["brightness"],
        rows=0,
        fresh_rows=0,
        other_version_rows=0,
    )
    return Traffic(rows=pd.DataFrame(), images=np.zeros((0, 4, 4, 1), np.uint8), info=info, records=[])


def test_a_watch_is_recorded_with_what_it_covered_and_decided(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTLOOP_RUN_ID", "run-a")
    commit_watch_record(store, traffic(), DRIFT, Summary(), "watched")
    record = WatchRecord.model_validate_json(store.read(record_key(1)))
    assert (record.run_id, record.verdict, record.outcome, record.until) == ("run-a", "stable", "watched", "2026-01-02T00:00:00+00:00")
    assert json.loads(store.read(HEARTBEAT))["sequence"] == 1


def test_a_doubled_watch_ends_as_a_duplicate_and_changes_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DRIFTLOOP_RUN_ID", "run-a")
    commit_watch_record(store, traffic(), DRIFT, Summary(), "watched")
    before = store.read(record_key(1))
    monkeypatch.setenv("DRIFTLOOP_RUN_ID", "run-b")
    standing = commit_watch_record(store, traffic(), DRIFT | {"verdict": "alert"}, Summary(), "watched")
    assert standing.run_id == "run-a"
    assert store.read(record_key(1)) == before
    assert "duplicate" in capsys.readouterr().out


def test_a_retried_watch_finds_its_own_record(store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DRIFTLOOP_RUN_ID", "run-a")
    commit_watch_record(store, traffic(), DRIFT, Summary(), "watched")
    commit_watch_record(store, traffic(), DRIFT, Summary(), "watched")
    assert "recorded by this run" in capsys.readouterr().out
    assert [info.key for info in store.list("watch/")] == [record_key(1), HEARTBEAT]


@pytest.mark.parametrize("retried_by", ["run-a", "run-b"])
def test_a_watch_that_died_between_record_and_heartbeat_is_told_by_whoever_comes_next(
    store: Store, monkeypatch: pytest.MonkeyPatch, retried_by: str
) -> None:
    monkeypatch.setenv("DRIFTLOOP_RUN_ID", "run-a")
    commit_watch_record(store, traffic(), DRIFT, Summary(), "watched")
    store.delete(HEARTBEAT)
    monkeypatch.setenv("DRIFTLOOP_RUN_ID", retried_by)
    commit_watch_record(store, traffic(), DRIFT | {"verdict": "alert"}, Summary(), "watched")
    heartbeat = json.loads(store.read(HEARTBEAT))
    assert (heartbeat["run_id"], heartbeat["verdict"]) == ("run-a", "stable")


def test_an_older_watch_that_ends_late_leaves_the_heartbeat_of_the_newer_one(store: Store) -> None:
    commit_watch_record(store, traffic(sequence=2), DRIFT, Summary(), "watched")
    commit_watch_record(store, traffic(sequence=1), DRIFT, Summary(), "watched")
    assert json.loads(store.read(HEARTBEAT))["sequence"] == 2
