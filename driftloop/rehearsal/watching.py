"""One watch: the steps of the watch stage with its branches, one after the other in this process."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from components.automated_retraining import step as automated_retraining
from components.drift_detection import step as drift_detection
from components.drift_detection.evidence import STEP as DRIFT
from components.model_promotion import step as model_promotion
from components.onnx_deployment import step as onnx_deployment
from components.production_monitoring import step as production_monitoring
from components.synthesis_report import step as synthesis_report
from components.validation_gate import step as validation_gate
from driftloop import facts
from driftloop.errors import DriftloopError
from driftloop.inference.window import read_window
from driftloop.rehearsal.outputs import outputs
from driftloop.rehearsal.unlogged import Unlogged


@dataclass(frozen=True)
class Watched:
    """What a watch found and did.

    `rows`: the fresh rows of the log. `found`: the facts of drift_detection. `version` is the champion that was watched, `promoted`
    the one that replaced it. `failure` is the line with which a retraining ended; no record is written then, as on a cluster.
    """

    rows: pd.DataFrame
    version: str
    verdict: str
    found: dict[str, Any]
    evidence: Path
    decision: str | None = None
    promoted: str | None = None
    failure: str | None = None


def watch(arguments: dict[str, Any], until: str, artifacts: Path) -> Watched:
    """Watch the traffic up to `until`, and close the loop where the verdict asks for it.

    Args:
        arguments: the parameters of the full-loop pipeline.
        until: the end of the window, ISO 8601.
        artifacts: where the outputs go. The window and the champion's bundle are removed in the end: both lie in the store, and
            many watches of them would fill a disk.

    Raises:
        DriftloopError: monitoring or drift detection failed.
    """
    store, ignored = arguments["store"], Unlogged()
    window, champion, dashboard = outputs(artifacts, "production-monitoring", "window", "champion", "dashboard")
    production_monitoring.run(store, window, champion, dashboard, until=until, config=arguments["monitor_config"], metrics=ignored)
    evidence, report = outputs(artifacts, "drift-detection", "evidence", "report")
    config, alpha = arguments["drift_config"], arguments["drift_alpha"]
    verdict = drift_detection.run(window, champion, evidence, report, alpha=alpha, config=config, metrics=ignored)
    content = read_window(window)
    watched = Watched(content.fresh, content.info.champion_version, verdict, facts.read(evidence)[DRIFT], Path(evidence))
    try:
        watched = _answer(watched, arguments, artifacts, window, champion)
    finally:
        for directory in (window, champion):
            shutil.rmtree(directory)
    return watched


def _answer(watched: Watched, arguments: dict[str, Any], artifacts: Path, window: str, champion: str) -> Watched:
    """What follows the verdict; every branch but a failed one ends with the report, which commits the watch record."""
    reports = dict(zip(("summary", "html", "pdf"), outputs(artifacts, "synthesis-report", "summary", "html", "pdf"), strict=True))
    about = {"model": champion, "store": arguments["store"], "window": window, "drift": str(watched.evidence), **reports}
    if watched.verdict != "retrain":
        synthesis_report.run(outcome="watched", **about)
        return watched
    try:
        decision, version, gate = _retrain(watched, arguments, artifacts, window, champion)
    except DriftloopError as error:
        return replace(watched, failure=str(error))
    synthesis_report.run(outcome="promoted" if version else "kept", gate=gate, version=version or "", **about)
    return replace(watched, decision=decision, promoted=version)


def _retrain(watched: Watched, arguments: dict[str, Any], artifacts: Path, window: str, champion: str) -> tuple[str, str | None, str]:
    """The gate's decision on a retrained candidate, the version promoted if any, and the gate's evidence."""
    store, ignored = arguments["store"], Unlogged()
    dataset, model = outputs(artifacts, "automated-retraining", "dataset", "model")
    common = {"gpus": arguments["gpus"], "seed": arguments["seed"], "store": store, "config": arguments["retrain_config"]}
    automated_retraining.run(window, champion, str(watched.evidence), dataset, model, metrics=ignored, **common)
    candidate, report = outputs(artifacts, "onnx-deployment", "candidate", "report")
    onnx_deployment.run(dataset, model, candidate, report, config=arguments["deploy_config"], metrics=ignored)
    evidence, summary = outputs(artifacts, "validation-gate", "evidence", "summary")
    limits = {"margin": arguments["gate_margin"], "config": arguments["gate_config"]}
    decision = validation_gate.run(dataset, candidate, evidence, summary, champion=champion, window=window, **limits)
    promoted = model_promotion.run(candidate, dataset, evidence, store=store) if decision == "promote" else None
    return decision, promoted, evidence
