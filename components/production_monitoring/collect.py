"""The hours of the log that hold rows: what is read piece by piece, so that memory does not grow with the length of the log.

What a watch covers: from the end of the last committed record to its own end.

Collecting the rows of a watch: the fresh ones, and the older ones that late labels may belong to.

Packing the images of a window into one array.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from driftloop.bundle import ModelDescription
from driftloop.errors import InputError, NotFound
from driftloop.inference.log import LOG_SCHEMA, LOGS_PREFIX, hour_folder, read_images, read_log
from driftloop.inference.traffic import FRESH, IMAGE_INDEX, LABEL, LABEL_ORIGIN
from driftloop.settings import MonitorSettings
from driftloop.store import Store
from driftloop.watch_record import WatchRecord

HOUR, LOG_TICK = timedelta(hours=1), timedelta(microseconds=1)


def hours_with_rows(store: Store, since: datetime | None, until: datetime) -> list[datetime]:
    """The beginnings of the hours, in order, that have log files and reach into the span; nothing but names is read."""
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


@dataclass(frozen=True)
class WatchPeriod:
    """Rows with `since` < time <= `until` are this watch's; `since` is None for the first watch of a store."""

    sequence: int
    since: datetime | None
    until: datetime


def next_period(records: list[WatchRecord], until: str, *, settle_seconds: float) -> WatchPeriod:
    """The span after the last of `records`.

    Args:
        records: oldest first.
        until: ISO 8601, taken as UTC where it names no zone; empty means `settle_seconds` before now. An end before the last
            record's is moved to it: the window is then empty, because an earlier watch has covered it.
        settle_seconds: how long rows may take from their request to the log.

    Raises:
        InputError: `until` is no time.
    """
    end = parse_time(until) if until.strip() else datetime.now(UTC) - timedelta(seconds=settle_seconds)
    if not records:
        return WatchPeriod(1, None, end)
    since = parse_time(records[-1].until)
    return WatchPeriod(records[-1].sequence + 1, since, max(end, since))


def parse_time(text: str) -> datetime:
    """An ISO 8601 time, in UTC; one without a zone is taken as UTC.

    Raises:
        InputError: it cannot be read.
    """
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InputError(f"until: {text!r} is not a time; write it like 2025-03-31T12:00:00+00:00, or leave it empty for now") from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)


OK = "ok"


@dataclass(frozen=True)
class CollectedRows:
    """`everything`: all fresh rows, of every version and status. `judged`: the champion's answered requests, fresh ones and context,
    with label, label_origin and fresh. `until`: the end of what was read; earlier than asked for where `cut` is set."""

    everything: pd.DataFrame
    judged: pd.DataFrame
    until: datetime
    cut: bool


def collect_rows(store: Store, span: WatchPeriod, labels: pd.DataFrame, version: str, settings: MonitorSettings) -> CollectedRows:
    """Read the rows of `span`, and the older ones of the same version within the look-back.

    Args:
        labels: what `read_labels` returns.
        version: the champion's; rows of other versions are counted, not judged.
    """
    fresh, until, cut = read_fresh(store, span, settings.max_rows)
    older = read_context(store, span, set(labels["request_id"]), version, settings)
    judged = joined_rows([older.assign(**{FRESH: False}), answered_by(fresh, version).assign(**{FRESH: True})])
    if not len(judged):
        judged[FRESH] = pd.Series(dtype=bool)
    judged[FRESH] = judged[FRESH].astype(bool)
    judged[IMAGE_INDEX] = -1
    return CollectedRows(with_labels(fresh, labels), with_labels(judged, labels), until, cut)


def read_fresh(store: Store, span: WatchPeriod, most: int) -> tuple[pd.DataFrame, datetime, bool]:
    """The rows of the span, the oldest `most` of them; the end of what was read; whether rows were left for the next watch.

    Rows of one instant stay together, because the next watch begins after the last instant of this one.
    """
    parts: list[pd.DataFrame] = []
    count = 0
    for rows in rows_by_hour(store, span.since, span.until):
        parts.append(rows)
        count += len(rows)
        if count > most:
            together = joined_rows(parts)
            if len(together) > most:
                end = together["time"].iloc[most - 1]
                return together[together["time"] <= end].reset_index(drop=True), end.to_pydatetime(), True
    return joined_rows(parts), span.until, False


def read_context(store: Store, span: WatchPeriod, labelled: set[str], version: str, settings: MonitorSettings) -> pd.DataFrame:
    """Older answered rows of this version: those with a label first, then the newest, `context_rows` at most."""
    most = settings.context_rows
    if span.since is None or most == 0:
        return joined_rows([])
    begin = span.since - timedelta(days=settings.look_back_days)
    wanted, others = set(labelled), 0
    with_label: list[pd.DataFrame] = []
    without: list[pd.DataFrame] = []
    for rows in rows_by_hour(store, begin, span.since, newest_first=True):
        own = answered_by(rows, version)
        known = own["request_id"].isin(labelled)
        with_label.append(own[known])
        if others < most:
            without.append(own[~known])
            others += int((~known).sum())
        # Labels of other versions' rows are accounted for too: once every label has its row, nothing older matters.
        wanted -= set(rows["request_id"])
        if others >= most and not wanted:
            break
    first = joined_rows(with_label).tail(most)
    return joined_rows([first, joined_rows(without).tail(most - len(first))] if len(first) < most else [first])


def answered_by(rows: pd.DataFrame, version: str) -> pd.DataFrame:
    """The rows that this version answered; failed requests have no prediction to judge."""
    return rows[(rows["model_version"] == version) & (rows["status"] == OK)]


def with_labels(rows: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """The rows with `label` and `label_origin`, None where no label has come."""
    known = labels.set_index("request_id")
    found = {LABEL: rows["request_id"].map(known["label"]), LABEL_ORIGIN: rows["request_id"].map(known["origin"])}
    return rows.assign(**{name: column.astype(object).where(column.notna(), None) for name, column in found.items()})


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
