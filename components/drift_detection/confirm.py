"""Repeated looks: drift is confirmed by 2 of 3 consecutive windows, at a level that keeps to a budget of false alarms."""

import math
from collections.abc import Sequence

#: Windows that vote together, and how many of them must have drifted.
OF, NEEDED = 3, 2


def effective_alpha(alpha: float, *, budget: float, windows: float) -> float:
    """The level of one window's test: min(alpha, sqrt(budget / (2 W))).

    Without drift a window and one of the two before it both drift with probability about 2 alpha^2, so W windows give about
    2 alpha^2 W false confirmed alarms.

    Args:
        alpha: the level asked for, in (0, 1).
        budget: expected false confirmed alarms per period.
        windows: W, windows per period.
    """
    return min(alpha, math.sqrt(budget / (2 * windows)))


def permutations_for(alpha: float, *, at_least: int) -> int:
    """B >= max(at_least, 40 / alpha), rounded up so that B + 1 is a multiple of 1,000: p-values near alpha / 2 are then well resolved."""
    return math.ceil((max(at_least, 40 / alpha) + 1) / 1000 - 1e-9) * 1000 - 1


def confirmed(past: Sequence[bool], fresh: Sequence[bool]) -> bool:
    """Whether 2 of 3 consecutive windows have drifted, the last of the three being a fresh one.

    Where no window is fresh, the latest three judged before still speak: labels may have arrived for them meanwhile.

    Args:
        past: whether each earlier window of this champion drifted, oldest first.
        fresh: the same for the windows of this watch.
    """
    flags = [*past, *fresh]
    first = len(past) if fresh else max(len(flags) - 1, 0)
    return any(sum(flags[max(0, last - OF + 1) : last + 1]) >= NEEDED for last in range(first, len(flags)))


def confirming(flags: Sequence[bool]) -> list[bool]:
    """Which windows took part in a confirmation: drifted, with another drifted one at most two windows away."""
    return [
        drifted and any(flags[other] for other in range(max(0, at - OF + 1), min(len(flags), at + OF)) if other != at)
        for at, drifted in enumerate(flags)
    ]


def newest_confirmed(flags: Sequence[bool]) -> list[bool]:
    """Which windows took part in the newest confirmed drift: those that confirm, back to the first gap that would end a confirmation."""
    confirm = confirming(flags)
    newest, earliest = [False] * len(flags), len(flags)
    for at in reversed(range(len(flags))):
        if confirm[at] and (earliest == len(flags) or earliest - at < OF):
            newest[at], earliest = True, at
    return newest
