"""The decision as Markdown for KFP's UI: tables and one picture, no HTML."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from components.validation_gate.criteria import Criterion
from components.validation_gate.decision import Decision
from driftloop.contracts import INCONCLUSIVE, PROMOTE, REJECT
from driftloop.reporting.page import base64_text
from driftloop.reporting.plot_style import INK, MUTED, PALETTE, axes

#: What each decision means.
SENTENCES = {
    PROMOTE: "The candidate may replace the champion.",
    REJECT: "The candidate is shown to be worse than asked for: the champion stays.",
    INCONCLUSIVE: "The data at hand do not decide: the champion stays.",
}
#: The same of a first candidate: no champion is there to stay.
FIRST_SENTENCES = {
    PROMOTE: "The candidate may serve as the first champion.",
    REJECT: "The candidate is shown to be worse than asked for: nothing serves.",
    INCONCLUSIVE: "The data at hand do not decide: nothing serves.",
}


def is_first(gate: dict[str, Any]) -> bool:
    """Whether the candidate of this gate.json was judged alone."""
    return not gate["champion_version"] and gate["accuracy"].get("champion_clean") is None


def meaning(gate: dict[str, Any], decision: Decision) -> str:
    """What the decision means, in a sentence."""
    return (FIRST_SENTENCES if is_first(gate) else SENTENCES)[decision.decision]


def write_summary(path: str | Path, gate: dict[str, Any], decision: Decision) -> None:
    """Write the Markdown file `path` from the content of gate.json and the decision."""
    against = f"champion version {gate['champion_version']}" if gate["champion_version"] else "an unregistered champion"
    if is_first(gate):
        against = "no champion (the first candidate is judged alone)"
    parts = [
        f"# Validation gate: {decision.decision}",
        f"{meaning(gate, decision)} Judged as served, on the same images, against {against}.",
        "\n".join(f"- {escape(reason)}" for reason in decision.reasons),
        "## Criteria",
        criteria_table(decision.criteria),
        "Bounds are one-sided, 95 % where the note does not say more: Tango's score interval for differences of accuracy, Student's t for "
        "the Brier score, Wilson's for a single accuracy, a bootstrap for latency.",
        differences_picture([criterion for criterion in decision.criteria if criterion.unit == "points" and criterion.bound is not None]),
        labels_table(decision),
        accuracy_table(gate["accuracy"]),
        pairs_table(gate["discordant"]),
        slices_table(decision),
        f"Use {gate['test_uses']} of this test split (from use {gate['settings']['uses_limit']} on nothing is promoted automatically).",
    ]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("\n\n".join(text for text in parts if text) + "\n", encoding="utf-8")


def criteria_table(criteria: Sequence[Criterion]) -> str:
    """One row a criterion."""
    rows = []
    for criterion in criteria:
        verdict = "yes" if criterion.holds else "**no**" if criterion.refuted else "open"
        values = [criterion.show(value) for value in (criterion.estimate, criterion.low, criterion.high, criterion.bound)]
        rows.append([criterion.name, verdict, *values, criterion.stands_on or "–", criterion.note])
    return table(["criterion", "holds", "estimate", "low", "high", "limit", "stands on", "note"], rows)


def labels_table(decision: Decision) -> str:
    """How many labelled images would decide what is open."""
    if not decision.labels_needed:
        return ""
    at_hand = {criterion.name: criterion.n for criterion in decision.criteria}
    rows = [[name, f"{at_hand[name]:,}", f"{needed:,}"] for name, needed in decision.labels_needed.items()]
    return "## Labelled images that would decide\n\n" + table(["criterion", "at hand", "needed in all"], rows)


def accuracy_table(accuracies: dict[str, Any]) -> str:
    """Accuracies with their 95 % intervals."""
    rows = []
    for name, accuracy in accuracies.items():
        if accuracy:
            interval = f"{100 * accuracy['low']:.1f}–{100 * accuracy['high']:.1f} %"
            rows.append([name.replace("_", ", "), f"{100 * accuracy['value']:.1f} %", interval, f"{accuracy['n']:,}"])
    return "## Accuracy\n\n" + table(["model, images", "accuracy", "95 % interval", "n"], rows) if rows else ""


def pairs_table(discordant: dict[str, Any]) -> str:
    """The discordant images, and McNemar's exact test on them."""
    rows = [
        [name, str(counts["gained"]), str(counts["lost"]), f"{counts['n']:,}", f"{counts['mcnemar_p']:.2g}"]
        for name, counts in discordant.items()
        if counts
    ]
    header = ["images", "only the candidate right", "only the champion right", "n", "McNemar exact p"]
    return "## Images on which exactly one is right\n\n" + table(header, rows) if rows else ""


def slices_table(decision: Decision) -> str:
    """The slices that may veto."""
    if not decision.slices:
        return ""
    rows = [
        [
            result.name,
            f"{100 * result.candidate:.1f} %",
            f"{100 * result.champion:.1f} %",
            f"{100 * result.difference:+.1f} pt",
            f"{result.n:,}",
            f"{result.p_holm:.2g}",
            "**yes**" if result.vetoes else "no",
        ]
        for result in decision.slices
    ]
    text = (
        "## Slices\n\nThey only veto, when shown worse: one-sided exact McNemar (signs of whole groups where images come in groups) with "
        "Holm's correction, and a loss above the margin.\n\n"
    )
    return text + table(["slice", "candidate", "champion", "difference", "n", "p (Holm)", "vetoes"], rows)


def differences_picture(criteria: Sequence[Criterion]) -> str:
    """Differences of accuracy with their bounds, each beside its limit, as a data URI."""
    drawn = [criterion for criterion in criteria if None not in (criterion.estimate, criterion.low, criterion.high)]
    if not drawn:
        return ""
    stream = io.BytesIO()
    forest_plot(drawn).savefig(stream, format="png", dpi=110)
    return f"![Differences of accuracy with their bounds](data:image/png;base64,{base64_text(stream.getvalue())})"


def forest_plot(criteria: Sequence[Criterion]) -> Figure:
    """Estimates with their bounds beside the limits; green holds, red is refuted, amber is open."""
    figure, (axis,) = axes(7.0, 0.8 + 0.42 * len(criteria))
    for row, criterion in enumerate(reversed(criteria)):
        colour = PALETTE[2] if criterion.holds else PALETTE[3] if criterion.refuted else PALETTE[1]
        axis.plot(
            [100 * (criterion.low or 0), 100 * (criterion.high or 0)], [row, row], color=colour, linewidth=2.5, solid_capstyle="round"
        )
        axis.plot(100 * (criterion.estimate or 0), row, "o", color=colour, markersize=6)
        axis.plot([100 * (criterion.bound or 0)] * 2, [row - 0.32, row + 0.32], color=INK, linewidth=1.2)
    axis.axvline(0, color=MUTED, linewidth=0.8, linestyle=":")
    axis.set_yticks(range(len(criteria)), [criterion.name for criterion in reversed(criteria)])
    axis.set_ylim(-0.6, len(criteria) - 0.4)
    axis.set_xlabel("accuracy, candidate minus champion (points); black: the limit")
    return figure


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(escape(cell) if cell[:2] != "**" else cell for cell in row) + " |" for row in rows])


def escape(text: str) -> str:
    """Text that Markdown shows as it stands: class and site names come from folders."""
    for character in "\\`*_{}[]<>|#":
        text = text.replace(character, "\\" + character)
    return text.replace("\n", " ")
