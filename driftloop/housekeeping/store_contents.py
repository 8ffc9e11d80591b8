"""A store as its listing shows it; nothing is read.

`read_store_contents` lists versions and datasets: which objects each has, how old they are, whether it is complete. `store_usage` says
what takes the room, and what a watch adds to it.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from driftloop.bundle import SUMS
from driftloop.dataset.description import DATASET_FILE as DATASET
from driftloop.dataset.writing import DATASETS
from driftloop.registry.versions import PREFIX as VERSIONS
from driftloop.store import ObjectInfo, Store
from driftloop.watch_store import is_record_key

#: Only what is named as driftloop names it can go; `versions/refused/`, for example, is not a version.
VERSION_NUMBER, DATASET_HASH = re.compile("[1-9][0-9]*"), re.compile("[0-9a-f]{64}")
#: What `driftloop doctor` leaves when it is killed.
PROBES_PREFIX = "doctor/"
#: Below a dataset: what its trainings can be resumed from.
CHECKPOINTS_FOLDER = "/checkpoints/"


@dataclass(frozen=True)
class StoredFolder:
    """A version or a dataset in the store."""

    prefix: str
    """Under which its objects lie; ends in "/"."""
    objects: tuple[ObjectInfo, ...]
    """In key order."""
    complete: bool
    """Whether the object that is written last is there."""

    @property
    def name(self) -> str:
        """The version's number, or the dataset's hash."""
        return self.prefix.split("/")[1]

    @property
    def touched(self) -> datetime:
        """When the newest object was written, by the store's clock."""
        return max(entry.modified for entry in self.objects)


@dataclass(frozen=True)
class StoreContents:
    """What of a store may be pruned."""

    versions: dict[str, StoredFolder]
    """By number."""
    datasets: dict[str, StoredFolder]
    """By hash."""
    probes: list[ObjectInfo]
    """What lies below `doctor/`."""

    @property
    def complete_versions(self) -> set[str]:
        """The versions that carry their mark: nothing reads the others."""
        return {name for name, folder in self.versions.items() if folder.complete}

    @property
    def complete_datasets(self) -> set[str]:
        """The datasets that can be opened."""
        return {name for name, folder in self.datasets.items() if folder.complete}


def read_store_contents(store: Store) -> StoreContents:
    """List what may be pruned; nothing is read. Datasets first: a version that appears meanwhile is seen with what it needs."""
    datasets = _folders(store.list(DATASETS), DATASET_HASH, last=DATASET)
    return StoreContents(_folders(store.list(VERSIONS), VERSION_NUMBER, last=SUMS), datasets, list(store.list(PROBES_PREFIX)))


def _folders(entries: Iterable[ObjectInfo], name_pattern: re.Pattern[str], *, last: str) -> dict[str, StoredFolder]:
    objects: dict[str, list[ObjectInfo]] = defaultdict(list)
    for entry in entries:
        area, name, rest = (*entry.key.split("/", 2), "")[:3]
        if rest and name_pattern.fullmatch(name):
            objects[f"{area}/{name}/"].append(entry)
    folders = [
        StoredFolder(prefix, tuple(entries), any(entry.key == prefix + last for entry in entries)) for prefix, entries in objects.items()
    ]
    return {folder.name: folder for folder in folders}


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


def store_usage(listing: Iterable[ObjectInfo]) -> StoreUsage:
    """The usage of a store whose whole listing is given. Times are the store's own, so no two clocks are compared."""
    entries = list(listing)
    records = [entry for entry in entries if is_record_key(entry.key)]
    growth = None
    if len(records) > 1:
        before, last = (record.modified for record in sorted(records, key=lambda entry: entry.key)[-2:])
        growth = _by_area(entry for entry in entries if before < entry.modified <= last)
    return StoreUsage(_by_area(entries), len(entries), growth)


def _by_area(entries: Iterable[ObjectInfo]) -> dict[str, int]:
    areas: dict[str, int] = defaultdict(int)
    for entry in entries:
        areas[entry.key.partition("/")[0]] += entry.size
    return dict(sorted(areas.items()))
