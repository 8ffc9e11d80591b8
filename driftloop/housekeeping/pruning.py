"""Carrying a plan out: each thing loses its mark first, so that a prune that is killed leaves nothing that looks whole and is not.

A store has no lock to stop others with. Instead the plan is made anew at the start, and again as soon as the pointer moved or a version
was added; an object that was written again since it was listed stays, and a version that is promoted while its mark goes gets it back.
"""

from collections.abc import Iterable, Iterator

from driftloop import registry
from driftloop.housekeeping.contents import read_contents
from driftloop.housekeeping.plan import Item, Policy, plan
from driftloop.store import ObjectInfo, Store

#: The pointer's nonce and the complete versions.
State = tuple[str | None, frozenset[str]]


def carry_out(store: Store, items: Iterable[Item], policy: Policy) -> Iterator[tuple[Item, str]]:
    """Delete item by item; each with the reason for which it was spared after all ("" where it is gone).

    Args:
        store: whose plan `items` are.
        items: what `plan` returned.
        policy: what it was made with.
    """
    seen: State | None = None
    planned: set[tuple[str, str]] = set()
    for item in items:
        now = _state(store)
        if seen is None or now[0] != seen[0] or now[1] - seen[1]:
            seen, planned = now, {(one.kind, one.name) for one in plan(store, policy)}
        yield item, _remove(store, item) if (item.kind, item.name) in planned else "somebody needs it by now"


def _state(store: Store) -> State:
    champion = registry.current(store)
    return champion.nonce if champion else None, frozenset(read_contents(store).complete_versions)


def _remove(store: Store, item: Item) -> str:
    """Delete an item's objects in their order; why it was spared, or ""."""
    for entry in item.objects:
        if not _unchanged(store, entry):
            return "it was written again meanwhile"
        if item.kind == "version" and entry.key == item.mark:
            if not _unmark(store, item.name, entry.key):
                return "it was promoted meanwhile"
        else:
            store.delete(entry.key)
    return ""


def _unmark(store: Store, version: str, mark: str) -> bool:
    """Take a version's mark away, and give it back if the version serves by now; whether it is gone."""
    content = store.read(mark)
    store.delete(mark)
    champion = registry.current(store)
    if champion is None or champion.version != version:
        return True
    store.put(mark, content)
    return False


def _unchanged(store: Store, entry: ObjectInfo) -> bool:
    """Whether an object is still the one that was listed."""
    return any(found.key == entry.key and found.modified == entry.modified for found in store.list(entry.key))
