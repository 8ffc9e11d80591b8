"""Why a candidate was promoted, rejected or left undecided: one short line a reason, in words and points."""

from collections.abc import Callable, Sequence

from components.validation_gate.criteria import Criterion
from components.validation_gate.slices import SliceResult
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
