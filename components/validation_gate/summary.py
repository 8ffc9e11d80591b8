"""The decision as Markdown for KFP's UI: tables and one picture, no HTML."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.validation_gate.criteria import Criterion
from components.validation_gate.decision import Decision, number
from driftloop.reporting.page import base64_text
from driftloop.reporting.plot_style import INK, MUTED, PALETTE, axes

SENTENCES = {
    "promote": "The candidate may replace the champion.",
    "reject": "The candidate is shown to be worse than asked for: the champion stays.",
    "inconclusive": "The data at hand do not decide: the champion stays.",
}


def write_summary(path: str | Path, gate: dict[str, Any], decision: Decision) -> None:
    """Write the Markdown file `path` from the content of gate.json and the decision."""
    against = f"champion version {gate['champion_version']}" if gate["champion_version"] else "an unregistered champion"
    if gate["accuracy"]["champion_clean"] is None and not gate["champion_version"]:
        against = "no champion (the first candidate is judged alone)"
    blocks = [
        f"# Validation gate: {decision.decision}",
        f"{SENTENCES[decision.decision]} Judged as served, on the same images, against {against}.",
        "\n".join(f"- {escape(reason)}" for reason in decision.reasons),
        "## Criteria",
        criteria_table(decision.criteria),
        "Bounds are one-sided, 95 %: Tango's score interval for differences of accuracy, Student's t for the Brier score, Wilson's for a "
        "single accuracy, a bootstrap for latency.",
        picture([one for one in decision.criteria if one.unit == "points" and one.bound is not None]),
        labels_table(decision),
        accuracy_table(gate["accuracy"]),
        pairs_table(gate["discordant"]),
        slices_table(decision),
        f"Use {gate['test_uses']} of this test split (from use {gate['settings']['uses_limit']} on nothing is promoted automatically).",
    ]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("\n\n".join(block for block in blocks if block) + "\n", encoding="utf-8")


def criteria_table(criteria: Sequence[Criterion]) -> str:
    """One row a criterion."""
    rows = []
    for one in criteria:
        verdict = "yes" if one.holds else "**no**" if one.refuted else "open"
        values = [number(one, value) for value in (one.estimate, one.low, one.high, one.bound)]
        rows.append([one.name, verdict, *values, f"{one.n:,}" if one.n else "–", one.note])
    return table(["criterion", "holds", "estimate", "low", "high", "limit", "n", "note"], rows)


def labels_table(decision: Decision) -> str:
    """How many labelled images would decide what is open."""
    if not decision.labels_needed:
        return ""
    at_hand = {one.name: one.n for one in decision.criteria}
    rows = [[name, f"{at_hand[name]:,}", f"{needed:,}"] for name, needed in decision.labels_needed.items()]
    return "## Labelled images that would decide\n\n" + table(["criterion", "at hand", "needed in all"], rows)


def accuracy_table(accuracies: dict[str, Any]) -> str:
    """Accuracies with their 95 % intervals."""
    rows = []
    for name, found in accuracies.items():
        if found:
            interval = f"{100 * found['low']:.1f}–{100 * found['high']:.1f} %"
            rows.append([name.replace("_", ", "), f"{100 * found['value']:.1f} %", interval, f"{found['n']:,}"])
    return "## Accuracy\n\n" + table(["model, images", "accuracy", "95 % interval", "n"], rows) if rows else ""


def pairs_table(discordant: dict[str, Any]) -> str:
    """The discordant images, and McNemar's exact test on them."""
    rows = [
        [name, str(found["gained"]), str(found["lost"]), f"{found['n']:,}", f"{found['mcnemar_p']:.2g}"]
        for name, found in discordant.items()
        if found
    ]
    header = ["images", "only the candidate right", "only the champion right", "n", "McNemar exact p"]
    return "## Images on which exactly one is right\n\n" + table(header, rows) if rows else ""


def slices_table(decision: Decision) -> str:
    """The slices that may veto."""
    if not decision.slices:
        return ""
    rows = [
        [
            one.name,
            f"{100 * one.candidate:.1f} %",
            f"{100 * one.champion:.1f} %",
            f"{100 * one.difference:+.1f} pt",
            f"{one.n:,}",
            f"{one.p_holm:.2g}",
            "**yes**" if one.vetoes else "no",
        ]
        for one in decision.slices
    ]
    text = "## Slices\n\nThey only veto, when shown worse: one-sided exact McNemar with Holm's correction, and a loss above the margin.\n\n"
    return text + table(["slice", "candidate", "champion", "difference", "n", "p (Holm)", "vetoes"], rows)


def picture(criteria: Sequence[Criterion]) -> str:
    """Differences of accuracy with their bounds, each beside its limit, as a data URI."""
    drawn = [one for one in criteria if one.estimate is not None and one.low is not None and one.high is not None]
    if not drawn:
        return ""
    figure, (axis,) = axes(6.0, 0.8 + 0.42 * len(drawn))
    for row, one in enumerate(reversed(drawn)):
        colour = PALETTE[2] if one.holds else PALETTE[3] if one.refuted else PALETTE[1]
        axis.plot([100 * (one.low or 0), 100 * (one.high or 0)], [row, row], color=colour, linewidth=2.5, solid_capstyle="round")
        axis.plot(100 * (one.estimate or 0), row, "o", color=colour, markersize=6)
        axis.plot([100 * (one.bound or 0)] * 2, [row - 0.32, row + 0.32], color=INK, linewidth=1.2)
    axis.axvline(0, color=MUTED, linewidth=0.8, linestyle=":")
    axis.set_yticks(range(len(drawn)), [one.name for one in reversed(drawn)])
    axis.set_ylim(-0.6, len(drawn) - 0.4)
    axis.set_xlabel("accuracy, candidate minus champion (points); black: the limit")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return f"![Differences of accuracy with their bounds](data:image/png;base64,{base64_text(stream.getvalue())})"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(escape(cell) if cell[:2] != "**" else cell for cell in row) + " |" for row in rows])


def escape(text: str) -> str:
    """Text that Markdown shows as it stands: class and site names come from folders."""
    for character in "\\`*_{}[]<>|#":
        text = text.replace(character, "\\" + character)
    return text.replace("\n", " ")
