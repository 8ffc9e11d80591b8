"""The first champion: the steps of the training stage, one after the other in this process."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from components.baseline_training import step as baseline_training
from components.data_analysis import step as data_analysis
from components.model_optimization import step as model_optimization
from components.model_promotion import step as model_promotion
from components.onnx_deployment import step as onnx_deployment
from components.source_resolution import step as source_resolution
from components.validation_gate import step as validation_gate
from driftloop.rehearsal.outputs import outputs
from driftloop.rehearsal.unlogged import Unlogged

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
