"""From the evidence to a verdict: one rule after the other, the first that applies decides, each with its sentence."""

import math
from dataclasses import dataclass
from typing import Literal

import pandas as pd
from scipy import stats

from components.drift_detection.harm import AccuracyDrop
from driftloop.bundle import ModelDescription
from driftloop.contracts import CONFIRMED_BY, GATE, HARM
from driftloop.dataset.description import DATASET_FILE, Description
from driftloop.dataset.group_names import GroupNames
from driftloop.dataset.reading import read_samples
from driftloop.dataset.roles import assign_roles, count_labels, missing_labels
from driftloop.dataset.writing import DATASETS
from driftloop.errors import NotFound
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
    """Of the confirmed drift; None without random labels or without a known clean accuracy."""
    concept_drop: AccuracyDrop | None = None
    """Of the windows that look as accepted; None likewise."""
    labels_to_decide: int | None = None
    """About how many random labels would settle whether it matters; None: unknown or a great many."""
    labels: int = 0
    """Random labels of the images that a retraining would learn from."""
    obtainable: int | None = None
    """These, and the requests there that somebody could still label; None: not known."""
    skipped: int = 0
    """Requests there that labellers have looked at and not labelled."""
    labels_at_refusal: int | None = None
    """How many there were when the last candidate was refused; None where none was lately."""
    missing_for_retraining: str = ""
    """Why a retraining could not begin with the labelled images that there are; empty where it could."""
    label_free_drop: float | None = None
    """The estimate without labels, against what the champion was accepted for."""
    label_free_growth: float | None = None
    """By how much that exceeds the estimate for the windows that were labelled; None where either is not known."""
    days_since_retraining: float | None = None
    """None where there was no decision."""
    recent_retrainings: int = 0
    """In the last 30 days."""


@dataclass(frozen=True)
class Verdict:
    """`stable`, `alert`, `needs_labels` or `retrain`, and the one sentence that says why."""

    name: VerdictName
    reason: str
    purpose: Literal["", "harm", "gate"] = ""
    """What labels are asked for, beyond the quota of each window: to see whether it matters, or for a retraining and its gate."""


def shows_harm(drop: AccuracyDrop | None, settings: DriftSettings) -> bool:
    """Whether the labels show that accuracy fell, and by enough to be worth a retraining."""
    return drop is not None and drop.n >= settings.harm_labels and drop.value >= settings.retrain_drop and drop.low > 0


def shows_harmlessness(drop: AccuracyDrop | None, settings: DriftSettings) -> bool:
    """Whether the labels exclude a drop that matters, and the newest of them do not look like one either."""
    return (
        drop is not None
        and drop.n >= settings.harm_labels
        and drop.high < settings.harmless_drop
        and not drop.recent >= settings.retrain_drop
    )


def decide(situation: Situation, settings: DriftSettings, retrain: RetrainSettings) -> Verdict:
    """The verdict on a watch.

    Unconfirmed drift is stable, unless the label-free estimate is alarming. Confirmed drift is retrained for where random labels show
    harm and the policy is free to, is harmless where they show that, and else needs labels. Harm that they show on images that look as
    accepted confirms itself.

    Args:
        situation: what the watch has found.
        settings: the policy's.
        retrain: those that a retraining will have.
    """
    drop = situation.drop
    if not situation.confirmed:
        if situation.concept_drop is not None and shows_harm(situation.concept_drop, settings):
            what = "The images look as accepted, but what they mean has changed (concept drift)"
            return _harmful(situation, what, situation.concept_drop, settings, retrain)
        return _unconfirmed(situation, settings)
    if drop is not None and shows_harm(drop, settings):
        return _harmful(situation, "Drift is confirmed and harmful", drop, settings, retrain)
    if drop is not None and shows_harmlessness(drop, settings):
        return _harmless(situation, drop, settings)
    return Verdict("needs_labels", _missing_labels(situation, settings), HARM)


def _harmless(situation: Situation, drop: AccuracyDrop, settings: DriftSettings) -> Verdict:
    harmless = (
        f"on {drop.n} random labels accuracy fell by {_points(drop.value)}, at most {_points(drop.high)} "
        f"(bound of harm: {_points(settings.harmless_drop)})"
    )
    growth = situation.label_free_growth
    if growth is not None and growth >= settings.label_free_drop:
        return Verdict(
            "needs_labels",
            f"Drift is confirmed and was harmless: {harmless}; but by the champion's own confidence the newest windows lose "
            f"{_points(growth)} more than those that were labelled: label some of them.",
            HARM,
        )
    return Verdict("alert", f"Drift is confirmed but harmless: {harmless}.")


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
            HARM,
        )
    return Verdict("stable", f"{alarm}; single alarms are expected by chance.")


def _nothing_tested(situation: Situation) -> str:
    if situation.waiting == 0:
        return "There are no new requests to test."
    return (
        f"No window to test yet: {situation.waiting:,} requests of {situation.waiting_groups:,} distinct groups wait, "
        f"{situation.minimum:,} groups are needed."
    )


def _harmful(situation: Situation, what: str, drop: AccuracyDrop, settings: DriftSettings, retrain: RetrainSettings) -> Verdict:
    harm = f"{what}: on {drop.n} random labels accuracy fell by {_points(drop.value)}, at least {_points(drop.low)}"
    if settings.suggest_only:
        return Verdict("alert", f"{harm}; retraining is suggested, as the policy only suggests.", GATE)
    age = situation.days_since_retraining
    if age is not None and age < settings.cooldown_days:
        return Verdict(
            "alert", f"{harm}; the last retraining was {age:.1f} days ago and the cooldown lasts {settings.cooldown_days:g}.", GATE
        )
    if situation.recent_retrainings >= settings.retrainings_per_30_days:
        return Verdict("alert", f"{harm}; the budget of {settings.retrainings_per_30_days} retrainings in 30 days is spent.", GATE)
    missing = _missing_for_another_try(situation, drop, settings, retrain)
    return Verdict("needs_labels", f"{harm}; {missing}.", GATE) if missing else Verdict("retrain", f"{harm}.", GATE)


def _missing_for_another_try(situation: Situation, drop: AccuracyDrop, settings: DriftSettings, retrain: RetrainSettings) -> str:
    """Why a retraining would be in vain with these labels; empty where it would not."""
    refused = situation.labels_at_refusal
    # Within one drift labels only grow in number: fewer than then are those of another drift.
    if refused is not None and refused <= situation.labels < refused + settings.retry_labels:
        new = situation.labels - refused
        return f"a candidate was refused on {refused} labels and {new} came since, {settings.retry_labels} make another try worth it"
    wanted = labels_for_the_gate(drop, settings, retrain)
    # Where nobody could label more, waiting would leave a broken champion in place for ever.
    if situation.obtainable is not None:
        wanted = min(wanted, situation.obtainable)
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
    skipped = f" ({situation.skipped:,} were skipped)" if situation.skipped else ""
    if drop is None or drop.n < settings.harm_labels:
        have = 0 if drop is None else drop.n
        return f"{confirmed}; {have} of at least {settings.harm_labels} random labels are there{skipped} to tell whether it matters."
    more = situation.labels_to_decide
    advice = f"about {more:,} random labels in all would decide" if more else "more random labels are needed"
    return (
        f"{confirmed}, but {drop.n} random labels{skipped} show neither harm nor harmlessness "
        f"(drop {_points(drop.value)}, bounds {_points(drop.low)} to {_points(drop.high)}); {advice}."
    )


def _points(share: float) -> str:
    return f"{100 * share:.1f} points"
