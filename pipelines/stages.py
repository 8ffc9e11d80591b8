"""The stages that the pipelines are made of: training a champion, replaying traffic to it, and watching it."""

from functools import partial
from typing import Any, NamedTuple

from kfp import dsl

from components.automated_retraining.component import automated_retraining
from components.baseline_training.component import baseline_training
from components.data_analysis.component import data_analysis
from components.drift_detection.component import drift_detection
from components.model_optimization.component import model_optimization, trial_search
from components.model_promotion.component import model_promotion
from components.onnx_deployment.component import onnx_deployment
from components.production_monitoring.component import production_monitoring
from components.source_resolution.component import source_resolution
from components.synthesis_report.component import synthesis_report
from components.traffic_replay.component import traffic_replay
from components.validation_gate.component import validation_gate
from driftloop.settings import TrafficParameters, TrainingParameters, WatchParameters
from pipelines.placement import place


class Trained(NamedTuple):
    """What the training stage hands on."""

    dataset: Any
    """KFP's placeholder of the dataset artifact."""
    candidate: Any
    """Of the model that the gate judged."""
    evidence: Any
    """Of the gate's evidence."""
    decision: Any
    """Of the gate's decision."""
    version: Any
    """Of the version that serves now."""


def training_stage(parameters: TrainingParameters, *, replayed: bool) -> Trained:
    """Themes 1 to 4, the gate, and the first champion; `replayed` where the traffic stage follows, which needs images of its own."""
    source, seed, store = parameters.data_source, parameters.seed, parameters.store
    gpus, nodes, epochs, config = parameters.gpus, parameters.train_nodes, parameters.train_epochs, parameters.train_config
    resolved = place(source_resolution(source=source, config=parameters.data_config), "source")
    analysed = place(
        data_analysis(
            source=source,
            source_hash=resolved.output,
            image_size=parameters.data_image_size,
            seed=seed,
            store=store,
            replayed=replayed,
            critical_classes=parameters.critical_classes,
            config=parameters.data_config,
        ),
        "1 data analysis",
    )
    dataset = analysed.outputs["dataset"]
    baseline = place(baseline_training(dataset=dataset, epochs=epochs, gpus=gpus, seed=seed, config=config), "2 baseline", gpus, nodes)
    # Mostly over nothing: then theme 3 searches by itself, where it is to search at all.
    with dsl.ParallelFor(baseline.outputs["Output"], name="3 searches") as number:
        searched = trial_search(dataset=dataset, number=number, epochs=epochs, gpus=gpus, seed=seed, config=config)
        place(searched, "3 search", gpus, nodes)
    optimized = place(
        model_optimization(dataset=dataset, baseline=baseline.outputs["model"], epochs=epochs, gpus=gpus, seed=seed, config=config).after(
            searched
        ),
        "3 optimization",
        gpus,
        nodes,
    )
    deployed = place(onnx_deployment(dataset=dataset, model=optimized.outputs["model"], config=parameters.deploy_config), "4 ONNX")
    candidate = deployed.outputs["candidate"]
    judged = place(
        validation_gate(
            dataset=dataset,
            candidate=candidate,
            margin=parameters.gate_margin,
            critical_classes=parameters.critical_classes,
            config=parameters.gate_config,
        ),
        "first gate",
    )
    promoted = place(
        model_promotion(candidate=candidate, dataset=dataset, evidence=judged.outputs["evidence"], store=store), "first champion"
    )
    return Trained(dataset, candidate, judged.outputs["evidence"], judged.outputs["Output"], promoted.output)


def training_report_stage(parameters: TrainingParameters, trained: Trained) -> None:
    """The report of a training that nothing follows. That of a candidate which the gate refused does not wait for the promotion, which
    fails where nothing serves."""
    report = partial(synthesis_report, model=trained.candidate, store=parameters.store, gate=trained.evidence, lang=parameters.lang)
    with dsl.If(trained.decision == "promote", name="accepted"):
        place(report(outcome="promoted", version=trained.version), "8 report")
    with dsl.If(trained.decision != "promote", name="not accepted"):
        place(report(outcome="kept"), "8 report")


def traffic_stage(parameters: TrafficParameters, trained: Trained) -> Any:
    """Replayed production; the end of it, up to which it is to be watched."""
    replayed = traffic_replay(
        dataset=trained.dataset,
        champion_version=trained.version,
        drift=parameters.traffic_drift,
        seed=parameters.seed,
        store=parameters.store,
        config=parameters.traffic_config,
    )
    return place(replayed, "traffic").output


def watch_stage(parameters: WatchParameters, until: Any) -> None:
    """Themes 5 to 8 on the traffic up to `until`: every leaf ends with the report, which closes the watch record."""
    store = parameters.store
    watched = place(production_monitoring(store=store, until=until, config=parameters.monitor_config), "5 monitoring")
    traffic, champion = watched.outputs["traffic"], watched.outputs["champion"]
    tested = place(
        drift_detection(
            traffic=traffic,
            champion=champion,
            store=store,
            alpha=parameters.drift_alpha,
            critical_classes=parameters.critical_classes,
            config=parameters.drift_config,
            retrain_config=parameters.retrain_config,
        ),
        "6 drift verdict",
    )
    verdict, evidence = tested.outputs["Output"], tested.outputs["evidence"]
    report = partial(synthesis_report, model=champion, store=store, traffic=traffic, drift=evidence, lang=parameters.lang)

    with dsl.If(verdict == "retrain", name="drifted: retrain"):
        dataset, candidate, judged = _retrain(parameters, traffic, champion, evidence)
        decision, proof = judged.outputs["Output"], judged.outputs["evidence"]
        with dsl.If(decision == "promote", name="better: promote"):
            promoted = place(model_promotion(candidate=candidate, dataset=dataset, evidence=proof, store=store), "7 promotion")
            place(report(outcome="promoted", gate=proof, version=promoted.output), "8 report")
        with dsl.If(decision != "promote", name="keep champion"):
            place(report(outcome="kept", gate=proof), "8 report")

    with dsl.If(verdict != "retrain", name="no retraining"):
        place(report(outcome="watched"), "8 report")


def _retrain(parameters: WatchParameters, traffic: Any, champion: Any, evidence: Any) -> tuple[Any, Any, dsl.PipelineTask]:
    """The new dataset, the candidate that was trained on it, and the gate's task."""
    gpus, seed, store = parameters.gpus, parameters.seed, parameters.store
    retrained = place(
        automated_retraining(
            traffic=traffic, champion=champion, drift=evidence, gpus=gpus, seed=seed, store=store, config=parameters.retrain_config
        ),
        "7 retraining",
        gpus,
        parameters.train_nodes,
    )
    dataset = retrained.outputs["dataset"]
    deployed = place(onnx_deployment(dataset=dataset, model=retrained.outputs["model"], config=parameters.deploy_config), "7 ONNX")
    candidate = deployed.outputs["candidate"]
    judged = place(
        validation_gate(
            dataset=dataset,
            candidate=candidate,
            margin=parameters.gate_margin,
            critical_classes=parameters.critical_classes,
            config=parameters.gate_config,
            champion=champion,
            traffic=traffic,
        ),
        "7 gate",
    )
    return dataset, candidate, judged
