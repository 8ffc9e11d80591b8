"""What a watch covers, and the rows that belong to it.

A watch covers log files that no watch before it has covered. Fresh rows are theirs; context are older rows of the champion that may
still count: those that wait for a window, those of the latest windows, which are tested together with new ones, and those of the
windows of a drift that is not over. They come from what earlier watches kept (`driftloop.inference.watch_tables`), not from the log. In
requests to the store:

    1 for the history of records   1 for each record after it   1 for the table of labels   1 for each label file of the last hours
    1 for each earlier watch with one of the last seven windows, or since the open drift began         1 for each log file that is new
    and listings of 1,000 names each: of the records, of the label files, of the log's last hours
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from driftloop.contracts import POOLED_WINDOWS, SKIP, SKIPPED
from driftloop.drifts import windows_of_open_drift
from driftloop.errors import InputError, NotFound
from driftloop.inference.log import LOG_SCHEMA, STATUS_OK, read_log_files, rows_between
from driftloop.inference.log_files import LogCoverage, LogFile, hour_folder, log_files
from driftloop.inference.traffic import FRESH, LABEL, LABEL_ORIGIN
from driftloop.inference.watch_tables import (
    FOR_POOL,
    FOR_TAG,
    NO_WINDOW,
    NOT_TESTED,
    ROW_SCHEMA,
    TAG_WAITS,
    WATCH,
    WINDOW,
    read_window_rows,
)
from driftloop.settings import MonitorSettings
from driftloop.store import Store
from driftloop.watch_record import RecordedWindow, WatchRecord, with_pools

#: Two clocks may differ by so much: a given end that lies further ahead is a mistake.
CLOCKS_DIFFER = timedelta(hours=1)
#: The resolution of the log's times.
LOG_TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class WatchPeriod:
    """What a watch covers: the log files that are not in `coverage`, as far as all their rows lie before `until`."""

    sequence: int
    """Number under which the watch will be recorded."""
    since: datetime | None
    """End of the watch before; None for the first watch of a store."""
    until: datetime
    """End of this one."""
    coverage: LogCoverage
    """What the watches before have covered."""


def next_period(records: Sequence[WatchRecord], until: str, now: datetime) -> WatchPeriod:
    """The period after the last of `records`.

    Args:
        records: oldest first.
        until: ISO 8601, taken as UTC where it names no zone; empty means `now`. An end before the last record's is moved to it.
        now: with a time zone.

    Raises:
        InputError: `until` is not a valid time, or lies in the future.
    """
    end = parse_time(until) if until.strip() else now
    if end > now + CLOCKS_DIFFER:
        raise InputError(f"until: {until} lies in the future (it is {now:%Y-%m-%dT%H:%M:%S%z} now); leave it empty for now")
    if not records:
        return WatchPeriod(1, None, end, LogCoverage())
    last = records[-1]
    # A record of driftloop 0.1.0 may end in the future: a slip of the pen that was not refused.
    since = min(parse_time(last.until), now)
    coverage = last.coverage or LogCoverage(since=hour_folder(since), until=since.isoformat())
    return WatchPeriod(last.sequence + 1, since, max(end, since), coverage)


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
class FreshRows:
    """The rows of the log files that a watch covers."""

    rows: pd.DataFrame
    """Of every version and status, in time order; a uniform sample where there were too many."""
    counts: dict[str, int]
    """How many there were, by version; where there were too many to look at all, a request that was logged twice counts as two."""
    late: int
    """How many of them had come too late for the watch that their time belongs to."""
    coverage: LogCoverage
    """What is covered now."""

    @property
    def sampled(self) -> float:
        """Share of the rows that is looked at."""
        total = sum(self.counts.values())
        return len(self.rows) / total if total > len(self.rows) else 1.0


def read_fresh(store: Store, period: WatchPeriod, settings: MonitorSettings, now: datetime) -> FreshRows:
    """Read the log files that the period covers; a file with a row after its end is left to the next watch as a whole.

    Of more than `max_rows` rows a uniform sample is kept: those whose request ids have the smallest hashes. It is the same whatever the
    order of the files, and memory does not grow with their number.
    """
    listed = list(log_files(store, period.coverage.since))
    left: list[LogFile] = []
    sample, counts, late = RowSample(settings.max_rows), pd.Series(dtype=np.int64), 0
    covered_rows = parse_time(period.coverage.until) if period.coverage.until else None
    for file, table in read_log_files(store, [file for file in listed if not period.coverage.covers(file)]):
        rows = table.to_pandas()
        if file.number is None:  # of driftloop 0.1.0: by the hour of its rows, which are covered one by one
            rows = rows_between(table, covered_rows, period.until).to_pandas()
        elif len(rows) and rows["time"].max() > period.until:
            left.append(file)
            continue
        counts = counts.add(rows["model_version"].value_counts(), fill_value=0)
        late += _late(rows, period)
        sample.add(rows)
    rows = sample.rows()
    if sample.whole:
        counts, late = rows["model_version"].value_counts(), _late(rows, period)
    coverage = period.coverage.advanced(listed, left, now=now, until=period.until, late=timedelta(hours=settings.late_hours))
    return FreshRows(rows, {str(version): int(count) for version, count in counts.items()}, late, coverage)


def _late(rows: pd.DataFrame, period: WatchPeriod) -> int:
    return int((rows["time"] <= period.since).sum()) if period.since else 0


class RowSample:
    """A uniform sample of rows that arrive in parts: the `most` with the smallest hashes of their request ids."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._parts = [LOG_SCHEMA.empty_table().to_pandas()]
        self._held = 0
        self._limit = np.uint64(2**64 - 1)
        #: Whether no request was left out so far; told by `rows`.
        self.whole = True

    def add(self, rows: pd.DataFrame) -> None:
        part = rows[_hashed(rows) <= self._limit]
        self._parts.append(part)
        self._held += len(part)
        # Joining sorts: once for many files, not once for each.
        if self._held > 2 * self.most:
            self._thin()

    def rows(self) -> pd.DataFrame:
        """The sample so far, one row a request, in time order."""
        self._thin()
        return self._parts[0]

    def _thin(self) -> None:
        kept = joined_rows(self._parts)
        if len(kept) > self.most:
            self.whole, hashes = False, _hashed(kept)
            self._limit = np.partition(hashes, self.most - 1)[self.most - 1]
            kept = kept[hashes <= self._limit].reset_index(drop=True)
        self._parts, self._held = [kept], len(kept)


def _hashed(rows: pd.DataFrame) -> np.ndarray:
    return pd.util.hash_array(rows["request_id"].to_numpy(dtype=object), categorize=False)


def read_context(
    store: Store, records: Sequence[WatchRecord], version: str, period: WatchPeriod, labelled: Collection[str], settings: MonitorSettings
) -> pd.DataFrame:
    """The champion's older rows that may still count, in time order, with the columns of `ROW_SCHEMA`.

    These are the rows that wait for a window, and, as far back as the look-back goes, `context_rows` of the latest windows and of the
    drifted windows of a drift that is not over: the labelled ones first, then the newest. What a retention rule has deleted is left out.

    Raises:
        IntegrityError: what an earlier watch kept is damaged.
    """
    if not records:
        return empty_rows()
    if records[-1].coverage is None:
        rows = _rows_of_old_records(store, records, version, period)
    else:
        since = min(open_drift_since(records, version), _pooled_since(records, version))
        # What waits for a window of its tag, the newest watch has kept.
        older = [_kept_rows(store, record).assign(**{TAG_WAITS: ""}) for record in records[:-1] if record.sequence >= since]
        # Of a row that was handed on the newest copy counts, which comes first: only that one knows whether it was asked for.
        rows = joined_rows([_kept_rows(store, records[-1]), *(part[part[WINDOW] != NO_WINDOW] for part in reversed(older))])
    rows = answered_by(rows, version)
    tested = rows[(rows[WINDOW] != NO_WINDOW) & (rows["time"] > period.until - timedelta(days=settings.look_back_days))]
    order = np.lexsort([tested["time"], tested["request_id"].isin(labelled)])
    chosen = tested.iloc[order[max(0, len(order) - settings.context_rows) :]]
    return joined_rows([rows[rows[WINDOW] == NO_WINDOW], chosen])


def open_drift_since(records: Sequence[WatchRecord], version: str) -> float:
    """Number of the watch with which an open drift of this version began (`windows_of_open_drift`); infinite without one."""
    numbered = _numbered_windows(records, version)
    members = windows_of_open_drift([window.drifted for _, window in numbered], [parse_time(window.last) for _, window in numbered])
    return min((sequence for (sequence, _), member in zip(numbered, members, strict=True) if member), default=math.inf)


def _pooled_since(records: Sequence[WatchRecord], version: str) -> float:
    """Number of the watch with the earliest window that may be tested together with a new one; infinite without any."""
    return min((sequence for sequence, _ in _numbered_windows(records, version)[1 - max(POOLED_WINDOWS) :]), default=math.inf)


def _numbered_windows(records: Sequence[WatchRecord], version: str) -> list[tuple[int, RecordedWindow]]:
    """The windows of this version, oldest first, each with the number of its watch."""
    own = _of_version(records, version)
    numbers = [record.sequence for record in own for _ in record.windows]
    return list(zip(numbers, with_pools([window for record in own for window in record.windows]), strict=True))


def _of_version(records: Sequence[WatchRecord], version: str) -> list[WatchRecord]:
    return [record for record in records if record.champion_version == version]


def _kept_rows(store: Store, record: WatchRecord) -> pd.DataFrame:
    if not record.window_rows:
        return empty_rows()
    try:
        return read_window_rows(store, record.window_rows)
    except NotFound:
        return empty_rows()


def _rows_of_old_records(store: Store, records: Sequence[WatchRecord], version: str, period: WatchPeriod) -> pd.DataFrame:
    """The same where the newest record is of driftloop 0.1.0, which kept no rows: they are read from the log, by the windows' times."""
    own = [(record.sequence, index, window) for record in _of_version(records, version) for index, window in enumerate(record.windows)]
    since = open_drift_since(records, version)
    drifted = [place for place in own if place[0] >= since and place[2].drifted]
    last = parse_time(own[-1][2].last) if own else None
    begin = parse_time(drifted[0][2].first) if drifted else last
    end = period.since or period.until
    old = [
        file for file in log_files(store, hour_folder(begin) if begin else "") if file.number is None and file.folder <= hour_folder(end)
    ]
    after = begin - LOG_TICK if begin else None
    rows = joined_rows([empty_rows(), *(rows_between(table, after, end).to_pandas() for _, table in read_log_files(store, old))])
    marks: dict[str, Any] = {WATCH: NOT_TESTED, WINDOW: NO_WINDOW, FOR_POOL: False, TAG_WAITS: "", FOR_TAG: False}
    rows = rows.assign(**marks)
    for sequence, index, window in drifted:
        rows.loc[rows["time"].between(pd.Timestamp(window.first), pd.Timestamp(window.last)), [WATCH, WINDOW]] = sequence, index
    return rows[(rows[WINDOW] != NO_WINDOW) | (rows["time"] > last if last else True)]


def champion_rows(fresh: pd.DataFrame, context: pd.DataFrame, version: str) -> pd.DataFrame:
    """The champion's answered requests, in time order: fresh ones, and context. A request that is context already is not fresh again."""
    own = answered_by(fresh, version)
    new: dict[str, Any] = {WATCH: NOT_TESTED, WINDOW: NO_WINDOW, FRESH: True, FOR_POOL: False, TAG_WAITS: "", FOR_TAG: False}
    own = own[~own["request_id"].isin(context["request_id"])].assign(**new)
    flags = {name: context[name].eq(other=True) for name in (FOR_POOL, FOR_TAG)} | {FRESH: pd.Series(data=False, index=context.index)}
    context = context.assign(**flags, **{TAG_WAITS: context[TAG_WAITS].fillna("")})
    rows = joined_rows([context, own])
    return rows.astype({WATCH: np.int64, WINDOW: np.int64, FRESH: bool, FOR_POOL: bool, FOR_TAG: bool})


def answered_by(rows: pd.DataFrame, version: str) -> pd.DataFrame:
    """The rows that this version answered; failed requests have no prediction that could be judged."""
    return rows[(rows["model_version"] == version) & (rows["status"] == STATUS_OK)]


def with_labels(rows: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """The rows with `label` and `label_origin`, None where no label has come; where labellers skipped it, the origin says so."""
    known = labels.set_index("request_id")
    skipped = known["label"] == SKIP
    columns = {
        LABEL: rows["request_id"].map(known["label"].where(~skipped)),
        LABEL_ORIGIN: rows["request_id"].map(known["origin"].where(~skipped, SKIPPED)),
    }
    return rows.assign(**{name: column.astype(object).where(column.notna(), None) for name, column in columns.items()})


def empty_rows() -> pd.DataFrame:
    """No rows, with the columns of `ROW_SCHEMA`."""
    return ROW_SCHEMA.empty_table().to_pandas()


def joined_rows(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The parts as one table in time order, one row a request; the columns are those of the first part."""
    filled = [part for part in parts if len(part)]
    if not filled:
        return parts[0].reset_index(drop=True)
    rows = pd.concat(filled, ignore_index=True).sort_values(["time", "request_id"], ignore_index=True)
    return rows.drop_duplicates("request_id", keep="first", ignore_index=True)
