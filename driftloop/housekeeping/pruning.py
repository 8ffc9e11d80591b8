"""What in a store is named by what: the versions that somebody may still ask for, and the datasets that they and running work need.

Everything here errs on the side of keeping: what cannot be read is an error, not a reason to delete.

What could go from a store, and why: the plan that `driftloop prune` shows, and then carries out.

Whatever was written or named since the cutoff stays, needed or not: a run in progress has only just written its datasets and
versions, and nothing names them yet.

Carrying a plan out: each thing loses its mark first, so that a prune that is killed leaves nothing that looks whole and is not.

A store has no lock to stop others with. Instead the plan is made anew at the start, and again as soon as the pointer moved or a version
was added; an object that was written again since it was listed stays, and a version that is promoted while its mark goes gets it back.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import ValidationError

from driftloop import bundle, registry
from driftloop.bundle import DESCRIPTION, ModelDescription
from driftloop.contracts import GATE_EVIDENCE
from driftloop.dataset.description import DATASET_FILE as DATASET
from driftloop.dataset.description import Description
from driftloop.dataset.writing import DATASETS
from driftloop.errors import IntegrityError
from driftloop.housekeeping.store_contents import CHECKPOINTS, Contents, Folder, read_contents
from driftloop.registry import Champion, standing
from driftloop.registry.versions import CLAIM
from driftloop.registry.versions import PREFIX as VERSIONS
from driftloop.store import ObjectInfo, Store
from driftloop.watch_record import WatchRecord, read_records


def named_versions(champion: Champion, records: Iterable[WatchRecord]) -> set[str]:
    """Every version that the pointer's history or a watch record names."""
    return recently_named(champion, records, datetime.min.replace(tzinfo=UTC))


def recently_named(champion: Champion, records: Iterable[WatchRecord], cutoff: datetime) -> set[str]:
    """The versions named after `cutoff`: a watch that began before a promotion or a rollback may still work on them."""
    recent = [change for change in champion.history if datetime.fromisoformat(change.at) > cutoff]
    names = {name for change in recent for name in (change.version, change.before)}
    for record in records:
        if datetime.fromisoformat(record.finished) > cutoff:
            names |= {record.champion_version, record.promoted_version}
    return {name for name in names if name}


def last_standing(champion: Champion, most: int) -> set[str]:
    """The champion and the `most` versions before it to which rollbacks return, one by one."""
    return set(standing(champion.history)[-1 - most :]) | {champion.version}


def model_of(store: Store, version: str) -> ModelDescription:
    """A version's description.

    Raises:
        IntegrityError: it cannot be read, so nobody knows which dataset the version needs.
    """
    key = f"{VERSIONS}{version}/{bundle.DESCRIPTION}"
    try:
        return ModelDescription.model_validate_json(store.read(key))
    except ValidationError:
        raise _unreadable(store, key) from None


def with_parents(store: Store, versions: Iterable[str], complete: set[str]) -> set[str]:
    """The versions and all that they were fine-tuned from, as far as those are complete."""
    found: set[str] = set()
    waiting = [version for version in versions if version in complete]
    while waiting:
        version = waiting.pop()
        if version not in found:
            found.add(version)
            parent = model_of(store, version).parent
            waiting += [parent] if parent in complete else []
    return found


def with_shards(store: Store, hashes: Iterable[str], complete: set[str]) -> set[str]:
    """The datasets and all whose shards or tables they point at: a retraining's dataset copies nothing of the one it grew out of."""
    found: set[str] = set()
    waiting = list(hashes)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        if name in complete:
            dataset = _dataset(store, name)
            keys = [dataset.samples, *(shard.key for shard in dataset.shards)]
            waiting += [key.split("/")[1] for key in keys] + ([dataset.parent] if dataset.parent else [])
    return found


def _dataset(store: Store, name: str) -> Description:
    key = f"{DATASETS}{name}/{DATASET}"
    try:
        return Description.model_validate_json(store.read(key))
    except ValidationError:
        raise _unreadable(store, key) from None


def _unreadable(store: Store, key: str) -> IntegrityError:
    return IntegrityError(
        f"{store.uri}/{key}: cannot be read, so nobody knows what it needs; restore it from a backup, nothing was deleted"
    )


#: What stays of a version for good: its number is never given out again, and its lineage and the gate's evidence can still be read.
REMAINS = frozenset({CLAIM, DESCRIPTION, GATE_EVIDENCE})


ALL_RECORDS = 1_000_000


@dataclass(frozen=True)
class Policy:
    """What may go.

    Written or named at or after `cutoff` stays. `keep_versions` of the versions before the champion stay, to be rolled back to; None:
    all that anything names. `in_use` are datasets that artifacts of runs name; None: nobody looked, so every complete dataset stays.
    """

    cutoff: datetime
    keep_versions: int | None = None
    in_use: frozenset[str] | None = None


@dataclass(frozen=True)
class Item:
    """One thing that could go: its objects in the order in which they go. `mark` is the first, which makes the thing valid."""

    kind: str
    name: str
    why: str
    objects: tuple[ObjectInfo, ...]
    mark: str | None = None

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(entry.size for entry in self.objects)


def plan(store: Store, policy: Policy) -> list[Item]:
    """All that could go now: versions first, since datasets are needed by versions.

    Raises:
        IntegrityError: something that stays cannot be read, so what it needs is not known.
    """
    contents = read_contents(store)
    champion = registry.current(store)
    kept = kept_versions(store, contents, champion, policy)
    items = [_version(contents.versions[name], champion) for name in sorted(contents.versions.keys() - kept, key=int)]
    needed = needed_datasets(store, contents, kept, policy)
    items += [_dataset_item(contents.datasets[name]) for name in sorted(contents.datasets.keys() - needed)]
    items += _checkpoints((contents.datasets[name] for name in sorted(contents.datasets.keys() & needed)), policy.cutoff)
    items += [Item("probe", entry.key, "left by a killed `driftloop doctor`", (entry,)) for entry in _old(contents.probes, policy.cutoff)]
    return [item for item in items if item.objects]


def kept_versions(store: Store, contents: Contents, champion: Champion | None, policy: Policy) -> set[str]:
    """The versions that stay whole. Without a pointer all do: it may be lost, or not yet restored."""
    if champion is None:
        return set(contents.versions)
    young = {name for name, folder in contents.versions.items() if folder.touched >= policy.cutoff}
    records = read_records(store, ALL_RECORDS)
    kept = young | recently_named(champion, records, policy.cutoff) | {champion.version}
    if policy.keep_versions is not None:
        return kept | last_standing(champion, policy.keep_versions)
    kept |= named_versions(champion, records)
    return kept | with_parents(store, kept, contents.complete_versions)


def needed_datasets(store: Store, contents: Contents, versions: set[str], policy: Policy) -> set[str]:
    """The datasets that stay: young ones, those of the versions that stay, those in use, and all that these point at."""
    if policy.in_use is None:
        named = contents.complete_datasets
    else:
        named = {model_of(store, version).dataset for version in _with_a_model(contents, versions, policy)} | policy.in_use
    young = {name for name, folder in contents.datasets.items() if folder.touched >= policy.cutoff}
    return with_shards(store, named | young, contents.complete_datasets)


def _with_a_model(contents: Contents, versions: set[str], policy: Policy) -> list[str]:
    """The versions that are complete, or are just being written and say already what they are."""
    folders = [contents.versions[version] for version in versions & contents.versions.keys()]
    described = [folder for folder in folders if any(entry.key == folder.prefix + DESCRIPTION for entry in folder.objects)]
    return [folder.name for folder in folders if folder.complete or (folder in described and folder.touched >= policy.cutoff)]


def _version(folder: Folder, champion: Champion | None) -> Item:
    gone = tuple(entry for entry in folder.objects if entry.key.removeprefix(folder.prefix) not in REMAINS)
    served = champion is not None and any(folder.name == change.version for change in champion.history)
    why = ("served before the versions that are kept" if served else "never promoted") if folder.complete else "was never completed"
    return _item("version", folder, gone, f"{folder.prefix}SHA256SUMS", why)


def _dataset_item(folder: Folder) -> Item:
    why = "no version and no run names it" if folder.complete else "was never completed"
    return _item("dataset", folder, folder.objects, f"{folder.prefix}dataset.json", why)


def _item(kind: str, folder: Folder, objects: tuple[ObjectInfo, ...], mark: str, why: str) -> Item:
    """The mark goes first: a prune that is killed leaves a thing that is incomplete, which nobody reads and the next prune takes."""
    ordered = tuple(sorted(objects, key=lambda entry: (entry.key != mark, entry.key)))
    return Item(kind, folder.name, why, ordered, mark if folder.complete else None)


def _checkpoints(folders: Iterable[Folder], cutoff: datetime) -> list[Item]:
    """What trainings that never ended left to be resumed from, beside datasets that stay."""
    found = []
    for folder in folders:
        old = tuple(entry for entry in _old(folder.objects, cutoff) if entry.key.startswith(f"{folder.prefix.rstrip('/')}{CHECKPOINTS}"))
        found.append(Item("checkpoint", folder.name, "its training was never resumed", old))
    return found


def _old(entries: Iterable[ObjectInfo], cutoff: datetime) -> list[ObjectInfo]:
    return [entry for entry in entries if entry.modified < cutoff]


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
