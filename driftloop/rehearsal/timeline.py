"""Which drift is played in which window, and when: the simulated calendar.

A day has one window or more, and the last of the days is yesterday. Everything that a watch reckons in days (cooldown, budget of
retrainings, windows in 90 days) counts from the log's own times, so a simulated time in the log is all that is needed. The days lie in
the past, so that a real watch of the same store goes on from them.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import numpy as np

from driftloop.errors import InputError
from driftloop.scenarios import Scenario, parse

#: From one request of a window to the next: a window is short, so that even a thousand a day follow each other.
REQUEST_EVERY = timedelta(milliseconds=1)
_DAY = timedelta(days=1) // timedelta.resolution


class Calendar:
    """`windows` windows, the same number on each day, on days that end yesterday.

    Each lies in the middle of its part of the day: a single one at noon UTC, three at four, twelve and twenty.
    """

    def __init__(self, windows: int, per_day: int = 1, today: datetime | None = None) -> None:
        midnight = (today or datetime.now(UTC)).replace(hour=0, minute=0, second=0, microsecond=0)
        self.per_day = per_day
        self._begin = midnight - timedelta(days=-(-windows // per_day))

    def start(self, window: int) -> datetime:
        """Time of the first request of a window, counted from 1."""
        return self._begin + timedelta(microseconds=(2 * window - 1) * _DAY // (2 * self.per_day))

    def clock(self, window: int) -> Callable[[], datetime]:
        """A clock of that window: it goes on from request to request, however long each takes, so a rehearsal is the same twice."""
        start, requests = self.start(window), count()
        return lambda: start + next(requests) * REQUEST_EVERY

    def windows_in(self, days: float) -> int:
        """After how many windows what is begun after one can be there: at least so many days later, and not before the next."""
        return max(1, -(-round(days * _DAY) * self.per_day // _DAY))


def plan_timeline(
    drift: str, *, windows: int, drift_at: int | None = None, phase: int | None = None, subgroup: float | None = None
) -> list[Scenario]:
    """The scenario of each window, window 1 first: clean ones, then each drift of the list for `phase` windows, the last to the end.

    Args:
        drift: one drift, or several with commas between them (`none` among them: the drift goes away for a while).
        windows: how many, at least 1.
        drift_at: number of the first drifted window, from 1; default: the middle.
        phase: windows a drift of the list lasts; default: equal parts of what is left.
        subgroup: share of the traffic that drifts, of every drift that does not name one itself; default: all of it.

    Raises:
        InputError: an unknown drift, or numbers that do not fit together.
    """
    drifts = [parse(part) for part in drift.split(",")]
    if subgroup is not None:
        drifts = [_of_subgroup(scenario, subgroup) for scenario in drifts]
    if windows < 1:
        raise InputError(f"--windows {windows}: a rehearsal needs at least one window")
    start = max(1, windows // 2) if drift_at is None else drift_at
    if not 1 <= start <= windows:
        raise InputError(f"--drift-at {start}: the first drifted window must lie between 1 and {windows} (--windows)")
    lengths = _lengths(len(drifts), windows - start + 1, phase, start, windows)
    played = [parse("none")] * (start - 1)
    for scenario, length in zip(drifts, lengths, strict=True):
        played += scenario.in_steps(length)
    return played


def first_drift(timeline: Sequence[Scenario]) -> int | None:
    """Number of the first drifted window, from 1; None where nothing drifts."""
    return next((number for number, scenario in enumerate(timeline, 1) if scenario.drifts), None)


def images_needed(timeline: Sequence[Scenario], size: int) -> int:
    """Stream images of two balanced classes that are enough for windows of `size`: a prior shift asks for more of one class."""
    shifts = [2 * scenario.severity * scenario.share if scenario.shifts_prior else 0.0 for scenario in timeline]
    return int(np.ceil(sum(size * (1 + shift) for shift in shifts)))


def _of_subgroup(scenario: Scenario, share: float) -> Scenario:
    if not 0 < share <= 1:
        raise InputError(f"--subgroup {share:g}: must be a share of the traffic, above 0 and up to 1")
    return replace(scenario, share=share) if scenario.kinds and scenario.share == 1 else scenario


def _lengths(count: int, left: int, phase: int | None, start: int, windows: int) -> list[int]:
    each = phase if phase is not None else left // count
    if each < 1:
        raise InputError(f"--drift: {count} drifts one after the other need at least {count} windows from {start} on; raise --windows")
    if each * (count - 1) >= left:
        needed = start - 1 + each * count
        raise InputError(f"--phase {each}: {count} drifts from window {start} on need {needed} windows, --windows is {windows}")
    return [each] * (count - 1) + [left - each * (count - 1)]
