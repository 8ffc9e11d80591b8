"""The end of a training: the model judged on the test split, once, and written as a bundle."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import nn

import driftloop
from driftloop import bundle
from driftloop.bundle import ModelDescription
from driftloop.evaluation.classification import Evaluation, evaluate
from driftloop.evaluation.roc import RocCurve, area_under_roc, roc_curve
from driftloop.runtime import ClassificationLog, MetricsLog
from driftloop.step_facts import write_facts
from driftloop.training.architectures import count_parameters
from driftloop.training.loop import TrainingHistory
from driftloop.training.task import SplitPredictions, Task
from driftloop.training.weights import save_weights


@dataclass(frozen=True)
class FinalScores:
    """What a final model reaches on the validation split (which chose it) and on the test split (which did not)."""

    val: Evaluation
    test: Evaluation
    test_predictions: SplitPredictions
    auc: float | None
    roc: RocCurve | None


def score_final(model: nn.Module, task: Task) -> FinalScores:
    """Evaluate a final model on the validation split and, for the one time, on the test split."""
    classes = task.description.classes
    val, test = task.predict(model, "val"), task.predict(model, "test")
    return FinalScores(
        evaluate(val.probabilities, val.labels, classes),
        evaluate(test.probabilities, test.labels, classes),
        test,
        area_under_roc(test.probabilities, test.labels),
        roc_curve(test.probabilities, test.labels),
    )


def model_description(
    model: nn.Module,
    architecture: str,
    task: Task,
    history: TrainingHistory,
    judgement: FinalScores,
    *,
    seed: int,
    training: dict[str, Any],
) -> ModelDescription:
    """`model.json` of a model trained from scratch; `training` is what its recipe was."""
    about = task.description
    return ModelDescription(
        architecture=architecture,
        classes=about.classes,
        image_size=about.image_size,
        channels=about.channels,
        mean=about.mean,
        std=about.std,
        dataset=about.manifest_hash,
        seed=seed,
        training=training | {"best_epoch": history.best_epoch, "parameters": count_parameters(model)},
        metrics={"val_accuracy": judgement.val.accuracy, "test_accuracy": judgement.test.accuracy},
        libraries=library_versions(),
    )


def write_bundle(
    directory: str | Path,
    model: nn.Module,
    description: ModelDescription,
    card: str,
    step: str,
    step_facts: dict[str, Any],
    *inherited: str | Path,
) -> None:
    """Write and seal a bundle: weights, description, card, facts and checksums.

    Args:
        directory: of the bundle; made where it is missing.
        model: the final weights.
        description: `model.json`.
        card: `MODEL_CARD.md`.
        step: the component's name.
        step_facts: what it has to say.
        inherited: directories whose facts this bundle carries on.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    save_weights(model, directory)
    bundle.write_model(directory, description)
    (directory / bundle.CARD).write_text(card, encoding="utf-8")
    write_facts(directory, step, step_facts, *inherited)
    bundle.seal(directory)


def log_scores(judgement: FinalScores, classes: list[str], metrics: MetricsLog, roc: ClassificationLog) -> None:
    """Hand the figures to KFP's UI."""
    test = judgement.test
    for name, value in (
        ("accuracy", test.accuracy.value),
        ("accuracy_low", test.accuracy.low),
        ("accuracy_high", test.accuracy.high),
        ("val_accuracy", judgement.val.accuracy.value),
        ("macro_f1", test.macro_f1),
    ):
        metrics.log_metric(name, round(value, 6))
    if judgement.auc is not None:
        metrics.log_metric("roc_auc", round(judgement.auc, 6))
    if judgement.roc is not None:
        roc.log_roc_curve(judgement.roc.fpr, judgement.roc.tpr, judgement.roc.thresholds)
    roc.log_confusion_matrix(classes, test.confusion.tolist())


def common_facts(model: nn.Module, device: torch.device, history: TrainingHistory, judgement: FinalScores) -> dict[str, Any]:
    """What both trainings say of themselves in `facts.json`."""
    return {
        "accuracy": judgement.test.accuracy.model_dump(),
        "val_accuracy": judgement.val.accuracy.model_dump(),
        "macro_f1": judgement.test.macro_f1,
        "roc_auc": judgement.auc,
        "classes": [score.described() for score in judgement.test.classes],
        "confusion": judgement.test.confusion.tolist(),
        "parameters": count_parameters(model),
        "epochs": len(history.epochs),
        "best_epoch": history.best_epoch,
        "images_per_second": sorted(record.images_per_second for record in history.epochs)[len(history.epochs) // 2],
        "device": device_name(device),
    }


def device_name(device: torch.device) -> str:
    """The device as a report names it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} of {os.cpu_count()} cores"


def library_versions() -> dict[str, str]:
    """What a model was made with."""
    return {
        "driftloop": driftloop.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
    }
