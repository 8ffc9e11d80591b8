"""The report that a run ends with, for the web and for print."""

from pathlib import Path
from typing import Any

from components.synthesis_report.lessons import SERVED_NAMES, VARIANT_NAMES, lesson_texts, maturity_rows, practice_rows, variant_rows
from driftloop.contracts import CLEAN_TEST, CONFIRMED_BY, DRIFT_DETECTION, DRIFTED_HOLD_OUT, KEPT, ONNX_DEPLOYMENT, PROMOTED, WATCHED
from driftloop.reporting import PALETTE, Page, axes
from driftloop.reporting.pdf import write_pdf
from driftloop.summary import AccuracySummary, Summary

OUTCOME_STORIES = {
    PROMOTED: "Production drifted, the model was retrained, and the gate promoted it: version {after} replaced version {before}.",
    KEPT: "Production drifted and a candidate was trained, but the gate did not promote it: version {before} goes on serving.",
    WATCHED: "Production was watched; nothing was retrained, and version {before} goes on serving.",
}
OUTCOME_TONES = {PROMOTED: "good", KEPT: "warning", WATCHED: "neutral"}
#: Of the summary's accuracies: which model, on which images.
ACCURACY_ROWS = {
    "baseline": ("baseline (plain CNN)", CLEAN_TEST),
    "optimized": ("optimised", CLEAN_TEST),
    "onnx_fp32": ("ONNX FP32", CLEAN_TEST),
    "onnx_int8": ("ONNX INT8", CLEAN_TEST),
    "retrained": ("retrained, as served", CLEAN_TEST),
    "champion_on_drifted": ("champion, as served", DRIFTED_HOLD_OUT),
    "retrained_on_drifted": ("retrained, as served", DRIFTED_HOLD_OUT),
}


def write_synthesis_report(
    summary: Summary, facts: dict[str, Any], candidate: dict[str, Any] | None, outcome: str, html: Path, pdf: Path
) -> None:
    """Write the report as HTML and as PDF."""
    page = Page("driftloop synthesis report", OUTCOME_STORIES[outcome].format(before=summary.champion.before, after=summary.champion.after))
    _overview(page, summary, facts, outcome)
    _accuracy_section(page, summary.accuracy)
    _window_section(page, summary, facts)
    _target_section(page, summary)
    page.section("When to use which model", "Measured in this run: batch 1, one thread, on the machine that ran it.")
    page.table(variant_rows(facts))
    page.section("Lessons of this run")
    for lesson in lesson_texts(summary, facts, candidate):
        page.text(lesson)
    page.section("Best practices, and where this run shows them")
    page.table(practice_rows(summary, facts))
    page.section("MLOps maturity", "Levels as in Google Cloud's 'MLOps: Continuous delivery and automation pipelines'.")
    page.table(maturity_rows(summary))
    page.write(html)
    write_pdf(page, pdf)


def _overview(page: Page, summary: Summary, facts: dict[str, Any], outcome: str) -> None:
    tiles: dict[str, object] = {}
    if summary.drift:
        tiles["drift verdict"] = summary.drift.verdict
    tiles["gate decision"] = summary.gate.decision if summary.gate else None
    tiles["champion"] = f"version {summary.champion.after}"
    served = SERVED_NAMES.get(facts.get(ONNX_DEPLOYMENT, {}).get("served", ""))
    speedup = getattr(summary.speedup, served, None) if served else None
    if served and speedup:
        tiles[f"{VARIANT_NAMES[served]}, as served, over PyTorch"] = f"{speedup:.1f}x"
    page.tiles(tiles)
    if summary.drift:
        page.notice(f"Drift: {summary.drift.reason}", "neutral" if summary.drift.verdict == "stable" else "warning")
    if summary.gate:
        page.notice(f"Gate: {'; '.join(summary.gate.reasons)}", OUTCOME_TONES[outcome])  # type: ignore[arg-type]


def _accuracy_section(page: Page, accuracy: AccuracySummary) -> None:
    measured = {name: share for name in ACCURACY_ROWS if (share := getattr(accuracy, name)) is not None}
    page.section("Accuracy", "Shares of correctly classified images with 95 % Wilson intervals. The clean test split chose nothing.")
    rows = [
        {
            "model": ACCURACY_ROWS[name][0],
            "images": ACCURACY_ROWS[name][1],
            "accuracy": share.value,
            "low": share.low,
            "high": share.high,
            "n": share.n,
        }
        for name, share in measured.items()
    ]
    page.table(rows)
    if not measured:
        return
    figure, (axis,) = axes(6.2, 0.42 * len(measured) + 0.8)
    for index, (name, share) in enumerate(measured.items()):
        colour = PALETTE[3] if ACCURACY_ROWS[name][1] == DRIFTED_HOLD_OUT else PALETTE[0]
        axis.errorbar(share.value, -index, xerr=[[share.value - share.low], [share.high - share.value]], fmt="o", color=colour, capsize=3)
    axis.set_yticks(
        [-index for index in range(len(measured))], [f"{ACCURACY_ROWS[name][0]}, {ACCURACY_ROWS[name][1]}" for name in measured]
    )
    axis.set_xlabel("accuracy")
    page.figure(figure, "Accuracy with 95 % intervals: blue on clean images, red on drifted ones.")


def _window_section(page: Page, summary: Summary, facts: dict[str, Any]) -> None:
    drift = facts.get(DRIFT_DETECTION, {})
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


def _target_section(page: Page, summary: Summary) -> None:
    page.section(
        "Targets", "Set for the default run, whose traffic drifts, before it was run. What this run did not measure has no answer."
    )
    page.table(
        [
            {"target": name, "goal": target.goal, "measured": _measured(target.measured), "met": target.met}
            for name, target in summary.targets.items()
        ]
    )


def _measured(value: float | str | None) -> str | None:
    """A share to the third digit, as goals have them; a verdict as it is."""
    return f"{value:.3f}" if isinstance(value, float) else value
