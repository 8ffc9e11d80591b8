"""The watch records of a store: each is created once, with the verdict and before anything is trained, and closed with the report.

    watch/<sequence>.json    one record a watch; creating it decides between two runs of the same watch
    watch/history.json       all records up to a number, in one object: the next watch reads this and what came after it
    watch/heartbeat.json     when the last watch finished, for whoever asks whether watches still run

The next watch goes on from the newest record, whether it was closed or not, so there is no mark that could advance before the work is
done. A record that a dead run left open is closed as failed by the next watch. Should its run live after all, it closes its record itself:
that is the truth, and replaces the guess.
"""

import json
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from driftloop.errors import Conflict, IntegrityError, NotFound
from driftloop.schema import check_schema
from driftloop.store import Store, change_object, swap
from driftloop.watch_record import CLOSED, FAILED, STARTED, WatchRecord, parse_record

WATCH_PREFIX = "watch/"
HEARTBEAT = f"{WATCH_PREFIX}heartbeat.json"
HISTORY = f"{WATCH_PREFIX}history.json"
#: What records refer to; see `driftloop.inference.watch_tables`.
WINDOW_ROWS, LABEL_TABLES = f"{WATCH_PREFIX}rows/", f"{WATCH_PREFIX}labels/"
#: What watches ask labels for; see `driftloop.inference.labels`.
REQUESTS_PREFIX = f"{WATCH_PREFIX}requests/"
HISTORY_SCHEMA = 1
#: Records that ended longer ago are left out of the history; nothing that is decided looks back further than 90 days, but for a drift that
#: lasts, of which each record says what it was accepted as.
HISTORY_KEPT = timedelta(days=400)
#: So many of the newest failed records are looked at again whenever records are rolled up.
LATE_CLOSINGS = 10
_RECORD_KEY = re.compile(rf"{WATCH_PREFIX}\d{{8}}\.json")


class Heartbeat(BaseModel):
    """The last watch that finished, as its record has it."""

    model_config = ConfigDict(frozen=True)

    sequence: int = Field(description="number of the watch")
    run_id: str = Field(description="run whose watch it is")
    finished: str = Field(description="when its record was closed, ISO 8601 in UTC")
    until: str = Field(description="end of what it covered")
    verdict: str = Field(description="of the watch")
    nonce: str = Field("", description="makes each content unique, so that it can be swapped safely")


class RecordHistory(BaseModel):
    """`watch/history.json`: the records up to `through`, so that a watch need not read each of them."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = Field(HISTORY_SCHEMA, description="form of the object")
    through: int = Field(0, description="all records up to this number are in it, those of long ago excepted")
    records: list[WatchRecord] = Field([], description="oldest first")
    nonce: str = Field("", description="makes each content unique, so that it can be swapped safely")


def record_key(sequence: int) -> str:
    """The record's key; zero-padded, so that key order is sequence order."""
    return f"{WATCH_PREFIX}{sequence:08d}.json"


def requests_key(sequence: int) -> str:
    """The key of what a watch asks labels for."""
    return f"{REQUESTS_PREFIX}{sequence:06d}.csv"


def is_record_key(key: str) -> bool:
    """Whether an object is a watch record."""
    return _RECORD_KEY.fullmatch(key) is not None


def read_records(store: Store, most: int | None = None) -> list[WatchRecord]:
    """All watch records, or the newest `most`, oldest first: one object for the history, one for each record after it.

    Raises:
        IntegrityError: an object under `watch/` is damaged.
        StoreError: one is of a form that this driftloop does not read.
    """
    history, _ = _read_history(store)
    records = [*history.records, *_records_after(store, history.through)]
    return records if most is None else records[-most:]


def read_every_record(store: Store) -> list[WatchRecord]:
    """Every watch record, those of long ago, too, oldest first: one read each.

    Raises:
        IntegrityError, StoreError: as `read_records`.
    """
    return list(_records_after(store, 0))


def newest_record(store: Store, known: int = 0) -> WatchRecord | None:
    """The newest record, found by names alone, for those who may not list what lies under `watch/`; None where there is none.

    Args:
        known: number of the newest one that is known already.

    Raises:
        IntegrityError, StoreError: as `read_records`.
    """
    heartbeat, _ = _read_heartbeat(store)
    sequence = max(known, heartbeat.sequence if heartbeat else 0)
    newest = _read_record(store, record_key(sequence)) if sequence else None
    # The heartbeat moves when a watch has finished: one that has started, or failed, lies behind it.
    with suppress(NotFound):
        while True:
            newest = _read_record(store, record_key(newest.sequence + 1 if newest else 1))
    return newest


def start_watch(store: Store, record: WatchRecord) -> WatchRecord:
    """Take the record's number for its run, then close what dead runs left open.

    Returns:
        The record that stands: this one, or that of an earlier try of the same run.

    Raises:
        Conflict: another run has this watch; the present one is a duplicate and must stop.
    """
    started = record.model_copy(update={"state": STARTED, "started": _now(), "finished": "", "outcome": ""})
    key = record_key(record.sequence)
    try:
        store.create(key, _bytes(started))
    except Conflict:
        standing = _read_record(store, key)
        if standing.run_id != record.run_id:
            raise Conflict(
                f"{store.uri}: watch {record.sequence} belongs to run {standing.run_id} ({standing.state}); run {record.run_id} came "
                "second and stops here, with nothing trained; the next watch takes the requests that came since"
            ) from None
        started = standing
    history, _ = _read_history(store)
    for earlier in _records_after(store, history.through):
        if earlier.state == STARTED and earlier.sequence < record.sequence:
            reason = f"run {earlier.run_id} had not closed it when watch {record.sequence} came: a step failed or was killed; see its log"
            _change(store, earlier.sequence, partial(_failed, reason=reason))
    return started


def close_watch(store: Store, sequence: int, run_id: str, **result: Any) -> WatchRecord:
    """Close the record that `start_watch` made, move the heartbeat on, and roll the records up.

    Doing it again changes nothing: the first closing stands.

    Args:
        result: fields of the record that are known now: decision, outcome, promoted_version.

    Returns:
        The record that stands.

    Raises:
        Conflict: the record belongs to another run.
        NotFound: there is none.
    """

    def closed(record: WatchRecord) -> WatchRecord | None:
        if record.run_id != run_id:
            raise Conflict(f"{store.uri}: watch {sequence} belongs to run {record.run_id}; run {run_id} cannot close it")
        if record.state == CLOSED:
            return None
        return record.model_copy(update={"state": CLOSED, "failure": "", "finished": _now(), **result})

    record = _change(store, sequence, closed)
    roll_up(store)
    move_heartbeat(store, record)
    return record


def fail_watch(store: Store, run_id: str, reason: str) -> WatchRecord | None:
    """Close the open record of a run that has failed, with the reason; None where it left none open."""
    history, _ = _read_history(store)
    own = [record for record in _records_after(store, history.through) if record.run_id == run_id and record.state == STARTED]
    return _change(store, own[-1].sequence, partial(_failed, reason=reason)) if own else None


def roll_up(store: Store) -> None:
    """Take the records that are not open any more into the history; where another watch is at it, leave it to that one."""
    history, tag = _read_history(store)
    records = list(history.records)
    through = history.through
    for record in _records_after(store, through):
        if record.state == STARTED:
            break
        records.append(record)
        through = record.sequence
    if through == history.through:
        return
    newest = datetime.fromisoformat(records[-1].until)
    kept = [record for record in records if newest - datetime.fromisoformat(record.until) <= HISTORY_KEPT]
    try:
        _write_history(store, RecordHistory(through=through, records=kept), tag)
    except Conflict:
        return
    # A failed record can still be closed by its run. Where that happened between reading it and here, its run has not seen this
    # history; and one that is killed between its record and the history leaves this to us.
    failed = [record for record in kept if record.state == FAILED]
    looked_at = {record.sequence for record in failed[-LATE_CLOSINGS:]}
    for record in failed:
        if record.sequence > history.through or record.sequence in looked_at:
            standing = _read_record(store, record_key(record.sequence))
            if standing != record:
                _change_in_history(store, standing)


def move_heartbeat(store: Store, record: WatchRecord) -> None:
    """Move the heartbeat on to `record`; a heartbeat of the same or of a later watch stays, so a late or repeated call does no harm."""
    data = Heartbeat(nonce=secrets.token_hex(), **record.model_dump()).model_dump_json().encode()
    while True:
        try:
            standing, tag = _read_heartbeat(store)
        except IntegrityError:
            standing, tag = None, store.read_tagged(HEARTBEAT)[1]
        if standing is not None and standing.sequence >= record.sequence:
            return
        try:
            swap(store, HEARTBEAT, data, tag)
        except Conflict:
            continue  # another watch was faster: reading again shows which of the two is later
        return


def _failed(record: WatchRecord, reason: str) -> WatchRecord | None:
    if record.state != STARTED:
        return None
    return record.model_copy(update={"state": FAILED, "failure": reason, "finished": _now()})


def _change(store: Store, sequence: int, change: Callable[[WatchRecord], WatchRecord | None]) -> WatchRecord:
    """Swap a record for what `change` makes of it (None: it stays), in the history, too; the record that stands then."""
    key = record_key(sequence)

    def read() -> tuple[WatchRecord, str]:
        data, tag = store.read_tagged(key)
        return _parsed(store, key, data), tag

    def changed(record: WatchRecord) -> WatchRecord:
        return change(record) or record

    def write(record: WatchRecord, tag: str) -> None:
        store.replace(key, _bytes(record), tag)

    record = change_object(read, changed, write)
    _change_in_history(store, record)
    return record


def _change_in_history(store: Store, record: WatchRecord) -> None:
    """Where the history holds an older state of the record, as a failed one that was closed after all, put in the new one."""

    def renewed(history: RecordHistory) -> RecordHistory:
        records = [record if known.sequence == record.sequence else known for known in history.records]
        return history.model_copy(update={"records": records})

    change_object(partial(_read_history, store), renewed, partial(_write_history, store))


def _write_history(store: Store, history: RecordHistory, tag: str) -> None:
    """Put a history in the place of the one with that tag. Raises Conflict: it is another by now."""
    swap(store, HISTORY, history.model_copy(update={"nonce": secrets.token_hex()}).model_dump_json().encode(), tag)


def _read_history(store: Store) -> tuple[RecordHistory, str]:
    """The history and its tag; an empty one and "" where there is none."""
    try:
        data, tag = store.read_tagged(HISTORY)
    except NotFound:
        return RecordHistory(), ""
    try:
        content = json.loads(data)
        check_schema(content, f"{store.uri}/{HISTORY}", HISTORY_SCHEMA)
        return RecordHistory.model_validate(content), tag
    except ValueError:
        raise IntegrityError(f"{store.uri}/{HISTORY}: cannot be read; delete it: the next watch makes it anew from the records") from None


def _records_after(store: Store, sequence: int) -> Iterator[WatchRecord]:
    """The records after a number, one read each; the other objects under `watch/` sort behind the records."""
    for entry in store.list(WATCH_PREFIX, after=record_key(sequence)):
        if not is_record_key(entry.key):
            return
        yield _read_record(store, entry.key)


def _read_record(store: Store, key: str) -> WatchRecord:
    return _parsed(store, key, store.read(key))


def _parsed(store: Store, key: str, data: bytes) -> WatchRecord:
    try:
        return parse_record(data, f"{store.uri}/{key}")
    except ValueError:
        raise IntegrityError(f"{store.uri}/{key}: cannot be read as a watch record; restore it from a backup") from None


def _read_heartbeat(store: Store) -> tuple[Heartbeat | None, str]:
    """The heartbeat and its tag; None and "" where there is none."""
    try:
        data, tag = store.read_tagged(HEARTBEAT)
    except NotFound:
        return None, ""
    try:
        return Heartbeat.model_validate_json(data), tag
    except ValidationError:
        raise IntegrityError(f"{store.uri}/{HEARTBEAT}: cannot be read as a heartbeat; the next watch writes it anew") from None


def _bytes(record: WatchRecord) -> bytes:
    return record.model_dump_json(indent=1).encode()


def _now() -> str:
    return datetime.now(UTC).isoformat()
