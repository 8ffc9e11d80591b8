"""The end of a run: its `summary.json`, whether it succeeded or not, and the table a person sees."""

import json
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from driftloop.backends.page_links import link_pages
from driftloop.backends.run_folder import FACT_DIRECTORIES, REPORTS, RunFolder
from driftloop.contracts import GATE_EVIDENCE, PROMOTE, SUMMARY, VALIDATION_GATE
from driftloop.step_facts import read_facts, write_json
from driftloop.summary import Summary, TargetSummary, summarise

ROWS = {
    "baseline": "baseline",
    "optimized": "optimised",
    "onnx_fp32": "ONNX FP32",
    "onnx_int8": "ONNX INT8",
    "retrained": "retrained, clean images",
    "champion_on_drifted": "champion, drifted images",
    "retrained_on_drifted": "retrained, drifted images",
}


def build_summary(
    folder: RunFolder, pipeline: str, arguments: Mapping[str, Any], seconds: float, steps: dict[str, float], error: str | None
) -> Summary:
    """Complete the report's summary, or make one of the facts that the steps left; written to `summary.json` either way.

    The deliverables are collected with it, but for the models, which the store has.
    """
    reported = folder.find("synthesis-report*/summary")
    if reported is not None:
        summary = Summary.model_validate_json(reported.read_bytes())
    else:
        summary = _from_facts(folder)
    folder.collect_deliverables()
    update: dict[str, Any] = {
        "pipeline": pipeline,
        "run_id": folder.id,
        "source": arguments.get("data_source", summary.source),
        "seed": arguments.get("seed"),
        "seconds": round(seconds, 1),
        "steps": steps,
        "error": error,
    }
    update["targets"] = _applicable(summary.targets, pipeline, arguments)
    summary = summary.model_copy(update=update)
    # The report of the pipeline's last step knows neither the parameters nor how long the steps took; a run without that step has none.
    from driftloop.backends.run_report import write_run_report  # loads matplotlib, which no other command waits for

    write_run_report(folder, summary)
    paths = {name.rpartition(".")[2]: name if (folder.path / name).exists() else None for name in REPORTS}
    summary = summary.model_copy(update={"report": summary.report.model_copy(update=paths)})
    write_json(folder.summary, summary.model_dump())
    write_json(folder.deliverables / SUMMARY, summary.model_dump())
    link_pages(folder.deliverables)
    return summary


def _applicable(targets: dict[str, TargetSummary], pipeline: str, arguments: Mapping[str, Any]) -> dict[str, TargetSummary]:
    """The targets as far as they are this run's: where no drift was replayed, finding none is no miss."""
    if pipeline == "full-loop" and arguments["traffic_drift"] != "none":
        return targets
    return targets | {"drift_confirmed": targets["drift_confirmed"].model_copy(update={"met": None})}


def _from_facts(folder: RunFolder) -> Summary:
    facts: dict[str, Any] = {}
    for pattern in FACT_DIRECTORIES:
        directory = folder.find(pattern)
        if directory is not None:
            facts |= read_facts(directory)
    evidence = folder.find("validation-gate*/evidence")
    candidate = read_facts(evidence).get(VALIDATION_GATE) if evidence else None
    gate = json.loads((evidence / GATE_EVIDENCE).read_text()) if evidence and (evidence / GATE_EVIDENCE).exists() else {}
    before = gate.get("champion_version")
    return summarise(facts, candidate=candidate, before=before, after=_output(folder, "model-promotion*") or before)


def _output(folder: RunFolder, step: str) -> str | None:
    """The unnamed output of the newest task of that component, as the local runner leaves it."""
    path = folder.find(f"{step}/executor_output.json")
    return json.loads(path.read_text()).get("parameterValues", {}).get("Output") if path else None


def print_summary(console: Console, summary: Summary, folder: RunFolder) -> None:
    """The table of results, the verdict, the decision, the champion, the targets and where the report lies."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 3, 0, 0))
    for column in ("accuracy", "value", "95 % interval", "images"):
        table.add_column(column, justify="left" if column == "accuracy" else "right")
    for name, title in ROWS.items():
        accuracy = getattr(summary.accuracy, name)
        if accuracy is not None:
            table.add_row(title, f"{accuracy.value:.3f}", f"{accuracy.low:.3f}-{accuracy.high:.3f}", f"{accuracy.n:,}")
    console.print()
    if table.row_count:
        console.print(table)
        console.print()
    if summary.speedup.onnx_int8:
        console.print(
            f"speed-up   ONNX FP32 {summary.speedup.onnx_fp32:.1f}x, INT8 {summary.speedup.onnx_int8:.1f}x over PyTorch (batch 1, 1 thread)"
        )
    if summary.drift:
        console.print(f"verdict    [bold]{summary.drift.verdict}[/]: {escape(summary.drift.reason)}", soft_wrap=True)
    if summary.gate:
        console.print(f"decision   [bold]{summary.gate.decision}[/]: {escape('; '.join(summary.gate.reasons))}", soft_wrap=True)
    before, after = summary.champion.before, summary.champion.after
    if after:
        console.print(
            f"champion   version {before} -> [bold]version {after}[/]" if before and before != after else f"champion   version {after}"
        )
    measured, missed = sum(target.met is not None for target in summary.targets.values()), missed_targets(summary)
    if measured:
        told = f"; [bold yellow]missed:[/] {escape(', '.join(missed))}" if missed else ""
        console.print(f"targets    {measured - len(missed)} of {measured} met{told}", soft_wrap=True)
    for number, step in enumerate(summary.drift.next_steps if summary.drift else []):
        console.print(f"{'next' if number == 0 else '':<11}{escape(step)}", soft_wrap=True)
    console.print(f"report     {folder.path / summary.report.html if summary.report.html else folder.summary}", soft_wrap=True)


def missed_targets(summary: Summary) -> list[str]:
    """The targets that were measured and missed, each with its goal and what was measured."""
    return [f"{name} ({target.goal}; measured {_figure(target)})" for name, target in summary.targets.items() if target.met is False]


def unmet_goals(summary: Summary) -> list[str]:
    """Why a run that ended well is not good enough for `--strict`, a phrase each."""
    unmet = [f"target missed: {target}" for target in missed_targets(summary)]
    if summary.gate and summary.gate.decision != PROMOTE:
        unmet.append(f"the gate decided {summary.gate.decision}")
    return unmet


def _figure(target: TargetSummary) -> str:
    return f"{target.measured:.3f}" if isinstance(target.measured, float) else str(target.measured)
