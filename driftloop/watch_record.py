"""`watch/<sequence>.json`: the one record that a watch leaves, numbered and created only if absent.

The next watch starts where the last committed record ended, so there is no mark that could advance before the work is done. Beside the
records lies the heartbeat: when the last watch finished, in one small object, for whoever asks whether watches still run.
"""

import secrets

from pydantic import BaseModel, ConfigDict, ValidationError

from driftloop.errors import Conflict, IntegrityError, NotFound
from driftloop.store import Store

PREFIX = "watch/"
HEARTBEAT = "watch/heartbeat.json"


class RecordedWindow(BaseModel):
    """One window of a watch: its rows in time, its p-values, and whether it fits no accepted regime."""

    model_config = ConfigDict(frozen=True)

    first: str
    last: str
    rows: int
    p_statistics: float
    p_embedding: float
    drifted: bool
    accuracy: float | None = None


class WatchRecord(BaseModel):
    """What a watch covered, what it decided, and what became of it. Times are ISO 8601 in UTC.

    `verdict`: stable, alert, needs_labels or retrain. `decision`: promote, reject, inconclusive, or None where nothing was retrained.
    `outcome`: watched, kept or promoted. `confirmed` says that drift was confirmed by 2 of 3 windows. `labels` counts the uniformly
    random labels of the champion's confirmed windows that the watch had.
    """

    model_config = ConfigDict(frozen=True)

    sequence: int
    run_id: str
    since: str
    until: str
    finished: str
    champion_version: str
    rows: int
    windows: list[RecordedWindow]
    confirmed: bool
    labels: int = 0
    verdict: str
    reason: str
    decision: str | None
    outcome: str
    promoted_version: str | None


class Heartbeat(BaseModel):
    """The last watch that finished, as its record has it. `nonce` makes each content unique, so that it can be swapped safely."""

    model_config = ConfigDict(frozen=True)

    sequence: int
    run_id: str
    finished: str
    until: str
    verdict: str
    nonce: str = ""


def key(sequence: int) -> str:
    """The record's key; zero-padded, so that key order is sequence order."""
    return f"{PREFIX}{sequence:08d}.json"


def read_records(store: Store, most: int) -> list[WatchRecord]:
    """The newest `most` watch records, oldest first.

    Raises:
        IntegrityError: an object under `watch/` that is no record.
    """
    keys = [entry.key for entry in store.list(PREFIX) if entry.key.endswith(".json") and entry.key != HEARTBEAT]
    return [_record(store, key) for key in keys[-most:]]


def beat(store: Store, record: WatchRecord) -> None:
    """Move the heartbeat on to `record`; one of the same or of a later watch stays, whoever comes late or twice."""
    data = Heartbeat(nonce=secrets.token_hex(16), **record.model_dump(include=_HEARTBEAT_FIELDS)).model_dump_json().encode()
    while True:
        try:
            standing, tag = _read_heartbeat(store)
        except IntegrityError:
            standing, tag = None, store.read_tagged(HEARTBEAT)[1]
        if standing is not None and standing.sequence >= record.sequence:
            return
        try:
            if tag:
                store.replace(HEARTBEAT, data, tag)
            else:
                store.create(HEARTBEAT, data)
        except Conflict:
            continue  # another watch was faster: whose is later is seen by reading again
        return


_HEARTBEAT_FIELDS = {"sequence", "run_id", "finished", "until", "verdict"}


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


def _record(store: Store, key: str) -> WatchRecord:
    try:
        return WatchRecord.model_validate_json(store.read(key))
    except ValueError:
        raise IntegrityError(f"{store.uri}/{key}: cannot be read as a watch record; restore it from a backup") from None
