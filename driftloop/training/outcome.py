"""The end of a training: the final model scored on the test split, once, and written as a bundle.

Baseline and optimised training share `TrainedModel` and `write_trained_bundle`; a retraining, which is described differently, takes
`write_bundle`.
"""

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import nn

import driftloop
from driftloop import bundle
from driftloop.bundle import ModelDescription
from driftloop.contracts import DATA_ANALYSIS, TEST, VAL
from driftloop.evaluation.classification import Evaluation, evaluate
from driftloop.evaluation.measures import Measured, measure_classifier, thresholds_of
from driftloop.evaluation.roc import RocCurve, area_under_roc, roc_curve
from driftloop.plurals import counted
from driftloop.runtime import ClassificationLog, MetricsLog
from driftloop.step_facts import read_facts, write_facts
from driftloop.training.architectures import count_parameters
from driftloop.training.loop import TrainingHistory
from driftloop.training.model_card import model_card
from driftloop.training.task import SplitPredictions, Task
from driftloop.training.weights import save_weights


@dataclass(frozen=True)
class FinalScores:
    """What a final model reaches."""

    val: Evaluation
    """On the validation split, which chose it."""
    test: Evaluation
    """On the test split, which chose nothing."""
    test_predictions: SplitPredictions
    """Image by image, for paired comparisons."""
    auc: float | None
    """Area under the ROC curve on the test split; None where it lacks a class."""
    roc: RocCurve | None
    """The curve itself."""
    measures: Measured
    """All else on the test split, at thresholds from the validation split."""


@dataclass(frozen=True)
class TrainedModel:
    """A model trained from scratch: how it was made, and what it reaches."""

    network: nn.Module
    """With the weights of the kept epoch."""
    architecture: str
    """A name of `driftloop.training.architectures`."""
    training: dict[str, Any]
    """Its recipe, as `model.json` and the card have it."""
    history: TrainingHistory
    """All epochs."""
    scores: FinalScores
    """On the validation and the test split."""
    seed: int
    """Of everything random."""


def score_final(model: nn.Module, task: Task) -> FinalScores:
    """Evaluate a final model on the validation split and, for the only time, on the test split."""
    classes = task.description.classes
    val, test = task.predict(model, VAL), task.predict(model, TEST)
    return FinalScores(
        val=evaluate(val.probabilities, val.labels, classes, task.groups(VAL), val.shares),
        test=evaluate(test.probabilities, test.labels, classes, task.groups(TEST), test.shares),
        test_predictions=test,
        auc=area_under_roc(test.probabilities, test.labels),
        roc=roc_curve(test.probabilities, test.labels),
        measures=measure_classifier(
            test.probabilities,
            test.labels,
            classes,
            thresholds=thresholds_of(val.probabilities, val.labels),
            groups=task.groups(TEST),
            tags=task.tags(TEST),
            shares=test.shares,
        ),
    )


def write_trained_bundle(
    directory: str | Path,
    trained: TrainedModel,
    task: Task,
    *,
    step: str,
    title: str,
    notes: Sequence[str],
    facts: dict[str, Any],
    inherited: Sequence[str | Path],
) -> dict[str, Any]:
    """Write and seal the bundle of a model trained from scratch.

    Args:
        directory: of the bundle; made where it is missing.
        trained: the model.
        task: what it was trained on.
        step: the component's name.
        title: heading of the model card.
        notes: sentences of the card that belong to this model alone.
        facts: what the step states beside the facts that every training states.
        inherited: directories whose facts this bundle carries on, the dataset's first.

    Returns:
        The step's facts, as they stand in `facts.json`.
    """
    description = _description(trained, task)
    card = model_card(
        title,
        description,
        trained.scores.test,
        auc=trained.scores.auc,
        counts=task.description.counts,
        source=read_facts(inherited[0]).get(DATA_ANALYSIS, {}).get("source", task.description.source),
        notes=notes,
    )
    stated = _common_facts(trained, task.device) | facts
    write_bundle(directory, trained.network, description, card, step, stated, *inherited)
    return stated


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
        step_facts: the facts of that step.
        inherited: directories whose facts this bundle carries on.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    save_weights(model, directory)
    bundle.write_model(directory, description)
    (directory / bundle.CARD).write_text(card, encoding="utf-8")
    write_facts(directory, step, step_facts, *inherited)
    bundle.seal(directory)


def log_scores(scores: FinalScores, classes: list[str], metrics: MetricsLog, roc: ClassificationLog) -> None:
    """Hand the scores to KFP's UI: figures, ROC curve and confusion matrix."""
    test = scores.test
    for name, value in (
        ("accuracy", test.accuracy.value),
        ("accuracy_low", test.accuracy.low),
        ("accuracy_high", test.accuracy.high),
        ("val_accuracy", scores.val.accuracy.value),
        ("macro_f1", test.macro_f1),
    ):
        metrics.log_metric(name, round(value, 6))
    if scores.auc is not None:
        metrics.log_metric("roc_auc", round(scores.auc, 6))
    if scores.roc is not None:
        roc.log_roc_curve(scores.roc.fpr, scores.roc.tpr, scores.roc.thresholds)
    roc.log_confusion_matrix(classes, test.confusion.tolist())


def device_name(device: torch.device) -> str:
    """The device as a report names it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} of {counted(os.cpu_count() or 1, 'core')}"


def library_versions() -> dict[str, str]:
    """What a model was made with."""
    return {
        "driftloop": driftloop.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
    }


def _description(trained: TrainedModel, task: Task) -> ModelDescription:
    """`model.json` of a model trained from scratch."""
    dataset, scores = task.description, trained.scores
    return ModelDescription(
        architecture=trained.architecture,
        classes=dataset.classes,
        image_size=dataset.image_size,
        channels=dataset.channels,
        resize=dataset.resize,
        deep_range=dataset.deep_range,
        mean=dataset.mean,
        std=dataset.std,
        dataset=dataset.manifest_hash,
        seed=trained.seed,
        class_shares=list(task.class_shares),
        training=trained.training | {"best_epoch": trained.history.best_epoch, "parameters": count_parameters(trained.network)},
        metrics={"val_accuracy": scores.val.accuracy, "test_accuracy": scores.test.accuracy},
        libraries=library_versions(),
    )


def _common_facts(trained: TrainedModel, device: torch.device) -> dict[str, Any]:
    """What both trainings state in `facts.json`."""
    scores, epochs = trained.scores, trained.history.epochs
    return {
        "accuracy": scores.test.accuracy.model_dump(),
        "val_accuracy": scores.val.accuracy.model_dump(),
        "macro_f1": scores.test.macro_f1,
        "roc_auc": scores.auc,
        "measures": scores.measures.described(),
        "classes": [score.described() for score in scores.test.classes],
        "confusion": scores.test.confusion.tolist(),
        "parameters": count_parameters(trained.network),
        "epochs": len(epochs),
        "best_epoch": trained.history.best_epoch,
        "history": [asdict(record) for record in epochs],
        "images_per_second": sorted(record.images_per_second for record in epochs)[len(epochs) // 2],
        "device": device_name(device),
    }
