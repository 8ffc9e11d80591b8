"""What a watch covers, and the rows and images that belong to it.

A watch covers the time from the end of the last committed record to its own end. Its fresh rows are all that was logged then; context
are the champion's older rows, which labels that come late may belong to. The log is read an hour at a time, so that memory does not
grow with its length.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from driftloop.bundle import ModelDescription
from driftloop.errors import InputError, NotFound
from driftloop.inference.log import LOG_SCHEMA, LOGS_PREFIX, STATUS_OK, hour_folder, read_images, read_log
from driftloop.inference.traffic import FRESH, IMAGE_INDEX, LABEL, LABEL_ORIGIN
from driftloop.settings import MonitorSettings
from driftloop.store import Store
from driftloop.watch_record import WatchRecord

HOUR = timedelta(hours=1)
#: The resolution of the log's times.
LOG_TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class WatchPeriod:
    """The time that a watch covers: rows with `since` < time <= `until` are its own."""

    sequence: int
    """Number under which the watch will be recorded."""
    since: datetime | None
    """End of the last committed watch; None for the first watch of a store."""
    until: datetime
    """End of this one."""


def next_period(records: list[WatchRecord], until: str, *, settle_seconds: float) -> WatchPeriod:
    """The period after the last of `records`.

    Args:
        records: oldest first.
        until: ISO 8601, taken as UTC where it names no zone; empty means `settle_seconds` before now. An end before the last
            record's is moved to it: the period is then empty, because an earlier watch has covered it.
        settle_seconds: how long rows may take from their request to the log.

    Raises:
        InputError: `until` is not a valid time.
    """
    end = parse_time(until) if until.strip() else datetime.now(UTC) - timedelta(seconds=settle_seconds)
    if not records:
        return WatchPeriod(1, None, end)
    since = parse_time(records[-1].until)
    return WatchPeriod(records[-1].sequence + 1, since, max(end, since))


def parse_time(text: str) -> datetime:
    """An ISO 8601 time, in UTC; one without a zone is taken as UTC.

    Raises:
        InputError: it is not a valid time.
    """
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InputError(f"until: {text!r} is not a time; write it like 2025-03-31T12:00:00+00:00, or leave it empty for now") from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)


@dataclass(frozen=True)
class CollectedRows:
    """The rows of a watch, with their labels."""

    all_fresh: pd.DataFrame
    """All rows of the period, of every version and status."""
    champion_rows: pd.DataFrame
    """The champion's answered requests, fresh ones and context, with the columns that the traffic adds to the log's."""
    until: datetime
    """End of what was read; earlier than the period's where rows were left."""
    rows_left: bool
    """Whether rows were left for the next watch."""


def collect_rows(store: Store, period: WatchPeriod, labels: pd.DataFrame, version: str, settings: MonitorSettings) -> CollectedRows:
    """Read the rows of `period`, and the older ones of the same version within the look-back.

    Args:
        labels: what `read_labels` returns.
        version: the champion's; rows of other versions are counted, not judged.
    """
    fresh, until, rows_left = read_fresh(store, period, settings.max_rows)
    older = read_context(store, period, set(labels["request_id"]), version, settings)
    champion = joined_rows([older.assign(**{FRESH: False}), answered_by(fresh, version).assign(**{FRESH: True})])
    if not len(champion):
        champion[FRESH] = pd.Series(dtype=bool)
    champion[FRESH] = champion[FRESH].astype(bool)
    champion[IMAGE_INDEX] = -1
    return CollectedRows(with_labels(fresh, labels), with_labels(champion, labels), until, rows_left)


def read_fresh(store: Store, period: WatchPeriod, most: int) -> tuple[pd.DataFrame, datetime, bool]:
    """The rows of the period, the oldest `most` of them; the end of what was read; whether rows were left for the next watch.

    Rows of one instant stay together, because the next watch begins after the last instant of this one.
    """
    parts: list[pd.DataFrame] = []
    count = 0
    for rows in rows_by_hour(store, period.since, period.until):
        parts.append(rows)
        count += len(rows)
        if count > most:
            together = joined_rows(parts)
            if len(together) > most:
                end = together["time"].iloc[most - 1]
                return together[together["time"] <= end].reset_index(drop=True), end.to_pydatetime(), True
    return joined_rows(parts), period.until, False


def read_context(store: Store, period: WatchPeriod, labelled: set[str], version: str, settings: MonitorSettings) -> pd.DataFrame:
    """Older answered rows of this version: those with a label first, then the newest, `context_rows` at most."""
    most = settings.context_rows
    if period.since is None or most == 0:
        return joined_rows([])
    begin = period.since - timedelta(days=settings.look_back_days)
    # Labels whose row was not seen yet, and how many rows without a label were.
    awaited, unlabelled = set(labelled), 0
    with_label: list[pd.DataFrame] = []
    without: list[pd.DataFrame] = []
    for rows in rows_by_hour(store, begin, period.since, newest_first=True):
        own = answered_by(rows, version)
        known = own["request_id"].isin(labelled)
        with_label.append(own[known])
        if unlabelled < most:
            without.append(own[~known])
            unlabelled += int((~known).sum())
        # Labels of other versions' rows are accounted for too: once every label has its row, nothing older matters.
        awaited -= set(rows["request_id"])
        if unlabelled >= most and not awaited:
            break
    first = joined_rows(with_label).tail(most)
    return joined_rows([first, joined_rows(without).tail(most - len(first))] if len(first) < most else [first])


def answered_by(rows: pd.DataFrame, version: str) -> pd.DataFrame:
    """The rows that this version answered; failed requests have no prediction that could be judged."""
    return rows[(rows["model_version"] == version) & (rows["status"] == STATUS_OK)]


def with_labels(rows: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """The rows with `label` and `label_origin`, None where no label has come."""
    known = labels.set_index("request_id")
    columns = {LABEL: rows["request_id"].map(known["label"]), LABEL_ORIGIN: rows["request_id"].map(known["origin"])}
    return rows.assign(**{name: column.astype(object).where(column.notna(), None) for name, column in columns.items()})


def pack_images(store: Store, rows: pd.DataFrame, model: ModelDescription, mib: int) -> tuple[pd.DataFrame, np.ndarray, int]:
    """Fetch the kept images of `rows`, as many as fit into `mib` MiB: labelled rows first, then fresh ones, then the newest.

    Returns:
        The rows with `image_index`, the images uint8 (n, H, W, C) in the order of the rows, and the number of images that are gone
        from the store (deleted by a retention rule): their rows stay, without an image.
    """
    shape = (model.image_size, model.image_size, model.channels)
    chosen = rows_to_pack(rows, int(mib * 2**20 // np.prod(shape)))
    images: dict[int, np.ndarray] = {}
    gone = 0
    files = rows.loc[chosen, "image"].str.rpartition("#")[0] if len(chosen) else pd.Series(dtype=object)
    for _, part in rows.loc[chosen].groupby(files, sort=True):
        try:
            images.update(zip(part.index, read_images(store, part), strict=True))
        except NotFound:
            gone += len(part)
    order = sorted(images)
    index = pd.Series(-1, index=rows.index, dtype=np.int64)
    index.loc[order] = np.arange(len(order))
    packed = np.stack([images[row] for row in order]) if order else np.zeros((0, *shape), np.uint8)
    return rows.assign(**{IMAGE_INDEX: index}), packed, gone


def rows_to_pack(rows: pd.DataFrame, most: int) -> pd.Index:
    """The index of the rows whose images are packed: `most` at most."""
    kept = rows[rows["image"].notna()]
    rank = pd.DataFrame({"labelled": kept[LABEL].notna(), "fresh": kept[FRESH], "time": kept["time"]})
    return rank.sort_values(["labelled", "fresh", "time"], ascending=False, kind="stable").index[:most]


def hours_with_rows(store: Store, since: datetime | None, until: datetime) -> list[datetime]:
    """The beginnings of the hours, in order, that have log files and reach into the period; only names are read."""
    first = hour_folder(since) if since is not None else f"{LOGS_PREFIX}dt="
    last = hour_folder(until)
    hours: list[datetime] = []
    for entry in store.list(LOGS_PREFIX, after=first):
        folder = entry.key.rpartition("/")[0] + "/"
        if folder > last:
            break
        if entry.key.endswith(".parquet") and (not hours or hour_folder(hours[-1]) != folder):
            hours.append(datetime.strptime(folder, f"{LOGS_PREFIX}dt=%Y-%m-%d/hour=%H/").replace(tzinfo=UTC))
    return hours


def rows_by_hour(store: Store, since: datetime | None, until: datetime, *, newest_first: bool = False) -> Iterator[pd.DataFrame]:
    """The log's rows with `since` < time <= `until`, an hour at a time, each hour sorted by time."""
    hours = hours_with_rows(store, since, until)
    for hour in reversed(hours) if newest_first else hours:
        after = hour - LOG_TICK if since is None else max(since, hour - LOG_TICK)
        yield read_log(store, after=after, until=min(until, hour + HOUR - LOG_TICK))


def joined_rows(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """The parts as one table in time order, one row a request; without parts an empty table with the log's columns."""
    filled = [part for part in parts if len(part)]
    if not filled:
        return LOG_SCHEMA.empty_table().to_pandas()
    rows = pd.concat(filled, ignore_index=True).sort_values(["time", "request_id"], ignore_index=True)
    return rows.drop_duplicates("request_id", keep="first", ignore_index=True)
