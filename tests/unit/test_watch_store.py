"""Watch records: taken once, closed once, and no watch lost, whoever dies or comes twice."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from driftloop.errors import Conflict, IntegrityError, NotFound, StoreError
from driftloop.store import ObjectInfo, Store, open_store
from driftloop.store.local import LocalStore
from driftloop.watch_record import WatchRecord, parse_record
from driftloop.watch_store import (
    HEARTBEAT,
    HISTORY,
    close_watch,
    fail_watch,
    is_record_key,
    move_heartbeat,
    newest_record,
    read_every_record,
    read_records,
    record_key,
    roll_up,
    start_watch,
)
from tests.factories.records import watch_record


def started(sequence: int, run_id: str = "run-a", **given: Any) -> WatchRecord:
    return watch_record(sequence, "2026-01-01T00:00:00+00:00", run_id=run_id, **given)


def stored(store: Store, sequence: int) -> WatchRecord:
    return parse_record(store.read(record_key(sequence)), "here")


def test_a_watch_is_in_the_store_before_its_end_and_closed_at_it(store: Store) -> None:
    start_watch(store, started(1, verdict="retrain", rows=7))
    opened = stored(store, 1)
    assert (opened.state, opened.outcome, opened.finished, opened.rows) == ("started", "", "", 7)
    assert datetime.now(UTC) - datetime.fromisoformat(opened.started) < timedelta(minutes=1)
    assert opened.tried_to_retrain
    close_watch(store, 1, "run-a", decision="promote", outcome="promoted", promoted_version="2")
    closed = stored(store, 1)
    assert (closed.state, closed.decision, closed.outcome, closed.promoted_version) == ("closed", "promote", "promoted", "2")
    assert closed.started == opened.started <= closed.finished
    assert json.loads(store.read(HEARTBEAT))["sequence"] == 1
    assert read_records(store) == [closed]


@pytest.mark.parametrize(
    ("given", "tried"),
    [
        ({"verdict": "retrain", "decision": "reject"}, True),
        ({"verdict": "retrain", "state": "started"}, True),
        ({"verdict": "retrain", "state": "failed"}, True),
        ({"verdict": "stable", "state": "started"}, False),
        ({"verdict": "alert", "state": "failed"}, False),
        ({"verdict": "stable"}, False),
    ],
)
def test_what_counts_as_a_try_to_retrain(given: dict[str, Any], tried: bool) -> None:
    record = started(1, **given)
    assert record.tried_to_retrain is tried
    assert record.model_copy(update={"started": "a", "finished": ""}).last_write == "a"
    assert record.model_copy(update={"started": "a", "finished": "b"}).last_write == "b"


def test_a_second_run_of_the_same_watch_stops_before_it_trains(store: Store) -> None:
    start_watch(store, started(1, "run-a"))
    before = store.read(record_key(1))
    with pytest.raises(Conflict, match=r"watch 1 belongs to run run-a \(started\); run run-b came second and stops here") as stopped:
        start_watch(store, started(1, "run-b"))
    assert "\n" not in str(stopped.value)
    assert store.read(record_key(1)) == before
    with pytest.raises(Conflict, match="run run-b cannot close it"):
        close_watch(store, 1, "run-b", outcome="watched")
    assert store.read(record_key(1)) == before


def test_a_retry_goes_on_with_its_own_record(store: Store) -> None:
    first = start_watch(store, started(1))
    assert start_watch(store, started(1)) == first
    close_watch(store, 1, "run-a", outcome="watched")
    closed = stored(store, 1)
    assert start_watch(store, started(1)) == closed
    assert close_watch(store, 1, "run-a", outcome="kept") == closed
    assert stored(store, 1) == closed


def test_a_watch_that_was_never_closed_is_failed_by_the_next_one(store: Store) -> None:
    start_watch(store, started(1, "run-a", verdict="retrain"))
    start_watch(store, started(2, "run-b"))
    failed = stored(store, 1)
    assert (failed.state, failed.outcome, failed.tried_to_retrain) == ("failed", "", True)
    assert "run run-a had not closed it when watch 2 came" in failed.failure
    assert stored(store, 2).state == "started"
    assert [record.sequence for record in read_records(store)] == [1, 2]


def test_a_run_that_lives_after_all_closes_its_record_itself(store: Store) -> None:
    start_watch(store, started(1, "run-a", verdict="retrain"))
    start_watch(store, started(2, "run-b"))
    close_watch(store, 2, "run-b", outcome="watched")
    assert [record.state for record in read_records(store)] == ["failed", "closed"]
    close_watch(store, 1, "run-a", decision="promote", outcome="promoted", promoted_version="2")
    first, second = read_records(store)
    assert (first.state, first.failure, first.promoted_version, second.state) == ("closed", "", "2", "closed")
    assert json.loads(store.read(HEARTBEAT))["sequence"] == 2


def test_a_failure_whose_reason_is_known_is_recorded_with_it(store: Store) -> None:
    start_watch(store, started(1, "run-a", verdict="retrain"))
    assert fail_watch(store, "run-b", "not mine") is None
    failed = fail_watch(store, "run-a", "out of memory")
    assert failed is not None
    assert (stored(store, 1).state, stored(store, 1).failure) == ("failed", "out of memory")
    assert datetime.now(UTC) - datetime.fromisoformat(stored(store, 1).finished) < timedelta(minutes=1)
    assert fail_watch(store, "run-a", "again") is None
    start_watch(store, started(2, "run-b"))
    assert stored(store, 1).failure == "out of memory"


def test_a_record_that_was_never_started_cannot_be_closed(store: Store) -> None:
    with pytest.raises(NotFound):
        close_watch(store, 1, "run-a", outcome="watched")
    assert list(store.list("watch/")) == []


class Counting(LocalStore):
    """Counts what is read."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.reads: list[str] = []
        self.listed: list[str] = []
        self.prefixes: set[str] = set()

    def read(self, key: str) -> bytes:
        self.reads.append(key)
        return super().read(key)

    def list(self, prefix: str = "", after: str = "") -> Iterator[ObjectInfo]:
        self.prefixes.add(prefix)
        for entry in super().list(prefix, after):
            self.listed.append(entry.key)
            yield entry


def play(store: Store, first: int, last: int) -> None:
    for number in range(first, last + 1):
        start_watch(store, started(number, f"run-{number}"))
        close_watch(store, number, f"run-{number}", outcome="watched")


def test_the_past_is_one_read_however_long_it_is(tmp_path: Any) -> None:
    store = Counting(str(tmp_path))
    play(store, 1, 30)
    start_watch(store, started(31))
    store.put("watch/rows/00000001-x.parquet", b"")
    store.reads.clear()
    store.listed.clear()
    assert [record.sequence for record in read_records(store)] == list(range(1, 32))
    assert store.reads == [HISTORY, record_key(31)]
    assert len(store.listed) <= 2
    assert store.prefixes == {"watch/"}, "who may list nothing else can watch"
    assert [record.sequence for record in read_records(store, 3)] == [29, 30, 31]
    assert not is_record_key(HEARTBEAT)


def test_the_history_ends_before_an_open_record_and_goes_on_after_it(store: Store) -> None:
    play(store, 1, 2)
    start_watch(store, started(3, "run-3"))
    roll_up(store)
    assert json.loads(store.read(HISTORY))["through"] == 2
    start_watch(store, started(4, "run-4"))
    close_watch(store, 4, "run-4", outcome="watched")
    assert json.loads(store.read(HISTORY))["through"] == 4
    assert [record.state for record in read_records(store)] == ["closed", "closed", "failed", "closed"]


def test_what_closed_before_an_open_record_is_rolled_up_without_it(store: Store) -> None:
    for number, state in enumerate(("closed", "failed", "started", "closed"), 1):
        store.create(record_key(number), started(number, state=state).model_dump_json().encode())
    roll_up(store)
    assert json.loads(store.read(HISTORY))["through"] == 2
    assert [record.state for record in read_records(store)] == ["closed", "failed", "started", "closed"]


def test_two_objects_that_are_swapped_are_never_equal_so_one_that_moved_there_and_back_is_seen(store: Store) -> None:
    start_watch(store, started(1))
    close_watch(store, 1, "run-a", outcome="watched")
    before = {key: store.read(key) for key in (HISTORY, HEARTBEAT)}
    for key in before:
        store.delete(key)
    close_watch(store, 1, "run-a", outcome="watched")
    for key, content in before.items():
        again = store.read(key)
        assert again != content
        assert json.loads(again) | {"nonce": ""} == json.loads(content) | {"nonce": ""}


class Unlisted(Counting):
    """What the service may do under `watch/`: read by name."""

    def list(self, prefix: str = "", after: str = "") -> Iterator[ObjectInfo]:
        raise AssertionError("may not list")


def test_the_newest_record_is_found_without_a_listing_from_the_last_one_that_is_known(tmp_path: Any) -> None:
    theirs, store = LocalStore(str(tmp_path)), Unlisted(str(tmp_path))
    assert newest_record(store) is None
    start_watch(theirs, started(1, "run-1"))
    assert newest_record(store) == stored(theirs, 1), "no heartbeat has moved yet"
    play(theirs, 2, 5)
    for number in (6, 7):
        start_watch(theirs, started(number, f"run-{number}"))
    for known, read in ((0, [5, 6, 7, 8]), (3, [5, 6, 7, 8]), (6, [6, 7, 8]), (7, [7, 8])):
        store.reads.clear()
        assert newest_record(store, known) == stored(theirs, 7)
        assert [key for key in store.reads if is_record_key(key)] == [record_key(number) for number in read]
    theirs.delete(HEARTBEAT)
    assert newest_record(store, 4) == newest_record(store) == stored(theirs, 7)


def test_the_history_leaves_out_what_nothing_looks_back_to(store: Store) -> None:
    old = started(1, "run-1", until="2024-01-01T00:00:00+00:00")
    start_watch(store, old)
    close_watch(store, 1, "run-1", outcome="watched")
    play(store, 2, 2)
    assert [record.sequence for record in read_records(store)] == [2]
    assert stored(store, 1).state == "closed"


def test_a_damaged_history_or_record_is_one_line_with_its_cure(store: Store) -> None:
    play(store, 1, 2)
    store.put(HISTORY, b"{")
    with pytest.raises(IntegrityError, match="delete it: the next watch makes it anew"):
        read_records(store)
    store.delete(HISTORY)
    assert [record.sequence for record in read_records(store)] == [1, 2]
    roll_up(store)
    store.put(record_key(3), b'{"sequence": 3}')
    for use in (lambda: read_records(store), lambda: close_watch(store, 3, "run-3", outcome="watched")):
        with pytest.raises(IntegrityError, match=r"watch/00000003\.json: cannot be read as a watch record; restore"):
            use()


def test_a_record_of_a_newer_release_is_not_taken_for_a_damaged_one(store: Store) -> None:
    content = json.loads(started(1).model_dump_json()) | {"schema_version": 3}
    store.put(record_key(1), json.dumps(content).encode())
    with pytest.raises(StoreError, match=r"watch/00000001\.json: written by a newer driftloop"):
        read_records(store)


def test_a_record_of_the_first_release_is_a_closed_one(store: Store) -> None:
    content = json.loads(started(1).model_dump_json())
    first_form = {name: content[name] for name in content if name not in ("schema_version", "state", "coverage", "window_rows", "started")}
    store.put(record_key(1), json.dumps(first_form).encode())
    (record,) = read_records(store)
    assert (record.schema_version, record.state, record.coverage, record.window_rows) == (1, "closed", None, "")


def test_a_record_that_lacks_what_was_added_since_was_of_all_requests_and_of_no_labels(store: Store) -> None:
    content = json.loads(started(1).model_dump_json())
    store.put(record_key(1), json.dumps({name: content[name] for name in content if name not in ("sampled", "labels")}).encode())
    (record,) = read_records(store)
    assert (record.sampled, record.labels) == (1.0, 0)


def test_of_many_runs_of_one_watch_exactly_one_goes_on(store: Store) -> None:
    def run(number: int) -> bool:
        mine = open_store(store.uri)
        try:
            start_watch(mine, started(1, f"run-{number}"))
        except Conflict:
            return False
        close_watch(mine, 1, f"run-{number}", outcome="watched")
        return True

    with ThreadPoolExecutor(8) as pool:
        went_on = list(pool.map(run, range(50)))
    assert sum(went_on) == 1
    assert stored(store, 1).run_id == f"run-{went_on.index(True)}"
    assert [record.sequence for record in read_records(store)] == [1]


def test_watches_that_close_and_fail_each_other_at_once_lose_no_record(store: Store) -> None:
    for number in range(1, 17):
        store.create(record_key(number), started(number, f"run-{number}", state="started").model_dump_json().encode())

    def act(number: int) -> None:
        mine = open_store(store.uri)
        if number % 2:
            close_watch(mine, number, f"run-{number}", outcome="watched")
        else:
            fail_watch(mine, f"run-{number}", "died")
            roll_up(mine)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(act, [*range(1, 17)] * 3))
    roll_up(store)
    records = read_records(store)
    assert [record.sequence for record in records] == list(range(1, 17))
    assert [record.state for record in records] == ["closed", "failed"] * 8
    assert [stored(store, record.sequence) for record in records] == records


class Dying(LocalStore):
    """Ends the process, as it were, at the given write."""

    def __init__(self, root: str, writes: int) -> None:
        super().__init__(root)
        self.left = writes

    def _write(self) -> None:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1

    def create(self, key: str, data: bytes) -> str:
        self._write()
        return super().create(key, data)

    def replace(self, key: str, data: bytes, tag: str) -> str:
        self._write()
        return super().replace(key, data, tag)


@pytest.mark.parametrize("writes", range(9))
def test_killed_at_any_write_and_run_again_a_watch_ends_the_same(tmp_path: Any, writes: int) -> None:
    def watch(store: Store) -> None:
        start_watch(store, started(2, "run-2"))
        close_watch(store, 2, "run-2", decision="reject", outcome="kept")

    start_watch(LocalStore(str(tmp_path)), started(1, "run-1"))
    dying = Dying(str(tmp_path), writes)
    try:
        watch(dying)
    except KeyboardInterrupt:
        assert [record.sequence for record in read_records(LocalStore(str(tmp_path)))] in ([1], [1, 2])
    store = LocalStore(str(tmp_path))
    watch(store)
    first, second = read_records(store)
    assert (first.state, second.state, second.decision) == ("failed", "closed", "reject")
    assert json.loads(store.read(HEARTBEAT))["sequence"] == 2
    assert json.loads(store.read(HISTORY))["through"] == 2


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


def test_a_failed_record_that_is_alone_in_the_history_is_closed_there_too(store: Store) -> None:
    start_watch(store, started(1, "run-a"))
    fail_watch(store, "run-a", "died")
    roll_up(store)
    close_watch(store, 1, "run-a", outcome="watched")
    assert [record.state for record in read_records(store)] == ["closed"]


def test_a_record_that_is_closed_while_the_history_is_written_is_closed_there_too(tmp_path: Any) -> None:
    class Racing(LocalStore):
        def create(self, key: str, data: bytes) -> str:
            if key == HISTORY:
                data_before, tag = self.read_tagged(record_key(1))
                closed = parse_record(data_before, "here").model_copy(update={"state": "closed", "failure": ""})
                self.replace(record_key(1), closed.model_dump_json().encode(), tag)
            return super().create(key, data)

    store = Racing(str(tmp_path))
    start_watch(store, started(1, "run-a"))
    fail_watch(store, "run-a", "died")
    roll_up(store)
    assert [record.state for record in read_records(store)] == ["closed"]
    assert json.loads(store.read(HISTORY))["records"][0]["state"] == "closed"


def test_every_record_is_read_where_all_are_asked_for(store: Store) -> None:
    start_watch(store, started(1, "run-1", until="2024-01-01T00:00:00+00:00"))
    close_watch(store, 1, "run-1", outcome="watched")
    play(store, 2, 3)
    assert [record.sequence for record in read_records(store)] == [2, 3]
    assert [record.sequence for record in read_every_record(store)] == [1, 2, 3]


def test_a_history_of_a_newer_release_is_not_taken_for_a_damaged_one(store: Store) -> None:
    play(store, 1, 1)
    content = json.loads(store.read(HISTORY))
    store.put(HISTORY, json.dumps(content | {"schema_version": content["schema_version"] + 1}).encode())
    with pytest.raises(StoreError, match=r"watch/history\.json: written by a newer driftloop"):
        read_records(store)


def test_the_history_says_its_form(store: Store) -> None:
    play(store, 1, 1)
    assert json.loads(store.read(HISTORY))["schema_version"] == 1


@pytest.mark.parametrize(("seconds", "kept"), [(0, [1, 2]), (1, [2])])
def test_the_history_keeps_four_hundred_days(store: Store, seconds: int, kept: list[int]) -> None:
    end = datetime(2026, 1, 1, tzinfo=UTC)
    for number, until in enumerate((end - timedelta(days=400, seconds=seconds), end), 1):
        start_watch(store, started(number, f"run-{number}", until=until.isoformat()))
        close_watch(store, number, f"run-{number}", outcome="watched")
    assert [record.sequence for record in read_records(store)] == kept


def test_a_rolling_up_looks_again_at_a_few_failed_records_and_at_no_others(tmp_path: Any) -> None:
    store = Counting(str(tmp_path))
    play(store, 1, 3)
    for number in range(4, 17):
        start_watch(store, started(number, f"run-{number}"))
    play(store, 17, 17)
    start_watch(store, started(18, "run-18"))
    fail_watch(store, "run-18", "died")
    store.reads.clear()
    roll_up(store)
    looked_at = [int(key[-13:-5]) for key in store.reads if is_record_key(key)]
    assert looked_at == [18, *range(8, 17), 18], "the new one, and then the ten newest failed ones"


def test_a_failed_record_that_the_history_has_long_held_is_not_read_again_after_ten_newer_ones(tmp_path: Any) -> None:
    store = Counting(str(tmp_path))
    for number in range(1, 14):
        start_watch(store, started(number, f"run-{number}"))
        if number == 1:
            fail_watch(store, "run-1", "died")
            roll_up(store)
    store.reads.clear()
    roll_up(store)
    assert [key for key in store.reads if is_record_key(key)] == [record_key(number) for number in (*range(2, 14), *range(2, 13))]


class Rival(LocalStore):
    """Another watch swaps the history just before the first swap of it."""

    swaps = 0

    def replace(self, key: str, data: bytes, tag: str) -> str:
        if key == HISTORY:
            self.swaps += 1
            if self.swaps == 1:
                content, standing = self.read_tagged(HISTORY)
                super().replace(HISTORY, json.dumps(json.loads(content) | {"nonce": "rival"}).encode(), standing)
        return super().replace(key, data, tag)


def test_a_closing_whose_swap_of_the_history_was_forestalled_tries_again(tmp_path: Any) -> None:
    start_watch(LocalStore(str(tmp_path)), started(1, "run-1"))
    play(LocalStore(str(tmp_path)), 2, 2)
    store = Rival(str(tmp_path))
    close_watch(store, 1, "run-1", outcome="watched")
    assert store.swaps == 2
    assert [record.state for record in read_records(store)] == ["closed", "closed"]
