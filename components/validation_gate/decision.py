"""The decision: arrays and a few numbers in; `promote`, `reject` or `inconclusive` with its reasons out. No files, no models.

- `promote` when all criteria hold and nothing vetoes. All must hold, so no correction for their number is due.
- `reject` when a criterion is refuted or a slice is shown worse.
- `inconclusive` otherwise, with the number of labelled images that would decide; unless the gain over the traffic as it is now is shown
  (`traffic_rule.py`) and only bounds on labelled images are open: then `promote`, and the decision says what they leave open.

Each reason is one short line, in words and points.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from components.validation_gate.answers import Answers
from components.validation_gate.class_criterion import ClassDifference, compare_classes, critical_classes, not_excluded, worst_class
from components.validation_gate.criteria import (
    ACCEPTED,
    CLEAN,
    NEW,
    ONE_CLASS,
    RECENT,
    Criterion,
    better_than_commonest,
    better_than_one_class,
    brier_below,
    difference_above,
    latency_within,
    other_graph,
    quantisation,
    schema_fits,
    size_within,
    uses_left,
    without_images,
)
from components.validation_gate.latency import Latency
from components.validation_gate.recognised import critical_recognised, every_class_recognised
from components.validation_gate.slices import SliceResult, compare_slices
from components.validation_gate.traffic_rule import TRAFFIC_NOW, below_floor, weighted_gain
from driftloop.contracts import CLEAN_TEST, DRIFTED_HOLD_OUT, INCONCLUSIVE, PROMOTE, RECENT_HOLD_OUT, REJECT
from driftloop.evaluation.intervals import groups_of_more
from driftloop.evaluation.paired import BrierIncrease, PairedDifference, brier_increase, brier_scores
from driftloop.settings import GateSettings

#: One-sided, of every criterion and of the family of slices; the number of labels needed assumes it too.
ALPHA = 0.05
#: Where classes count alike and one has more of the test images, a first model's accuracy is no longer held against that share.
SKEWED = 0.8
#: As the slice of them is called.
ACCEPTED_IMAGES = "drifted images that the champion was accepted for"
#: Of the rule by traffic: the error that it may add.
TRAFFIC_ALPHA = 0.025
#: Said where a candidate that learned a new meaning loses by the test split, whose labels may still have the old one.
OUT_OF_DATE = (
    "the images look as before and mean something else now (concept drift): by labels of before whoever learns that is worse; "
    "if those of the test split are, label it anew and train on that dataset"
)
#: More labels than this are no advice.
MOST_LABELS = 1_000_000


@dataclass(frozen=True)
class GateInputs:
    """All that a decision rests on."""

    clean: Answers
    """on the clean test split"""
    classes: list[str]
    """names, in the order of the probabilities"""
    drifted: Answers | None = None
    """on the labelled drifted hold-out, where the dataset has one"""
    recent: Answers | None = None
    """on labelled images of production in which no harm was there to be won back, where the calendar asked for the candidate"""
    best_earlier: np.ndarray | None = None
    """what the best earlier champion has right of the clean split, bool (N,); None where there is none but the present one"""
    best_earlier_version: str = ""
    """its number"""
    accepted: Answers | None = None
    """on the drifted images that the champion was accepted for, which may only veto; None where there are none"""
    regimes: dict[str, Answers] = field(default_factory=dict)
    """on the images of each learned regime, by its name: no criterion rests on them, later watches do"""
    regime_shares: dict[str, float] = field(default_factory=dict)
    """share of the last four weeks' traffic that was nearest to a regime, by its name; without those of which no watch says"""
    latency: Latency | None = None
    """of both; None where there is nothing to compare"""
    sizes: tuple[int, int] | None = None
    """bytes of what candidate and champion serve; None where there is nothing to compare"""
    schema: list[str] = field(default_factory=list)
    """why the models cannot be compared, one sentence each"""
    identical: bool = False
    """whether both serve the same bytes"""
    test_uses: int = 1
    """how often the clean split has been used, this time included"""
    drifted_uses: int = 1
    """how often candidates were judged by this champion's drifted images, this time included"""
    new_share: float | None = None
    """share of the last four weeks' traffic that the new images stand for; None where no watch says"""
    concept: bool = False
    """whether the drifted images look as accepted and mean something else now, as far as the watch's labels show"""
    int8: dict[str, Any] | None = None
    """the facts of onnx_deployment on the quantised graph"""


@dataclass(frozen=True)
class Decision:
    """What the gate decides, and why."""

    decision: str
    """promote, reject or inconclusive"""
    reasons: list[str]
    """the decisive ones first"""
    criteria: list[Criterion]
    """all that were looked at"""
    slices: list[SliceResult]
    """all that could have vetoed"""
    labels_needed: dict[str, int]
    """by open criterion, the labelled images of that kind that would decide it, those at hand included"""
    by_traffic: bool = False
    """whether it was the gain over the traffic as it is now that promoted, where bounds are open"""


def decide(inputs: GateInputs, *, margin: float, settings: GateSettings, critical: Sequence[str] = ()) -> Decision:
    """Judge a candidate; with no champion in the inputs, judge it alone.

    Args:
        inputs: of the candidate as served, and of the champion on the same images.
        margin: how much clean accuracy may be lost at most, as a share: 0.02 for two points.
        settings: the other limits.
        critical: names of classes that must be shown not to be lost.
    """
    if inputs.schema:
        return conclude([schema_fits(inputs.schema)], [], settings)
    facts = [schema_fits([]), uses_left(inputs.test_uses, settings.uses_limit)]
    if inputs.int8 is not None:
        facts.append(quantisation(inputs.int8.get("int8_drop"), str(inputs.int8.get("served_reason", ""))))
    if inputs.clean.champion is None:
        clean = inputs.clean
        skewed = len(clean.candidate_shares) and np.bincount(clean.labels).max() > SKEWED * len(clean.labels)
        better = better_than_one_class if skewed else better_than_commonest
        first = better(clean.candidate_right, clean.labels, settings.first_gain, clean.groups)
        recognised = every_class_recognised(clean, inputs.classes, settings.allow_blind_classes)
        concluded = conclude([first, recognised, *critical_recognised(clean, inputs.classes, critical), *facts], [], settings)
        if concluded.decision == PROMOTE and recognised.note:
            return replace(concluded, reasons=[*concluded.reasons, f"{recognised.name}: {recognised.note}"])
        return concluded
    classes = compare_classes(inputs.clean, inputs.classes, settings.class_margin, critical)
    slices = compare_slices(
        inputs.clean,
        {ACCEPTED_IMAGES: inputs.accepted} if inputs.accepted else {},
        {item.name: item.rows for item in classes if not item.held and not item.critical},
        margin=margin,
        class_margin=settings.class_margin,
        alpha=ALPHA,
        minimum=settings.slice_minimum,
        elsewhere={images: answers for images, _, answers in kinds_elsewhere(inputs)},
    )
    loose = not_excluded(classes, settings.class_margin)
    criteria = [
        *against_champion(inputs, classes, margin, settings),
        *critical_classes(classes, critical, settings.class_margin),
        *critical_elsewhere(inputs, critical, settings.class_margin),
        *facts,
    ]
    usual = conclude(criteria, slices, settings, loose)
    if inputs.concept and any(criterion.refuted and criterion.regime == CLEAN for criterion in criteria):
        usual = replace(usual, reasons=[*usual.reasons, OUT_OF_DATE])
    if usual.decision != INCONCLUSIVE or inputs.drifted is None or inputs.new_share is None:
        return usual
    regimes = {CLEAN: inputs.clean, NEW: inputs.drifted} | ({ACCEPTED: inputs.accepted} if inputs.accepted else {})
    return by_traffic(inputs, usual, regimes, inputs.new_share, loose, settings)


def against_champion(inputs: GateInputs, classes: list[ClassDifference], margin: float, settings: GateSettings) -> list[Criterion]:
    """What a candidate must show beside the champion, in the order in which a reader asks for it."""
    clean = inputs.clean
    criteria = [difference_above(CLEAN_TEST, clean.difference(), -margin)]
    if inputs.drifted is not None:
        criteria.append(gain_on_drift(inputs.drifted, inputs.drifted_uses, settings.drifted_gain))
    if inputs.recent is not None:
        criteria.append(no_loss_on_recent(inputs.recent, inputs.drifted_uses, margin, settings.floor))
    criteria += worst_class(classes, settings.class_margin)
    if inputs.best_earlier is not None:
        name = f"best earlier champion (version {inputs.best_earlier_version})"
        criteria.append(difference_above(name, clean.difference_to(inputs.best_earlier), -margin))
    criteria.append(brier_below(clean_brier(clean), settings.brier_limit))
    if inputs.latency is not None:
        criteria.append(latency_within(inputs.latency, settings.latency_limit, settings.latency_slack_ms))
    if inputs.sizes is not None:
        criteria.append(size_within(*inputs.sizes, settings.size_limit, settings.size_slack_mb))
    if inputs.identical:
        criteria.append(other_graph(True))
    return criteria


def spent(alpha: float, use: int) -> float:
    """The error that use number `use` (from 1) of a hold-out may have: over all uses, however many, they sum up to `alpha`."""
    return alpha * 6 / (math.pi * use) ** 2


def gain_on_drift(drifted: Answers, use: int, hopeless_below: float) -> Criterion:
    """Better on the drifted hold-out, by a bound that pays for its earlier uses; it is refuted by the usual one."""
    criterion = difference_above(DRIFTED_HOLD_OUT, bounds_of_use(drifted, use), 0.0, regime=NEW, hopeless_below=hopeless_below)
    return replace(criterion, note=note_on_use(use))


def no_loss_on_recent(recent: Answers, use: int, margin: float, floor: float) -> Criterion:
    """No more than `floor` lost on what came in lately, where nothing is there to be won; refuted where more than `margin` is shown lost.

    Few such images can show two points, and where nothing has changed the test split shows them: these say whether it still speaks for
    what comes in.
    """
    criterion = difference_above(RECENT_HOLD_OUT, bounds_of_use(recent, use), -floor, regime=RECENT, hopeless_below=-margin)
    shown_worse = criterion.high is not None and criterion.high < -margin
    return replace(criterion, holds=criterion.holds and not shown_worse, refuted=shown_worse, note=note_on_use(use))


def critical_elsewhere(inputs: GateInputs, critical: Sequence[str], class_margin: float) -> list[Criterion]:
    """A criterion for each critical class on each kind of images beside the test split: on what comes in now it can be lost as well.

    As on the test split the class may not lose the margin, and what is unknown is open; the lower bound pays for earlier uses.
    """
    criteria = []
    for images, regime, answers in kinds_elsewhere(inputs):
        for name in critical:
            title, rows = f"critical class {name} ({images})", answers.labels == inputs.classes.index(name)
            if not rows.any():
                criteria.append(without_images(title, images, regime))
                continue
            criterion = difference_above(title, bounds_of_use(answers, inputs.drifted_uses, rows), -class_margin, regime=regime)
            criteria.append(replace(criterion, note=note_on_use(inputs.drifted_uses), critical=True))
    return criteria


def kinds_elsewhere(inputs: GateInputs) -> list[tuple[str, str, Answers]]:
    """The kinds of images that both models have answered beside the test split: what sentences call them, the regime, the answers."""
    kinds = ((DRIFTED_HOLD_OUT, NEW, inputs.drifted), (RECENT_HOLD_OUT, RECENT, inputs.recent), (ACCEPTED, ACCEPTED, inputs.accepted))
    return [(images, regime, answers) for images, regime, answers in kinds if answers is not None and len(answers.labels)]


def bounds_of_use(answers: Answers, use: int, rows: np.ndarray | None = None) -> PairedDifference:
    """The difference on a hold-out: its lower bound pays for earlier uses, its upper one is the usual."""
    strict, usual = answers.difference(rows, confidence=1 - spent(ALPHA, use)), answers.difference(rows)
    # Labels that would decide are for the next use, which costs more.
    following = answers.difference(rows, confidence=1 - spent(ALPHA, use + 1)).one_sided
    return replace(strict, high=usual.high, one_sided=following)


def note_on_use(use: int) -> str:
    """What a reader must know of the lower bound."""
    return f"use {use} of this hold-out: low is at {100 * (1 - spent(ALPHA, use)):.4g} %"


def clean_brier(clean: Answers) -> BrierIncrease:
    """By how much the Brier score rises on the clean split, candidate minus champion."""
    if clean.champion is None:
        raise ValueError("there is no champion to compare with")
    candidate, champion = brier_scores(clean.candidate, clean.labels), brier_scores(clean.champion, clean.labels)
    return brier_increase(candidate, champion, groups=clean.groups)


def by_traffic(
    inputs: GateInputs, usual: Decision, regimes: dict[str, Answers], new_share: float, loose: str, settings: GateSettings
) -> Decision:
    """The decision by the traffic as it is now, where the usual one is open: to promote, or the usual one with what is missing.

    It stands in for bounds on labelled images only, and for none on a critical class: latency, size, uses and the rest must hold as ever.
    """
    gain = weighted_gain(regimes, new_share, alpha=spent(TRAFFIC_ALPHA, inputs.drifted_uses))
    criteria = [*usual.criteria, gain]
    opened = [criterion for criterion in usual.criteria if criterion.open]
    never = any(criterion.critical or criterion.unit not in ("points", "brier") for criterion in opened)
    if not gain.holds or never:
        return replace(usual, criteria=criteria)
    fallen = below_floor(regimes, settings.floor, inputs.classes, minimum=settings.slice_minimum)
    if fallen:
        lost = f"traffic as it is now {gain.show(gain.estimate)}, but more than {100 * settings.floor:g} points are shown lost: "
        return replace(usual, criteria=criteria, reasons=[*usual.reasons, lost + ", ".join(fallen)])
    open_bounds = [f"{item.name} between {item.show(item.low)} and {item.show(item.high)} ({item.stands_on})" for item in opened]
    if ACCEPTED in regimes:
        kept = regimes[ACCEPTED].difference()
        open_bounds.append(f"{ACCEPTED} between {100 * kept.low:+.1f} pt and {100 * kept.high:+.1f} pt ({kept.n:,} images)")
    reasons = [
        f"{shown_reason(gain)}: {gain.note}",
        f"not excluded, for lack of images: {', '.join([*open_bounds, *([loose] if loose else [])])}",
        "roll it out as a canary first: the traffic decided, not every bound",
        *uses_warning(usual.criteria, settings),
    ]
    return Decision(PROMOTE, reasons, criteria, usual.slices, usual.labels_needed, by_traffic=True)


def conclude(criteria: list[Criterion], slices: list[SliceResult], settings: GateSettings, loose: str = "") -> Decision:
    """The decision that these criteria and slices make; `loose` says what they cannot exclude."""
    vetoes = [result for result in slices if result.vetoes]
    if vetoes or any(criterion.refuted for criterion in criteria):
        decision = REJECT
    elif all(criterion.holds for criterion in criteria):
        decision = PROMOTE
    else:
        decision = INCONCLUSIVE
    labels = {criterion.name: criterion.labels for criterion in criteria if criterion.labels is not None}
    reasons = reasons_for(decision, criteria, vetoes, settings)
    if loose and decision == PROMOTE:
        reasons.append(f"not excluded, for lack of images: {loose}")
    return Decision(decision, reasons, criteria, slices, labels)


def reasons_for(decision: str, criteria: Sequence[Criterion], vetoes: Sequence[SliceResult], settings: GateSettings) -> list[str]:
    """The reasons for `decision`, the decisive ones first; never empty."""
    if decision == REJECT:
        reasons = [refuted_reason(criterion) for criterion in criteria if criterion.refuted] + [veto_reason(result) for result in vetoes]
    elif decision == INCONCLUSIVE:
        reasons = [open_reason(criterion) for criterion in criteria if not criterion.holds]
    else:
        reasons = [shown_reason(criterion) for criterion in main_criteria(criteria)]
        reasons.append(f"all {len(criteria)} criteria hold")
    return reasons + uses_warning(criteria, settings)


def uses_warning(criteria: Sequence[Criterion], settings: GateSettings) -> list[str]:
    """A warning where the test split has been used often, though not too often."""
    uses = next((criterion for criterion in criteria if criterion.unit == "count"), None)
    if uses is None or not uses.holds or uses.estimate is None or uses.estimate < settings.uses_warning:
        return []
    return [
        f"warning: this was use {uses.estimate:.0f} of this test split; from use {settings.uses_limit} on nothing is promoted "
        "automatically: refresh it with new labelled images"
    ]


def shown_reason(criterion: Criterion) -> str:
    """An accuracy criterion that holds, with its figures."""
    estimate, low, bound = (criterion.show(value) for value in (criterion.estimate, criterion.low, criterion.bound))
    return f"{criterion.name} {estimate} (at least {low}, more than {bound} was asked for)"


def refuted_reason(criterion: Criterion) -> str:
    """A criterion that is shown not to hold."""
    name, estimate, bound = criterion.name, criterion.show(criterion.estimate), criterion.show(criterion.bound)
    if criterion.estimate is None or criterion.bound is None:
        return f"{name}: {criterion.note}"
    if criterion.unit == "ratio":
        return f"{name}: {criterion.note}, a ratio of {estimate} (limit {bound})"
    if criterion.unit == "share":
        best = criterion.show(criterion.high)
        if name == ONE_CLASS:
            return f"{name}: balanced accuracy {estimate} (at best {best}), while naming any one class gives {bound}"
        return f"{name}: accuracy {estimate} (at best {best}), while always naming the commonest class gives {bound}"
    limit = f"at least {criterion.show(criterion.low)}" if criterion.unit == "brier" else f"at best {criterion.show(criterion.high)}"
    return f"{name}: {estimate}, {limit}, where {limit_phrase(criterion)} is asked for"


def open_reason(criterion: Criterion) -> str:
    """A criterion that is neither shown nor refuted, with what would decide it."""
    name, estimate = criterion.name, criterion.show(criterion.estimate)
    if criterion.unit == "count":
        return (
            f"this test split has been used {estimate} times: no automatic promotion until it is refreshed with new labelled "
            f"images (limit {criterion.show(criterion.bound)})"
        )
    if criterion.unit == "ratio":
        return f"{name}: {criterion.note}; a ratio of {estimate} is over {criterion.show(criterion.bound)}, but not beyond doubt"
    if criterion.estimate is None:
        return f"{name}: {criterion.note}"
    possible = criterion.show(criterion.high if criterion.unit == "brier" else criterion.low)
    hopeless = criterion.labels is None or criterion.labels > MOST_LABELS
    needed = "no number of labels would decide" if hopeless else f"about {criterion.labels:,} would decide{of_groups(criterion)}"
    return (
        f"{name}: {estimate} on {criterion.n:,} labelled images leaves {possible} possible, "
        f"where {limit_phrase(criterion)} is asked for; {needed}"
    )


def of_groups(criterion: Criterion) -> str:
    """How many patients or lots the labels that would decide are of, at as many images each as now; empty where each image is one."""
    groups = groups_of_more(criterion.labels, criterion.groups, criterion.n)
    return f", of about {groups:,} groups (now {criterion.groups:,})" if groups else ""


def veto_reason(result: SliceResult) -> str:
    """A slice that is shown worse."""
    return f"{result.name}: shown worse, {100 * result.difference:+.1f} pt on {result.n:,} images (p = {result.p_holm:.2g} after Holm)"


def limit_phrase(criterion: Criterion) -> str:
    """The limit, as a phrase."""
    return f"{'less' if criterion.unit == 'brier' else 'more'} than {criterion.show(criterion.bound)}"


def main_criteria(criteria: Sequence[Criterion]) -> list[Criterion]:
    """Those on accuracy as a whole, which a reader asks for first."""
    names = (CLEAN_TEST, DRIFTED_HOLD_OUT, RECENT_HOLD_OUT, TRAFFIC_NOW)
    return [criterion for criterion in criteria if criterion.name in names or criterion.unit == "share"]


def headline(decision: str, criteria: Sequence[Criterion]) -> str:
    """One short line: "promote: clean test +0.1 pt (> -2.0 pt), drifted hold-out +8.3 pt (> +0.0 pt)".

    Where these hold and the decision is another, also what does not: "reject: ...; does not hold: every class recognised".
    """
    main = main_criteria(criteria)
    figures = [f"{criterion.name} {criterion.show(criterion.estimate)} (> {criterion.show(criterion.bound)})" for criterion in main]
    if not figures:
        return f"{decision}: {refuted_reason(criteria[0])}"
    wanting = [criterion.name for criterion in criteria if not criterion.holds]
    if decision == PROMOTE or not all(criterion.holds for criterion in main):
        wanting = []
    return f"{decision}: {', '.join(figures)}{'; does not hold: ' if wanting else ''}{', '.join(wanting)}"
