"""Which windows of the policy world alarm, alone and together, and which of them are of one confirmed drift: over many histories at once.

A window has a latent normal number: its p-value is the quantile of the real test (`bench/window_quantiles.json`) at that number's place.
Four windows taken together have the sum of their numbers, at its place among the quantiles of four windows tested as one; so what overlaps
goes together, and what any test says by itself is as often as in the real one. Four windows of different looks are taken to show nothing.
"""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtr

from components.drift_detection.pooled import LARGEST_SHARE
from components.drift_detection.windows import AlarmLevel
from driftloop.contracts import CONFIRMING_ALARMS, CONFIRMING_WINDOWS, POOLED_WINDOWS
from driftloop.drifts import DRIFT_GAP, windows_of_newest_drift

QUANTILES = Path(__file__).parent / "window_quantiles.json"
#: Images of a window and of the reference that the quantiles are of.
WINDOW, REFERENCE = 200, 800
#: The windows that are taken together beside such a reference.
(POOLED,) = (count for count in POOLED_WINDOWS if WINDOW * count <= LARGEST_SHARE * (WINDOW * count + REFERENCE))
NEVER = 10**6
START = datetime(2025, 1, 1, tzinfo=UTC)


@cache
def quantiles() -> dict[str, Any]:
    return json.loads(QUANTILES.read_text())


def alarm_rate(name: str, alpha: float) -> float:
    """How often a window of that look has a p-value of at most `alpha`; " x4" behind the look: four of them as one."""
    table = quantiles()
    if name not in table["quantiles"]:
        look = name.partition(" x")[0]
        # The test keeps its level whatever the size; and taken together are only windows that say little by themselves.
        return alpha if look == "clean" else alarm_rate(look, alpha)
    return float(np.interp(alpha, table["quantiles"][name], table["levels"]))


def times_of(count: int, windows: int) -> list[datetime]:
    """When each of so many windows ended, of `windows` a day."""
    return [START + timedelta(days=at / windows) for at in range(count)]


class Alarms:
    """The latent numbers of the latest windows, and the looks behind them."""

    def __init__(self, count: int, level: AlarmLevel, rng: np.random.Generator) -> None:
        self.level, self.rng = level, rng
        self.numbers = np.full((POOLED - 1, count), np.inf)
        self.looks = np.full((POOLED - 1, count), "", dtype="U20")

    def of_day(self, looks: np.ndarray, windows: int) -> tuple[np.ndarray, np.ndarray]:
        """Whether each of the day's windows alarms (W, H), and whether the last four do together (H,), each history's look given (H,)."""
        kinds = np.unique(looks)
        numbers = self.rng.standard_normal((windows, len(looks)))
        alone = np.zeros_like(numbers, bool)
        together = np.zeros(len(looks), bool)
        self.numbers = np.concatenate([self.numbers, numbers])[-POOLED:]
        self.looks = np.concatenate([self.looks, np.repeat(looks[None], windows, axis=0)])[-POOLED:]
        for kind in kinds:
            mine = looks == kind
            alone[:, mine] = ndtr(numbers[:, mine]) < alarm_rate(kind, self.level.alpha)
            same = mine & (self.looks == kind).all(0)
            latest = self.numbers[:, same]
            total = latest.sum(0)
            rest = total - latest.min(0)
            together[same] = (ndtr(total / np.sqrt(POOLED)) < alarm_rate(f"{kind} x{POOLED}", self.level.pooled_alpha)) & (
                ndtr(rest / np.sqrt(POOLED - 1)) < alarm_rate(f"{kind} x{POOLED - 1}", self.level.alpha)
            )
        self.numbers, self.looks = self.numbers[1:], self.looks[1:]
        return alone, together

    def settle(self, history: int) -> None:
        """What was before a decision is not taken together with what follows."""
        self.looks[:, history] = ""


@dataclass
class Chains:
    """Confirmation, window by window, of `count` histories: which are of the newest drift, and whether it is confirmed."""

    count: int
    windows: int
    days: int
    members: np.ndarray = field(init=False)
    """(days, H): windows of the newest drift by day."""

    def __post_init__(self) -> None:
        self.members = np.zeros((self.days, self.count), np.int64)
        self.every = np.zeros((self.days * self.windows, self.count), bool)
        self.born = np.zeros(self.count, np.int64)
        self.flags, self.open, self.confirming = (np.zeros((2, self.count), bool) for _ in range(3))
        self.last = np.full(self.count, -NEVER)

    def see(self, day: int, flags: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The day's windows (W, H). Whether drift is confirmed, whether it is a new one, and windows of earlier days that joined."""
        confirmed, another, joined = np.zeros(self.count, bool), np.zeros(self.count, bool), np.zeros((self.days, self.count), np.int64)
        self.every[day * self.windows : (day + 1) * self.windows] = flags
        for index, flag in enumerate(flags):
            at = day * self.windows + index
            new = flag & self.flags.any(0)
            confirmed |= self.open.sum(0) + flag >= CONFIRMING_ALARMS
            # Those before that were alone until now; the older of the two first.
            late = new & self.flags & ~self.confirming
            first = np.where(late[0], at - 2, np.where(late[1], at - 1, at))
            broken = new & (first - self.last >= max(CONFIRMING_WINDOWS, DRIFT_GAP / timedelta(days=1) * self.windows))
            self.members[:, broken] = 0
            joined[:, broken] = 0
            another |= broken
            for back, more in ((2, late[0]), (1, late[1]), (0, new)):
                if at >= back:
                    self.members[(at - back) // self.windows] += more
                    if (at - back) // self.windows < day:
                        joined[(at - back) // self.windows] += more
            self.last = np.where(new, at, self.last)
            self.confirming = np.array([self.confirming[1] | late[1], new])
            self.flags, self.open = (np.array([before[1], flag]) for before in (self.flags, self.open))
        return confirmed, another, joined

    def mark(self, day: int, history: int) -> tuple[bool, np.ndarray]:
        """The day's last windows drifted together. Whether that is a new drift, and windows of earlier days that joined (days,)."""
        end, before = (day + 1) * self.windows, self.members[:, history].copy()
        self.every[end - POOLED : end, history] = True
        flags = self.every[self.born[history] : end, history].tolist()
        inside = np.zeros(self.days * self.windows, np.int64)
        inside[self.born[history] : end] = windows_of_newest_drift(flags, times_of(len(flags), self.windows))
        now = inside.reshape(self.days, self.windows).sum(1)
        another = bool((before > now).any())
        self.members[:, history], self.last[history] = now, end - 1
        for state in (self.flags, self.open, self.confirming):
            state[:, history] = True
        joined = now - before * (not another)
        joined[day:] = 0
        return another, joined

    def settle(self, day: int, history: int, *, forget: bool) -> None:
        """After a decision windows from before confirm nothing; after a promotion they are another version's."""
        self.open[:, history] = False
        if forget:
            self.born[history] = (day + 1) * self.windows
            self.flags[:, history] = self.confirming[:, history] = False
            self.members[:, history], self.last[history] = 0, -NEVER
