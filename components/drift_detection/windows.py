"""Windows of a log: cut from its rows, found in earlier watches, and drift confirmed by several of them.

Images of one patient (source, cluster of near-duplicates) are not independent: with each image twice in a window a test at 5 %
alarms far too often. So a window counts groups, and exact copies of an image count once. Looking repeatedly makes false alarms too: drift
is confirmed by `contracts.CONFIRMED_BY` consecutive windows, or by the latest ones taken together (`pooled.py`), at levels that keep to
a budget of false alarms.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from driftloop.contracts import CONFIRMING_ALARMS, CONFIRMING_WINDOWS, LEAST_GROUPS, POOLED_WINDOWS, PROMOTE, REJECT
from driftloop.drifts import windows_of_newest_drift
from driftloop.inference.watch_tables import NO_WINDOW, WATCH, WINDOW
from driftloop.settings import DriftSettings, check_parameter
from driftloop.watch_record import RecordedWindow, WatchRecord, with_pools

#: How far back decisions count.
DECISIONS_COUNT = timedelta(days=30)
#: How far back windows count towards the level.
WINDOWS_COUNT = timedelta(days=90)
#: Of these the latest tell whether they come faster than before, over at least so long a time.
LATEST_RATE, SHORTEST_SPAN = timedelta(days=3), timedelta(hours=1)
#: The part of the budget of false alarms that windows tested together have; the others have the rest.
POOLED_SHARE = 0.5
#: Permutations at most: beyond them so many looks are expected that one window after another tells in time.
MOST_PERMUTATIONS = 999_999
#: Rows that are mostly copies of so many fewer images come from something stuck.
STUCK_ROWS, STUCK_COPIES = 100, 10


#: A window of this part of its size is not worth waiting for the rest.
NEARLY_FULL = 0.8


@dataclass(frozen=True)
class CutWindow:
    """A window, as ascending positions in the rows that were cut."""

    rows: np.ndarray
    """All requests of the window."""
    sample: np.ndarray
    """A request for each group: the images that are tested."""
    owners: np.ndarray
    """Which of those groups each of the rows belongs to; -1 for a copy of an image."""


@dataclass(frozen=True)
class CutRows:
    """The windows that rows were cut into, and what is left of the rows."""

    windows: list[CutWindow]
    """Oldest first."""
    waiting: int
    """Rows at the end that wait for more."""
    waiting_groups: int
    """Their groups."""
    waiting_images: int
    """Their distinct images."""
    skipped: int
    """Older windows left out."""
    needed: int
    """Groups that would have made a window of them."""
    ungrouped: int = 0
    """Rows without a group, each of which was taken as one of its own."""

    @property
    def stuck(self) -> bool:
        """Whether the waiting rows are mostly copies of the same few images: a dead camera rather than a quiet night."""
        return self.waiting >= STUCK_ROWS and self.waiting_images * STUCK_COPIES <= self.waiting


def effective_size(window_size: int, reference_rows: int) -> int:
    """At most a quarter of the reference: against a smaller one the level of the test depends on its luck. But at least eight groups, or
    as many as the reference has: between fewer there are too few permutations for any to be rare.
    """
    return max(2, min(LEAST_GROUPS, reference_rows), min(window_size, reference_rows // 4))


def cut_windows(rows: pd.DataFrame, *, size: int, minimum: int, most: int, ripe: datetime | None = None) -> CutRows:
    """Cut rows into windows of `size` distinct groups each.

    A window ends where its next new group would exceed its size; further images of its own groups still belong to it. What is left
    at the end is a smaller window if it is nearly full, if it has waited and has at least `minimum` groups, or if it has eight or more
    and these at least `size` images: few and large ones, which are tested by their means. Else it waits for the next watch.

    Args:
        rows: request_id, group and image_sha256, in time order.
        size: groups in a window.
        minimum: groups in the last one, at least 2.
        ripe: what came until then has waited for a full window long enough; None: nothing waits for one.
        most: windows to return; the newest are.
    """
    windows: list[CutWindow] = []
    start = 0
    picked: list[int] = []
    groups: dict[str, int] = {}
    tested: set[str] = set()
    seen: set[str] = set()
    owners: list[int] = []
    keys = _keys(rows)
    for position, (group, copy) in enumerate(keys):
        fresh = group not in groups and copy not in tested
        if fresh:
            if len(picked) == size:
                windows.append(CutWindow(np.arange(start, position), np.array(picked), np.array(owners)))
                start, picked, groups, tested, seen, owners = position, [], {}, set(), set(), []
            groups[group] = len(picked)
            picked.append(position)
            tested.add(copy)
        owners.append(groups[group] if fresh or copy not in seen else -1)
        seen.add(copy)
    few_and_large = len(picked) >= LEAST_GROUPS and len(seen) >= size
    waited = ripe is None or (start < len(rows) and rows["time"].iloc[start] <= ripe)
    nearly_full = math.ceil(NEARLY_FULL * size)
    # Whatever would have been tested at once is after a wait, too, also where `minimum` is more than that.
    needed = max(2, min(minimum, nearly_full) if waited else nearly_full)
    if len(picked) >= needed or few_and_large:
        windows.append(CutWindow(np.arange(start, len(rows)), np.array(picked), np.array(owners)))
        start = len(rows)
    waiting = keys[start:]
    return CutRows(
        windows=windows[-most:],
        waiting=len(waiting),
        waiting_groups=len({group for group, _ in waiting}),
        waiting_images=len({copy for _, copy in waiting}),
        skipped=max(0, len(windows) - most),
        needed=needed,
        ungrouped=sum(not (isinstance(group, str) and group) for group in rows["group"]),
    )


def tested_rows(rows: pd.DataFrame) -> np.ndarray:
    """Positions of the rows that stand for all of them in a test: one of each group, copies once."""
    groups: set[str] = set()
    tested: set[str] = set()
    picked = []
    for position, (group, copy) in enumerate(_keys(rows)):
        if group not in groups and copy not in tested:
            groups.add(group)
            tested.add(copy)
            picked.append(position)
    return np.array(picked, dtype=np.int64)


def _keys(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """For each row what it must not share with another of its window: the group (or itself) and the image's bytes (or itself)."""
    names = [f"request {name}" for name in rows["request_id"]]
    return list(zip(_named(rows["group"], names), _named(rows["image_sha256"], names), strict=True))


def _named(values: pd.Series, names: list[str]) -> list[str]:
    """The values, and a name where there is none."""
    return [value if isinstance(value, str) and value else name for value, name in zip(values, names, strict=True)]


@dataclass(frozen=True)
class WatchHistory:
    """What earlier watches say, seen from the end of a watch."""

    windows: list[RecordedWindow]
    """Tested for the same champion, oldest first."""
    places: list[tuple[int, int]]
    """Of each of these: the number of its watch, and its index in the record."""
    open_windows: int
    """The last so many came after the last decision: what a decision was taken on is settled and confirms nothing any more."""
    days_since_retraining: float | None
    """Since a retraining was tried; None where there was none."""
    recent_retrainings: int
    """Tries in the last 30 days, of any version, failed ones among them."""
    days_served: float = 0.0
    """Since the first request of the champion's first window; 0 without one."""
    refused: tuple[WatchRecord, ...] = ()
    """Watches of the last 30 days whose candidates for this champion were refused, or rolled back, oldest first."""
    decided: int = -1
    """Number of the watch that took the last decision; -1 where none did."""

    def calendar_due(self, settings: DriftSettings) -> bool:
        """Whether the calendar asks for a retraining: so many days after the last try, and after the champion began to serve."""
        since = self.days_served if self.days_since_retraining is None else min(self.days_served, self.days_since_retraining)
        return 0 < settings.retrain_every_days <= since

    def labels_at_refusal(self, tag: str, drift: int) -> int | None:
        """Labels on which the last candidate for a drift was refused; None where none was. Those of another drift say nothing of its own.

        Args:
            tag: level whose drift it is; empty: that of all requests.
            drift: number of the watch with which it began; 0: there is none, as where the meaning of images has changed. Each decision
                settles what was labelled for that.
        """
        last = self._last_refusal(tag, drift)
        return None if last is None else last.labels

    def rolled_back(self, tag: str, drift: int) -> bool:
        """Whether that candidate was none that the gate refused, but one in whose place a person let this champion serve again."""
        last = self._last_refusal(tag, drift)
        return last is not None and last.decision == PROMOTE

    def _last_refusal(self, tag: str, drift: int) -> WatchRecord | None:
        own = (record for record in reversed(self.refused) if record.tag == tag and not record.concept)
        return next((record for record in own if 0 < drift <= record.sequence), None)

    def concept_rejected(self, tag: str) -> bool:
        """Whether one was rejected that had learned of images of theirs which looked as accepted and whose meaning has changed."""
        return any(record.concept and record.decision == REJECT for record in self.refused if record.tag == tag)

    @property
    def open_flags(self) -> list[bool]:
        """Whether each window since the last decision drifted."""
        return [window.drifted for window in self.windows[len(self.windows) - self.open_windows :]]


def read_history(records: Sequence[WatchRecord], *, champion_version: str, until: str) -> WatchHistory:
    """The history that the records (oldest first) hold for a watch that ends at `until` (ISO 8601)."""
    end = datetime.fromisoformat(until)
    own = [record for record in records if record.champion_version == champion_version]
    # A retraining that failed has decided nothing, but it cost as much: without a pause it would be tried again at every tick.
    tried = [record for record in records if record.tried_to_retrain]
    last_decision = max((record.sequence for record in tried if record.decision is not None), default=-1)
    ages = [end - datetime.fromisoformat(record.until) for record in tried]
    recent = [record for record, age in zip(tried, ages, strict=True) if age <= DECISIONS_COUNT]
    served = [datetime.fromisoformat(window.first) for record in own for window in record.windows]
    refused = [record for record in recent if record.decision is not None and record.champion_version == champion_version]
    return WatchHistory(
        windows=with_pools([window for record in own for window in record.windows]),
        places=[(record.sequence, index) for record in own for index in range(len(record.windows))],
        open_windows=sum(len(record.windows) for record in own if record.sequence > last_decision),
        days_since_retraining=ages[-1] / timedelta(days=1) if ages else None,
        recent_retrainings=len(recent),
        days_served=(end - min(served)) / timedelta(days=1) if served else 0.0,
        refused=tuple(refused),
        decided=last_decision,
    )


def untested(rows: pd.DataFrame) -> np.ndarray:
    """Which rows no window has covered yet, (N,) bool: fresh ones, whatever their times, and those that waited."""
    return (rows[WINDOW] == NO_WINDOW).to_numpy()


def window_of(rows: pd.DataFrame, history: WatchHistory) -> np.ndarray:
    """Which earlier window covered each row, (N,) int64: its index in `history.windows`, -1 for none."""
    index = {place: number for number, place in enumerate(history.places)}
    return np.array([index.get(place, -1) for place in zip(rows[WATCH], rows[WINDOW], strict=True)], dtype=np.int64)


def effective_alpha(alpha: float, *, budget: float, windows: float) -> float:
    """The level of a window's test: min(alpha, sqrt(budget / (2 W))).

    Without drift a window and one of the two before it both drift with probability about 2 alpha^2, so W windows give about
    2 alpha^2 W false confirmed alarms.

    Args:
        alpha: the level asked for, in (0, 1).
        budget: expected false confirmed alarms per period.
        windows: W, windows per period.
    """
    return min(alpha, math.sqrt(budget / (2 * windows)))


@dataclass(frozen=True)
class Expected:
    """What 90 days bring, if it goes on as it has come."""

    windows: float
    looks: float
    """Watches that test a window."""


def expected_in_90_days(records: Sequence[WatchRecord], rows: pd.DataFrame, windows: Sequence[CutWindow], until: str) -> Expected:
    """What 90 days bring, if it goes on as it has come: what was seen so far says too little while a budget starts.

    The rate is that of the last 90 days or, where that is larger, of the last 3: traffic may grow.

    Args:
        records: of earlier watches.
        rows: of this watch, with their times, that were cut into `windows`.
        windows: of this watch.
        until: the end of this watch, ISO 8601.
    """
    spans = _spans(records, rows, windows)
    return Expected(
        rate_in_90_days([span for watch in spans for span in watch], until),
        rate_in_90_days([(watch[0][0], watch[-1][1]) for watch in spans], until),
    )


def _spans(records: Sequence[WatchRecord], rows: pd.DataFrame, windows: Sequence[CutWindow]) -> list[list[tuple[datetime, datetime]]]:
    """Begin and end of the windows of each watch that has any."""
    watches = [
        [(datetime.fromisoformat(window.first), datetime.fromisoformat(window.last)) for window in record.windows] for record in records
    ]
    watches.append([(rows["time"].iloc[window.rows[0]], rows["time"].iloc[window.rows[-1]]) for window in windows])
    return [watch for watch in watches if watch]


def rate_in_90_days(spans: Sequence[tuple[datetime, datetime]], until: str) -> float:
    """How many windows of these begins and ends 90 days bring."""
    end = datetime.fromisoformat(until)
    if not spans:
        return 0.0
    known = max(end - min(first for first, _ in spans), SHORTEST_SPAN)
    rates = (
        sum(end - last < period for _, last in spans) * (WINDOWS_COUNT / min(period, known)) for period in (WINDOWS_COUNT, LATEST_RATE)
    )
    return max(rates)


def permutations_for(alpha: float, *, at_least: int) -> int:
    """B >= max(at_least, 40 / alpha), so that a detector's part of alpha is resolved; B + 1 is a multiple of 1,000."""
    return math.ceil((max(at_least, 40 / alpha) + 1) / 1000 - 1e-9) * 1000 - 1


def drift_is_confirmed(past: Sequence[bool], fresh: Sequence[bool]) -> bool:
    """Whether enough of consecutive windows have drifted (`contracts.CONFIRMED_BY`), the last of them being a fresh one.

    Where no window is fresh, the latest ones tested before still speak: labels may have arrived for them meanwhile.

    Args:
        past: whether each earlier window of this champion drifted, oldest first.
        fresh: the same for the windows of this watch.
    """
    flags = [*past, *fresh]
    first = len(past) if fresh else len(flags) - 1
    return any(sum(flags[max(0, last - CONFIRMING_WINDOWS + 1) : last + 1]) >= CONFIRMING_ALARMS for last in range(first, len(flags)))


@dataclass(frozen=True)
class Coverage:
    """For each row of the log (N,), which window covers it, and what became of that window."""

    covered: np.ndarray
    """Whether a window covers it."""
    window: np.ndarray
    """Which: this watch's count from 0, earlier ones of the same champion from -1 backwards."""
    drifted: np.ndarray
    """Whether that window drifted."""
    confirmed: np.ndarray
    """Whether it is of the newest confirmed drift: an alarm of weeks ago, false perhaps, says nothing about it."""

    def frame(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The covered rows: request_id, window, drifted, confirmed."""
        table = pd.DataFrame({"request_id": rows["request_id"].to_numpy(), "window": self.window, "drifted": self.drifted})
        return table.assign(confirmed=self.confirmed)[self.covered].reset_index(drop=True)


def cover_rows(
    rows: pd.DataFrame, pending: np.ndarray, windows: Sequence[CutWindow], drifted: Sequence[bool], history: WatchHistory
) -> Coverage:
    """Assign rows to windows.

    Args:
        rows: the log in time order.
        pending: (N,) bool, the `untested` rows, which were cut into `windows`.
        windows: positions within the pending rows.
        drifted: of each of `windows`.
        history: earlier windows, which are found by their times.
    """
    past = len(history.windows)
    at = window_of(rows, history)
    positions = np.flatnonzero(pending)
    for index, window in enumerate(windows):
        at[positions[window.rows]] = past + index
    flags = [window.drifted for window in history.windows] + list(drifted)
    ends = [datetime.fromisoformat(window.last) for window in history.windows]
    ends += [rows["time"].iloc[positions[window.rows[-1]]] for window in windows]
    # One more entry for rows outside all windows, whose index is -1.
    return Coverage(
        covered=at >= 0,
        window=at - past,
        drifted=np.array([*flags, False])[at],
        confirmed=np.array([*windows_of_newest_drift(flags, ends), False])[at],
    )


@dataclass(frozen=True)
class AlarmLevel:
    """The level of a window's test, from what was asked for and the budget of false alarms."""

    asked: float
    """The level asked for."""
    alpha: float
    """The level of a window's test."""
    permutations: int
    """Of tests that permute."""
    windows_per_90_days: float
    """Windows that the budget is shared by."""
    budget: float
    """Expected false confirmed alarms in 90 days."""
    pooled_alpha: float
    """The level of each test of several windows together."""
    pooled_permutations: int
    """Of these."""


def level_of(alpha: float, settings: DriftSettings, *, windows: float, looks: float = 0, share: float = 1.0) -> AlarmLevel:
    """The level at which each window is tested.

    Args:
        alpha: asked for.
        windows: in 90 days, as `expected_in_90_days` says; where they are more than the setting expects, they count.
        looks: watches that test a window, in 90 days; likewise.
        share: of the budget; levels of tags have the rest.

    Raises:
        SettingError: alpha is outside the range of `drift_alpha`.
    """
    alpha = check_parameter("drift_alpha", alpha)
    per_90_days = max(settings.windows_per_90_days, windows)
    budget = share * settings.false_alarms_per_90_days
    effective = effective_alpha(alpha, budget=(1 - POOLED_SHARE) * budget, windows=per_90_days)
    # Each of these tests confirms by itself, so the budget is divided by their number.
    pooled = min(effective, POOLED_SHARE * budget / (len(POOLED_WINDOWS) * max(settings.windows_per_90_days, looks)))
    return AlarmLevel(
        asked=alpha,
        alpha=effective,
        permutations=permutations_for(effective, at_least=settings.permutations),
        windows_per_90_days=per_90_days,
        budget=budget,
        pooled_alpha=pooled,
        pooled_permutations=min(MOST_PERMUTATIONS, permutations_for(pooled, at_least=settings.permutations)),
    )
