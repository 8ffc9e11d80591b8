"""The latest windows taken together: a drift too weak for windows of their own shows in many images.

After a watch's last window the latest 4 and 8 windows are tested as one each, where the others have not confirmed a drift already. One
such test confirms by itself, at a level that all of them share (`windows.level_of`). It never stands on one window alone: without its
most extreme one the rest must still be off at the level of a window, so a single odd night is confirmed hardly sooner than before. (Of two
windows that would ask for both of them, which is 2 of 3.)
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from components.drift_detection.reference import Regimes, window_sample
from components.drift_detection.window_test import TestedWindow, WindowTest, window_test
from components.drift_detection.windows import AlarmLevel, CutWindow, WatchHistory, tested_rows, window_of
from driftloop.contracts import POOLED_WINDOWS
from driftloop.watch_record import RecordedWindow, with_pools

#: The largest part of windows taken together in all rows compared: beside fewer reference rows it is more and more these that are judged.
LARGEST_SHARE = 1 / 2


@dataclass(frozen=True)
class PooledTest:
    """Several windows, tested as one, that drifted."""

    windows: int
    """How many, the last of this watch's among them."""
    test: WindowTest
    """Of them all."""

    def sentence(self) -> str:
        """For people: what it says."""
        return (
            f"The last {self.windows} windows together, {self.test.rows:,} images, do not fit what the champion was accepted for "
            f"(p = {self.test.p_value:.2g}); one alone may be too small to show it."
        )


def drifted_together(
    rows: pd.DataFrame,
    pending: np.ndarray,
    windows: Sequence[CutWindow],
    tested: Sequence[TestedWindow],
    history: WatchHistory,
    regimes: Regimes,
    level: AlarmLevel,
    rng: np.random.Generator,
) -> PooledTest | None:
    """The fewest of the latest windows that drifted together; None where none did, or the watch has no window.

    Windows from before the last decision do not take part, nor any that lies behind one whose tested rows are not all there any more.

    Args:
        rows: of the traffic, in time order.
        pending: (N,) bool, which of them were cut into `windows`.
        windows: of this watch, as positions within the pending rows.
        tested: the same.
        history: the windows before.
        regimes: what they are compared with.
        level: of the tests.
        rng: of the permutations.
    """
    if not tested:
        return None
    latest = _latest(rows, pending, windows, tested, history)
    for count in POOLED_WINDOWS:
        chosen = latest[-count:]
        if len(chosen) < count:
            break
        test = _test(rows, [at for at, _ in chosen], regimes, level.pooled_alpha, level.pooled_permutations, rng)
        if test is None or not test.drifted:
            continue
        extreme = int(np.argmin([min(1.0, *window.p_values.values()) for _, window in chosen]))
        rest = [at for number, (at, _) in enumerate(chosen) if number != extreme]
        without = _test(rows, rest, regimes, level.alpha, level.permutations, rng)
        if without is not None and without.drifted:
            return PooledTest(count, test)
    return None


def with_marks(tested: Sequence[TestedWindow], history: WatchHistory, pooled: PooledTest) -> tuple[list[TestedWindow], WatchHistory]:
    """The windows of this watch and those before, with those marked that drifted together."""
    records = [*history.windows, *(window.record for window in tested)]
    records[-1] = records[-1].model_copy(update={"pooled": pooled.windows})
    records, past = with_pools(records), len(history.windows)
    return [replace(window, record=record) for window, record in zip(tested, records[past:], strict=True)], replace(
        history, windows=records[:past]
    )


def _latest(
    rows: pd.DataFrame, pending: np.ndarray, windows: Sequence[CutWindow], tested: Sequence[TestedWindow], history: WatchHistory
) -> list[tuple[np.ndarray, RecordedWindow]]:
    """The latest windows whose tested rows are all there, oldest first: positions of their rows, and their records."""
    positions = np.flatnonzero(pending)
    latest = [(positions[window.rows], result.record) for window, result in zip(windows, tested, strict=True)][-max(POOLED_WINDOWS) :]
    at = window_of(rows, history)
    at[pending] = -1
    for number in reversed(range(len(history.windows) - history.open_windows, len(history.windows))):
        there, recorded = np.flatnonzero(at == number), history.windows[number]
        if len(latest) == max(POOLED_WINDOWS) or not recorded.groups or len(tested_rows(rows.iloc[there])) != recorded.groups:
            break
        latest.insert(0, (there, recorded))
    return latest


def _test(
    rows: pd.DataFrame, parts: Sequence[np.ndarray], regimes: Regimes, alpha: float, permutations: int, rng: np.random.Generator
) -> WindowTest | None:
    """The test of several windows as one; None where they are too large beside their reference."""
    together = rows.iloc[np.sort(np.concatenate(parts))]
    sample = window_sample(together.iloc[tested_rows(together)])
    if len(sample) > LARGEST_SHARE * (len(sample) + len(regimes.samples[0])):
        return None
    test = window_test(sample, regimes, alpha=alpha, permutations=permutations, rng=rng)
    return test if test.share <= LARGEST_SHARE else None
