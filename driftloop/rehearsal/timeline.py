"""Which drift is played in which window, and on which day: the simulated calendar.

Each window is one day, and the last of them is yesterday. Everything that a watch reckons in days (cooldown, budget of retrainings,
windows in 90 days) counts from the log's own times, so a simulated time in the log is all that is needed. The days lie in the past, so
that a real watch of the same store goes on from them.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from driftloop.errors import InputError
from driftloop.scenarios import Scenario, parse


class Calendar:
    """`days` days that end yesterday; each day's traffic begins at noon UTC."""

    def __init__(self, days: int, today: datetime | None = None) -> None:
        today = today or datetime.now(UTC)
        self._noon_before = today.replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=days + 1)

    def noon(self, day: int) -> datetime:
        """Noon of a day, counted from 1."""
        return self._noon_before + timedelta(days=day)

    def clock(self, day: int) -> Callable[[], datetime]:
        """A clock that shows noon of that day now, and goes on like any other."""
        began, noon = datetime.now(UTC), self.noon(day)
        return lambda: noon + (datetime.now(UTC) - began)


def plan_timeline(drift: str, *, windows: int, drift_at: int | None = None, phase: int | None = None) -> list[Scenario]:
    """The scenario of each window, window 1 first: clean ones, then each drift of the list for `phase` windows, the last to the end.

    Args:
        drift: one drift, or several with commas between them (`none` among them: the drift goes away for a while).
        windows: how many, at least 1.
        drift_at: number of the first drifted window, from 1; default: the middle.
        phase: windows a drift of the list lasts; default: equal parts of what is left.

    Raises:
        InputError: an unknown drift, or numbers that do not fit together.
    """
    drifts = [parse(part) for part in drift.split(",")]
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
    shifts = [2 * scenario.severity if scenario.shifts_prior else 0.0 for scenario in timeline]
    return int(np.ceil(sum(size * (1 + shift) for shift in shifts)))


def _lengths(count: int, left: int, phase: int | None, start: int, windows: int) -> list[int]:
    each = phase if phase is not None else left // count
    if each < 1:
        raise InputError(f"--drift: {count} drifts one after the other need at least {count} windows from {start} on; raise --windows")
    if each * (count - 1) >= left:
        needed = start - 1 + each * count
        raise InputError(f"--phase {each}: {count} drifts from window {start} on need {needed} windows, --windows is {windows}")
    return [each] * (count - 1) + [left - each * (count - 1)]
