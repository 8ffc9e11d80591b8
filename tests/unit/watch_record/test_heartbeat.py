"""`watch/heartbeat.json` tells the last watch that finished, whoever comes late, twice, or at the same time."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from driftloop.store import Store, open_store
from driftloop.watch_record import HEARTBEAT, move_heartbeat
from tests.unit.housekeeping.world import watch_record


def sequence(store: Store) -> int:
    return json.loads(store.read(HEARTBEAT))["sequence"]


def test_it_says_when_which_watch_of_which_run_found_what(store: Store) -> None:
    move_heartbeat(store, watch_record(7, verdict="alert", run_id="run-a", finished="2026-01-02T03:04:05+00:00"))
    heartbeat = json.loads(store.read(HEARTBEAT))
    assert (heartbeat["sequence"], heartbeat["run_id"], heartbeat["verdict"]) == (7, "run-a", "alert")
    assert datetime.fromisoformat(heartbeat["finished"]).year == 2026


def test_it_moves_on_and_never_back(store: Store) -> None:
    for number, expected in ((1, 1), (2, 2), (1, 2), (5, 5), (4, 5)):
        move_heartbeat(store, watch_record(number))
        assert sequence(store) == expected


def test_a_duplicate_changes_nothing(store: Store) -> None:
    move_heartbeat(store, watch_record(1, run_id="first"))
    before = store.read(HEARTBEAT)
    move_heartbeat(store, watch_record(1, run_id="second"))
    assert store.read(HEARTBEAT) == before


def test_of_many_at_once_the_latest_stays(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda number: move_heartbeat(open_store(store.uri), watch_record(number)), [3, 8, 1, 7, 2, 6, 5, 4] * 3):
            pass
    assert sequence(store) == 8


def test_one_that_cannot_be_read_is_written_anew(store: Store) -> None:
    store.put(HEARTBEAT, b"not a heartbeat")
    move_heartbeat(store, watch_record(2))
    assert sequence(store) == 2


def test_one_of_an_earlier_release_counts(store: Store) -> None:
    store.put(HEARTBEAT, b'{"sequence": 9, "run_id": "a", "finished": "2026-01-01", "until": "2026-01-01", "verdict": "stable"}')
    move_heartbeat(store, watch_record(8))
    assert sequence(store) == 9
