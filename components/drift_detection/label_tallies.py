"""Which random labels judge harm, window by window: rows, labels, right answers, and what was skipped.

Every label counts, also where several are of one patient: requests are drawn one by one, and accuracy is that of requests. What such labels
say alike their design effect allows for.

A label counts once, whenever it comes: its row says in which window. Rows are kept for long, not for ever, so what was counted stands in
the record of each watch, and goes on counting where the rows have gone.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from components.drift_detection.reference import first_of_each
from components.drift_detection.windows import Coverage, WatchHistory
from driftloop.contracts import RANDOM, SKIPPED
from driftloop.evaluation.clustered import independent_images
from driftloop.watch_record import RecordedWindow, WindowLabels

#: Windows whose tallies a record holds. Older ones go on counting while their rows are there; once both are gone, their labels are
#: forgotten and the bounds stand on the others, at a boundary that no longer knows of these earlier looks. At 200 labelled windows a
#: day that is after 2.5 days, at 24 after three weeks.
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

    @property
    def ends(self) -> list[datetime]:
        """Time of the last request of each."""
        return [datetime.fromisoformat(window.last) for window in self.windows]

    def within(self, days: float) -> np.ndarray:
        """Which ended so many days before the newest one, or later: (W,) bool."""
        newest = max(self.ends, default=None)
        return np.array([newest is not None and newest - end <= timedelta(days=days) for end in self.ends], dtype=bool)

    def undrifted(self) -> np.ndarray:
        """Which did not drift and came after the last decision: (W,) bool."""
        return ~self.drifted & self.undecided

    @property
    def undecided(self) -> np.ndarray:
        """Which came after the last decision: (W,) bool."""
        return np.arange(len(self.windows)) >= len(self.windows) - self.open


@dataclass(frozen=True)
class OverSampled:
    """Rows of which more labels were asked than of the others of their windows: those of a level of a tag that drifts."""

    inside: np.ndarray
    """(N,) bool, which rows."""
    rows: np.ndarray
    """(W,), how many of each window."""

    def thinned(self, random: pd.DataFrame, window: pd.Series, rows: np.ndarray, inside: pd.Series) -> pd.DataFrame:
        """The labels of a uniform sample: of these rows no larger a part than of the others of their window.

        Which of them stay is drawn by the hash of the request.

        Args:
            random: the labelled rows.
            window: of each row, which.
            rows: (W,), requests of each window.
            inside: `inside` by the index of `random`.
        """
        ours = random[inside[random.index]]
        if not len(ours):
            return random
        others = np.bincount(window[random.index.difference(ours.index)], minlength=len(rows))
        rest = rows - self.rows
        most = np.where(rest > 0, np.ceil(others * self.rows / np.maximum(rest, 1)), len(random))
        order = ours.index[np.argsort([hashlib.sha256(str(name).encode()).digest() for name in ours["request_id"]], kind="stable")]
        at = window[order]
        place = at.groupby(at).cumcount().to_numpy()
        return random.drop(order[place >= most[at.to_numpy()]])


def window_labels(
    rows: pd.DataFrame,
    coverage: Coverage,
    places: WindowPlaces,
    chosen: np.ndarray,
    counted: Sequence[WindowLabels],
    *,
    judging: np.ndarray,
    drifted: bool,
    tag: str = "",
    oversampled: OverSampled | None = None,
) -> list[WindowLabels]:
    """The tallies of the chosen windows, oldest first, those without labels among them.

    Args:
        rows: of the log, with predicted, label, label_origin and group.
        coverage: which window covers each.
        places: of all windows.
        chosen: (W,) bool.
        counted: what the watch before had counted.
        judging: (N,) bool, the rows kept for the gate, whose labels do not count.
        drifted: whether the windows are of a drift, or of images that look as accepted.
        tag: the level of a tag that the rows and the windows are of; empty: all requests.
        oversampled: rows that were labelled more often than the others of their windows.
    """
    numbers = np.flatnonzero(chosen)
    if not len(numbers):
        return []
    at = coverage.window + places.past
    inside = coverage.covered & np.isin(at, numbers)
    random = rows[inside & ~judging & randomly_labelled(rows)]
    window = pd.Series(at, index=rows.index)
    if oversampled is not None:
        every = np.array([recorded.rows for recorded in places.windows])
        random = oversampled.thinned(random, window, every, pd.Series(oversampled.inside, index=rows.index))
    right = (random["predicted"] == random["label"]).to_numpy(dtype=bool)
    effect = design_effect(right, random)
    labels = window[random.index].value_counts()
    correct = window[random.index[right]].value_counts()
    skipped = window[inside & (rows["label_origin"] == SKIPPED).to_numpy(dtype=bool)].value_counts()
    known = {(tally.watch, tally.window): tally for tally in counted if tally.tag == tag}
    began = places.places[numbers[0]][0] if drifted else 0
    tallies = []
    for number in numbers:
        (watch, index), recorded = places.places[number], places.windows[number]
        tally = WindowLabels(
            watch=watch,
            window=index,
            drift=began,
            tag=tag,
            mixture=recorded.mixture,
            last=recorded.last,
            rows=recorded.rows,
            labels=int(labels.get(number, 0)),
            right=int(correct.get(number, 0)),
            skipped=int(skipped.get(number, 0)),
            effect=effect,
        )
        before = known.get((watch, index))
        # Fewer labels: its rows have gone since, but for those labels that were taken back, which are skipped now.
        if before is not None and before.labels - tally.labels > max(0, tally.skipped - before.skipped):
            tally = tally.model_copy(update=before.model_dump(include={"labels", "right", "skipped", "effect"}))
        tallies.append(tally)
    return tallies


def randomly_labelled(rows: pd.DataFrame) -> np.ndarray:
    """Which rows have a uniformly random label, (N,) bool."""
    return ((rows["label_origin"] == RANDOM) & rows["label"].notna()).to_numpy(dtype=bool)


def can_be_labelled(rows: pd.DataFrame) -> np.ndarray:
    """Which rows somebody could still label, (N,) bool: without a label, not skipped, and their image was kept."""
    return (rows["label"].isna() & (rows["label_origin"] != SKIPPED) & rows["image"].notna()).to_numpy(dtype=bool)


def known_groups(rows: pd.DataFrame) -> np.ndarray:
    """The group of each row, (N,) of str; a row without one goes by its image's bytes, as far as they are known: copies are no others."""
    names = pd.Series([f"row {number}" for number in range(len(rows))], index=rows.index, dtype=object)
    if "image_sha256" in rows:
        names = ("sha256:" + rows["image_sha256"]).fillna(names)
    return rows["group"].where(rows["group"].fillna("") != "", names).to_numpy(dtype=np.str_)


def design_effect(answers: np.ndarray, rows: pd.DataFrame) -> float:
    """Labels over as many independent ones; 1 without any.

    Requests are drawn one by one, so each label stands for as many; what several of one patient say alike is allowed for here.

    Args:
        answers: bool (N,), what is counted among the rows.
        rows: N of the log, with group.
    """
    return len(answers) / independent_images(answers, known_groups(rows)) if len(answers) else 1.0


def labels_of_a_group(rows: pd.DataFrame) -> float:
    """How many rows a group has, as a mean sees it: a few large groups count for more than many small ones; 1 without any."""
    _, sizes = np.unique(known_groups(rows), return_counts=True)
    return float((sizes**2).sum() / sizes.sum()) if len(sizes) else 1.0


def one_a_group(rows: pd.DataFrame) -> pd.DataFrame:
    """The first row of each group."""
    return rows.iloc[first_of_each(known_groups(rows))]


def random_labels(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with a uniformly random label; of each group the first."""
    return one_a_group(rows[randomly_labelled(rows)])


def labels_to_be_had(rows: pd.DataFrame) -> int:
    """How many random labels there can be, those that are there among them; of each group one counts."""
    return len(one_a_group(rows[randomly_labelled(rows) | can_be_labelled(rows)]))


def correct_answers(rows: pd.DataFrame) -> tuple[int, int]:
    """How many randomly labelled requests the champion got right, and of how many."""
    labelled = rows[randomly_labelled(rows)]
    return int((labelled["predicted"] == labelled["label"]).sum()), len(labelled)


def to_record(*tallies: Sequence[WindowLabels]) -> list[WindowLabels]:
    """The newest windows with labels, of a drift and of images that look as accepted, as a record holds them."""
    labelled = [tally for part in tallies for tally in part if tally.labels or tally.skipped]
    return sorted(labelled, key=lambda tally: (tally.watch, tally.window))[-MOST_TALLIES:]
