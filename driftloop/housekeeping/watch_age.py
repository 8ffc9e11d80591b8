"""Whether the watches of a store keep up: how long ago what they covered ends, how often they come, and when that is late."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from driftloop.watch_record import WatchRecord

#: So many intervals without a watch are late: one that is missed or slow is made up by the next, two in a row are not.
LATE_AFTER = 2
#: Records from which the usual interval is taken: enough for a median, few to read.
RECENT_RECORDS = 9
#: Watches that follow each other faster than this are somebody's trials, not a schedule.
SHORTEST_INTERVAL = timedelta(minutes=5)


@dataclass(frozen=True)
class WatchAge:
    """How old the last watch is, and whether that is late."""

    age: timedelta | None
    """How long ago what the last watch covered ended; None where there was none."""
    interval: timedelta | None
    """Between watches; None where it is not known."""
    interval_from: str
    """Where the interval comes from, in words; or why it is not known."""
    late: bool | None
    """None where that cannot be said."""


def watch_age(records: Sequence[WatchRecord], now: datetime, *, every: timedelta | None, waiting_since: datetime | None) -> WatchAge:
    """Judge the age of the last watch.

    Args:
        records: the newest ones, oldest first.
        now: with a time zone.
        every: the interval of the schedule; None takes the median gap between the records.
        waiting_since: when the present champion began to serve: a store that was never watched is late from then on.
    """
    interval, source = (every, "--every") if every is not None else usual_interval(records)
    # By what was covered, not by when somebody looked: a watch may look at the traffic of last week.
    last = datetime.fromisoformat(records[-1].until) if records else None
    begin = last or waiting_since
    late = None if interval is None or begin is None else now - begin > LATE_AFTER * interval
    return WatchAge(max(now - last, timedelta(0)) if last else None, interval, source, late)


def usual_interval(records: Sequence[WatchRecord]) -> tuple[timedelta | None, str]:
    """The median gap between watches, and where it comes from in words; None where no schedule can be seen."""
    ends = [datetime.fromisoformat(record.last_write) for record in records]
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(ends)]
    if not gaps:
        return None, "fewer than two watches; say --every"
    median = timedelta(seconds=statistics.median(gaps))
    if median < SHORTEST_INTERVAL:
        return None, "the last watches came right after each other, by hand; say --every"
    return median, f"median of the last {len(ends)} watches"
