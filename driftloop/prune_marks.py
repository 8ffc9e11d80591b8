"""`prune/marks.json`: what a prune means to delete, so that whoever needs it after all can say so in time.

A prune marks a thing and goes; a later one, hours after, turns the mark into "deleting" and deletes. Both are compare-and-swaps of this
one object, and so is taking a thing up: a promotion takes up its version, a dataset that is written or grown out of, a registration its
dataset. So of a deletion and a taking up that race one comes first, and the other sees it: what is taken up loses its mark, and has at
least those hours before it can be deleted again; what is being deleted cannot be taken up, and is deleted to the end.
"""

import secrets
from collections.abc import Mapping
from datetime import datetime
from functools import partial

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from driftloop.errors import Conflict, IntegrityError, NotFound
from driftloop.schema import of_known_form
from driftloop.store import Store, change_object, swap

KEY = "prune/marks.json"
#: The form in which the marks are written.
SCHEMA = 1


class Mark(BaseModel):
    """One thing that may go."""

    model_config = ConfigDict(frozen=True)

    marked_at: AwareDatetime
    """by the clock of the prune that marked it"""
    touched: AwareDatetime
    """when its newest object had been written then, by the store's clock"""
    deleting: bool = False
    """whether a prune has begun to delete it"""


class _Marks(BaseModel):
    """The object."""

    model_config = ConfigDict(frozen=True)

    marks: dict[str, Mark]
    nonce: str = ""
    schema_version: int = SCHEMA

    _of_a_known_form = of_known_form(KEY, SCHEMA)


def item_key(kind: str, name: str) -> str:
    """How a thing is called among the marks: `version/3`, `dataset/<hash>`."""
    return f"{kind}/{name}"


def read_marks(store: Store) -> tuple[dict[str, Mark], str]:
    """The marks by `item_key`, with the tag to hand to `write_marks`; none and "" where nothing was ever marked.

    Raises:
        IntegrityError: they cannot be read.
    """
    try:
        data, tag = store.read_tagged(KEY)
    except NotFound:
        return {}, ""
    try:
        return _Marks.model_validate_json(data).marks, tag
    except ValidationError:
        raise IntegrityError(
            f"{store.uri}/{KEY}: cannot be read; delete it while no `driftloop prune` runs, the next prune marks anew"
        ) from None


def write_marks(store: Store, marks: Mapping[str, Mark], tag: str) -> None:
    """Replace the marks that were read with `tag`.

    Raises:
        Conflict: they changed since then.
    """
    data = _Marks(marks=dict(marks), nonce=secrets.token_hex(16)).model_dump_json(indent=1).encode()
    swap(store, KEY, data, tag)


def take_up(store: Store, kind: str, name: str) -> None:
    """Say that a thing is needed from now on: called before it is, it cannot be deleted in the hours that follow.

    Raises:
        Conflict: a prune is deleting it, or was killed while it did.
    """
    key = item_key(kind, name)

    def without(marks: dict[str, Mark]) -> dict[str, Mark]:
        if key in marks and marks[key].deleting:
            since = marks[key].marked_at.isoformat(timespec="seconds")
            raise Conflict(
                f"{store.uri}: {kind} {name[:12]}, marked at {since}, is being pruned; let `driftloop prune --apply` end, and repeat"
            )
        return {other: mark for other, mark in marks.items() if other != key}

    change_object(partial(read_marks, store), without, partial(write_marks, store))


def drop_deleted(store: Store, keys: set[str]) -> None:
    """Forget things of which nothing is left."""

    def left(marks: dict[str, Mark]) -> dict[str, Mark]:
        return {key: mark for key, mark in marks.items() if not (key in keys and mark.deleting)}

    if keys:
        change_object(partial(read_marks, store), left, partial(write_marks, store))


def next_marks(marks: Mapping[str, Mark], prunable: Mapping[str, datetime], now: datetime, *, wait_s: float) -> dict[str, Mark]:
    """The marks after a prune that found `prunable`: new things are marked, and those marked long enough ago are deleting.

    What is not prunable any more loses its mark, and what was written since is marked anew. What is being deleted stays so.

    Args:
        marks: as they are.
        prunable: by key, when its newest object was written, by the store's clock.
        now: by this machine's clock.
        wait_s: seconds between mark and deletion.
    """
    following = {key: mark for key, mark in marks.items() if mark.deleting}
    for key, touched in prunable.items():
        mark = marks.get(key)
        if mark is None or mark.touched != touched:
            following.setdefault(key, Mark(marked_at=now, touched=touched))
        elif (now - mark.marked_at).total_seconds() >= wait_s:
            following.setdefault(key, mark.model_copy(update={"deleting": True}))
        else:
            following.setdefault(key, mark)
    return following
