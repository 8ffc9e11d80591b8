"""`driftloop doctor`, the store: reached, readable, writable, and does it honour the conditional writes that everything rests on?

Tried out with one small object below `doctor/`, which is removed again.
"""

import secrets
from collections.abc import Callable
from pathlib import Path

from driftloop.cli.doctor.check import Check, CheckState, failed, not_checked, ok, refused
from driftloop.errors import Conflict, NotFound, StoreError
from driftloop.registry import current
from driftloop.store import Store, open_store
from driftloop.store.s3_conditions import NO_TAG, OTHER_SERVER

PREFIX = "doctor/"


def check_store(uri: str) -> list[Check]:
    """All that can be said of a store; what depends on a check that failed is left out."""
    if "://" not in uri and not Path(uri).expanduser().exists():
        return [not_checked("store", f"{uri}: no store there yet; the first run makes it, --store names another")]
    try:
        store = open_store(uri)
        store.check()
    except StoreError as error:
        return [refused("store", error)]
    read = _read(store)
    return [read] if read.state is not CheckState.ok else [read, *_try_writes(store)]


def _read(store: Store) -> Check:
    from driftloop.store.s3_faults import NoBucket

    try:
        store.read(f"{PREFIX}nothing")
    except NoBucket:
        return not_checked("store", f"{store.uri}: there is no such bucket yet; the first run makes it, where the credentials allow that")
    except NotFound:
        pass
    except StoreError as error:
        return refused("store", error)
    try:
        champion = current(store)
    except StoreError as error:
        return refused("store", error)
    return ok("store", f"{store.uri}: " + (f"version {champion.version} serves" if champion else "no champion yet"))


def _try_writes(store: Store) -> list[Check]:
    key = f"{PREFIX}{secrets.token_hex(8)}"
    try:
        store.create(key, _content())
    except StoreError as error:
        return [refused("store: write", error)]
    checks = [ok("store: write", "may write")]
    try:
        checks += [_tried("store: create once", lambda: _create_once(store, key)), _tried("store: swap", lambda: _swap(store, key))]
    finally:
        checks.append(_tried("store: delete", lambda: _delete(store, key)))
    return checks


def _create_once(store: Store, key: str) -> Check:
    try:
        store.create(key, _content())
    except Conflict:
        return ok("store: create once", "of two who create an object the second is refused")
    return failed("store: create once", "an object that exists was created again: two watches at once would both count", OTHER_SERVER)


def _swap(store: Store, key: str) -> Check:
    tag = store.read_tagged(key)[1]
    store.replace(key, _content(), tag)
    # The tag is stale by now; a server that never compares takes it, or one that no object ever had.
    for stale in (tag, NO_TAG):
        try:
            store.replace(key, _content(), stale)
        except Conflict:
            continue
        text = "an object that had changed was replaced: of two promotions at once one would be lost"
        return failed("store: swap", text, OTHER_SERVER)
    return ok("store: swap", "an object is replaced only by who has seen its last state")


def _delete(store: Store, key: str) -> Check:
    store.delete(key)
    if store.exists(key):
        return failed("store: delete", f"{key} is still there after it was deleted", OTHER_SERVER)
    return ok("store: delete", "may delete; the probe is gone")


def _tried(name: str, attempt: Callable[[], Check]) -> Check:
    try:
        return attempt()
    except StoreError as error:
        return refused(name, error)


def _content() -> bytes:
    return f"driftloop doctor {secrets.token_hex(16)}".encode()
