"""The steps of the pipelines, called one after the other in this process: the graph of `pipelines/stages.py`, without KFP.

The functions below read like those in `pipelines/stages.py`, and tests/pipelines/test_rehearsed_graph.py holds every call against the
compiled full-loop: the same steps with the same inputs on every branch. One step is not called here: what `traffic_replay` replays
at once, `production.py` replays day by day.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from components.automated_retraining import step as automated_retraining
from components.baseline_training import step as baseline_training
from components.data_analysis import step as data_analysis
from components.drift_detection import step as drift_detection
from components.model_optimization import step as model_optimization
from components.model_promotion import step as model_promotion
from components.onnx_deployment import step as onnx_deployment
from components.production_monitoring import step as production_monitoring
from components.source_resolution import step as source_resolution
from components.synthesis_report import step as synthesis_report
from components.validation_gate import step as validation_gate
from driftloop.contracts import (
    AUTOMATED_RETRAINING,
    BASELINE_TRAINING,
    DATA_ANALYSIS,
    DRIFT_DETECTION,
    MODEL_OPTIMIZATION,
    MODEL_PROMOTION,
    ONNX_DEPLOYMENT,
    PRODUCTION_MONITORING,
    SOURCE_RESOLUTION,
    SYNTHESIS_REPORT,
    VALIDATION_GATE,
)
from driftloop.errors import DriftloopError
from driftloop.runtime import run_id
from driftloop.settings import TrainingParameters, WatchParameters
from driftloop.store import open_store
from driftloop.watch_store import fail_watch

#: Opens a named step for the person who watches; what is printed inside belongs to it.
Announce = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True)
class Step:
    """A component's step: its function takes the component's inputs and outputs by the component's own names."""

    run: Callable[..., Any]
    """`components.<name>.step.run`."""
    outputs: tuple[str, ...] = ()
    """Outputs that are files or directories; it gets their paths."""
    metrics: tuple[str, ...] = ()
    """Outputs that take figures for KFP's UI."""


STEPS: dict[str, Step] = {
    SOURCE_RESOLUTION: Step(source_resolution.run),
    DATA_ANALYSIS: Step(data_analysis.run, ("dataset", "report")),
    BASELINE_TRAINING: Step(baseline_training.run, ("model", "card", "curves"), ("metrics", "roc")),
    MODEL_OPTIMIZATION: Step(model_optimization.run, ("model", "report"), ("metrics", "roc")),
    ONNX_DEPLOYMENT: Step(onnx_deployment.run, ("candidate", "report"), ("metrics",)),
    PRODUCTION_MONITORING: Step(production_monitoring.run, ("traffic", "champion", "dashboard"), ("metrics",)),
    DRIFT_DETECTION: Step(drift_detection.run, ("evidence", "report", "sheet"), ("metrics",)),
    AUTOMATED_RETRAINING: Step(automated_retraining.run, ("dataset", "model"), ("metrics",)),
    VALIDATION_GATE: Step(validation_gate.run, ("evidence", "summary")),
    MODEL_PROMOTION: Step(model_promotion.run),
    SYNTHESIS_REPORT: Step(synthesis_report.run, ("summary", "html", "pdf")),
}


class Unlogged:
    """Takes metrics, curves and matrices in place of KFP, and keeps none: the facts that the steps write hold the same figures."""

    def log_metric(self, metric: str, value: float) -> None: ...

    def log_roc_curve(self, fpr: list[float], tpr: list[float], threshold: list[float]) -> None: ...

    def log_confusion_matrix(self, categories: list[str], matrix: list[list[int]]) -> None: ...


@dataclass(frozen=True)
class FinishedStep:
    """What a step left, under the names that KFP's tasks have for it."""

    output: Any
    """What its function returned."""
    outputs: dict[str, str]
    """Paths of its outputs, by name."""


@dataclass(frozen=True)
class StepCaller:
    """Calls steps of `STEPS` by name, with the component's inputs as keywords."""

    artifacts: Path
    """Where outputs go, laid out as KFP's local runner does."""

    def folder(self, component: str) -> Path:
        """Where the outputs of a component go."""
        return self.artifacts / component.replace("_", "-")

    def __call__(self, component: str, /, **inputs: Any) -> FinishedStep:
        step, folder = STEPS[component], self.folder(component)
        folder.mkdir(parents=True, exist_ok=True)
        outputs = {name: str(folder / name) for name in step.outputs}
        return FinishedStep(step.run(**inputs, **outputs, **dict.fromkeys(step.metrics, Unlogged())), outputs)


def data_stage(call: StepCaller, parameters: TrainingParameters, announce: Announce) -> str:
    """Theme 1: read and pack the source; the directory of the dataset artifact.

    Raises:
        DriftloopError: as the steps.
    """
    source = parameters.data_source
    with announce("source"):
        resolved = call(SOURCE_RESOLUTION, source=source, config=parameters.data_config)
    with announce("1 data analysis"):
        analysed = call(
            DATA_ANALYSIS,
            source=source,
            source_hash=resolved.output,
            image_size=parameters.data_image_size,
            seed=parameters.seed,
            store=parameters.store,
            replayed=True,
            critical_classes=parameters.critical_classes,
            config=parameters.data_config,
        )
    return analysed.outputs["dataset"]


def champion_stage(call: StepCaller, parameters: TrainingParameters, dataset: str, announce: Announce) -> str:
    """Themes 2 to 4, the gate, and the first champion; the version that serves.

    Raises:
        GateRefused: the gate did not accept the first model.
        DriftloopError: as the steps.
    """
    train = partial(
        call, dataset=dataset, epochs=parameters.train_epochs, gpus=parameters.gpus, seed=parameters.seed, config=parameters.train_config
    )
    with announce("2 baseline"):
        baseline = train(BASELINE_TRAINING)
    with announce("3 optimization"):
        optimized = train(MODEL_OPTIMIZATION, baseline=baseline.outputs["model"])
    with announce("4 ONNX"):
        deployed = call(ONNX_DEPLOYMENT, dataset=dataset, model=optimized.outputs["model"], config=parameters.deploy_config)
    candidate = deployed.outputs["candidate"]
    with announce("first gate"):
        judged = call(
            VALIDATION_GATE,
            dataset=dataset,
            candidate=candidate,
            margin=parameters.gate_margin,
            critical_classes=parameters.critical_classes,
            config=parameters.gate_config,
        )
    with announce("first champion"):
        promoted = call(MODEL_PROMOTION, candidate=candidate, dataset=dataset, evidence=judged.outputs["evidence"], store=parameters.store)
    return promoted.output


@dataclass(frozen=True)
class WatchOutcome:
    """What a watch decided and did."""

    traffic: str
    """Directory of the traffic that was watched."""
    evidence: str
    """Directory of the drift evidence."""
    verdict: str
    """Of the drift step."""
    decision: str | None = None
    """The gate's, where there was a candidate."""
    promoted: str | None = None
    """The version that replaced the champion."""
    failure: str | None = None
    """The line with which a retraining failed; the watch's record says so, too."""


def watch_stage(call: StepCaller, parameters: WatchParameters, until: str) -> WatchOutcome:
    """Themes 5 to 8 on the traffic up to `until`: every branch but a failed one ends with the report, which closes the watch record.

    Args:
        call: calls the steps.
        parameters: of the watch.
        until: the end of the traffic, ISO 8601.

    Raises:
        DriftloopError: a step other than those that retrain failed.
    """
    store = parameters.store
    watched = call(PRODUCTION_MONITORING, store=store, until=until, config=parameters.monitor_config)
    traffic, champion = watched.outputs["traffic"], watched.outputs["champion"]
    tested = call(
        DRIFT_DETECTION,
        traffic=traffic,
        champion=champion,
        store=store,
        alpha=parameters.drift_alpha,
        critical_classes=parameters.critical_classes,
        config=parameters.drift_config,
        retrain_config=parameters.retrain_config,
    )
    verdict, evidence = tested.output, tested.outputs["evidence"]
    outcome = WatchOutcome(traffic, evidence, verdict)
    report = partial(call, SYNTHESIS_REPORT, model=champion, store=store, traffic=traffic, drift=evidence, lang=parameters.lang)
    if verdict != "retrain":
        report(outcome="watched")
        return outcome
    try:
        dataset, candidate, judged = _retrain(call, parameters, traffic, champion, evidence)
        decision, proof = judged.output, judged.outputs["evidence"]
        outcome = replace(outcome, decision=decision)
        if decision == "promote":
            promoted = call(MODEL_PROMOTION, candidate=candidate, dataset=dataset, evidence=proof, store=store)
            outcome = replace(outcome, promoted=promoted.output)
    except DriftloopError as error:
        fail_watch(open_store(store), run_id(), str(error))
        return WatchOutcome(traffic, evidence, verdict, failure=str(error))
    if outcome.promoted:
        report(outcome="promoted", gate=proof, version=outcome.promoted)
    else:
        report(outcome="kept", gate=proof)
    return outcome


def _retrain(call: StepCaller, parameters: WatchParameters, traffic: str, champion: str, evidence: str) -> tuple[str, str, FinishedStep]:
    """The new dataset, the candidate that was trained on it, and the gate's step."""
    retrained = call(
        AUTOMATED_RETRAINING,
        traffic=traffic,
        champion=champion,
        drift=evidence,
        gpus=parameters.gpus,
        seed=parameters.seed,
        store=parameters.store,
        config=parameters.retrain_config,
    )
    dataset = retrained.outputs["dataset"]
    deployed = call(ONNX_DEPLOYMENT, dataset=dataset, model=retrained.outputs["model"], config=parameters.deploy_config)
    candidate = deployed.outputs["candidate"]
    judged = call(
        VALIDATION_GATE,
        dataset=dataset,
        candidate=candidate,
        margin=parameters.gate_margin,
        critical_classes=parameters.critical_classes,
        config=parameters.gate_config,
        champion=champion,
        traffic=traffic,
    )
    return dataset, candidate, judged
