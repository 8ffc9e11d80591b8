"""The simulated calendar: each window is one day, and the last of them is yesterday.

Everything that a watch reckons in days (cooldown, budget of retrainings, windows in 90 days) counts from the log's own times, so a
simulated time in the log is all that it takes. The days lie in the past, so that a real watch of the same store goes on from them.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta


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
