"""What takes the room in a store, and what a watch adds to it: one pass over the listing, nothing is read."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from driftloop.store import ObjectInfo
from driftloop.watch_record import HEARTBEAT, PREFIX


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
