"""Which of many windows make a drift, and when it is over: one definition for what a watch judges and for the rows that it reads."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import accumulate

from driftloop.contracts import CONFIRMING_ALARMS, CONFIRMING_WINDOWS

#: So long nothing confirms a drift before it has ended: between two and three windows where there is one a day.
DRIFT_GAP = timedelta(days=2.5)


def windows_that_confirm(flags: Sequence[bool]) -> list[bool]:
    """Which windows took part in a confirmation: drifted, within consecutive windows of which enough drifted."""
    confirming = [False] * len(flags)
    for end in range(len(flags)):
        latest = range(max(0, end - CONFIRMING_WINDOWS + 1), end + 1)
        if sum(flags[at] for at in latest) >= CONFIRMING_ALARMS:
            for at in latest:
                confirming[at] = flags[at]
    return confirming


def windows_of_newest_drift(flags: Sequence[bool], ends: Sequence[datetime]) -> list[bool]:
    """Which windows took part in the newest confirmed drift: those that confirm, back to the first gap that ends it.

    A gap ends a drift that would end a confirmation and lasts for `DRIFT_GAP`: a weak drift alarms now and then, and where windows are
    many an hour without an alarm says nothing. A window of requests that came late counts as of when it came: its neighbours are those that
    were tested with it.

    Args:
        flags: whether each window drifted, oldest first.
        ends: time of the last request of each.
    """
    confirming, ends = windows_that_confirm(flags), list(accumulate(ends, max))
    newest, earliest = [False] * len(flags), len(flags)
    for at in reversed(range(len(flags))):
        if confirming[at] and (earliest == len(flags) or earliest - at < CONFIRMING_WINDOWS or ends[earliest] - ends[at] < DRIFT_GAP):
            newest[at], earliest = True, at
    return newest


def windows_of_open_drift(flags: Sequence[bool], ends: Sequence[datetime]) -> list[bool]:
    """Which windows a drift would go on from that the next ones confirm: the newest drift while it is not over, and single alarms that a
    next window may confirm.

    Where windows are many an hour a weak drift is quiet for hours before it is confirmed again: its labels count on.

    Args:
        flags: whether each window drifted, oldest first.
        ends: time of the last request of each; the next windows end no earlier than the latest of them.
    """
    if not flags:
        return []
    alarms = [True] * CONFIRMING_ALARMS
    return windows_of_newest_drift([*flags, *alarms], [*ends, *[max(ends)] * len(alarms)])[: len(flags)]
