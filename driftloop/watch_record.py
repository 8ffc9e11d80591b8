"""`watch/<sequence>.json`: the one record that a watch leaves, numbered and created only if absent.

The next watch starts where the last committed record ended, so there is no mark that could advance before the work is done. Beside the
records lies the heartbeat: when the last watch finished, in one small object, for whoever asks whether watches still run.
"""

import secrets
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from driftloop.errors import Conflict, IntegrityError, NotFound
from driftloop.store import Store

PREFIX = "watch/"
HEARTBEAT = "watch/heartbeat.json"


class RecordedWindow(BaseModel):
    """One window of a watch.

    Records of earlier releases hold the p-values of two detectors in fields of their own, which are still written for whoever reads
    them there.
    """

    model_config = ConfigDict(frozen=True)

    first: str
    """Time of its first request."""
    last: str
    """Time of its last request."""
    rows: int
    """Requests."""
    p_values: dict[str, float] = {}
    """By detector."""
    p_statistics: float | None = None
    """`p_values["statistics"]`."""
    p_embedding: float | None = None
    """`p_values["embedding"]`."""
    drifted: bool
    """Whether it fits no accepted regime."""
    accuracy: float | None = None
    """On random labels; None where it has none."""

    @model_validator(mode="before")
    @classmethod
    def _with_both_forms(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        fields = {name: content.get(f"p_{name}") for name in ("statistics", "embedding")}
        p_values = {name: value for name, value in fields.items() if value is not None} | content.get("p_values", {})
        return content | {"p_values": p_values} | {f"p_{name}": p_values.get(name) for name in fields}


class WatchRecord(BaseModel):
    """What a watch covered, what it decided, and what became of it. Times are ISO 8601 in UTC."""

    model_config = ConfigDict(frozen=True)

    sequence: int
    """Counts the store's watches from 1."""
    run_id: str
    """The run that it was part of."""
    since: str
    """End of the watch before; empty in a first one."""
    until: str
    """End of what it covered."""
    finished: str
    """When the record was written."""
    champion_version: str
    """The version that was watched."""
    rows: int
    """Fresh requests of that version."""
    windows: list[RecordedWindow]
    """Tested in this watch, oldest first."""
    confirmed: bool
    """Whether enough of consecutive windows drifted, `contracts.CONFIRMED_BY`."""
    labels: int = 0
    """Uniformly random labels of the newest confirmed drift that the watch had."""
    verdict: str
    """stable, alert, needs_labels or retrain."""
    reason: str
    """Why, in a sentence."""
    decision: str | None
    """promote, reject or inconclusive; None where nothing was retrained."""
    outcome: str
    """watched, kept or promoted."""
    promoted_version: str | None
    """The version that replaced the champion, if any."""


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
