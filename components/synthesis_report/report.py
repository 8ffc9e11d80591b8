"""The report that a run ends with, for the web and for print."""

from pathlib import Path
from typing import Any

from components.synthesis_report.lessons import lessons, maturity, practices, variants
from driftloop.contracts import CONFIRMED_BY
from driftloop.reporting import PALETTE, Page, axes
from driftloop.reporting.pdf import write_pdf
from driftloop.summary import Accuracy, Summary

STORIES = {
    "promoted": "Production drifted, the model was retrained, and the gate let it through: version {after} replaced version {before}.",
    "kept": "Production drifted and a candidate was trained, but the gate did not let it through: version {before} goes on serving.",
    "watched": "Production was watched; nothing was retrained, and version {before} goes on serving.",
}
TONES = {"promoted": "good", "kept": "warning", "watched": "neutral"}
ACCURACIES = {
    "baseline": ("baseline (plain CNN)", "clean test"),
    "optimized": ("optimised", "clean test"),
    "onnx_fp32": ("ONNX FP32", "clean test"),
    "onnx_int8": ("ONNX INT8", "clean test"),
    "retrained": ("retrained, as served", "clean test"),
    "champion_on_drifted": ("champion, as served", "drifted hold-out"),
    "retrained_on_drifted": ("retrained, as served", "drifted hold-out"),
}


def write_report(summary: Summary, facts: dict[str, Any], candidate: dict[str, Any] | None, outcome: str, html: Path, pdf: Path) -> None:
    """Write the report as HTML and as PDF."""
    page = Page("driftloop synthesis report", STORIES[outcome].format(before=summary.champion.before, after=summary.champion.after))
    _head(page, summary, outcome)
    _accuracy(page, summary.accuracy)
    _watch(page, summary, facts)
    _targets(page, summary)
    page.section("When to use which model", "Measured in this run: batch 1, one thread, on the machine that ran it.")
    page.table(variants(facts))
    page.section("Lessons of this run")
    for lesson in lessons(summary, facts, candidate):
        page.text(lesson)
    page.section("Best practices, and where this run shows them")
    page.table(practices(summary, facts))
    page.section("MLOps maturity", "Levels as in Google Cloud's 'MLOps: Continuous delivery and automation pipelines'.")
    page.table(maturity(summary))
    page.write(html)
    write_pdf(page, pdf)


def _head(page: Page, summary: Summary, outcome: str) -> None:
    tiles: dict[str, object] = {}
    if summary.drift:
        tiles["drift verdict"] = summary.drift.verdict
    tiles["gate decision"] = summary.gate.decision if summary.gate else None
    tiles["champion"] = f"version {summary.champion.after}"
    if summary.speedup.onnx_int8:
        tiles["INT8 over PyTorch, batch 1"] = f"{summary.speedup.onnx_int8:.1f}x"
    page.tiles(tiles)
    if summary.drift:
        page.notice(f"Drift: {summary.drift.reason}", "neutral" if summary.drift.verdict == "stable" else "warning")
    if summary.gate:
        page.notice(f"Gate: {'; '.join(summary.gate.reasons)}", TONES[outcome])  # type: ignore[arg-type]


def _accuracy(page: Page, accuracy: Accuracy) -> None:
    measured = {name: one for name in ACCURACIES if (one := getattr(accuracy, name)) is not None}
    page.section("Accuracy", "Shares of correctly classified images with 95 % Wilson intervals. The clean test split chose nothing.")
    rows = [
        {"model": ACCURACIES[name][0], "images": ACCURACIES[name][1], "accuracy": one.value, "low": one.low, "high": one.high, "n": one.n}
        for name, one in measured.items()
    ]
    page.table(rows)
    if not measured:
        return
    figure, (axis,) = axes(6.2, 0.42 * len(measured) + 0.8)
    for index, (name, one) in enumerate(measured.items()):
        colour = PALETTE[3] if ACCURACIES[name][1].startswith("drifted") else PALETTE[0]
        axis.errorbar(one.value, -index, xerr=[[one.value - one.low], [one.high - one.value]], fmt="o", color=colour, capsize=3)
    axis.set_yticks([-index for index in range(len(measured))], [f"{ACCURACIES[name][0]}, {ACCURACIES[name][1]}" for name in measured])
    axis.set_xlabel("accuracy")
    page.figure(figure, "Accuracy with 95 % intervals: blue on clean images, red on drifted ones.")


def _watch(page: Page, summary: Summary, facts: dict[str, Any]) -> None:
    drift = facts.get("drift_detection", {})
    windows = drift.get("windows", [])
    if not windows:
        return
    page.section(
        "The watch, window by window",
        f"A window drifts when one of its p-values is small enough; drift is confirmed by {CONFIRMED_BY} windows.",
    )
    rows = [
        {
            "window": index + 1,
            "rows": window["rows"],
            **{f"p ({title})": window["p_values"][name] for name, title in drift["detectors"].items()},
            "drifted": window["drifted"],
        }
        for index, window in enumerate(windows)
    ]
    page.table(rows)


def _targets(page: Page, summary: Summary) -> None:
    page.section(
        "Targets", "Set for the default run, whose traffic drifts, before it was run. What this run did not measure has no answer."
    )
    page.table(
        [{"target": name, "goal": one.goal, "measured": _measured(one.measured), "met": one.met} for name, one in summary.targets.items()]
    )


def _measured(value: float | str | None) -> str | None:
    """A share to the third digit, as goals have them; a verdict as it is."""
    return f"{value:.3f}" if isinstance(value, float) else value
