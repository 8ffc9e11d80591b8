"""Which request lies in which window, so that labels and retraining find the rows of the drift at hand, late ones included."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from components.drift_detection.confirm import newest_confirmed
from components.drift_detection.history import History, window_of
from components.drift_detection.windows import CutWindow


@dataclass(frozen=True)
class Coverage:
    """For each row of the log (N,): whether a window covers it, which one, whether that drifted, and whether it is of the newest
    confirmed drift: an alarm of weeks ago, false perhaps, says nothing about it.

    `window` counts this watch's windows from 0, and earlier ones of the same champion from -1 backwards.
    """

    covered: np.ndarray
    window: np.ndarray
    drifted: np.ndarray
    confirmed: np.ndarray

    def latest_confirmed(self, windows: int) -> np.ndarray:
        """The rows of the newest confirmed windows, so many at most: (N,) bool."""
        return self.confirmed & np.isin(self.window, np.unique(self.window[self.confirmed])[-windows:])

    def frame(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The covered rows: request_id, window, drifted, confirmed."""
        table = pd.DataFrame({"request_id": rows["request_id"].to_numpy(), "window": self.window, "drifted": self.drifted})
        return table.assign(confirmed=self.confirmed)[self.covered].reset_index(drop=True)


def cover(rows: pd.DataFrame, pending: np.ndarray, windows: Sequence[CutWindow], drifted: Sequence[bool], history: History) -> Coverage:
    """Assign rows to windows.

    Args:
        rows: the log in time order.
        pending: (N,) bool, the rows that were cut into `windows`.
        windows: positions within the pending rows.
        drifted: of each of `windows`.
        history: earlier windows, which are found by their times.
    """
    past = len(history.windows)
    at = window_of(rows, history)
    at[pending] = -1
    positions = np.flatnonzero(pending)
    for index, window in enumerate(windows):
        at[positions[window.rows]] = past + index
    flags = [window.drifted for window in history.windows] + list(drifted)
    # One more entry for rows outside all windows, whose index is -1.
    return Coverage(
        covered=at >= 0,
        window=at - past,
        drifted=np.array([*flags, False])[at],
        confirmed=np.array([*newest_confirmed(flags), False])[at],
    )
