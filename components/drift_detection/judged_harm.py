"""Harm as a watch judges it: of the confirmed drift, of the windows that look as accepted, and how that changes what labels are for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from components.drift_detection.harm import CONCEPT_ALPHA, DRIFT_ALPHA, AccuracyDrop, drop_of, labels_to_decide
from components.drift_detection.label_tallies import WindowPlaces, correct_answers, to_record, window_labels
from components.drift_detection.policy import shows_harm
from components.drift_detection.reference import first_of_each
from components.drift_detection.windows import Coverage, windows_of_newest_drift
from driftloop.contracts import SKIPPED
from driftloop.evaluation.intervals import Proportion
from driftloop.settings import DriftSettings
from driftloop.watch_record import WatchRecord, WindowLabels

#: Windows that are so many half-lives old weigh less than a thousandth, and are left out: a service may have a thousand a day.
HALF_LIVES = 10


@dataclass(frozen=True)
class JudgedHarm:
    """What the random labels say."""

    confirmed: bool
    """Whether drift is confirmed by windows."""
    drop: AccuracyDrop | None
    """Of the confirmed drift; None without one, or without labels."""
    concept_drop: AccuracyDrop | None
    """Of the windows since the last decision that did not drift."""
    concept: bool
    """Whether that shows harm, where no drift is confirmed."""
    drifting: list[WindowLabels]
    """Labels of the confirmed drift by window."""
    steady: list[WindowLabels]
    """Labels of the windows that did not drift."""
    concerned: np.ndarray
    """Of all windows (W,), those in question: of the drift, else of the images whose meaning has changed, else of the alarm."""
    coverage: Coverage
    """Of the rows: `confirmed` where such a window covers them."""
    labels: int
    """Random labels there."""
    obtainable: int
    """These, and the requests there that somebody could still label."""
    skipped: int
    """Requests there that labellers have skipped."""

    @property
    def judged(self) -> AccuracyDrop | None:
        """The drop that the verdict stands on."""
        return self.concept_drop if self.concept else self.drop

    @property
    def recorded(self) -> list[WindowLabels]:
        """What the record holds of the labels."""
        return to_record(self.drifting, self.steady)

    def labels_to_decide(self, settings: DriftSettings) -> int | None:
        """About how many labels would show whether the drift matters; None where there is none or a great many would be needed."""
        if self.drop is None:
            return None
        return labels_to_decide(self.drop, retrain_drop=settings.retrain_drop, harmless_drop=settings.harmless_drop)

    def label_free_growth(self, places: WindowPlaces, newest: float | None) -> float | None:
        """By how much the newest estimate without labels exceeds that of the drift's windows that were labelled; None: not known."""
        estimates = {place: window.label_free_drop for place, window in zip(places.places, places.windows, strict=True)}
        known = [(tally.labels, estimates[tally.watch, tally.window]) for tally in self.drifting if tally.labels]
        labelled = [(labels, estimate) for labels, estimate in known if estimate is not None]
        if newest is None or not labelled:
            return None
        return newest - sum(labels * estimate for labels, estimate in labelled) / sum(labels for labels, _ in labelled)


def judge_harm(
    rows: pd.DataFrame,
    coverage: Coverage,
    places: WindowPlaces,
    accepted: Mapping[str, Proportion],
    records: Sequence[WatchRecord],
    settings: DriftSettings,
    *,
    confirmed: bool,
) -> JudgedHarm:
    """Judge the labels that are there.

    Args:
        rows: of the log.
        coverage: which window covers each of them.
        places: all windows.
        accepted: the champion's accuracy by regime; empty where it is not known.
        records: of the watches before, oldest first.
        settings: of the policy.
        confirmed: whether drift is confirmed by windows.
    """
    counted = records[-1].labels_by_window if records else []
    newest = np.array(windows_of_newest_drift([window.drifted for window in places.windows]), dtype=bool) & confirmed
    recent = places.within(HALF_LIVES * settings.harm_half_life_days)
    steady_windows = places.undrifted() & recent
    drifting = window_labels(rows, coverage, places, newest & recent, counted, drifted=True)
    steady = window_labels(rows, coverage, places, steady_windows, counted, drifted=False)

    def drop(windows: Sequence[WindowLabels], alpha: float) -> AccuracyDrop | None:
        return drop_of(windows, accepted, half_life_days=settings.harm_half_life_days, alpha=alpha) if accepted else None

    harm, concept_drop = drop(drifting, DRIFT_ALPHA), drop(steady, CONCEPT_ALPHA)
    concept = not confirmed and shows_harm(concept_drop, settings)
    concerned = newest if confirmed else steady_windows if concept else places.fresh & places.drifted
    if concept:
        inside = coverage.covered & np.isin(coverage.window + places.past, np.flatnonzero(concerned))
        coverage = replace(coverage, confirmed=inside)
    there = rows[coverage.confirmed]
    _, labels = correct_answers(there)
    skipped = there["label_origin"] == SKIPPED
    open_rows = there[there["label"].isna() & there["image"].notna() & ~skipped]
    return JudgedHarm(
        confirmed=confirmed,
        drop=harm,
        concept_drop=concept_drop,
        concept=concept,
        drifting=drifting,
        steady=steady,
        concerned=concerned,
        coverage=coverage,
        labels=labels,
        obtainable=labels + len(first_of_each(open_rows["group"].fillna("").to_numpy(dtype=np.str_))),
        skipped=int(skipped.sum()),
    )
