"""What the service tells Prometheus of its store's watches, and that a store which refuses changes nothing."""

import logging

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from driftloop.errors import StoreError
from driftloop.serving import watch_metrics
from driftloop.serving.watch_metrics import WatchMetrics
from driftloop.store import Store
from driftloop.watch_record import RecordedWindow
from driftloop.watch_store import close_watch, move_heartbeat, newest_record, record_key, start_watch
from tests.factories.records import watch_record


@pytest.fixture(autouse=True)
def _look_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_metrics, "LOOK_SECONDS", 0.0)


def told(metrics: WatchMetrics) -> dict[str, float]:
    """Samples by name and labels."""
    registry = CollectorRegistry()
    registry.register(metrics)
    lines = generate_latest(registry).decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def test_before_the_first_watch_nothing_is_told(store: Store) -> None:
    metrics = WatchMetrics()
    metrics.look(store)
    assert told(metrics) == {}


def test_the_newest_watch_is_told_as_it_stands(store: Store) -> None:
    metrics = WatchMetrics()
    window = RecordedWindow(first="", last="", rows=200, drifted=True, p_values={"embedding": 0.004})
    asks = {"verdict": "needs_labels", "labels_requested": 40, "confirmed": True, "windows": [window], "metrics": {"accuracy": 0.9}}
    start_watch(store, watch_record(1, **asks, alerts={"confidence": "0.7"}))
    metrics.look(store)
    values = told(metrics)
    assert values['driftloop_watch_state{state="started"}'] == values['driftloop_watch_verdict{verdict="needs_labels"}'] == 1
    assert values['driftloop_watch_state{state="closed"}'] == values['driftloop_watch_verdict{verdict="stable"}'] == 0
    assert (values["driftloop_labels_wanted"], values["driftloop_watch_limits_passed"]) == (40, 1)
    assert (values['driftloop_watch_p_value{detector="embedding"}'], values["driftloop_watch_accuracy_ratio"]) == (0.004, 0.9)
    assert values["driftloop_watch_covered_timestamp_seconds"] == 1767225600
    close_watch(store, 1, "watch-1")
    start_watch(store, watch_record(2))
    metrics.look(store)
    values = told(metrics)
    assert (values["driftloop_watch_sequence"], values["driftloop_labels_wanted"]) == (2, 0)
    assert not [name for name in values if "p_value" in name]


def test_records_behind_a_heartbeat_are_found(store: Store) -> None:
    for sequence in (1, 2, 3):
        store.create(record_key(sequence), watch_record(sequence).model_dump_json().encode())
    assert newest_record(store) == newest_record(store, 2) == watch_record(3)
    move_heartbeat(store, watch_record(2))
    assert newest_record(store, 1) == watch_record(3)


def test_a_store_that_refuses_is_said_once_and_changes_nothing(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    metrics = WatchMetrics()
    store.create(record_key(1), watch_record(1).model_dump_json().encode())
    metrics.look(store)
    before = told(metrics)
    store.put("watch/heartbeat.json", b"{")
    with caplog.at_level(logging.ERROR):
        metrics.look(store)
        metrics.look(store)
    assert len(caplog.records) == 1
    assert "heartbeat" in caplog.text
    assert told(metrics) == before
    assert StoreError.__name__ not in caplog.text
