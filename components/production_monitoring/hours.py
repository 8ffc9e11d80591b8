"""The hours of the log that hold rows: what is read piece by piece, so that memory does not grow with the length of the log."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pandas as pd

from driftloop.inference.log import SCHEMA, read_log
from driftloop.inference.log_format import PREFIX, partition
from driftloop.store import Store

HOUR, TICK = timedelta(hours=1), timedelta(microseconds=1)


def hours_with_rows(store: Store, since: datetime | None, until: datetime) -> list[datetime]:
    """The beginnings of the hours, in order, that have log files and reach into the span; nothing but names is read."""
    first = partition(since) if since is not None else f"{PREFIX}dt="
    last = partition(until)
    hours: list[datetime] = []
    for entry in store.list(PREFIX, after=first):
        folder = entry.key.rpartition("/")[0] + "/"
        if folder > last:
            break
        if entry.key.endswith(".parquet") and (not hours or partition(hours[-1]) != folder):
            hours.append(datetime.strptime(folder, f"{PREFIX}dt=%Y-%m-%d/hour=%H/").replace(tzinfo=UTC))
    return hours


def rows_by_hour(store: Store, since: datetime | None, until: datetime, *, newest_first: bool = False) -> Iterator[pd.DataFrame]:
    """The log's rows with `since` < time <= `until`, an hour at a time, each hour sorted by time."""
    hours = hours_with_rows(store, since, until)
    for hour in reversed(hours) if newest_first else hours:
        after = hour - TICK if since is None else max(since, hour - TICK)
        yield read_log(store, after=after, until=min(until, hour + HOUR - TICK))


def joined(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """The parts as one table in time order, one row a request; without parts an empty table with the log's columns."""
    filled = [part for part in parts if len(part)]
    if not filled:
        return SCHEMA.empty_table().to_pandas()
    rows = pd.concat(filled, ignore_index=True).sort_values(["time", "request_id"], ignore_index=True)
    return rows.drop_duplicates("request_id", keep="first", ignore_index=True)
