"""How the baseline is trained: as one would at first.

Theme 2: train the baseline, choose its epoch on the validation split, judge it once on the test split.
"""

import time
from pathlib import Path
from typing import Any

from components.baseline_training.report import write_baseline_report
from driftloop import runtime
from driftloop.reporting.tensorboard import publish_events
from driftloop.runtime import ClassificationLog, MetricsLog
from driftloop.settings import TrainSettings
from driftloop.step_facts import read_facts
from driftloop.training import outcome
from driftloop.training.architectures import PLAIN_CNN, build_network
from driftloop.training.checkpoint import FileCheckpoint
from driftloop.training.curves import TrainingEvents
from driftloop.training.device import pick_device
from driftloop.training.loop import EpochRecord, fit
from driftloop.training.model_card import model_card
from driftloop.training.recipe import Recipe
from driftloop.training.seeding import set_seed
from driftloop.training.task import Task


def baseline_recipe(settings: TrainSettings, epochs: int, task: Task) -> Recipe:
    """Float32, Adam at a constant rate, no augmentation, no smoothing, for a share of the optimised training's `epochs`.

    Without augmentation a small training set is learnt by heart early, so more epochs would only cost time; the epoch is chosen on the
    validation split anyway.
    """
    return Recipe(
        epochs=max(1, round(epochs * settings.baseline_share)),
        learning_rate=settings.baseline_learning_rate,
        class_weights=task.weights(),
    )


NOTES = [
    "A baseline: trained plainly, to have something to measure the optimised model against.",
]


def run(
    dataset: str,
    model: str,
    card: str,
    curves: str,
    *,
    epochs: int,
    gpus: str,
    seed: int,
    config: dict[str, Any],
    metrics: MetricsLog,
    roc: ClassificationLog,
) -> None:
    """Train the baseline and write its bundle, model card and report.

    Args:
        dataset: directory of the dataset artifact.
        model: directory of the bundle to write.
        card: file for the model card.
        curves: file for the HTML report.
        epochs: of the optimised training, of which the baseline takes its share.
        gpus: number of GPUs asked for.
        seed: of everything random.
        config: overrides of `TrainSettings`.
        metrics, roc: where KFP's UI takes its figures from.
    """
    began = time.monotonic()
    settings = TrainSettings.complete(config)
    device = pick_device(gpus)
    set_seed(seed)
    task = Task.open(dataset, device, settings)
    recipe = baseline_recipe(settings, int(epochs), task)

    network = build_network(PLAIN_CNN, channels=task.description.channels, classes=len(task.description.classes)).to(device)
    identity = {"step": "baseline", "dataset": task.description.manifest_hash, "seed": seed} | recipe.described() | settings.model_dump()
    checkpoint = FileCheckpoint(settings.checkpoints, identity) if settings.checkpoints else None
    with TrainingEvents(model) as events:

        def on_epoch(record: EpochRecord) -> None:
            events.epoch(record)
            runtime.progress(record.epoch / recipe.epochs, f"epoch {record.epoch}: validation {record.val_accuracy:.3f}")

        history = fit(
            network, task.training_batches(), task.validation_batches(), recipe, seed=seed, checkpoint=checkpoint, on_epoch=on_epoch
        )
    publish_events(events.folder, task.description.store, "baseline-training")

    judgement = outcome.score_final(network, task)
    description = outcome.model_description(network, PLAIN_CNN, task, history, judgement, seed=seed, training=recipe.described())
    text = model_card(
        "Baseline",
        description,
        judgement.test,
        auc=judgement.auc,
        counts=task.description.counts,
        source=read_facts(dataset).get("data_analysis", {}).get("source", task.description.source),
        notes=NOTES,
    )
    found = outcome.common_facts(network, device, history, judgement) | {"seconds": round(time.monotonic() - began, 1)}
    outcome.write_bundle(model, network, description, text, "baseline_training", found, dataset)
    Path(card).parent.mkdir(parents=True, exist_ok=True)
    Path(card).write_text(text, encoding="utf-8")
    write_baseline_report(curves, task, history, judgement, found)
    outcome.log_scores(judgement, task.description.classes, metrics, roc)
    if checkpoint:
        checkpoint.clear()
    runtime.report_metrics(
        f"accuracy {judgement.test.accuracy}, {len(history.epochs)} epochs, {found['parameters'] / 1e6:.1f} M parameters"
    )
