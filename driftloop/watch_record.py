"""`watch/<sequence>.json`: the one record that a watch leaves, numbered and created only if absent.

The next watch starts where the last committed record ended, so there is no mark that could advance before the work is done. Beside the
records lies the heartbeat: when the last watch finished, in one small object, for whoever asks whether watches still run.
"""

import secrets
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from driftloop.contracts import CONFIRMED_BY
from driftloop.errors import Conflict, IntegrityError, NotFound
from driftloop.store import Store

WATCH_PREFIX = "watch/"
HEARTBEAT = f"{WATCH_PREFIX}heartbeat.json"


class RecordedWindow(BaseModel):
    """One window of a watch, tested."""

    model_config = ConfigDict(frozen=True)

    first: str = Field(description="time of its first request, ISO 8601 in UTC")
    last: str = Field(description="time of its last request")
    rows: int = Field(description="how many requests it holds")
    p_values: dict[str, float] = Field({}, description="p-values by detector")
    p_statistics: float | None = Field(None, description="the same of the image statistics, as records had it before p_values")
    p_embedding: float | None = Field(None, description="the same of the embeddings, as records had it before p_values")
    drifted: bool = Field(description="whether it fits no accepted regime")
    accuracy: float | None = Field(None, description="over its random labels; null without any")

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

    sequence: int = Field(description="number of the watch, from 1")
    run_id: str = Field(description="run that committed the record")
    since: str = Field(description="end of the watch before; empty for the first one")
    until: str = Field(description="end of what this watch covered: the next one starts here")
    finished: str = Field(description="when the record was committed")
    champion_version: str = Field(description="version that was watched")
    rows: int = Field(description="the champion's requests since the watch before")
    windows: list[RecordedWindow] = Field(description="windows that this watch tested, oldest first")
    confirmed: bool = Field(description=f"whether drift was confirmed by {CONFIRMED_BY} windows")
    labels: int = Field(0, description="uniformly random labels of the champion's confirmed windows that the watch had")
    verdict: str = Field(description="stable, alert, needs_labels or retrain")
    reason: str = Field(description="of the verdict, in one sentence")
    decision: str | None = Field(description="promote, reject, inconclusive, or null where nothing was retrained")
    outcome: str = Field(description="watched, kept or promoted")
    promoted_version: str | None = Field(description="version that serves now, where one was promoted")


class Heartbeat(BaseModel):
    """The last watch that finished, as its record has it."""

    model_config = ConfigDict(frozen=True)

    sequence: int = Field(description="number of the watch")
    run_id: str = Field(description="run that committed its record")
    finished: str = Field(description="when its record was committed, ISO 8601 in UTC")
    until: str = Field(description="end of what it covered")
    verdict: str = Field(description="of the watch")
    nonce: str = Field("", description="makes each content unique, so that it can be swapped safely")


def record_key(sequence: int) -> str:
    """The record's key; zero-padded, so that key order is sequence order."""
    return f"{WATCH_PREFIX}{sequence:08d}.json"


def read_records(store: Store, most: int) -> list[WatchRecord]:
    """The newest `most` watch records, oldest first.

    Raises:
        IntegrityError: an object under `watch/` is not a record.
    """
    keys = [entry.key for entry in store.list(WATCH_PREFIX) if entry.key.endswith(".json") and entry.key != HEARTBEAT]
    return [_read_record(store, key) for key in keys[-most:]]


def move_heartbeat(store: Store, record: WatchRecord) -> None:
    """Move the heartbeat on to `record`; a heartbeat of the same or of a later watch stays, so a late or repeated call does no harm."""
    data = Heartbeat(nonce=secrets.token_hex(16), **record.model_dump(include=set(Heartbeat.model_fields))).model_dump_json().encode()
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
            continue  # another watch was faster: reading again shows which of the two is later
        return


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


def _read_record(store: Store, key: str) -> WatchRecord:
    try:
        return WatchRecord.model_validate_json(store.read(key))
    except ValueError:
        raise IntegrityError(f"{store.uri}/{key}: cannot be read as a watch record; restore it from a backup") from None
