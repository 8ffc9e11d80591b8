"""Where a step's outputs lie.

What takes the place of KFP's metrics where no pipeline runs.

The first champion: the steps of the training stage, one after the other in this process.

One watch: the steps of the watch stage with its branches, one after the other in this process.
"""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from components.automated_retraining import step as automated_retraining
from components.baseline_training import step as baseline_training
from components.data_analysis import step as data_analysis
from components.drift_detection import step as drift_detection
from components.drift_detection.evidence import STEP as DRIFT
from components.model_optimization import step as model_optimization
from components.model_promotion import step as model_promotion
from components.onnx_deployment import step as onnx_deployment
from components.production_monitoring import step as production_monitoring
from components.source_resolution import step as source_resolution
from components.synthesis_report import step as synthesis_report
from components.validation_gate import step as validation_gate
from driftloop.errors import DriftloopError
from driftloop.inference.traffic import read_traffic
from driftloop.step_facts import read_facts


def outputs(artifacts: Path, component: str, *names: str) -> tuple[str, ...]:
    """Paths of a component's outputs, laid out as KFP's local runner does."""
    (artifacts / component).mkdir(parents=True, exist_ok=True)
    return tuple(str(artifacts / component / name) for name in names)


class Unlogged:
    """Takes metrics, curves and matrices, and keeps none: the facts that the steps write hold the same figures."""

    def log_metric(self, metric: str, value: float) -> None: ...

    def log_roc_curve(self, fpr: list[float], tpr: list[float], threshold: list[float]) -> None: ...

    def log_confusion_matrix(self, categories: list[str], matrix: list[list[int]]) -> None: ...


#: Opens a named step for the person who watches; what is printed inside belongs to it.
Steps = Callable[[str], AbstractContextManager[None]]


def prepare_data(arguments: dict[str, Any], artifacts: Path, steps: Steps) -> Path:
    """Read and pack the source; the directory of the dataset artifact.

    Args:
        arguments: the parameters of the full-loop pipeline.
        artifacts: where the steps' outputs go, by component.
        steps: opens each step.

    Raises:
        DriftloopError: as the steps.
    """
    source, seed, store = arguments["data_source"], arguments["seed"], arguments["store"]
    dataset, report = outputs(artifacts, "data-analysis", "dataset", "report")
    with steps("source"):
        content = source_resolution.run(source)
    with steps("1 data analysis"):
        size, config = arguments["data_image_size"], arguments["data_config"]
        data_analysis.run(source, content, dataset, report, image_size=size, seed=seed, store=store, config=config)
    return Path(dataset)


def train_champion(arguments: dict[str, Any], dataset: Path, artifacts: Path, steps: Steps) -> str:
    """Train, optimise, export, judge and promote; the version that serves.

    Raises:
        GateRefused: the gate did not accept the first model.
        DriftloopError: as the steps.
    """
    data = str(dataset)
    common = {
        "gpus": arguments["gpus"],
        "seed": arguments["seed"],
        "epochs": arguments["train_epochs"],
        "config": arguments["train_config"],
    }
    ignored = Unlogged()
    baseline, card, curves = outputs(artifacts, "baseline-training", "model", "card", "curves")
    with steps("2 baseline"):
        baseline_training.run(data, baseline, card, curves, metrics=ignored, roc=ignored, **common)
    model, report = outputs(artifacts, "model-optimization", "model", "report")
    with steps("3 optimization"):
        model_optimization.run(data, baseline, model, report, metrics=ignored, roc=ignored, **common)
    candidate, report = outputs(artifacts, "onnx-deployment", "candidate", "report")
    with steps("4 ONNX"):
        onnx_deployment.run(data, model, candidate, report, config=arguments["deploy_config"], metrics=ignored)
    evidence, summary = outputs(artifacts, "validation-gate", "evidence", "summary")
    with steps("first gate"):
        validation_gate.run(data, candidate, evidence, summary, margin=arguments["gate_margin"], config=arguments["gate_config"])
    with steps("first champion"):
        return model_promotion.run(candidate, data, evidence, store=arguments["store"])


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
        artifacts: where the outputs go. The traffic and the champion's bundle are removed in the end: both lie in the store, and
            many watches of them would fill a disk.

    Raises:
        DriftloopError: monitoring or drift detection failed.
    """
    store, ignored = arguments["store"], Unlogged()
    traffic, champion, dashboard = outputs(artifacts, "production-monitoring", "traffic", "champion", "dashboard")
    production_monitoring.run(store, traffic, champion, dashboard, until=until, config=arguments["monitor_config"], metrics=ignored)
    evidence, report = outputs(artifacts, "drift-detection", "evidence", "report")
    config, alpha = arguments["drift_config"], arguments["drift_alpha"]
    verdict = drift_detection.run(traffic, champion, evidence, report, alpha=alpha, config=config, metrics=ignored)
    content = read_traffic(traffic)
    watched = Watched(content.fresh, content.info.champion_version, verdict, read_facts(evidence)[DRIFT], Path(evidence))
    try:
        watched = _answer(watched, arguments, artifacts, traffic, champion)
    finally:
        for directory in (traffic, champion):
            shutil.rmtree(directory)
    return watched


def _answer(watched: Watched, arguments: dict[str, Any], artifacts: Path, traffic: str, champion: str) -> Watched:
    """What follows the verdict; every branch but a failed one ends with the report, which commits the watch record."""
    reports = dict(zip(("summary", "html", "pdf"), outputs(artifacts, "synthesis-report", "summary", "html", "pdf"), strict=True))
    about = {"model": champion, "store": arguments["store"], "traffic": traffic, "drift": str(watched.evidence), **reports}
    if watched.verdict != "retrain":
        synthesis_report.run(outcome="watched", **about)
        return watched
    try:
        decision, version, gate = _retrain(watched, arguments, artifacts, traffic, champion)
    except DriftloopError as error:
        return replace(watched, failure=str(error))
    synthesis_report.run(outcome="promoted" if version else "kept", gate=gate, version=version or "", **about)
    return replace(watched, decision=decision, promoted=version)


def _retrain(watched: Watched, arguments: dict[str, Any], artifacts: Path, traffic: str, champion: str) -> tuple[str, str | None, str]:
    """The gate's decision on a retrained candidate, the version promoted if any, and the gate's evidence."""
    store, ignored = arguments["store"], Unlogged()
    dataset, model = outputs(artifacts, "automated-retraining", "dataset", "model")
    common = {"gpus": arguments["gpus"], "seed": arguments["seed"], "store": store, "config": arguments["retrain_config"]}
    automated_retraining.run(traffic, champion, str(watched.evidence), dataset, model, metrics=ignored, **common)
    candidate, report = outputs(artifacts, "onnx-deployment", "candidate", "report")
    onnx_deployment.run(dataset, model, candidate, report, config=arguments["deploy_config"], metrics=ignored)
    evidence, summary = outputs(artifacts, "validation-gate", "evidence", "summary")
    limits = {"margin": arguments["gate_margin"], "config": arguments["gate_config"]}
    decision = validation_gate.run(dataset, candidate, evidence, summary, champion=champion, traffic=traffic, **limits)
    promoted = model_promotion.run(candidate, dataset, evidence, store=store) if decision == "promote" else None
    return decision, promoted, evidence
