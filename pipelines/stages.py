"""The two stages that the pipelines are made of: training a champion, and watching it."""

from functools import partial
from typing import NamedTuple

from kfp import dsl

from components.automated_retraining.component import automated_retraining
from components.baseline_training.component import baseline_training
from components.data_analysis.component import data_analysis
from components.drift_detection.component import drift_detection
from components.model_optimization.component import model_optimization
from components.model_promotion.component import model_promotion
from components.onnx_deployment.component import onnx_deployment
from components.production_monitoring.component import production_monitoring
from components.source_resolution.component import source_resolution
from components.synthesis_report.component import synthesis_report
from components.validation_gate.component import validation_gate
from pipelines.placement import place


class Trained(NamedTuple):
    """What the training stage hands on: its dataset and the version now serving."""

    dataset: object
    version: object


def training_stage(source, image_size, epochs, margin, seed, store, gpus, nodes, data, train, deploy, gate) -> Trained:  # type: ignore[no-untyped-def]
    """Themes 1 to 4, the gate, and the first champion."""
    resolved = place(source_resolution(source=source), "source")
    analysed = place(
        data_analysis(source=source, source_hash=resolved.output, image_size=image_size, seed=seed, store=store, config=data),
        "1 data analysis",
    )
    dataset = analysed.outputs["dataset"]
    baseline = place(baseline_training(dataset=dataset, epochs=epochs, gpus=gpus, seed=seed, config=train), "2 baseline", gpus, nodes)
    optimized = place(
        model_optimization(dataset=dataset, baseline=baseline.outputs["model"], epochs=epochs, gpus=gpus, seed=seed, config=train),
        "3 optimization",
        gpus,
        nodes,
    )
    deployed = place(onnx_deployment(dataset=dataset, model=optimized.outputs["model"], config=deploy), "4 ONNX")
    candidate = deployed.outputs["candidate"]
    judged = place(validation_gate(dataset=dataset, candidate=candidate, margin=margin, config=gate), "first gate")
    promoted = place(
        model_promotion(candidate=candidate, dataset=dataset, evidence=judged.outputs["evidence"], store=store), "first champion"
    )
    return Trained(dataset, promoted.output)


def watch_stage(until, alpha, margin, seed, store, gpus, nodes, monitor, drift, retrain, deploy, gate) -> None:  # type: ignore[no-untyped-def]
    """Themes 5 to 8: every leaf ends with the report, which commits the watch record."""
    watched = place(production_monitoring(store=store, until=until, config=monitor), "5 monitoring")
    traffic, champion = watched.outputs["traffic"], watched.outputs["champion"]
    tested = place(drift_detection(traffic=traffic, champion=champion, alpha=alpha, config=drift), "6 drift verdict")
    verdict, evidence = tested.outputs["Output"], tested.outputs["evidence"]
    report = partial(synthesis_report, model=champion, store=store, traffic=traffic, drift=evidence)

    with dsl.If(verdict == "retrain", name="drifted: retrain"):
        retrained = place(
            automated_retraining(traffic=traffic, champion=champion, drift=evidence, gpus=gpus, seed=seed, store=store, config=retrain),
            "7 retraining",
            gpus,
            nodes,
        )
        dataset = retrained.outputs["dataset"]
        deployed = place(onnx_deployment(dataset=dataset, model=retrained.outputs["model"], config=deploy), "7 ONNX")
        candidate = deployed.outputs["candidate"]
        judged = place(
            validation_gate(dataset=dataset, candidate=candidate, margin=margin, config=gate, champion=champion, traffic=traffic), "7 gate"
        )
        decision, proof = judged.outputs["Output"], judged.outputs["evidence"]
        with dsl.If(decision == "promote", name="better: promote"):
            promoted = place(model_promotion(candidate=candidate, dataset=dataset, evidence=proof, store=store), "7 promotion")
            place(report(outcome="promoted", gate=proof, version=promoted.output), "8 report")
        with dsl.If(decision != "promote", name="keep champion"):
            place(report(outcome="kept", gate=proof), "8 report")

    with dsl.If(verdict != "retrain", name="no retraining"):
        place(report(outcome="watched"), "8 report")
