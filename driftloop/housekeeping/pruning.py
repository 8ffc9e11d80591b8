"""What could go from a store and why, and deleting it: the plan that `driftloop prune` shows, and then carries out.

Everything here errs on the side of keeping. Whatever was written or named since the cutoff stays, needed or not: a run in progress has
only just written its datasets and versions, and nothing names them yet. What cannot be read is an error, not a reason to delete. A
version that was claimed after the pointer last moved may be about to be promoted, and stays.

A plan is carried out in two prunes, some hours apart: the first marks, the second deletes what is still as it was and still not needed
(`driftloop.prune_marks` says why nothing can slip between them). Each thing loses the file that makes it whole first, so that a prune
that is killed leaves nothing that looks whole and is not; the next one goes on with it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import ValidationError

from driftloop import registry
from driftloop.bundle import DESCRIPTION, SUMS, ModelDescription
from driftloop.contracts import BLOCKS
from driftloop.dataset.description import DATASET_FILE, Description
from driftloop.dataset.writing import DATASETS
from driftloop.errors import Conflict, IntegrityError, NotFound
from driftloop.housekeeping.store_contents import (
    CHECKPOINTS_FOLDER,
    KEPT_OF_A_VERSION,
    PROBES_PREFIX,
    StoreContents,
    StoredFolder,
    Tally,
    read_store_contents,
)
from driftloop.prune_marks import Mark, drop_deleted, item_key, next_marks, read_marks, write_marks
from driftloop.registry import Champion, standing
from driftloop.registry.champion import KEY as POINTER
from driftloop.registry.versions import CLAIM
from driftloop.registry.versions import PREFIX as VERSIONS
from driftloop.store import Store
from driftloop.watch_record import WatchRecord
from driftloop.watch_store import LABEL_TABLES, REQUESTS_PREFIX, WINDOW_ROWS, read_records

#: In the order in which things go.
HOME_KINDS = ("version", "dataset", "checkpoint", "probe", "rows", "labels", "requests", "blocks")
#: The others lie outside the model's home.
KINDS = (*HOME_KINDS, "artifacts", "tensorboard")


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
    """One of `KINDS`."""
    name: str
    """The version's number, the dataset's hash, the folder or the run's id."""
    why: str
    """Why it could go, for people."""
    objects: Tally
    """Over what would be deleted."""

    @property
    def key(self) -> str:
        """Its name among the marks."""
        return item_key(self.kind, self.name)


@dataclass(frozen=True)
class Place:
    """Where the objects of a thing lie."""

    prefix: str
    """Their keys begin with it."""
    first: str = ""
    """Name of the file that makes the thing whole, which is the first to go; empty where there is none."""
    kept: frozenset[str] = frozenset()
    """Names of the files that stay for good."""


def place_of(kind: str, name: str) -> Place:
    """Where the objects of a thing lie, below the root of its kind."""
    if kind == "version":
        return Place(f"{VERSIONS}{name}/", SUMS, KEPT_OF_A_VERSION)
    if kind == "dataset":
        return Place(f"{DATASETS}{name}/", DATASET_FILE)
    if kind == "checkpoint":
        return Place(f"{DATASETS}{name}/{CHECKPOINTS_FOLDER}")
    if kind == "probe":
        return Place(PROBES_PREFIX)
    return Place(f"{name}/")


def plan_prune(store: Store, policy: PrunePolicy) -> list[PruneItem]:
    """All that could go now, versions first.

    Raises:
        IntegrityError: the pointer is lost, or something that stays cannot be read, so what it needs is not known.
    """
    champion = registry.current(store)
    newest = read_records(store, 1)
    contents = read_store_contents(store, policy.cutoff, newest[-1].label_table if newest else "")
    kept = kept_versions(store, contents, champion, policy)
    items = [_version_item(contents.versions[name], champion) for name in sorted(contents.versions.keys() - kept, key=int)]
    needed = needed_datasets(store, contents, policy)
    items += [_dataset_item(contents.datasets[name]) for name in sorted(contents.datasets.keys() - needed)]
    items += [
        PruneItem("checkpoint", name, "its training was never resumed", contents.datasets[name].old_checkpoints)
        for name in sorted(contents.datasets.keys() & needed)
    ]
    items.append(PruneItem("probe", PROBES_PREFIX, "left by a killed `driftloop doctor`", contents.old_probes))
    items.append(PruneItem("rows", WINDOW_ROWS.rstrip("/"), "no watch looks back so far", contents.old_window_rows))
    items.append(PruneItem("labels", LABEL_TABLES.rstrip("/"), "a newer table replaces them; the labels stay", contents.old_label_tables))
    items.append(PruneItem("requests", REQUESTS_PREFIX.rstrip("/"), "no watch looks back so far", contents.old_label_requests))
    items.append(PruneItem("blocks", BLOCKS.rstrip("/"), "read by parts; a training reads its source itself", contents.old_blocks))
    return [item for item in items if item.objects.objects]


def kept_versions(store: Store, contents: StoreContents, champion: Champion | None, policy: PrunePolicy) -> set[str]:
    """The versions that stay whole; before the first promotion all do."""
    if champion is None:
        return set(contents.versions)
    young = {name for name, folder in contents.versions.items() if folder.whole.touched >= policy.cutoff}
    records = read_records(store)
    kept = young | in_promotion(store, contents) | recently_named(champion, records, policy.cutoff) | {champion.version}
    if policy.keep_versions is not None:
        return kept | champions_to_keep(champion, policy.keep_versions)
    kept |= named_versions(champion, records)
    return kept | with_fine_tuning_parents(store, kept, contents.complete_versions)


def in_promotion(store: Store, contents: StoreContents) -> set[str]:
    """The versions that were claimed since the pointer last moved, by the store's clock: a run may be about to let them serve."""
    moved = next(entry.modified for entry in store.list(POINTER) if entry.key == POINTER)
    return {name for name, folder in contents.versions.items() if folder.written.get(CLAIM, moved) >= moved}


def needed_datasets(store: Store, contents: StoreContents, policy: PrunePolicy) -> set[str]:
    """The datasets that stay: young ones, those in use, those of all versions that are there, and all that these point at.

    Also of versions that could go: one of them may just be taken up, and has to find its dataset. It goes after them.
    """
    if policy.in_use is None:
        named = contents.complete_datasets
    else:
        named = {read_model_description(store, version).dataset for version in _described_versions(contents)} | policy.in_use
    young = {name for name, folder in contents.datasets.items() if folder.whole.touched >= policy.cutoff}
    return with_shared_shards(store, named | young, contents.complete_datasets)


def _described_versions(contents: StoreContents) -> list[str]:
    """The versions that are complete, or that are just being written and have their description already."""
    folders = contents.versions.values()
    return [folder.name for folder in folders if folder.complete or (DESCRIPTION in folder.written and folder.removable.objects)]


def _version_item(folder: StoredFolder, champion: Champion | None) -> PruneItem:
    served = champion is not None and any(folder.name == change.version for change in champion.history)
    why = ("served before the versions that are kept" if served else "never promoted") if folder.complete else "was never completed"
    return PruneItem("version", folder.name, why, folder.removable)


def _dataset_item(folder: StoredFolder) -> PruneItem:
    why = "no version and no run names it" if folder.complete else "was never completed"
    return PruneItem("dataset", folder.name, why, folder.removable)


def named_versions(champion: Champion, records: Iterable[WatchRecord]) -> set[str]:
    """Every version that the pointer's history or a watch record names."""
    return recently_named(champion, records, datetime.min.replace(tzinfo=UTC))


def recently_named(champion: Champion, records: Iterable[WatchRecord], cutoff: datetime) -> set[str]:
    """The versions named at or after `cutoff`: a watch that began before a promotion may still work on them, as may an open one."""
    recent = [change for change in champion.history if datetime.fromisoformat(change.at) >= cutoff]
    names = {name for change in recent for name in (change.version, change.before)}
    for record in records:
        if not record.finished or datetime.fromisoformat(record.finished) >= cutoff:
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
        dataset = _read_dataset_description(store, name) if name in complete else None
        if dataset is not None:
            keys = [dataset.samples, *(shard.key for shard in dataset.shards)]
            waiting += [key.split("/")[1] for key in keys] + ([dataset.parent] if dataset.parent else [])
    return kept


def _read_dataset_description(store: Store, name: str) -> Description | None:
    """None where it is gone since it was listed: another prune has come to it."""
    key = f"{DATASETS}{name}/{DATASET_FILE}"
    try:
        return Description.model_validate_json(store.read(key))
    except NotFound:
        return None
    except ValidationError:
        raise _unreadable(store, key) from None


def _unreadable(store: Store, key: str) -> IntegrityError:
    return IntegrityError(
        f"{store.uri}/{key}: cannot be read, so nobody knows what it needs; restore it from a backup, nothing was deleted"
    )


def preview_prune(
    store: Store, plan: Callable[[], list[PruneItem]], roots: Mapping[str, Store], now: datetime, *, wait_s: float
) -> Iterator[tuple[PruneItem, Mark | None]]:
    """What `carry_out_prune` would yield now; nothing is written."""
    items = {item.key: item for item in plan()}
    for key, mark in _following(read_marks(store)[0], items, set(roots), now, wait_s).items():
        item = items.get(key) or _left_over(key)
        if item.kind in roots:
            yield item, None if mark.deleting else mark


def carry_out_prune(
    store: Store, plan: Callable[[], list[PruneItem]], roots: Mapping[str, Store], now: datetime, *, wait_s: float
) -> Iterator[tuple[PruneItem, Mark | None]]:
    """Mark what could go, and delete what was marked long enough ago.

    Args:
        store: the model's home, which keeps the marks.
        plan: makes the plan; called again where somebody took a thing up meanwhile.
        roots: by kind, where the things lie that the plan may hold.
        now: by this machine's clock.
        wait_s: seconds between mark and deletion.

    Yields:
        Each thing with its mark, or None once it is deleted.
    """
    items, marks = _write_marks(store, plan, roots, now, wait_s)
    deleted = set()
    for key, mark in marks.items():
        item = items.get(key) or _left_over(key)
        if mark.deleting and item.kind in roots:
            delete_objects(roots[item.kind], place_of(item.kind, item.name), mark.touched)
            deleted.add(key)
            yield item, None
        elif item.kind in roots:
            yield item, mark
    drop_deleted(store, deleted)


def _write_marks(
    store: Store, plan: Callable[[], list[PruneItem]], roots: Mapping[str, Store], now: datetime, wait_s: float
) -> tuple[dict[str, PruneItem], dict[str, Mark]]:
    """Make the plan and write its marks. They are read before it is made: what is taken up in between changes them."""
    while True:
        marks, tag = read_marks(store)
        items = {item.key: item for item in plan()}
        following = _following(marks, items, set(roots), now, wait_s)
        if following == marks:
            return items, following
        try:
            write_marks(store, following, tag)
        except Conflict:
            continue
        return items, following


def _following(marks: Mapping[str, Mark], items: Mapping[str, PruneItem], kinds: set[str], now: datetime, wait_s: float) -> dict[str, Mark]:
    """The marks after this plan, by kind in the order in which things go and then as planned; kinds not looked for keep theirs."""
    following = next_marks(marks, {key: item.objects.touched for key, item in items.items()}, now, wait_s=wait_s)
    following |= {key: mark for key, mark in marks.items() if _kind_and_name(key)[0] not in kinds}
    places = {key: place for place, key in enumerate(items)}
    ordered = sorted(following, key=lambda key: (KINDS.index(_kind_and_name(key)[0]), places.get(key, -1)))
    return {key: following[key] for key in ordered}


def _kind_and_name(key: str) -> tuple[str, str]:
    kind, _, name = key.partition("/")
    return kind, name


def _left_over(key: str) -> PruneItem:
    return PruneItem(*_kind_and_name(key), "a prune that was killed had begun to delete it", Tally())


def delete_objects(root: Store, place: Place, touched: datetime) -> None:
    """Delete what lies in a place and was written at or before `touched`; the file that makes it whole first, the others in batches."""
    if place.first:
        root.delete(f"{place.prefix}{place.first}")
    root.delete_many(
        entry.key
        for entry in root.list(place.prefix)
        if entry.modified <= touched and entry.key.removeprefix(place.prefix) not in place.kept
    )
