"""From the evidence to a verdict: one rule after the other, the first that applies decides, each with its sentence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from statistics import NormalDist
from typing import Literal

import pandas as pd
from scipy import stats

from components.drift_detection.harm import AccuracyDrop
from driftloop.bundle import ModelDescription
from driftloop.contracts import CONFIRMED_BY, GATE, HARM, VERDICTS, VerdictName
from driftloop.dataset.group_names import GroupNames
from driftloop.dataset.reading import read_samples, stored_description
from driftloop.dataset.roles import assign_roles, count_labels, missing_labels
from driftloop.durations import say_duration
from driftloop.errors import NotFound
from driftloop.inference.confirmed_rows import confirmed_rows
from driftloop.inference.traffic import Traffic
from driftloop.plurals import counted
from driftloop.settings import DriftSettings, RetrainSettings
from driftloop.store import open_store

#: Images that a candidate of equal accuracy answers otherwise than the champion, as a share: what bench/gate_error_rates.py takes.
DISCORDANCE = 0.05

#: Why a rejected candidate is not followed by another where the meaning of images has changed: the next would be rejected as well.
OUT_OF_DATE = (
    "a candidate that learned it was rejected, and the next would be where the labels of the test split are those of before: "
    "look at them, label them anew, and train on that dataset"
)


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
    accepted: str = ""
    """When, by whom and why the confirmed drift was accepted, or one before it; empty where none was."""
    accepted_growth: float | None = None
    """By how much the estimate without labels exceeds that of the drift before it that was accepted; None: its own was, or not known."""
    labels_to_decide: int | None = None
    """About how many random labels would settle whether it matters; None: unknown or a great many."""
    too_few_accepted: float | None = None
    """As many independent images as tell the accuracy that was accepted, where these are too few for any labels to settle it."""
    labels: int = 0
    """Random labels of the images that a retraining would learn from, those kept for its gate among them."""
    gate_labels: int = 0
    """Of these, the ones kept for the gate, which have no say in harm."""
    gate_independent: float | None = None
    """As many independent ones as these are worth; None: each stands for itself."""
    gate_obtainable: int | None = None
    """These, and the requests kept for the gate that somebody could still label, of each group one; None: not known."""
    skipped: int = 0
    """Requests there that labellers have looked at and not labelled."""
    unknown_recalls: tuple[str, ...] = ()
    """Of critical classes that the drift may have cost, a sentence each."""
    fallen_recalls: tuple[str, ...] = ()
    """Of critical classes that it is shown to have cost."""
    unknown_levels: tuple[str, ...] = ()
    """Levels of tags that the drift may have harmed, though it is harmless on the whole, a sentence each."""
    labels_at_refusal: int | None = None
    """How many there were when the last candidate was refused, or rolled back; None where none was lately."""
    rolled_back: bool = False
    """Whether a person has rolled that candidate back."""
    concept_rejected: bool = False
    """Whether one was rejected lately that had learned of images that look as accepted: what they mean has changed."""
    missing_for_retraining: str = ""
    """Why a retraining could not begin with the labelled images that there are; empty where it could."""
    label_free_drop: float | None = None
    """The estimate without labels, against what the champion was accepted for."""
    label_free_growth: float | None = None
    """By how much that exceeds the estimate for the windows that were labelled; None where either is not known."""
    days_since_retraining: float | None = None
    """None where there was no decision."""
    calendar_due: bool = False
    """Whether the settings' calendar asks for a retraining."""
    recent_retrainings: int = 0
    """In the last 30 days."""


@dataclass(frozen=True)
class Verdict:
    """`stable`, `alert`, `needs_labels` or `retrain`, and the one sentence that says why."""

    name: VerdictName
    reason: str
    purpose: Literal["", "harm", "gate"] = ""
    """What labels are asked for, beyond the quota of each window: to see whether it matters, or for a retraining and its gate."""
    harmless: bool = False
    """Whether labels showed a confirmed drift to be harmless."""
    nothing_to_win: bool = False
    """Whether it retrains though no harm is there to be won back: the calendar asked. The gate asks for no gain, then."""


def shows_harm(drop: AccuracyDrop | None, settings: DriftSettings) -> bool:
    """Whether the labels show that accuracy fell, and by enough to be worth a retraining."""
    return drop is not None and drop.n >= settings.harm_labels and drop.value >= settings.retrain_drop and drop.low > 0


def shows_harmlessness(drop: AccuracyDrop | None, settings: DriftSettings) -> bool:
    """Whether the labels exclude a drop that matters, also one that grew since they were drawn, and the newest do not look like one."""
    return (
        drop is not None
        and drop.n >= settings.harm_labels
        and drop.high < settings.harmless_drop
        and not drop.high_if_grown >= settings.harmless_drop
        and not drop.recent >= settings.retrain_drop
    )


def decide(situation: Situation, settings: DriftSettings, retrain: RetrainSettings) -> Verdict:
    """The verdict on a watch: that on its drift, unless a retraining is asked for besides and can begin.

    Args:
        situation: what the watch has found.
        settings: the policy's.
        retrain: those that a retraining will have.
    """
    verdict = judge_drift(situation, settings, retrain)
    asked = _asked_besides(situation, settings, retrain)
    # A question of labels must not hide what a drift is.
    return asked if asked and (asked.name == "retrain" or verdict.name == "stable") else verdict


def _asked_besides(situation: Situation, settings: DriftSettings, retrain: RetrainSettings) -> Verdict | None:
    """The retraining that the calendar, or a policy for every alarm, asks for without any harm shown; None where none does.

    Shown harm is the drift's own matter. Cooldown, budget and the labels that a retraining needs hold as ever. Where the calendar asks and
    no drift is confirmed, or one that is harmless or was accepted, there is nothing to win back.
    """
    drop, confirmed = situation.drop, situation.confirmed
    alarm = settings.retrain_on == "alarm" and confirmed and not situation.accepted and not settings.suggest_only
    harmful = shows_harm(drop if confirmed else situation.concept_drop, settings)
    if harmful or not (alarm or situation.calendar_due) or _pause(situation, settings):
        return None
    if situation.calendar_due:
        why = f"The calendar asks for a retraining every {settings.retrain_every_days:g} days"
        nothing_to_win = not confirmed or bool(situation.accepted) or shows_harmlessness(drop, settings)
    else:
        why, nothing_to_win = "Drift is confirmed, and the policy retrains for every alarm", False
    missing = _missing_since_refusal(situation, settings) if confirmed else ""
    missing = missing or (_missing_to_exclude_a_loss(situation, settings, retrain) if nothing_to_win else "")
    missing = missing or situation.missing_for_retraining
    if missing:
        return Verdict("needs_labels", f"{why}; {missing}.", GATE)
    return Verdict("retrain", f"{why}: {situation.labels:,} random labels are there.", GATE, nothing_to_win=nothing_to_win)


def _missing_to_exclude_a_loss(situation: Situation, settings: DriftSettings, retrain: RetrainSettings) -> str:
    """Why the gate could hardly tell that an equal candidate loses nothing that matters; empty where it could.

    n = ((z_level sqrt(psi + loss / 2) + z_power sqrt(psi)) / loss)^2, at the level that the first use of a hold-out has: a candidate that
    loses so much answers more images otherwise. Never more than can still be had.
    """
    loss, normal = settings.harmless_drop, NormalDist()
    power = normal.inv_cdf(settings.gate_power) if settings.gate_power else -math.inf
    spread = normal.inv_cdf(1 - 0.05 * 6 / math.pi**2) * math.sqrt(DISCORDANCE + loss / 2) + power * math.sqrt(DISCORDANCE)
    wanted = math.ceil((max(0.0, spread) / loss) ** 2)
    if situation.gate_obtainable is not None:
        wanted = min(wanted, situation.gate_obtainable)
    return _too_few_for_the_gate(situation, wanted, "that a candidate is no worse", retrain)


def judge_drift(situation: Situation, settings: DriftSettings, retrain: RetrainSettings) -> Verdict:
    """The verdict on a watch's drift.

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
    if situation.fallen_recalls:
        return _lost_classes(situation)
    if situation.accepted and not _contradicted(situation, settings):
        far = f"; on {drop.n} random labels it costs {_points(drop.value)} so far" if drop is not None else ""
        return Verdict("stable", f"Drift is confirmed, and was {situation.accepted}{far}.")
    if drop is not None and shows_harmlessness(drop, settings):
        return _harmless(situation, drop, settings)
    return Verdict("needs_labels", _missing_labels(situation, settings), HARM)


def verdict_of_tag(tag: str, verdict: Verdict) -> Verdict:
    """The verdict on the requests of a level of a tag, which its reason names; as it is where there is none."""
    reason = verdict.reason
    return replace(verdict, reason=f"Of the requests with {tag}: {reason[0].lower()}{reason[1:]}") if tag else verdict


def gravest(verdicts: Sequence[Verdict]) -> int:
    """Which of the verdicts counts: the one that asks for most, the first of equal ones."""
    ranks = [VERDICTS.index(verdict.name) for verdict in verdicts]
    return ranks.index(max(ranks))


def _contradicted(situation: Situation, settings: DriftSettings) -> bool:
    """Whether labels, or the champion's own confidence, look as if an accepted drift did matter now."""
    drop, growth = situation.drop, (situation.label_free_growth, situation.accepted_growth)
    looks = [] if drop is None or drop.n < settings.harm_labels else [(drop.value, drop.low_now), (drop.recent, drop.recent_low)]
    by_labels = any(value >= settings.retrain_drop and low > 0 for value, low in looks)
    return by_labels or any(more is not None and more >= settings.label_free_drop for more in growth)


def _harmless(situation: Situation, drop: AccuracyDrop, settings: DriftSettings) -> Verdict:
    harmless = (
        f"on {drop.n} random labels accuracy fell by {_points(drop.value)}, at most {_points(drop.high)} "
        f"(bound of harm: {_points(settings.harmless_drop)})"
    )
    if situation.unknown_recalls:
        unknown = "; ".join(situation.unknown_recalls)
        return Verdict("needs_labels", f"Drift is confirmed and harmless on the whole: {harmless}; but a critical class: {unknown}.", HARM)
    if situation.unknown_levels:
        unknown = "; ".join(situation.unknown_levels)
        return Verdict("needs_labels", f"Drift is confirmed and harmless on the whole: {harmless}; but not of every tag: {unknown}.", HARM)
    growth = situation.label_free_growth
    if growth is not None and growth >= settings.label_free_drop:
        return Verdict(
            "needs_labels",
            f"Drift is confirmed and was harmless: {harmless}; but by the champion's own confidence the newest windows lose "
            f"{_points(growth)} more than those that were labelled: label some of them.",
            HARM,
        )
    return Verdict("alert", f"Drift is confirmed but harmless: {harmless}.", harmless=True)


def _lost_classes(situation: Situation) -> Verdict:
    """A retraining for it would be in vain: what so few images lose shows neither in a validation nor at the gate."""
    return Verdict(
        "alert",
        f"Drift is confirmed and costs a critical class: {'; '.join(situation.fallen_recalls)}. No retraining starts for one class alone: "
        "give labelled images of it, to the source and of production.",
        GATE,
    )


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
    alarm = f"{situation.drifted} of {counted(situation.tested, 'window')} drifted, not confirmed by {CONFIRMED_BY}"
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
        f"No window to test yet: {counted(situation.waiting, 'request')} of {counted(situation.waiting_groups, 'distinct group')} "
        f"{'waits' if situation.waiting == 1 else 'wait'}, "
        f"{situation.minimum:,} groups are needed."
    )


def _harmful(situation: Situation, what: str, drop: AccuracyDrop, settings: DriftSettings, retrain: RetrainSettings) -> Verdict:
    harm = f"{what}: on {drop.n} random labels accuracy fell by {_points(drop.value)}, at least {_points(drop.low)}"
    if settings.suggest_only and not situation.calendar_due:
        return Verdict("alert", f"{harm}; retraining is suggested, as the policy only suggests.", GATE)
    if situation.concept_rejected and not situation.confirmed:
        return Verdict("alert", f"{harm}; {OUT_OF_DATE}.")
    pause = _pause(situation, settings)
    if pause:
        return Verdict("alert", f"{harm}; {pause}.", GATE)
    missing = _missing_for_another_try(situation, drop, settings, retrain)
    return Verdict("needs_labels", f"{harm}; {missing}.", GATE) if missing else Verdict("retrain", f"{harm}.", GATE)


def _pause(situation: Situation, settings: DriftSettings) -> str:
    """Why nothing may be retrained now, whatever for; empty where it may."""
    age = situation.days_since_retraining
    if age is not None and age < settings.cooldown_days:
        since, cooldown = (say_duration(timedelta(days=days)) for days in (age, settings.cooldown_days))
        return f"the last retraining was {since} ago and the cooldown lasts {cooldown}"
    if situation.recent_retrainings >= settings.retrainings_per_30_days:
        return f"the budget of {settings.retrainings_per_30_days} retrainings in 30 days is spent"
    return ""


def _missing_since_refusal(situation: Situation, settings: DriftSettings) -> str:
    """Why another try on these labels would end as the last one; empty where it need not."""
    refused = situation.labels_at_refusal
    # Within one drift labels only grow in number: fewer than then are those of another drift.
    if refused is not None and refused <= situation.labels < refused + settings.retry_labels:
        new = situation.labels - refused
        what = (
            f"a candidate of {refused} labels was rolled back" if situation.rolled_back else f"a candidate was refused on {refused} labels"
        )
        return f"{what} and {new} came since, {settings.retry_labels} make another try worth it"
    return ""


def _missing_for_another_try(situation: Situation, drop: AccuracyDrop, settings: DriftSettings, retrain: RetrainSettings) -> str:
    """Why a retraining would be in vain with these labels; empty where it would not."""
    refused = _missing_since_refusal(situation, settings)
    if refused:
        return refused
    wanted = labels_for_the_gate(drop, settings, retrain)
    # Where nobody could label more, waiting would leave a broken champion in place for ever.
    if situation.gate_obtainable is not None:
        wanted = min(wanted, situation.gate_obtainable)
    return _too_few_for_the_gate(situation, wanted, "a better candidate", retrain) or situation.missing_for_retraining


def _too_few_for_the_gate(situation: Situation, wanted: int, what: str, retrain: RetrainSettings) -> str:
    have = situation.gate_labels if situation.gate_independent is None else situation.gate_independent
    if have >= wanted:
        return ""
    would_do = math.ceil(wanted * (situation.gate_labels / have if have else 1))
    return (
        f"with the {situation.gate_labels} labels kept for it the gate could hardly tell {what}, about {would_do} would do "
        f"(about {math.ceil((would_do - situation.gate_labels) / retrain.gate_share):,} more random labels, of which it gets its part)"
    )


def labels_for_the_gate(drop: AccuracyDrop, settings: DriftSettings, retrain: RetrainSettings) -> int:
    """How many independent random labels kept for the gate a retraining should wait for: so many that the gate can tell.

    Enough to show at a one-sided level of 5 %, with the power of the settings, that half of the drop was won back:
    n = (z_level + z_power)^2 psi / gain^2, where for three images won one is lost (psi = 2 gain). Never more than 99 of 100 lists of
    requests bring to the gate, and none for a power below the level, which chance alone gives.
    """
    power = NormalDist().inv_cdf(settings.gate_power) if settings.gate_power else -math.inf
    spread = max(0.0, NormalDist().inv_cdf(0.95) + power) ** 2
    return min(_of_a_list(settings.random_requests, retrain.gate_share), math.ceil(spread * 2 / (drop.value / 2)))


@cache
def _of_a_list(requests: int, share: float) -> int:
    """How many labels for the gate 99 of 100 lists of so many requests bring."""
    return int(stats.binom.ppf(0.01, requests, share))


def missing_for_retraining(
    watch: Traffic, coverage: pd.DataFrame, model: ModelDescription, retrain: RetrainSettings, *, since_decision: bool
) -> str:
    """Why a retraining could not begin with the labelled images that it would learn from; empty where it could.

    Each image has the role that the retraining will give it: by its patient, where the champion's dataset knows that. The table of that
    dataset is read from the store by its hash, so this stays a function of the inputs. A store that lacks it refuses the retraining.

    Args:
        watch: the rows, their images and labels.
        coverage: request_id, window and confirmed of the covered rows.
        model: the champion.
        retrain: the settings of the retraining.
        since_decision: whether these are of no drift, but all since the last decision.
    """
    rows = confirmed_rows(watch, coverage, model.classes)
    store = open_store(watch.info.store)
    try:
        known = read_samples(stored_description(store, model.dataset))
    except NotFound:
        known = pd.DataFrame({"path": [], "split": [], "group": []}, dtype=str)
    counts = count_labels(assign_roles(rows, known, retrain, GroupNames.known(store)))
    return missing_labels(counts, retrain, *(["since the last decision"] if since_decision else []))


def _missing_labels(situation: Situation, settings: DriftSettings) -> str:
    drop, confirmed = situation.drop, "Drift is confirmed"
    beside = [f"{situation.skipped:,} were skipped"] if situation.skipped else []
    beside += [f"{situation.gate_labels:,} more are kept for the gate"] if situation.gate_labels else []
    skipped = f" ({', '.join(beside)})" if beside else ""
    if drop is None or drop.n < settings.harm_labels:
        have = 0 if drop is None else drop.n
        return f"{confirmed}; {have} of at least {settings.harm_labels} random labels are there{skipped} to tell whether it matters."
    if drop.high < settings.harmless_drop <= drop.high_if_grown:
        return (
            f"{confirmed}, and was harmless where its {drop.n} random labels{skipped} are from (drop {_points(drop.value)}, at most "
            f"{_points(drop.high)}); had it grown evenly since it began, the newest window might lose up to "
            f"{_points(min(1.0, drop.high_if_grown))}: labels of newer windows are needed."
        )
    more = situation.labels_to_decide
    advice = f"about {more:,} random labels in all would decide" if more else "more random labels are needed"
    if situation.too_few_accepted is not None:
        advice = (
            "no number of labels would decide, since the images that told the accuracy that was accepted are worth "
            f"{situation.too_few_accepted:,.0f} independent ones"
        )
    return (
        f"{confirmed}, but {drop.n} random labels{skipped} show neither harm nor harmlessness "
        f"(drop {_points(drop.value)}, bounds {_points(drop.low)} to {_points(drop.high)}); {advice}."
    )


def _points(share: float) -> str:
    return f"{100 * share:.1f} points"
