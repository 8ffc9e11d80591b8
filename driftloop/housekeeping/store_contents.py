"""A store as its listing shows it; nothing is read, and what is kept of a listing is sums by folder, however many objects there are.

`read_store_contents` lists versions and datasets: how large and how old they are, whether they are complete. `store_usage` says what
takes the room, and what a watch adds to it.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from driftloop.bundle import DESCRIPTION, SUMS
from driftloop.contracts import BLOCKS, GATE_EVIDENCE
from driftloop.dataset.description import DATASET_FILE
from driftloop.dataset.writing import DATASETS
from driftloop.registry.versions import CLAIM
from driftloop.registry.versions import PREFIX as VERSIONS
from driftloop.store import ObjectInfo, Store
from driftloop.watch_store import LABEL_TABLES, REQUESTS_PREFIX, WATCH_PREFIX, WINDOW_ROWS, is_record_key

#: Only what is named as driftloop names it can go; `versions/refused/`, for example, is not a version.
VERSION_NUMBER, DATASET_HASH = re.compile("[1-9][0-9]*"), re.compile("[0-9a-f]{64}")
#: What `driftloop doctor` leaves when it is killed.
PROBES_PREFIX = "doctor/"
#: A watch takes rows of earlier windows along as far back as `monitor_config.look_back_days`, a third of this by default.
ROWS_KEPT = timedelta(days=90)
#: Below a dataset: what its trainings can be resumed from.
CHECKPOINTS_FOLDER = "checkpoints/"
#: What stays of a version for good: its number is never given out again, and its lineage and the gate's evidence can still be read.
KEPT_OF_A_VERSION = frozenset({CLAIM, DESCRIPTION, GATE_EVIDENCE})
#: The files of a version or a dataset whose presence and time say what it is.
TELLING = KEPT_OF_A_VERSION | {SUMS, DATASET_FILE}
BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass
class Tally:
    """A sum over objects."""

    size: int = 0
    """Bytes."""
    objects: int = 0
    """How many."""
    touched: datetime = BEGINNING
    """When the newest was written, by the store's clock."""

    def add(self, entry: ObjectInfo) -> None:
        """Count an object."""
        self.size += entry.size
        self.objects += 1
        self.touched = max(self.touched, entry.modified)


@dataclass
class StoredFolder:
    """A version or a dataset in the store."""

    prefix: str
    """Under which its objects lie; ends in "/"."""
    last: str
    """Name of the file that is written last: with it the folder is complete."""
    whole: Tally = field(default_factory=Tally)
    """Over all of its objects."""
    removable: Tally = field(default_factory=Tally)
    """Over those that do not stay for good."""
    old_checkpoints: Tally = field(default_factory=Tally)
    """Over the checkpoints from before the cutoff."""
    written: dict[str, datetime] = field(default_factory=dict)
    """When its `TELLING` files were written, by name."""

    @property
    def name(self) -> str:
        """The version's number, or the dataset's hash."""
        return self.prefix.split("/")[1]

    @property
    def complete(self) -> bool:
        """Whether the file that is written last is there."""
        return self.last in self.written

    def add(self, entry: ObjectInfo, cutoff: datetime) -> None:
        """Count an object of the folder."""
        name = entry.key.removeprefix(self.prefix)
        self.whole.add(entry)
        if name in TELLING:
            self.written[name] = entry.modified
        if not (self.prefix.startswith(VERSIONS) and name in KEPT_OF_A_VERSION):
            self.removable.add(entry)
        if name.startswith(CHECKPOINTS_FOLDER) and entry.modified < cutoff:
            self.old_checkpoints.add(entry)


@dataclass(frozen=True)
class StoreContents:
    """What of a store may be pruned."""

    versions: dict[str, StoredFolder]
    """By number."""
    datasets: dict[str, StoredFolder]
    """By hash."""
    old_probes: Tally
    """What lies below `doctor/` from before the cutoff."""
    old_window_rows: Tally
    """Rows that watches kept for later ones, from so long before the cutoff that no watch looks back to them."""
    old_label_tables: Tally
    """Tables of labels from before the cutoff and from before the one from which the next watch goes on."""
    old_label_requests: Tally
    """Lists of what watches asked for, as old as `old_window_rows`: no watch can use a label that answers them."""
    old_blocks: Tally
    """What was read of sources by parts, from before the cutoff: it saves reading them again, and nothing needs it."""

    @property
    def complete_versions(self) -> set[str]:
        """The versions that carry their mark: nothing reads the others."""
        return {name for name, folder in self.versions.items() if folder.complete}

    @property
    def complete_datasets(self) -> set[str]:
        """The datasets that can be opened."""
        return {name for name, folder in self.datasets.items() if folder.complete}


def read_store_contents(store: Store, cutoff: datetime, label_table: str = "") -> StoreContents:
    """List what may be pruned; nothing is read. Datasets first: a version that appears meanwhile is seen with what it needs.

    Args:
        store: the model's home.
        cutoff: what was written at or after this time is young.
        label_table: what the newest watch record names; a watch that died may have written a newer one.
    """
    datasets = _folders(store.list(DATASETS), DATASET_HASH, DATASET_FILE, cutoff)
    versions = _folders(store.list(VERSIONS), VERSION_NUMBER, SUMS, cutoff)
    labels, tables = Tally(), list(store.list(LABEL_TABLES))
    newest = max((entry.modified for entry in tables), default=cutoff)
    needed = min((entry.modified for entry in tables if entry.key == label_table), default=newest)
    for entry in tables:
        if entry.modified < min(cutoff, needed):
            labels.add(entry)
    return StoreContents(
        versions,
        datasets,
        old_probes=_before(store, PROBES_PREFIX, cutoff),
        old_window_rows=_before(store, WINDOW_ROWS, cutoff - ROWS_KEPT),
        old_label_tables=labels,
        old_label_requests=_before(store, REQUESTS_PREFIX, cutoff - ROWS_KEPT),
        old_blocks=_before(store, BLOCKS, cutoff),
    )


def _before(store: Store, prefix: str, cutoff: datetime) -> Tally:
    """Over what lies below a prefix and was written before a time."""
    tally = Tally()
    for entry in store.list(prefix):
        if entry.modified < cutoff:
            tally.add(entry)
    return tally


def _folders(entries: Iterable[ObjectInfo], name_pattern: re.Pattern[str], last: str, cutoff: datetime) -> dict[str, StoredFolder]:
    folders: dict[str, StoredFolder] = {}
    for entry in entries:
        area, name, rest = (*entry.key.split("/", 2), "")[:3]
        if rest and name_pattern.fullmatch(name):
            if name not in folders:
                folders[name] = StoredFolder(f"{area}/{name}/", last)
            folders[name].add(entry, cutoff)
    return folders


@dataclass(frozen=True)
class StoreUsage:
    """What takes the room in a store."""

    areas: dict[str, int]
    """Bytes by area: datasets, versions, logs, ..."""
    objects: int
    """Number of objects."""
    growth: dict[str, int] | None
    """Bytes by area that were written between the last two watch records, at their present size; None with fewer than two records."""

    @property
    def total(self) -> int:
        """Bytes in all."""
        return sum(self.areas.values())


def store_usage(store: Store) -> StoreUsage:
    """The usage of a store, which is listed whole. Times are the store's own, so no two clocks are compared."""
    last_two = _last_two_records(store)
    areas: dict[str, int] = defaultdict(int)
    growth: dict[str, int] = defaultdict(int)
    objects = 0
    for entry in store.list():
        area = entry.key.partition("/")[0]
        areas[area] += entry.size
        objects += 1
        if last_two is not None and last_two[0] < entry.modified <= last_two[1]:
            growth[area] += entry.size
    return StoreUsage(dict(sorted(areas.items())), objects, None if last_two is None else dict(sorted(growth.items())))


def _last_two_records(store: Store) -> tuple[datetime, datetime] | None:
    """When the last two watch records were written; None with fewer."""
    before = last = None
    for entry in store.list(WATCH_PREFIX):
        if is_record_key(entry.key):
            before, last = last, entry.modified
    return None if before is None or last is None else (before, last)
