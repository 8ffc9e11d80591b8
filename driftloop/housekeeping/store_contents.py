"""A store's versions and datasets as its listing shows them: which objects each has, how old they are, whether it is complete.

What takes the room in a store, and what a watch adds to it: one pass over the listing, nothing is read.
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
from driftloop.watch_record import HEARTBEAT, PREFIX

#: Only what is named as driftloop names it can go; versions/refused/, say, is no version.
VERSION, DATASET_HASH = re.compile("[1-9][0-9]*"), re.compile("[0-9a-f]{64}")


#: What `driftloop doctor` leaves when it is killed.
PROBES = "doctor/"


CHECKPOINTS = "/checkpoints/"


@dataclass(frozen=True)
class Folder:
    """The objects below `prefix`, which ends in "/"; `complete`: the one that is written last is there."""

    prefix: str
    objects: tuple[ObjectInfo, ...]
    complete: bool

    @property
    def name(self) -> str:
        """The version's number, or the dataset's hash."""
        return self.prefix.split("/")[1]

    @property
    def touched(self) -> datetime:
        """When the newest object was written, by the store's clock."""
        return max(entry.modified for entry in self.objects)


@dataclass(frozen=True)
class Contents:
    """Versions and datasets by name, and what lies below `doctor/`."""

    versions: dict[str, Folder]
    datasets: dict[str, Folder]
    probes: list[ObjectInfo]

    @property
    def complete_versions(self) -> set[str]:
        """The versions that carry their mark: the others are read by nobody."""
        return {name for name, folder in self.versions.items() if folder.complete}

    @property
    def complete_datasets(self) -> set[str]:
        """The datasets that can be opened."""
        return {name for name, folder in self.datasets.items() if folder.complete}


def read_contents(store: Store) -> Contents:
    """List what may be pruned; nothing is read. Datasets first: a version that appears meanwhile is seen with what it needs."""
    datasets = _folders(store.list(DATASETS), DATASET_HASH, last=DATASET)
    return Contents(_folders(store.list(VERSIONS), VERSION, last=SUMS), datasets, list(store.list(PROBES)))


def _folders(entries: Iterable[ObjectInfo], named: re.Pattern[str], *, last: str) -> dict[str, Folder]:
    objects: dict[str, list[ObjectInfo]] = defaultdict(list)
    for entry in entries:
        area, name, rest = (*entry.key.split("/", 2), "")[:3]
        if rest and named.fullmatch(name):
            objects[f"{area}/{name}/"].append(entry)
    folders = [Folder(prefix, tuple(own), any(entry.key == prefix + last for entry in own)) for prefix, own in objects.items()]
    return {folder.name: folder for folder in folders}


@dataclass(frozen=True)
class Usage:
    """Bytes by area (datasets, versions, logs, ...). `growth`: of these what was written between the last two watch records, by area;
    None with fewer than two. What was written over in between counts with its present size."""

    areas: dict[str, int]
    objects: int
    growth: dict[str, int] | None

    @property
    def total(self) -> int:
        """Bytes in all."""
        return sum(self.areas.values())


def usage(listing: Iterable[ObjectInfo]) -> Usage:
    """The usage of a store whose whole listing is given. Times are the store's own, so no two clocks are compared."""
    entries = list(listing)
    records = [entry for entry in entries if entry.key.startswith(PREFIX) and entry.key != HEARTBEAT]
    growth = None
    if len(records) > 1:
        before, last = (record.modified for record in sorted(records, key=lambda entry: entry.key)[-2:])
        growth = _by_area(entry for entry in entries if before < entry.modified <= last)
    return Usage(_by_area(entries), len(entries), growth)


def _by_area(entries: Iterable[ObjectInfo]) -> dict[str, int]:
    areas: dict[str, int] = defaultdict(int)
    for entry in entries:
        areas[entry.key.partition("/")[0]] += entry.size
    return dict(sorted(areas.items()))
