"""What could go from a store, and why: the plan that `driftloop prune` shows, and then carries out.

Whatever was written or named since the cutoff stays, needed or not: a run in progress has only just written its datasets and
versions, and nothing names them yet.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from driftloop import registry
from driftloop.bundle import DESCRIPTION
from driftloop.housekeeping.contents import CHECKPOINTS, Contents, Folder, read_contents
from driftloop.housekeeping.references import last_standing, model_of, named_versions, recently_named, with_parents, with_shards
from driftloop.registry import Champion
from driftloop.registry.versions import CLAIM, GATE
from driftloop.store import ObjectInfo, Store
from driftloop.watch_record import read_records

#: What stays of a version for good: its number is never given out again, and its lineage and the gate's evidence can still be read.
REMAINS = frozenset({CLAIM, DESCRIPTION, GATE})
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
    items += [_dataset(contents.datasets[name]) for name in sorted(contents.datasets.keys() - needed)]
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


def _dataset(folder: Folder) -> Item:
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
