"""From the evidence to a verdict: one rule after the other, the first that applies decides, each with its sentence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
from scipy import stats

from components.drift_detection.harm import AccuracyDrop, labels_to_decide
from components.drift_detection.window_test import LabelFreeEstimate
from components.drift_detection.windows import CutRows, WatchHistory
from driftloop.bundle import ModelDescription
from driftloop.contracts import CONFIRMED_BY
from driftloop.dataset.description import DATASET_FILE, Description
from driftloop.dataset.group_names import GroupNames
from driftloop.dataset.reading import read_samples
from driftloop.dataset.roles import assign_roles, count_labels, missing_labels
from driftloop.dataset.writing import DATASETS
from driftloop.errors import NotFound
from driftloop.evaluation.intervals import Proportion
from driftloop.inference.confirmed_rows import confirmed_rows
from driftloop.inference.traffic import Traffic
from driftloop.settings import DriftSettings, RetrainSettings
from driftloop.store import open_store

VerdictName = Literal["stable", "alert", "needs_labels", "retrain"]


@dataclass(frozen=True)
class Situation:
    """All that the policy looks at."""

    tested: int
    """Fresh windows."""
    drifted: int
    """Of these, drifted ones."""
    confirmed: bool
    """By `contracts.CONFIRMED_BY` windows."""
    waiting: int = 0
    """Rows too few for a window."""
    waiting_groups: int = 0
    """Their groups."""
    minimum: int = 0
    """Groups that a window needs."""
    stuck: bool = False
    """Whether the waiting rows are mostly copies."""
    drop: AccuracyDrop | None = None
    """None without random labels or without a known clean accuracy."""
    labels_to_decide: int | None = None
    """About how many random labels would settle whether it matters; None: unknown or a great many."""
    labels: int = 0
    """Random labels of the newest confirmed drift."""
    labels_at_refusal: int | None = None
    """How many there were when the last candidate was refused; None where none was lately."""
    missing_for_retraining: str = ""
    """Why a retraining could not begin with the labelled images that there are; empty where it could."""
    label_free_drop: float | None = None
    """The estimate without labels, against what the champion was accepted for."""
    days_since_retraining: float | None = None
    """None where there was no decision."""
    recent_retrainings: int = 0
    """In the last 30 days."""


def situation_of(
    settings: DriftSettings,
    size: int,
    cut: CutRows,
    drifted: Sequence[bool],
    confirmed: bool,
    clean: Proportion | None,
    drop: AccuracyDrop | None,
    labels: int,
    label_free: LabelFreeEstimate | None,
    history: WatchHistory,
    missing_for_retraining: str,
) -> Situation:
    """The situation that a watch has found."""
    return Situation(
        tested=len(drifted),
        drifted=sum(drifted),
        confirmed=confirmed,
        waiting=cut.waiting,
        waiting_groups=cut.waiting_groups,
        minimum=min(settings.minimum_window, size),
        stuck=cut.stuck,
        drop=drop,
        labels_to_decide=labels_to_decide(clean, drop, retrain_drop=settings.retrain_drop, harmless_drop=settings.harmless_drop)
        if clean and drop
        else None,
        labels=labels,
        labels_at_refusal=history.labels_at_refusal,
        missing_for_retraining=missing_for_retraining,
        label_free_drop=label_free.drop if label_free else None,
        days_since_retraining=history.days_since_retraining,
        recent_retrainings=history.recent_retrainings,
    )


@dataclass(frozen=True)
class Verdict:
    """`stable`, `alert`, `needs_labels` or `retrain`, and the one sentence that says why."""

    name: VerdictName
    reason: str


def decide(situation: Situation, settings: DriftSettings, retrain: RetrainSettings) -> Verdict:
    """The verdict on a watch.

    Unconfirmed drift is stable, unless the label-free estimate is alarming. Confirmed drift is retrained for where random labels show
    harm and the policy is free to, is harmless where they show that, and else needs labels.

    Args:
        situation: what the watch has found.
        settings: the policy's.
        retrain: those that a retraining will have.
    """
    if not situation.confirmed:
        return _unconfirmed(situation, settings)
    drop = situation.drop
    if drop is not None and drop.n >= settings.harm_labels and drop.value >= settings.retrain_drop and drop.low > 0:
        return _harmful(situation, drop, settings, retrain)
    if drop is not None and drop.high < settings.harmless_drop:
        return Verdict(
            "alert",
            f"Drift is confirmed but harmless: on {drop.n} random labels accuracy fell by {_points(drop.value)}, "
            f"at most {_points(drop.high)} (bound of harm: {_points(settings.harmless_drop)}).",
        )
    return Verdict("needs_labels", _missing_labels(situation, settings))


def _unconfirmed(situation: Situation, settings: DriftSettings) -> Verdict:
    if situation.drifted == 0 and situation.stuck:
        return Verdict(
            "alert",
            f"The last {situation.waiting:,} requests are mostly copies of the same images, too few distinct ones to test: "
            "a camera or a client may be stuck.",
        )
    if situation.tested == 0:
        return Verdict("stable", _nothing_tested(situation))
    if situation.drifted == 0:
        windows = "The window fits" if situation.tested == 1 else f"All {situation.tested} windows fit"
        return Verdict("stable", f"{windows} what the champion was accepted for.")
    alarm = (
        f"{situation.drifted} of {situation.tested} window{'s' if situation.tested > 1 else ''} drifted, not confirmed by {CONFIRMED_BY}"
    )
    estimate = situation.label_free_drop
    if estimate is not None and estimate >= settings.label_free_drop:
        return Verdict(
            "needs_labels",
            f"{alarm}, but the champion's own confidence suggests an accuracy drop of {_points(estimate)}: label some images.",
        )
    return Verdict("stable", f"{alarm}; single alarms are expected by chance.")


def _nothing_tested(situation: Situation) -> str:
    if situation.waiting == 0:
        return "There are no new requests to test."
    return (
        f"No window to test yet: {situation.waiting:,} requests of {situation.waiting_groups:,} distinct groups wait, "
        f"{situation.minimum:,} groups are needed."
    )


def _harmful(situation: Situation, drop: AccuracyDrop, settings: DriftSettings, retrain: RetrainSettings) -> Verdict:
    harm = f"Drift is confirmed and harmful: on {drop.n} random labels accuracy fell by {_points(drop.value)}, at least {_points(drop.low)}"
    if settings.suggest_only:
        return Verdict("alert", f"{harm}; retraining is suggested, as the policy only suggests.")
    age = situation.days_since_retraining
    if age is not None and age < settings.cooldown_days:
        return Verdict("alert", f"{harm}; the last retraining was {age:.1f} days ago and the cooldown lasts {settings.cooldown_days:g}.")
    if situation.recent_retrainings >= settings.retrainings_per_30_days:
        return Verdict(
            "alert",
            f"{harm}; the budget of {settings.retrainings_per_30_days} retrainings in 30 days is spent.",
        )
    missing = _missing_for_another_try(situation, drop, settings, retrain)
    return Verdict("needs_labels", f"{harm}; {missing}.") if missing else Verdict("retrain", f"{harm}.")


def _missing_for_another_try(situation: Situation, drop: AccuracyDrop, settings: DriftSettings, retrain: RetrainSettings) -> str:
    """Why a retraining would be in vain with these labels; empty where it would not."""
    refused = situation.labels_at_refusal
    # Within one drift labels only grow in number: fewer than then are those of another drift.
    if refused is not None and refused <= situation.labels < refused + settings.retry_labels:
        new = situation.labels - refused
        return f"a candidate was refused on {refused} labels and {new} came since, {settings.retry_labels} make another try worth it"
    wanted = labels_for_the_gate(drop, settings, retrain)
    if situation.labels < wanted:
        return f"with {situation.labels} labels the gate could hardly tell a better candidate, about {wanted} would do"
    return situation.missing_for_retraining


def labels_for_the_gate(drop: AccuracyDrop, settings: DriftSettings, retrain: RetrainSettings) -> int:
    """How many random labels a retraining should wait for: so many that the gate, which gets its part of them, can tell.

    Enough to show at a one-sided level of 5 %, with the power of the settings, that half of the drop was won back:
    n = (z_level + z_power)^2 psi / gain^2, where for three images won one is lost (psi = 2 gain). Never more than one list of
    requests asks for, and none for a power below the level, which chance alone gives.
    """
    share = retrain.gate_parts / (retrain.train_parts + retrain.val_parts + retrain.gate_parts)
    spread = max(0.0, stats.norm.ppf(0.95) + stats.norm.ppf(settings.gate_power)) ** 2
    return min(settings.random_requests, math.ceil(spread * 2 / (drop.value / 2) / share))


def missing_for_retraining(watch: Traffic, coverage: pd.DataFrame, model: ModelDescription, retrain: RetrainSettings) -> str:
    """Why a retraining could not begin with the labelled images of the confirmed drift; empty where it could.

    Each image has the role that the retraining will give it: by its patient, where the champion's dataset knows that. The table of that
    dataset is read from the store by its hash, so this stays a function of the inputs. A store that lacks it refuses the retraining.

    Args:
        watch: the rows, their images and labels.
        coverage: request_id, window and confirmed of the covered rows.
        model: the champion.
        retrain: the settings of the retraining.
    """
    rows = confirmed_rows(watch, coverage, model.classes)
    store = open_store(watch.info.store)
    try:
        dataset = Description.model_validate_json(store.read(f"{DATASETS}{model.dataset}/{DATASET_FILE}"))
        known = read_samples(dataset.model_copy(update={"store": store.uri}), store)
    except NotFound:
        known = pd.DataFrame({"path": [], "split": [], "group": []}, dtype=str)
    return missing_labels(count_labels(assign_roles(rows, known, retrain, GroupNames.known(store))), retrain)


def _missing_labels(situation: Situation, settings: DriftSettings) -> str:
    drop, confirmed = situation.drop, "Drift is confirmed"
    if drop is None or drop.n < settings.harm_labels:
        have = 0 if drop is None else drop.n
        return f"{confirmed}; {have} of at least {settings.harm_labels} random labels are there to tell whether it matters."
    more = situation.labels_to_decide
    advice = f"about {more:,} random labels in all would decide" if more else "more random labels are needed"
    return (
        f"{confirmed}, but {drop.n} random labels show neither harm nor harmlessness "
        f"(drop {_points(drop.value)}, bounds {_points(drop.low)} to {_points(drop.high)}); {advice}."
    )


def _points(share: float) -> str:
    return f"{100 * share:.1f} points"
