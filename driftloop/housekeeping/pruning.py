"""What could go from a store and why, and deleting it: the plan that `driftloop prune` shows, and then carries out.

Everything here errs on the side of keeping. Whatever was written or named since the cutoff stays, needed or not: a run in progress has
only just written its datasets and versions, and nothing names them yet. What cannot be read is an error, not a reason to delete.

Carrying a plan out, each thing loses its mark first, so that a prune that is killed leaves nothing that looks whole and is not. A store
has no lock to stop others with. Instead the plan is made anew at the start, and again as soon as the pointer moved or a version was
added; an object that was written again since it was listed stays, and a version that is promoted while its mark goes gets it back.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import ValidationError

from driftloop import registry
from driftloop.bundle import DESCRIPTION, SUMS, ModelDescription
from driftloop.contracts import GATE_EVIDENCE
from driftloop.dataset.description import DATASET_FILE, Description
from driftloop.dataset.writing import DATASETS
from driftloop.errors import IntegrityError
from driftloop.housekeeping.store_contents import CHECKPOINTS_FOLDER, StoreContents, StoredFolder, read_store_contents
from driftloop.registry import Champion, standing
from driftloop.registry.versions import CLAIM
from driftloop.registry.versions import PREFIX as VERSIONS
from driftloop.store import ObjectInfo, Store
from driftloop.watch_record import WatchRecord
from driftloop.watch_store import read_records

#: What stays of a version for good: its number is never given out again, and its lineage and the gate's evidence can still be read.
KEPT_OF_A_VERSION = frozenset({CLAIM, DESCRIPTION, GATE_EVIDENCE})
#: More watch records than any store holds: all of them are read.
ALL_RECORDS = 1_000_000


@dataclass(frozen=True)
class PrunePolicy:
    """What may go."""

    cutoff: datetime
    """What was written or named at or after this time stays."""
    keep_versions: int | None = None
    """So many versions before the champion stay, to be rolled back to; None: all that anything names."""
    in_use: frozenset[str] | None = None
    """Datasets that artifacts of runs name; None: not looked for, so every complete dataset stays."""


@dataclass(frozen=True)
class PruneItem:
    """One thing that could go."""

    kind: str
    """version, dataset, checkpoint, probe or artifacts."""
    name: str
    """The version's number, the dataset's hash, the object's key or the run's id."""
    why: str
    """Why it could go, for people."""
    objects: tuple[ObjectInfo, ...]
    """Its objects, in the order in which they go."""
    mark: str | None = None
    """Key of the object that makes the thing valid, which is the first to go; None where there is none."""

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(entry.size for entry in self.objects)


def plan_prune(store: Store, policy: PrunePolicy) -> list[PruneItem]:
    """All that could go now: versions first, since datasets are needed by versions.

    Raises:
        IntegrityError: something that stays cannot be read, so what it needs is not known.
    """
    contents = read_store_contents(store)
    champion = registry.current(store)
    kept = kept_versions(store, contents, champion, policy)
    items = [_version_item(contents.versions[name], champion) for name in sorted(contents.versions.keys() - kept, key=int)]
    needed = needed_datasets(store, contents, kept, policy)
    items += [_dataset_item(contents.datasets[name]) for name in sorted(contents.datasets.keys() - needed)]
    items += _checkpoint_items((contents.datasets[name] for name in sorted(contents.datasets.keys() & needed)), policy.cutoff)
    items += [
        PruneItem("probe", entry.key, "left by a killed `driftloop doctor`", (entry,))
        for entry in _older_than_cutoff(contents.probes, policy.cutoff)
    ]
    return [item for item in items if item.objects]


def kept_versions(store: Store, contents: StoreContents, champion: Champion | None, policy: PrunePolicy) -> set[str]:
    """The versions that stay whole. Without a pointer all do: it may be lost, or not yet restored."""
    if champion is None:
        return set(contents.versions)
    young = {name for name, folder in contents.versions.items() if folder.touched >= policy.cutoff}
    records = read_records(store, ALL_RECORDS)
    kept = young | recently_named(champion, records, policy.cutoff) | {champion.version}
    if policy.keep_versions is not None:
        return kept | champions_to_keep(champion, policy.keep_versions)
    kept |= named_versions(champion, records)
    return kept | with_fine_tuning_parents(store, kept, contents.complete_versions)


def needed_datasets(store: Store, contents: StoreContents, versions: set[str], policy: PrunePolicy) -> set[str]:
    """The datasets that stay: young ones, those of the versions that stay, those in use, and all that these point at."""
    if policy.in_use is None:
        named = contents.complete_datasets
    else:
        named = {
            read_model_description(store, version).dataset for version in _described_versions(contents, versions, policy)
        } | policy.in_use
    young = {name for name, folder in contents.datasets.items() if folder.touched >= policy.cutoff}
    return with_shared_shards(store, named | young, contents.complete_datasets)


def _described_versions(contents: StoreContents, versions: set[str], policy: PrunePolicy) -> list[str]:
    """The versions that are complete, or that are just being written and have their description already."""
    folders = [contents.versions[version] for version in versions & contents.versions.keys()]
    described = [folder for folder in folders if any(entry.key == folder.prefix + DESCRIPTION for entry in folder.objects)]
    return [folder.name for folder in folders if folder.complete or (folder in described and folder.touched >= policy.cutoff)]


def _version_item(folder: StoredFolder, champion: Champion | None) -> PruneItem:
    gone = tuple(entry for entry in folder.objects if entry.key.removeprefix(folder.prefix) not in KEPT_OF_A_VERSION)
    served = champion is not None and any(folder.name == change.version for change in champion.history)
    why = ("served before the versions that are kept" if served else "never promoted") if folder.complete else "was never completed"
    return _pruned_folder("version", folder, gone, f"{folder.prefix}{SUMS}", why)


def _dataset_item(folder: StoredFolder) -> PruneItem:
    why = "no version and no run names it" if folder.complete else "was never completed"
    return _pruned_folder("dataset", folder, folder.objects, f"{folder.prefix}{DATASET_FILE}", why)


def _pruned_folder(kind: str, folder: StoredFolder, objects: tuple[ObjectInfo, ...], mark: str, why: str) -> PruneItem:
    """The mark goes first: a prune that is killed leaves a thing that is incomplete, which nobody reads and the next prune takes."""
    ordered = tuple(sorted(objects, key=lambda entry: (entry.key != mark, entry.key)))
    return PruneItem(kind, folder.name, why, ordered, mark if folder.complete else None)


def _checkpoint_items(folders: Iterable[StoredFolder], cutoff: datetime) -> list[PruneItem]:
    """What trainings that never ended left to be resumed from, beside datasets that stay."""
    items = []
    for folder in folders:
        old = tuple(
            entry
            for entry in _older_than_cutoff(folder.objects, cutoff)
            if entry.key.startswith(f"{folder.prefix.rstrip('/')}{CHECKPOINTS_FOLDER}")
        )
        items.append(PruneItem("checkpoint", folder.name, "its training was never resumed", old))
    return items


def _older_than_cutoff(entries: Iterable[ObjectInfo], cutoff: datetime) -> list[ObjectInfo]:
    return [entry for entry in entries if entry.modified < cutoff]


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


def champions_to_keep(champion: Champion, most: int) -> set[str]:
    """The champion and the `most` versions before it to which rollbacks return, one by one."""
    return set(standing(champion.history)[-1 - most :]) | {champion.version}


def read_model_description(store: Store, version: str) -> ModelDescription:
    """A version's description.

    Raises:
        IntegrityError: it cannot be read, so the dataset that the version needs is not known.
    """
    key = f"{VERSIONS}{version}/{DESCRIPTION}"
    try:
        return ModelDescription.model_validate_json(store.read(key))
    except ValidationError:
        raise _unreadable(store, key) from None


def with_fine_tuning_parents(store: Store, versions: Iterable[str], complete: set[str]) -> set[str]:
    """The versions and all that they were fine-tuned from, as far as those are complete."""
    kept: set[str] = set()
    waiting = [version for version in versions if version in complete]
    while waiting:
        version = waiting.pop()
        if version not in kept:
            kept.add(version)
            parent = read_model_description(store, version).parent
            waiting += [parent] if parent in complete else []
    return kept


def with_shared_shards(store: Store, hashes: Iterable[str], complete: set[str]) -> set[str]:
    """The datasets and all whose shards or tables they point at: a retraining's dataset copies nothing of the one it grew out of."""
    kept: set[str] = set()
    waiting = list(hashes)
    while waiting:
        name = waiting.pop()
        if name in kept:
            continue
        kept.add(name)
        if name in complete:
            dataset = _read_dataset_description(store, name)
            keys = [dataset.samples, *(shard.key for shard in dataset.shards)]
            waiting += [key.split("/")[1] for key in keys] + ([dataset.parent] if dataset.parent else [])
    return kept


def _read_dataset_description(store: Store, name: str) -> Description:
    key = f"{DATASETS}{name}/{DATASET_FILE}"
    try:
        return Description.model_validate_json(store.read(key))
    except ValidationError:
        raise _unreadable(store, key) from None


def _unreadable(store: Store, key: str) -> IntegrityError:
    return IntegrityError(
        f"{store.uri}/{key}: cannot be read, so nobody knows what it needs; restore it from a backup, nothing was deleted"
    )


def carry_out_prune(store: Store, items: Iterable[PruneItem], policy: PrunePolicy) -> Iterator[tuple[PruneItem, str]]:
    """Delete item by item; each with the reason for which it was spared after all ("" where it is gone).

    Args:
        store: whose plan `items` are.
        items: what `plan_prune` returned.
        policy: what it was made with.
    """
    seen: tuple[str | None, frozenset[str]] | None = None
    planned: set[tuple[str, str]] = set()
    for item in items:
        now = _pointer_and_versions(store)
        if seen is None or now[0] != seen[0] or now[1] - seen[1]:
            seen, planned = now, {(current.kind, current.name) for current in plan_prune(store, policy)}
        yield item, _delete_item(store, item) if (item.kind, item.name) in planned else "somebody needs it by now"


def _pointer_and_versions(store: Store) -> tuple[str | None, frozenset[str]]:
    """The pointer's nonce, and the complete versions: when either changes, the plan is made anew."""
    champion = registry.current(store)
    return champion.nonce if champion else None, frozenset(read_store_contents(store).complete_versions)


def _delete_item(store: Store, item: PruneItem) -> str:
    """Delete an item's objects in their order; returns why it was spared, or ""."""
    for entry in item.objects:
        if not _is_as_listed(store, entry):
            return "it was written again meanwhile"
        if item.kind == "version" and entry.key == item.mark:
            if not _take_mark_away(store, item.name, entry.key):
                return "it was promoted meanwhile"
        else:
            store.delete(entry.key)
    return ""


def _take_mark_away(store: Store, version: str, mark: str) -> bool:
    """Take a version's mark away, and give it back if the version serves by now; whether it is gone."""
    content = store.read(mark)
    store.delete(mark)
    champion = registry.current(store)
    if champion is None or champion.version != version:
        return True
    store.put(mark, content)
    return False


def _is_as_listed(store: Store, entry: ObjectInfo) -> bool:
    """Whether an object is still the one that was listed."""
    return any(listed.key == entry.key and listed.modified == entry.modified for listed in store.list(entry.key))
