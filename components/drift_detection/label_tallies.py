"""Which random labels judge harm, window by window: rows, labels, right answers, and what was skipped.

A label counts once, whenever it comes: its row says in which window. Rows are kept for long, not for ever, so what was counted stands in
the record of each watch, and goes on counting where the rows have gone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from components.drift_detection.reference import first_of_each
from components.drift_detection.windows import Coverage, WatchHistory
from driftloop.contracts import RANDOM, SKIPPED
from driftloop.watch_record import RecordedWindow, WindowLabels

#: Windows whose tallies a record holds.
MOST_TALLIES = 500


@dataclass(frozen=True)
class WindowPlaces:
    """All windows of the champion, oldest first: those of earlier watches, then this watch's."""

    windows: list[RecordedWindow]
    places: list[tuple[int, int]]
    """Number of the watch, and index there."""
    past: int
    """How many are of earlier watches."""
    open: int
    """The last so many came after the last decision."""

    @classmethod
    def of(cls, history: WatchHistory, fresh: Sequence[RecordedWindow], sequence: int) -> "WindowPlaces":
        places = [*history.places, *((sequence, index) for index in range(len(fresh)))]
        return cls([*history.windows, *fresh], places, len(history.windows), history.open_windows + len(fresh))

    @property
    def fresh(self) -> np.ndarray:
        """Which are this watch's: (W,) bool."""
        return np.arange(len(self.windows)) >= self.past

    @property
    def drifted(self) -> np.ndarray:
        """Which drifted: (W,) bool."""
        return np.array([window.drifted for window in self.windows], dtype=bool)

    def within(self, days: float) -> np.ndarray:
        """Which ended so many days before the newest one, or later: (W,) bool."""
        ends = [datetime.fromisoformat(window.last) for window in self.windows]
        newest = max(ends, default=None)
        return np.array([newest is not None and newest - end <= timedelta(days=days) for end in ends], dtype=bool)

    def undrifted(self) -> np.ndarray:
        """Which did not drift and came after the last decision: (W,) bool."""
        flags = ~self.drifted
        flags[: len(flags) - self.open] = False
        return flags


def window_labels(
    rows: pd.DataFrame, coverage: Coverage, places: WindowPlaces, chosen: np.ndarray, counted: Sequence[WindowLabels], *, drifted: bool
) -> list[WindowLabels]:
    """The tallies of the chosen windows, oldest first, those without labels among them.

    Args:
        rows: of the log, with predicted, label, label_origin and group.
        coverage: which window covers each.
        places: of all windows.
        chosen: (W,) bool.
        counted: what the watch before had counted.
        drifted: whether the windows are of a drift, or of images that look as accepted.
    """
    numbers = np.flatnonzero(chosen)
    if not len(numbers):
        return []
    at = coverage.window + places.past
    inside = coverage.covered & np.isin(at, numbers)
    random = random_labels(rows[inside])
    right = (random["predicted"] == random["label"]).to_numpy(dtype=bool)
    window = pd.Series(at, index=rows.index)
    labels = window[random.index].value_counts()
    correct = window[random.index[right]].value_counts()
    skipped = window[inside & (rows["label_origin"] == SKIPPED).to_numpy(dtype=bool)].value_counts()
    known = {(tally.watch, tally.window): tally for tally in counted}
    began = places.places[numbers[0]][0] if drifted else 0
    tallies = []
    for number in numbers:
        (watch, index), recorded = places.places[number], places.windows[number]
        tally = WindowLabels(
            watch=watch,
            window=index,
            drift=began,
            mixture=recorded.mixture,
            last=recorded.last,
            rows=recorded.rows,
            labels=int(labels.get(number, 0)),
            right=int(correct.get(number, 0)),
            skipped=int(skipped.get(number, 0)),
        )
        before = known.get((watch, index))
        if before is not None and before.labels > tally.labels:  # its rows have gone since
            tally = tally.model_copy(update={"labels": before.labels, "right": before.right, "skipped": before.skipped})
        tallies.append(tally)
    return tallies


def random_labels(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with a uniformly random label; of each group the first."""
    labelled = rows[(rows["label_origin"] == RANDOM) & rows["label"].notna()]
    return labelled.iloc[first_of_each(labelled["group"].fillna("").to_numpy(dtype=np.str_))]


def correct_answers(rows: pd.DataFrame) -> tuple[int, int]:
    """How many randomly labelled requests the champion got right, and of how many; of each group the first counts."""
    labelled = random_labels(rows)
    return int((labelled["predicted"] == labelled["label"]).sum()), len(labelled)


def to_record(*tallies: Sequence[WindowLabels]) -> list[WindowLabels]:
    """The newest windows with labels, of a drift and of images that look as accepted, as a record holds them."""
    labelled = [tally for part in tallies for tally in part if tally.labels or tally.skipped]
    return sorted(labelled, key=lambda tally: (tally.watch, tally.window))[-MOST_TALLIES:]
