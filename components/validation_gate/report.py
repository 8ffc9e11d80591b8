"""The gate's page: the decision, the criteria as a forest plot, what each stands on, and what can be done where it does not decide."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from components.validation_gate.criteria import Criterion
from components.validation_gate.decision import Decision
from components.validation_gate.slices import SliceResult
from components.validation_gate.summary import forest_plot, is_first, meaning
from driftloop.contracts import CLEAN_TEST, INCONCLUSIVE, PROMOTE
from driftloop.evaluation.intervals import Proportion, groups_of_more
from driftloop.plurals import counted
from driftloop.reporting import Page
from driftloop.reporting.chapter import Tone
from driftloop.reporting.wording import interval, percent, points, points_interval, share_cells, with_interval

TONES: dict[str, Tone] = {PROMOTE: "good", INCONCLUSIVE: "warning"}


def build_report(gate: dict[str, Any], decision: Decision) -> Page:
    """The page, from the content of gate.json and the decision."""
    page = Page(
        "Validation gate",
        lead=meaning(gate, decision),
        question="May this candidate replace what serves now?"
        if gate["champion_version"]
        else "May this candidate serve as the first champion?",
    )
    held = sum(criterion.holds for criterion in decision.criteria)
    page.tiles(
        {
            "decision": decision.decision,
            "criteria that hold": f"{held} of {len(decision.criteria)}",
            "slices that veto": sum(result.vetoes for result in decision.slices),
            "uses of the test split": gate["test_uses"],
        }
    )
    page.notice(f"{decision.decision}: {'; '.join(decision.reasons)}", TONES.get(decision.decision, "bad"))
    _method(page, gate)
    _criteria(page, decision.criteria)
    _regimes(page, gate, decision.criteria)
    _accuracies(page, gate)
    _slices(page, decision.slices, gate["margin"])
    if decision.decision != PROMOTE:
        _choices(page, gate, decision)
    page.conclude(
        f"{decision.decision}. {meaning(gate, decision)}",
        limits=[
            f"The test split has been used {counted(gate['test_uses'], 'time')} by gates; each use spends some of its innocence, and from "
            f"use {gate['settings']['uses_limit']} on nothing is promoted automatically.",
            "A criterion that holds is shown for images like those of the split: drift is what the watch is for.",
        ],
        decision="; ".join(decision.reasons),
    )
    return page


def _method(page: Page, gate: dict[str, Any]) -> None:
    page.section(
        "How it decides",
        "The gate judges what would be served, on images that neither training nor choice has touched. A criterion holds when its "
        "bound, not "
        "only its estimate, clears the limit; it is refuted when the opposite bound does; otherwise it is open, and the gate says how many "
        "labelled images would decide. All criteria must hold, so no correction for their number is due: each of them can only refuse.",
    )
    if gate["champion_version"]:
        page.text(
            f"Candidate and champion (version {gate['champion_version']}) answer the same images. The candidate may lose at most "
            f"{100 * gate['margin']:.1f} points on clean images (`gate_margin`), fixed before it was trained."
        )
    else:
        page.text("There is no champion yet, so the candidate is judged alone: it has to beat the answer that is commonest.")


def _criteria(page: Page, criteria: Sequence[Criterion]) -> None:
    page.section("Criteria", essential=True)
    drawn = [criterion for criterion in criteria if criterion.unit == "points" and None not in _drawn_values(criterion)]
    if drawn:
        page.figure(
            forest_plot(drawn),
            "Differences of accuracy, candidate minus champion, with one-sided bounds; black: the limit that the lower bound has to clear.",
            key="gate-forest",
            essential=True,
        )
        page.text(f"[[gate-forest]]: {' '.join(forest_sentence(criterion) for criterion in drawn)}", essential=True)
    page.table(
        [
            {
                "criterion": criterion.name,
                "holds": "yes" if criterion.holds else "no" if criterion.refuted else "open",
                "estimate": criterion.show(criterion.estimate),
                "low": criterion.show(criterion.low),
                "high": criterion.show(criterion.high),
                "limit": criterion.show(criterion.bound),
                "stands on": criterion.stands_on or "–",
                "note": criterion.note,
            }
            for criterion in criteria
        ],
        "All criteria. Bounds are one-sided, 95 % where the note does not say more: Tango's score interval for differences of "
        "accuracy, Student's "
        "t for the Brier score, Wilson's for a single accuracy, a bootstrap for latency. pt: points.",
        key="gate-criteria",
        essential=True,
    )
    opened = [criterion.name for criterion in criteria if criterion.open]
    refuted = [criterion.name for criterion in criteria if criterion.refuted]
    said = f"{sum(criterion.holds for criterion in criteria)} of {len(criteria)} criteria hold"
    said += f"; refuted: {', '.join(refuted)}" if refuted else "; none is refuted"
    said += f"; open: {', '.join(opened)}." if opened else "; none is open."
    page.text(f"[[gate-criteria]]: {said}")


def _drawn_values(criterion: Criterion) -> tuple[float | None, ...]:
    """What the plot needs; a criterion without a limit of its own is another step's, and is not candidate minus champion."""
    return criterion.estimate, criterion.low, criterion.high, criterion.bound


def forest_sentence(criterion: Criterion) -> str:
    """One row of the forest plot in words, by the same comparison as the criterion."""
    estimate, low, high, bound = (value or 0.0 for value in (criterion.estimate, criterion.low, criterion.high, criterion.bound))
    if criterion.holds:
        verdict = f"its lower bound, {points(low)}, lies above the limit of {points(bound)}: it holds"
    elif criterion.refuted:
        verdict = f"its upper bound is {points(high)}: it is refuted"
    else:
        verdict = (
            f"its lower bound, {points(low)}, does not clear the limit of {points(bound)}, and its upper bound, "
            f"{points(high)}, leaves that possible: it is open"
        )
    return f"{criterion.name[:1].upper()}{criterion.name[1:]}: {points(estimate)} on {criterion.stands_on or 'the images'}; {verdict}."


def _regimes(page: Page, gate: dict[str, Any], criteria: Sequence[Criterion]) -> None:
    learned = gate.get("regimes") or {}
    if not learned:
        return
    clean = next(item for item in criteria if item.name == CLEAN_TEST)
    models = [gate["accuracy"][f"{model}_clean"] for model in ("champion", "candidate")]
    rows = [_regime_row(CLEAN_TEST, gate["clean_share"], *models, asdict(clean))]
    rows += [_regime_row(name, of["share"], of["champion"], of["accuracy"], of["difference"]) for name, of in learned.items()]
    page.table(
        rows,
        "What each model reaches on each kind of images that the candidate is to serve: the clean test split, and the hold-out of each "
        "drift that was learned, the newest of which this candidate has learned. No criterion rests on these rows alone; the next watches "
        "measure harm against the candidate's. Share of traffic: of the last four weeks' requests, those nearest to it. Intervals of "
        "accuracies at 95 %, bounds of differences one-sided at 95 %.",
        key="gate-regimes",
        essential=True,
    )
    least = min(rows[1:], key=lambda row: learned[str(row["regime"])]["difference"]["estimate"])
    page.text(f"[[gate-regimes]]: of the learned drifts the difference is least for {least['regime']}: {least['difference']}.")


def _regime_row(name: str, share: float | None, *measured: dict[str, Any]) -> dict[str, object]:
    """A kind of images; `measured`: accuracy of the champion, of the candidate, and their difference."""
    champion, candidate, difference = measured
    shares = [Proportion.model_validate(model) for model in (champion, candidate)]
    told = [f"{percent(model.value)} ({interval(model.low, model.high)})" for model in shares]
    return {
        "regime": name,
        "share of traffic": None if share is None else percent(share),
        "images": difference["n"],
        "groups": difference["groups"] if difference["groups"] < difference["n"] else None,
        "champion": told[0],
        "candidate": told[1],
        "difference": f"{points(difference['estimate'])} ({points_interval(difference['low'], difference['high'])})",
    }


def _accuracies(page: Page, gate: dict[str, Any]) -> None:
    known = {name.replace("_", ", "): Proportion(**value) for name, value in gate["accuracy"].items() if value}
    if not known:
        return
    page.section("Accuracies")
    page.table(
        [{"model, images": name} | share_cells(share) for name, share in known.items()],
        "What each model reaches by itself. Whether one is better is decided by the paired differences above, not by these intervals.",
        key="gate-accuracies",
    )
    rows = [
        {
            "images": name,
            "only the candidate right": counts["gained"],
            "only the champion right": counts["lost"],
            "n": counts["n"],
            "McNemar exact p": f"{counts['mcnemar_p']:.2g}",
        }
        for name, counts in gate["discordant"].items()
        if counts
    ]
    if rows:
        page.table(rows, "Images on which exactly one of the two is right; no criterion rests on the p-value.", key="gate-pairs")
        for row in rows:
            gained, lost = int(row["only the candidate right"]), int(row["only the champion right"])
            more = "more gained than lost" if gained > lost else "more lost than gained" if lost > gained else "as many gained as lost"
            page.text(
                f"[[gate-pairs]]: of {row['n']:,} {row['images']} images the candidate alone has {gained} right and the champion "
                f"alone {lost}: {more}."
            )
    else:
        page.text("[[gate-accuracies]]: " + " ".join(f"{name}: {with_interval(share)}." for name, share in known.items()))


def _slices(page: Page, slices: Sequence[SliceResult], margin: float) -> None:
    if not slices:
        return
    page.section(
        "Slices",
        "A gain on average must not be paid by one class or one kind of image. Slices only veto, when they are shown worse: "
        "one-sided exact "
        "McNemar (signs of whole groups where images come in groups) with Holm's correction, and a loss above the margin. No "
        "slice is built from "
        "what a model says of an image: its own mistakes would pick themselves.",
    )
    page.table(
        [
            {
                "slice": result.name,
                "candidate": percent(result.candidate),
                "champion": percent(result.champion),
                "difference": points(result.difference),
                "n": result.n,
                "p (Holm)": f"{result.p_holm:.2g}",
                "vetoes": result.vetoes,
            }
            for result in slices
        ],
        "Slices of the test images, and of those that a name says in brackets.",
        key="gate-slices",
    )
    worst, vetoes = min(slices, key=lambda result: result.difference), [result.name for result in slices if result.vetoes]
    page.text(
        f"[[gate-slices]]: the difference is least for {worst.name} ({points(worst.difference)} on {worst.n:,} images, p = "
        f"{worst.p_holm:.2g}). "
        + (f"Vetoes: {', '.join(vetoes)}." if vetoes else f"No slice is shown to lose more than the margin of {100 * margin:.1f} points.")
    )


def _choices(page: Page, gate: dict[str, Any], decision: Decision) -> None:
    at_hand = {criterion.name: criterion.n for criterion in decision.criteria}
    groups = {criterion.name: groups_of_more(criterion.labels, criterion.groups, criterion.n) or None for criterion in decision.criteria}
    page.section("What can be done", essential=True)
    if decision.labels_needed:
        page.table(
            [
                {"criterion": name, "labelled images at hand": at_hand[name], "needed in all": needed}
                | ({"of about so many groups": groups[name]} if any(groups.values()) else {})
                for name, needed in decision.labels_needed.items()
            ],
            "Labelled images that would decide what is open, with a chance of 80 % if the estimates are right.",
            essential=True,
        )
    kept = (
        "A refused candidate is no version, so no command lets it serve: the run keeps its files in `deliverables/candidate`, to be looked "
        "at."
    )
    if is_first(gate):
        choices = [
            "A better candidate: more epochs (`train_epochs`), larger images (`data_image_size`), or more labelled images in the source. "
            "The chapters on training show whether it was still learning, and which errors it makes.",
        ]
    else:
        choices = [
            "More labelled images of the kind that a criterion stands on: `driftloop labels` hands out the list and takes it back.",
            f"A wider margin than {100 * gate['margin']:.1f} points, if a larger loss would be acceptable: to be set before the "
            "next candidate is "
            "trained (`gate_margin`), not after this one was seen.",
        ]
    page.points([*choices, kept], essential=True)
