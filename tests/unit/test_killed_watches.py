"""SIGKILL before every write of what records a watch; then it is run again, or the next watch comes."""

from collections.abc import Callable
from typing import Any

import pytest

from driftloop.store import Store, open_store
from driftloop.watch_store import HEARTBEAT, HISTORY, close_watch, fail_watch, read_every_record, read_records, roll_up, start_watch
from tests.factories.records import watch_record
from tests.killing import killed_before

#: What differs from one run to the next.
TIMES = {"started", "finished"}


def watch(store: Store, sequence: int = 3, run_id: str = "run-3") -> None:
    """A watch from its verdict to its report."""
    start_watch(store, watch_record(sequence, run_id=run_id, verdict="retrain"))
    close_watch(store, sequence, run_id, decision="reject", outcome="kept")


def fail_second(store: Store) -> None:
    """The run of watch 2 says why it failed."""
    fail_watch(store, "run-2", "out of memory")
    roll_up(store)


def close_second(store: Store) -> None:
    """The run of watch 2 ends well."""
    close_watch(store, 2, "run-2", outcome="watched")


#: Each with the fewest writes that it has, so that one that writes nothing does not pass for one that survives everything.
WORK: dict[str, tuple[Callable[[Store], None], int]] = {
    "a watch after one that died": (watch, 5),
    "a failure": (fail_second, 2),
    "a closing": (close_second, 3),
    "a closing of what was failed meanwhile": (close_second, 2),
}


def fill(uri: str, name: str) -> Store:
    """Watch 1 is closed, watch 2 is open."""
    store = open_store(uri)
    start_watch(store, watch_record(1, run_id="run-1"))
    close_watch(store, 1, "run-1", outcome="watched")
    start_watch(store, watch_record(2, run_id="run-2"))
    if name == "a closing of what was failed meanwhile":
        watch(store)
    return store


def outcome(store: Store) -> dict[str, Any]:
    """What a user can tell; the history must say what the records say."""
    records = read_records(store)
    assert records == read_every_record(store)
    return {
        "records": [record.model_dump(exclude=TIMES) for record in records],
        "objects": [entry.key for entry in store.list("watch/")],
    }


@pytest.mark.parametrize("name", list(WORK))
def test_killed_before_any_write_and_repeated_it_is_as_if_nothing_had_happened(store_uri: str, name: str) -> None:
    work, fewest = WORK[name]
    whole = fill(f"{store_uri}-whole", name)
    work(whole)
    expected = outcome(whole)
    write = 0
    while True:
        store = fill(f"{store_uri}-{write}", name)
        if not killed_before(write, work, store.uri):
            break
        numbers = [record.sequence for record in read_records(store)]
        assert numbers == list(range(1, len(numbers) + 1)), "none is lost, and none is double"
        work(store)
        assert outcome(store) == expected, write
        write += 1
    assert write >= fewest


@pytest.mark.parametrize("name", list(WORK))
def test_killed_before_any_write_the_next_watch_takes_every_record_along(store_uri: str, name: str) -> None:
    work, _ = WORK[name]
    write, killed = 0, True
    while killed:
        store = fill(f"{store_uri}-{write}", name)
        killed = killed_before(write, work, store.uri)
        last = read_records(store)[-1]
        watch(store, last.sequence + 1, "run-next")
        records = outcome(store)["records"]
        assert [record["sequence"] for record in records] == list(range(1, last.sequence + 2))
        assert {record["state"] for record in records} <= {"closed", "failed"}
        assert [store.exists(key) for key in (HEARTBEAT, HISTORY)] == [True, True]
        write += 1
