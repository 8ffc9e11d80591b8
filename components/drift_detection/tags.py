"""Subgroups: the requests of one site, device, ward, ..., tested by themselves, since a tenth of the traffic drowns in the rest.

Each level of a tag (as in site=B) with enough images in the reference has windows of its own, compared with its own part of the accepted
regimes, and a drift of it is confirmed by 2 of 3 of them, as that of all requests is. The levels share a part of the budget of false
alarms. A level with fewer images is only shown. Its windows are cut from rows that windows of all requests have covered; rows that do
not fill one wait for the next watch.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import compress

import numpy as np
import pandas as pd

from components.drift_detection.reference import LEAST_LEARNED, AcceptedTraffic, Regimes, prepare_regimes, regime_sample, whole_regime
from components.drift_detection.window_test import TestedWindow, tested_windows
from components.drift_detection.windows import (
    AlarmLevel,
    CutRows,
    WatchHistory,
    cut_windows,
    drift_is_confirmed,
    effective_alpha,
    effective_size,
    permutations_for,
    rate_in_90_days,
)
from driftloop.drifts import windows_of_newest_drift, windows_of_open_drift
from driftloop.inference.reference import REGIME_ARRAYS, TAGS, Regime
from driftloop.inference.traffic import FRESH
from driftloop.inference.watch_tables import TAG_WAITS, WATCH, WINDOW
from driftloop.settings import DriftSettings
from driftloop.tags import MOST_LEVELS, MOST_TAGS, level_name, levels_by_tag, tag_names
from driftloop.watch_record import RecordedTagWindow, TagPart, WatchRecord

#: The part of the budget of false alarms, and of the chance that a bound on harm is ever wrong, that all levels share, where any is tested;
#: all requests together have the rest.
TAGS_SHARE = 0.5


@dataclass(frozen=True)
class TagLevel:
    """A level of a tag that occurs in the traffic."""

    name: str
    """Of the tag."""
    level: str
    """Its value."""
    inside: np.ndarray
    """(N,) bool, the rows of the traffic that have it."""
    requests: int
    """Of these, the ones that no watch before has covered."""
    regimes: Regimes | None = None
    """Its part of the accepted regimes; None where that is too small to be compared with."""
    groups: int = 0
    """Groups of it in the references."""

    @property
    def title(self) -> str:
        """As in site=B."""
        return level_name(self.name, self.level)


def levels_in(rows: pd.DataFrame, accepted: AcceptedTraffic, rng: np.random.Generator) -> list[TagLevel]:
    """The levels of tags in the traffic: `MOST_TAGS` tags, and of each `MOST_LEVELS`, those that the references know best.

    Args:
        rows: of the traffic.
        accepted: the champion's references.
        rng: of the draw that scales the kernels.
    """
    in_traffic, in_reference = tag_names(rows["tags"].to_numpy()), tag_names(np.concatenate([ref.tags for ref in accepted.references]))
    names = sorted(in_traffic, key=lambda name: (-in_reference[name], -in_traffic[name], name))[:MOST_TAGS]
    references = [(regime, levels_by_tag(regime.tags, names)) for regime in accepted.references]
    found, fresh = [], rows[FRESH].to_numpy(dtype=bool)
    for name, levels in levels_by_tag(rows["tags"].to_numpy(), names).items():
        counts, known = Counter(levels.tolist()), Counter(level for _, of_regime in references for level in of_regime[name].tolist())
        # By what the references know of it, then by its requests.
        order = sorted((-known[level], -count, level) for level, count in counts.items() if level)
        for _, _, level in order[:MOST_LEVELS]:
            parts = [part for part in _parts(references, name, level) if len(part)]
            groups = sum(len(regime_sample(part)[1]) for part in parts)
            inside = levels == level
            found.append(TagLevel(name, level, inside, int((inside & fresh).sum()), _regimes(parts, rng), groups))
    return found


def _parts(references: Sequence[tuple[Regime, dict[str, np.ndarray]]], name: str, level: str) -> list[Regime]:
    """The images of a level in each reference."""
    parts = []
    for regime, levels in references:
        inside = levels[name] == level
        parts.append(replace(regime, **{array: getattr(regime, array)[inside] for array in (*REGIME_ARRAYS, TAGS)}))
    return parts


def _regimes(parts: Sequence[Regime], rng: np.random.Generator) -> Regimes | None:
    """Those that hold enough groups, ready for windows."""
    pairs = [(part, *regime_sample(part)) for part in parts if len(part) >= LEAST_LEARNED]
    used = [(part, sample, kept) for part, sample, kept in pairs if len(sample) >= LEAST_LEARNED]
    if not used:
        return None
    regimes = prepare_regimes([part.name for part, _, _ in used], [sample for _, sample, _ in used], rng)
    return replace(regimes, whole=tuple(whole_regime(part, kept) for part, _, kept in used))


@dataclass(frozen=True)
class TagFindings:
    """What a watch has found of a level that can be tested."""

    level: TagLevel
    alarm: AlarmLevel
    """The level of its windows' tests."""
    size: int
    """Groups in a window."""
    cut: CutRows
    """How its rows were cut."""
    waiting: np.ndarray
    """Positions of the rows that wait for a window of it."""
    tested: list[TestedWindow]
    """Its windows in this watch."""
    windows: list[RecordedTagWindow]
    """All of this champion, oldest first, those of this watch at the end."""
    confirmed: bool
    """Whether its drift is confirmed."""

    @property
    def fresh(self) -> list[RecordedTagWindow]:
        """Those of this watch."""
        return self.windows[len(self.windows) - len(self.tested) :]

    @property
    def flags(self) -> list[bool]:
        """Whether each of its windows drifted."""
        return [window.drifted for window in self.windows]

    @property
    def ends(self) -> list[datetime]:
        """Time of the last request of each."""
        return [datetime.fromisoformat(window.last) for window in self.windows]

    @property
    def drifting(self) -> list[RecordedTagWindow]:
        """Its windows of the newest confirmed drift; none where none is confirmed."""
        return list(compress(self.windows, windows_of_newest_drift(self.flags, self.ends))) if self.confirmed else []

    @property
    def open(self) -> list[RecordedTagWindow]:
        """Those of a drift that the next ones may confirm, or confirm again."""
        return list(compress(self.windows, windows_of_open_drift(self.flags, self.ends)))


def number_of_tests(levels: Sequence[TagLevel], records: Sequence[WatchRecord], version: str) -> int:
    """How many levels share the part of the budget: those that are tested now, and those that were, of this champion."""
    earlier = {window.tag for record in records if record.champion_version == version for window in record.tag_windows}
    return len(earlier | {level.title for level in levels if level.regimes is not None})


def examine_level(
    rows: pd.DataFrame,
    fresh: np.ndarray,
    level: TagLevel,
    regimes: Regimes,
    records: Sequence[WatchRecord],
    history: WatchHistory,
    settings: DriftSettings,
    asked: AlarmLevel,
    *,
    tests: int,
    sequence: int,
    version: str,
    until: str,
    ripe: datetime | None,
    rng: np.random.Generator,
) -> TagFindings:
    """Cut and test the windows of a level that can be tested.

    Args:
        rows: of the traffic, in time order.
        fresh: (N,) which window of this watch covers each row; -1 for none.
        level: of a tag.
        regimes: the level's part of the accepted regimes.
        records: of the watches before, oldest first.
        history: the same, as the windows of all requests see it.
        settings: of the tests.
        asked: the level of the tests of all requests.
        tests: how many levels share the budget.
        sequence: number of this watch.
        version: of the champion.
        until: end of the watch, ISO 8601.
        ripe: what came until then has waited long enough.
        rng: of the tests.
    """
    own = [(record.sequence, window) for record in records if record.champion_version == version for window in record.tag_windows]
    past = [(number, window) for number, window in own if window.tag == level.title]
    waits = np.array([level.name in names.split() for names in rows[TAG_WAITS]], dtype=bool)
    at = np.flatnonzero(level.inside & ((fresh >= 0) | waits))
    part = rows.iloc[at]
    size = effective_size(settings.window_size, len(regimes.samples[0]))
    cut = cut_windows(part, size=size, minimum=settings.minimum_window, most=settings.max_windows, ripe=ripe)
    spans = [(datetime.fromisoformat(window.first), datetime.fromisoformat(window.last)) for _, window in past]
    spans += [(part["time"].iloc[window.rows[0]], part["time"].iloc[window.rows[-1]]) for window in cut.windows]
    alarm = alarm_of_level(asked, settings, tests=tests, windows=rate_in_90_days(spans, until))
    tested = tested_windows(part, cut.windows, regimes, alarm, rng)
    places = np.where(fresh >= 0, sequence, rows[WATCH]), np.where(fresh >= 0, fresh, rows[WINDOW])
    recorded = [
        RecordedTagWindow(
            tag=level.title,
            first=result.record.first,
            last=result.record.last,
            groups=result.record.groups,
            p_values=result.record.p_values,
            drifted=result.record.drifted,
            mixture={name: float(share) for name, share in zip(regimes.names, result.test.weights, strict=True) if share > 0},
            parts=_counted(places, at[window.rows]),
        )
        for window, result in zip(cut.windows, tested, strict=True)
    ]
    open_flags = [window.drifted for number, window in past if number > history.decided]
    return TagFindings(
        level=level,
        alarm=alarm,
        size=size,
        cut=cut,
        waiting=at[len(at) - cut.waiting :],
        tested=tested,
        windows=[*(window for _, window in past), *recorded],
        confirmed=drift_is_confirmed(open_flags, [window.drifted for window in recorded]),
    )


def alarm_of_level(asked: AlarmLevel, settings: DriftSettings, *, tests: int, windows: float) -> AlarmLevel:
    """The level at which each window of one of `tests` levels is tested.

    Args:
        asked: that of all requests.
        settings: with the budget.
        tests: how many levels share the part of the budget that tags have.
        windows: of this one, in 90 days, at the rate so far.
    """
    budget, per_90_days = TAGS_SHARE * settings.false_alarms_per_90_days / tests, max(settings.windows_per_90_days, windows)
    alpha = effective_alpha(asked.asked, budget=budget, windows=per_90_days)
    permutations = permutations_for(alpha, at_least=settings.permutations)
    return replace(asked, alpha=alpha, permutations=permutations, windows_per_90_days=per_90_days, budget=budget)


def _counted(places: tuple[np.ndarray, np.ndarray], at: np.ndarray) -> list[TagPart]:
    """In which windows of all requests the rows at these positions lie."""
    counts = Counter(zip(places[0][at].tolist(), places[1][at].tolist(), strict=True))
    return [TagPart(watch=watch, window=window, rows=count) for (watch, window), count in sorted(counts.items())]


def waiting_tags(found: Sequence[TagFindings], count: int) -> np.ndarray:
    """For each of N rows the tags whose own windows it waits for, separated by blanks: (N,) of str."""
    names: list[list[str]] = [[] for _ in range(count)]
    for of_level in found:
        for position in of_level.waiting.tolist():
            names[position].append(of_level.level.name)
    return np.array([" ".join(row) for row in names], dtype=object)
