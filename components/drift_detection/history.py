"""What earlier watches say: windows already judged, decisions already taken, and when."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from driftloop.watch_record import JudgedWindow, WatchRecord

#: How far back decisions count.
MEMORY = timedelta(days=30)


@dataclass(frozen=True)
class History:
    """Seen from the end of a watch.

    `windows` were judged for the same champion, oldest first; of these the last `open_windows` came after the last decision, and only
    they can confirm a drift together with fresh ones: what a decision was taken on is settled. `days_since_decision` is None where
    there was none; `recent_retrainings` counts decisions in the last 30 days and `recent_windows` windows in the last 90, of any
    version. `labels_at_refusal`: the labels on which the last candidate for this champion was refused, None where none was in the
    last 30 days.
    """

    windows: list[JudgedWindow]
    open_windows: int
    days_since_decision: float | None
    recent_retrainings: int
    recent_windows: int
    labels_at_refusal: int | None = None

    @property
    def votes(self) -> list[bool]:
        """Whether each window since the last decision drifted."""
        return [window.drifted for window in self.windows[len(self.windows) - self.open_windows :]]


def read_history(records: Sequence[WatchRecord], *, champion_version: str, until: str) -> History:
    """The history that the records (oldest first) hold for a watch that ends at `until` (ISO 8601)."""
    end = datetime.fromisoformat(until)
    mine = [record for record in records if record.champion_version == champion_version]
    decided = [record for record in records if record.decision is not None]
    last_decision = decided[-1].sequence if decided else -1
    ages = [end - datetime.fromisoformat(record.until) for record in decided]
    recent = [record for record, age in zip(decided, ages, strict=True) if age <= MEMORY]
    refused = [record for record in recent if record.champion_version == champion_version]
    return History(
        windows=[window for record in mine for window in record.windows],
        open_windows=sum(len(record.windows) for record in mine if record.sequence > last_decision),
        days_since_decision=ages[-1] / timedelta(days=1) if ages else None,
        recent_retrainings=len(recent),
        recent_windows=sum(
            end - datetime.fromisoformat(window.last) <= timedelta(days=90) for record in records for window in record.windows
        ),
        labels_at_refusal=refused[-1].labels if refused else None,
    )


def unjudged(rows: pd.DataFrame, history: History) -> np.ndarray:
    """Which rows no window has covered yet, (N,) bool: those after the last judged window, so also those that waited."""
    if not history.windows:
        return np.ones(len(rows), dtype=bool)
    return (rows["time"] > pd.Timestamp(history.windows[-1].last)).to_numpy()


def window_of(rows: pd.DataFrame, history: History) -> np.ndarray:
    """Which earlier window covered each row, (N,) int64: its index in `history.windows`, -1 for none."""
    found = np.full(len(rows), -1, dtype=np.int64)
    for index, window in enumerate(history.windows):
        inside = (rows["time"] >= pd.Timestamp(window.first)) & (rows["time"] <= pd.Timestamp(window.last))
        found[inside.to_numpy()] = index
    return found
