"""Harm as a watch judges it: of the confirmed drift, of the windows that look as accepted, and how that changes what labels are for."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np
import pandas as pd

from components.drift_detection.harm import CONCEPT_ALPHA, DRIFT_ALPHA, AccuracyDrop, drop_of, labels_to_decide
from components.drift_detection.label_tallies import (
    OverSampled,
    WindowPlaces,
    can_be_labelled,
    design_effect,
    labels_of_a_group,
    labels_to_be_had,
    random_labels,
    randomly_labelled,
    to_record,
    window_labels,
)
from components.drift_detection.policy import shows_harm
from components.drift_detection.windows import Coverage
from driftloop.contracts import SKIPPED
from driftloop.drifts import windows_of_newest_drift, windows_of_open_drift
from driftloop.evaluation.intervals import Proportion
from driftloop.settings import DriftSettings, RetrainSettings
from driftloop.watch_record import WatchRecord, WindowLabels

#: Windows that are so many half-lives old weigh less than a thousandth, and are left out: a service may have a thousand a day.
HALF_LIVES = 10
#: So many are asked for where groups are too few for the setting: the bounds keep their level there, too (bench/harm_over_time.py).
FEWEST_LABELS = 30
#: Independent images that tell an accuracy as good as exactly.
EXACT = 1e8


@dataclass(frozen=True)
class JudgedHarm:
    """What the random labels say."""

    confirmed: bool
    """Whether drift is confirmed by windows."""
    drift: int
    """Number of the watch with which the confirmed drift began; 0 without one."""
    drop: AccuracyDrop | None
    """Of the confirmed drift; None without one, or without labels."""
    concept_drop: AccuracyDrop | None
    """Of the windows since the last decision that did not drift."""
    concept: bool
    """Whether that shows harm, where no drift is confirmed."""
    drifting: list[WindowLabels]
    """Labels of the confirmed drift by window; where none is confirmed now, of the one that the next windows may confirm again."""
    steady: list[WindowLabels]
    """Labels of the windows that did not drift."""
    in_drift: np.ndarray
    """Of all windows (W,), those of a confirmed drift that still weigh."""
    concerned: np.ndarray
    """Of all windows (W,), those in question: of the drift, else of the images whose meaning has changed, else all since the last decision
    where the calendar asks, else of the alarm."""
    coverage: Coverage
    """Of the rows: `confirmed` where such a window covers them."""
    labels: int
    """Random labels there, of which those kept for the gate have no say here."""
    gate_labels: int
    """Random labels there that are kept for the gate."""
    gate_independent: float
    """As many independent ones as these are worth."""
    gate_obtainable: int
    """These, and the requests there kept for the gate that somebody could still label; of each group one."""
    harm_labels: int
    """Random labels before harm is judged: the setting, or `FEWEST_LABELS` where there are fewer groups to label than that."""
    skipped: int
    """Requests there that labellers have skipped."""
    tag: str = ""
    """The level of a tag whose requests these are, as in site=B; empty: all requests."""

    def own_settings(self, settings: DriftSettings) -> DriftSettings:
        """Those of the policy, with the number of labels that these requests allow."""
        return settings.model_copy(update={"harm_labels": self.harm_labels})

    @property
    def judged(self) -> AccuracyDrop | None:
        """The drop that the verdict stands on."""
        return self.concept_drop if self.concept else self.drop

    @property
    def recorded(self) -> list[WindowLabels]:
        """What the record holds of the labels."""
        return to_record(self.drifting, self.steady)

    def labels_to_decide(self, settings: DriftSettings, retrain: RetrainSettings) -> int | None:
        """About how many random labels in all, the gate's among them, would show whether the drift matters.

        None where there is none, or where a great many would be needed.
        """
        needed = self.judging_labels_to_decide(settings)
        if self.drop is None or needed is None:
            return None
        return max(self.labels, self.drop.n + self.gate_labels) + math.ceil((needed - self.drop.n) / (1 - retrain.gate_share))

    def judging_labels_to_decide(self, settings: DriftSettings) -> int | None:
        """The same without the gate's, which have no say."""
        if self.drop is None:
            return None
        return labels_to_decide(self.drop, retrain_drop=settings.retrain_drop, harmless_drop=settings.harmless_drop)

    def too_few_accepted(self, settings: DriftSettings) -> float | None:
        """As many independent images as tell the accuracy that was accepted, where for their number no labels would decide; else None."""
        if self.drop is None or self.judging_labels_to_decide(settings) is not None:
            return None
        known = replace(self, drop=replace(self.drop, expected_n=EXACT))
        return None if known.judging_labels_to_decide(settings) is None else self.drop.expected_n

    def labels_could_decide(self, settings: DriftSettings) -> bool:
        """Whether more labels are worth asking for: not where so many say so little that even a great many would not do."""
        enough = self.judged is not None and self.judged.n >= self.harm_labels
        return not enough or self.drop is None or self.judging_labels_to_decide(settings) is not None

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
    judging: np.ndarray,
    confirmed: bool,
    oversampled: OverSampled,
    share: float = 1.0,
    calendar_due: bool = False,
) -> JudgedHarm:
    """Judge the labels that are there, but for those kept for the gate.

    Labels by which a champion looked bad favour whoever comes next: a candidate no better would look better on them.

    Args:
        rows: of the log.
        coverage: which window covers each of them.
        places: all windows.
        accepted: the champion's accuracy by regime; empty where it is not known.
        records: of the watches before, oldest first.
        settings: of the policy.
        judging: (N,) bool, the rows kept for the gate.
        confirmed: whether drift is confirmed by windows.
        oversampled: rows that were labelled more often than the others of their windows.
        share: of the chance of a wrong bound; levels of tags have the rest.
        calendar_due: whether the calendar asks for a retraining: without a drift it learns from all windows since the last decision.
    """
    counted = records[-1].labels_by_window if records else []
    of_drift = windows_of_newest_drift if confirmed else windows_of_open_drift
    members = np.array(of_drift(places.drifted.tolist(), places.ends), dtype=bool)
    newest = members & confirmed
    recent = places.within(HALF_LIVES * settings.harm_half_life_days)
    steady_windows = places.undrifted() & recent
    drifting = window_labels(rows, coverage, places, members & recent, counted, judging=judging, drifted=True, oversampled=oversampled)
    steady = window_labels(rows, coverage, places, steady_windows, counted, judging=judging, drifted=False, oversampled=oversampled)

    def drop(windows: Sequence[WindowLabels], alpha: float) -> AccuracyDrop | None:
        return drop_of(windows, accepted, half_life_days=settings.harm_half_life_days, alpha=alpha) if accepted else None

    harm, concept_drop = drop(drifting, share * DRIFT_ALPHA) if confirmed else None, drop(steady, share * CONCEPT_ALPHA)
    concept = not confirmed and shows_harm(concept_drop, settings)
    by_calendar = calendar_due and not confirmed and not concept
    concerned = newest if confirmed else steady_windows if concept else places.undecided if by_calendar else places.fresh & places.drifted
    if concept or by_calendar:
        inside = coverage.covered & np.isin(coverage.window + places.past, np.flatnonzero(concerned))
        coverage = replace(coverage, confirmed=inside)
    return JudgedHarm(
        confirmed=confirmed,
        drift=places.places[int(newest.argmax())][0] if newest.any() else 0,
        drop=harm,
        concept_drop=concept_drop,
        concept=concept,
        drifting=drifting,
        steady=steady,
        in_drift=newest & recent,
        concerned=concerned,
        coverage=coverage,
        **counted_labels(rows, coverage.confirmed, judging, settings),
    )


class LabelCounts(TypedDict):
    """Those of a `JudgedHarm`."""

    labels: int
    gate_labels: int
    gate_independent: float
    gate_obtainable: int
    harm_labels: int
    skipped: int


def counted_labels(rows: pd.DataFrame, confirmed: np.ndarray, judging: np.ndarray, settings: DriftSettings) -> LabelCounts:
    """The labels of the rows that are in question.

    What several labels of one patient or lot are worth to the gate goes by how much alike those are that judge harm (their correlation
    within groups, by the design effect and sizes of these): its own must have no say in when it is asked. They are worth no less than one
    a group, and without labels enough to tell no more.

    Args:
        rows: of the log.
        confirmed: (N,) bool, those in question.
        judging: (N,) bool, the rows kept for the gate.
        settings: of the policy.
    """
    there, kept = rows[confirmed], rows[confirmed & judging]
    deciding = rows[confirmed & ~judging]
    # More rows than that, but fewer groups: the setting would never be reached.
    few = (randomly_labelled(deciding) | can_be_labelled(deciding)).sum() >= settings.harm_labels > labels_to_be_had(deciding)
    labelled, gate_labels = deciding[randomly_labelled(deciding)], int(randomly_labelled(kept).sum())
    independent = float(len(random_labels(kept)))
    size, gate_size = labels_of_a_group(labelled), labels_of_a_group(kept[randomly_labelled(kept)])
    if len(labelled) >= FEWEST_LABELS and size > 1:
        right = (labelled["predicted"] == labelled["label"]).to_numpy(dtype=bool)
        correlation = min(1.0, (design_effect(right, labelled) - 1) / (size - 1))
        independent = max(independent, gate_labels / (1 + (gate_size - 1) * correlation))
    return {
        "labels": int(randomly_labelled(there).sum()),
        "gate_labels": gate_labels,
        "gate_independent": independent,
        "gate_obtainable": labels_to_be_had(kept),
        "harm_labels": min(settings.harm_labels, FEWEST_LABELS) if few else settings.harm_labels,
        "skipped": int((there["label_origin"] == SKIPPED).sum()),
    }
