"""Bringing a store to the newest forms, so that a later release, which reads the last two only, still reads it.

Log files, labels, versions and datasets are never rewritten: their checksums stand, and every release reads them or says what to do.
"""

import json
from dataclasses import dataclass

from driftloop.errors import Conflict
from driftloop.registry import champion as pointer
from driftloop.schema import SCHEMA_VERSION
from driftloop.store import Store
from driftloop.watch_record import RECORD_SCHEMA
from driftloop.watch_store import HISTORY, WATCH_PREFIX, is_record_key, read_every_record, roll_up


@dataclass(frozen=True)
class Outdated:
    """An object of an older form."""

    key: str
    """In the store."""
    form: int
    """That it has."""
    newest: int
    """That it would get."""


def outdated_objects(store: Store) -> list[Outdated]:
    """The objects of an older form, in the order in which they are upgraded; reads the pointer and every watch record.

    Raises:
        IntegrityError: one is damaged.
        StoreError: one is of a newer release.
    """
    found = []
    champion, _ = pointer.read_pointer(store)
    if champion is not None:
        form = int(json.loads(store.read(pointer.KEY)).get(SCHEMA_VERSION, 1))
        if form < pointer.SCHEMA:
            found.append(Outdated(pointer.KEY, form, pointer.SCHEMA))
    keys = [entry.key for entry in store.list(WATCH_PREFIX) if is_record_key(entry.key)]
    for key, record in zip(keys, read_every_record(store), strict=True):
        if record.schema_version < RECORD_SCHEMA:
            found.append(Outdated(key, record.schema_version, RECORD_SCHEMA))
    return found


def upgrade(store: Store, outdated: list[Outdated]) -> None:
    """Rewrite the objects by compare-and-swap, and make the history of the records anew; doing it again does nothing.

    Raises:
        Conflict: a run changed one of them meanwhile; upgrade again.
    """
    for item in outdated:
        data, tag = store.read_tagged(item.key)
        content = json.loads(data) | {SCHEMA_VERSION: item.newest}
        try:
            store.replace(item.key, (json.dumps(content, indent=1) + "\n").encode(), tag)
        except Conflict:
            raise Conflict(f"{store.uri}/{item.key}: changed by a run meanwhile; upgrade again") from None
    if any(is_record_key(item.key) for item in outdated):
        store.delete(HISTORY)
        roll_up(store)
