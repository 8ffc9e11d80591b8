"""Why a candidate was promoted, rejected or left undecided: one short line a reason, in words and points.

The decision: arrays and a few numbers in, `promote`, `reject` or `inconclusive` with its reasons out. No files, no models.

- `promote` when all criteria hold and nothing vetoes. All must hold, so no correction for their number is due.
- `reject` when a criterion is refuted or a slice is shown worse.
- `inconclusive` otherwise, with the number of labelled images that would decide.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from components.validation_gate import criteria
from components.validation_gate.answers import Answers
from components.validation_gate.criteria import Criterion
from components.validation_gate.latency import Latency
from components.validation_gate.slices import SliceResult, judge_slices
from driftloop.evaluation.paired import BrierIncrease, brier_increase, brier_scores
from driftloop.settings import GateSettings

PROMOTE, REJECT, INCONCLUSIVE = "promote", "reject", "inconclusive"


CLEAN, DRIFTED = "clean test", "drifted hold-out"


#: More labels than this are no advice.
MOST_LABELS = 1_000_000


def explain(decision: str, criteria: Sequence[Criterion], vetoes: Sequence[SliceResult], settings: GateSettings) -> list[str]:
    """The reasons for `decision`, the decisive ones first; never empty."""
    if decision == REJECT:
        reasons = [refuted(one) for one in criteria if one.refuted] + [veto(one) for one in vetoes]
    elif decision == INCONCLUSIVE:
        reasons = [undecided(one) for one in criteria if not one.holds]
    else:
        reasons = [shown(one) for one in criteria if one.name in (CLEAN, DRIFTED) or one.unit == "share"]
        reasons.append(f"all {len(criteria)} criteria hold")
    uses = next((one for one in criteria if one.unit == "count"), None)
    if uses is not None and uses.holds and uses.estimate is not None and uses.estimate >= settings.uses_warning:
        reasons.append(
            f"warning: this was use {uses.estimate:.0f} of this test split; from use {settings.uses_limit} on nothing is promoted "
            "automatically: refresh it with new labelled images"
        )
    return reasons


def shown(one: Criterion) -> str:
    """An accuracy criterion that holds, with its figures."""
    return f"{one.name} {number(one, one.estimate)} (at least {number(one, one.low)}, more than {number(one, one.bound)} was asked for)"


def refuted(one: Criterion) -> str:
    """A criterion that is shown not to hold."""
    if one.estimate is None or one.bound is None:
        return f"{one.name}: {one.note}"
    if one.unit == "ratio":
        return f"{one.name}: {one.note}, a ratio of {number(one, one.estimate)} (limit {number(one, one.bound)})"
    if one.unit == "share":
        return (
            f"{one.name}: accuracy {number(one, one.estimate)} (at best {number(one, one.high)}), while always naming the commonest class "
            f"gives {number(one, one.bound)}"
        )
    side, bound = ("at least", one.low) if one.unit == "brier" else ("at best", one.high)
    return f"{one.name}: {number(one, one.estimate)}, {side} {number(one, bound)}, where {required(one)} is asked for"


def undecided(one: Criterion) -> str:
    """A criterion that is neither shown nor refuted, with what would decide it."""
    if one.unit == "count":
        return (
            f"this test split has been used {one.estimate:.0f} times: no automatic promotion until it is refreshed with new labelled "
            f"images (limit {one.bound:.0f}); a person may promote"
        )
    if one.unit == "ratio":
        return f"{one.name}: {one.note}; a ratio of {number(one, one.estimate)} is over {number(one, one.bound)}, but not beyond doubt"
    bound = one.high if one.unit == "brier" else one.low
    needed = "no number of labels would decide" if one.labels is None or one.labels > MOST_LABELS else f"{one.labels:,} would decide"
    return (
        f"{one.name}: {number(one, one.estimate)} on {one.n:,} labelled images leaves {number(one, bound)} possible, "
        f"where {required(one)} is asked for; {needed}"
    )


def veto(one: SliceResult) -> str:
    """A slice that is shown worse."""
    return f"{one.name}: shown worse, {100 * one.difference:+.1f} pt on {one.n:,} images (p = {one.p_holm:.2g} after Holm)"


def required(one: Criterion) -> str:
    """The limit, as a phrase."""
    return f"{'less' if one.unit == 'brier' else 'more'} than {number(one, one.bound)}"


FORMATS: dict[str, Callable[[float], str]] = {
    "points": lambda value: f"{100 * value:+.1f} pt",
    "share": lambda value: f"{100 * value:.1f} %",
    "brier": lambda value: f"{value:+.4f}",
    "ratio": lambda value: f"{value:.2f}",
    "count": lambda value: f"{value:.0f}",
}


def number(one: Criterion, value: float | None) -> str:
    """A value of the criterion as people read it; a dash for none."""
    if value is None:
        return "–"
    return FORMATS[one.unit](value) if one.unit in FORMATS else f"{value:g}"


def headline(decision: str, criteria: Sequence[Criterion]) -> str:
    """One short line: "promote: clean test +0.1 pt (> -2.0 pt), drifted hold-out +8.3 pt (> +0.0 pt)"."""
    main = [one for one in criteria if one.name in (CLEAN, DRIFTED) or one.unit == "share"]
    figures = [f"{one.name} {number(one, one.estimate)} (> {number(one, one.bound)})" for one in main]
    return f"{decision}: {', '.join(figures)}" if figures else f"{decision}: {refuted(criteria[0])}"


#: One-sided, of every criterion and of the family of slices; the number of labels needed assumes it too.
ALPHA = 0.05


@dataclass(frozen=True)
class Evidence:
    """All that a decision rests on.

    clean: the clean test split. drifted: the labelled drifted hold-out, where the dataset has one. best_earlier: what the best earlier
    champion has right of the clean split, bool (N,), where there is one besides the present champion. may_veto: further splits by name.
    latency and sizes (bytes of candidate and champion) are None where there is nothing to compare. schema: problems found. identical:
    both serve the same bytes. test_uses: how often the clean split has been used, this time included. int8: what onnx_deployment
    says of the quantised graph.
    """

    clean: Answers
    classes: list[str]
    drifted: Answers | None = None
    best_earlier: np.ndarray | None = None
    best_earlier_version: str = ""
    may_veto: dict[str, Answers] = field(default_factory=dict)
    latency: Latency | None = None
    sizes: tuple[int, int] | None = None
    schema: list[str] = field(default_factory=list)
    identical: bool = False
    test_uses: int = 1
    int8: dict[str, Any] | None = None


@dataclass(frozen=True)
class Decision:
    """`labels_needed`: name of an open criterion -> labelled images of that kind that would decide it, those at hand included."""

    decision: str
    reasons: list[str]
    criteria: list[Criterion]
    slices: list[SliceResult]
    labels_needed: dict[str, int]


def decide(evidence: Evidence, *, margin: float, settings: GateSettings) -> Decision:
    """Judge a candidate; with no champion in the evidence, judge it alone.

    Args:
        evidence: of the candidate as served, and of the champion on the same images.
        margin: how much clean accuracy may be lost at most, as a share: 0.02 for two points.
        settings: the other limits.
    """
    if evidence.schema:
        return conclude([criteria.schema_fits(evidence.schema)], [], settings)
    facts = [criteria.schema_fits([]), criteria.uses_left(evidence.test_uses, settings.uses_limit)]
    if evidence.int8 is not None:
        facts.append(criteria.quantisation(evidence.int8.get("int8_drop"), str(evidence.int8.get("served_reason", ""))))
    if evidence.clean.champion is None:
        return conclude([*alone(evidence, settings), *facts], [], settings)
    slices = judge_slices(
        evidence.clean,
        evidence.may_veto,
        evidence.classes,
        margin=margin,
        alpha=ALPHA,
        class_minimum=settings.class_minimum,
        minimum=settings.slice_minimum,
    )
    return conclude([*against_champion(evidence, margin, settings), *facts], slices, settings)


def alone(evidence: Evidence, settings: GateSettings) -> list[Criterion]:
    """What a first candidate must show: that it is better than no model."""
    return [criteria.better_than_commonest(evidence.clean.candidate_right, evidence.clean.labels, settings.first_gain)]


def against_champion(evidence: Evidence, margin: float, settings: GateSettings) -> list[Criterion]:
    """What a candidate must show beside the champion, in the order in which a reader asks for it."""
    clean = evidence.clean
    found = [criteria.difference_above(CLEAN, clean.difference(), -margin)]
    if evidence.drifted is not None:
        found.append(criteria.difference_above(DRIFTED, evidence.drifted.difference(), 0.0, hopeless_below=settings.drifted_gain))
    found += class_criteria(evidence, settings)
    if evidence.best_earlier is not None:
        name = f"best earlier champion (version {evidence.best_earlier_version})"
        found.append(criteria.difference_above(name, clean.difference_to(evidence.best_earlier), -margin))
    found.append(criteria.brier_below(clean_brier(clean), settings.brier_limit))
    if evidence.latency is not None:
        found.append(criteria.latency_within(evidence.latency, settings.latency_limit, settings.latency_slack_ms))
    if evidence.sizes is not None:
        found.append(criteria.size_within(*evidence.sizes, settings.size_limit, settings.size_slack_mb))
    if evidence.identical:
        found.append(criteria.other_graph(True))
    return found


def class_criteria(evidence: Evidence, settings: GateSettings) -> list[Criterion]:
    """One criterion for each class with enough images to show anything; the smaller ones are slices."""
    found = []
    for index, name in enumerate(evidence.classes):
        rows = evidence.clean.labels == index
        if rows.sum() >= settings.class_minimum:
            found.append(criteria.difference_above(f"class {name}", evidence.clean.difference(rows), -settings.class_margin))
    return found


def clean_brier(clean: Answers) -> BrierIncrease:
    """By how much the Brier score rises on the clean split, candidate minus champion."""
    if clean.champion is None:
        raise ValueError("there is no champion to compare with")
    candidate, champion = brier_scores(clean.candidate, clean.labels), brier_scores(clean.champion, clean.labels)
    return brier_increase(candidate, champion, groups=clean.groups)


def conclude(found: list[Criterion], slices: list[SliceResult], settings: GateSettings) -> Decision:
    """The decision that these criteria and slices make."""
    vetoes = [one for one in slices if one.vetoes]
    if vetoes or any(one.refuted for one in found):
        decision = REJECT
    elif all(one.holds for one in found):
        decision = PROMOTE
    else:
        decision = INCONCLUSIVE
    labels = {one.name: one.labels for one in found if one.labels is not None}
    return Decision(decision, explain(decision, found, vetoes, settings), found, slices, labels)
