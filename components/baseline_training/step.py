"""Theme 2: train the baseline, choose its epoch on the validation split, score it once on the test split."""

import shutil
import time
from pathlib import Path
from typing import Any

from components.baseline_training.report import build_report
from driftloop import bundle, runtime
from driftloop.contracts import BASELINE_TRAINING
from driftloop.dataset import read_description
from driftloop.plurals import counted
from driftloop.reporting.chapter import write_chapter
from driftloop.runtime import ClassificationLog, MetricsLog
from driftloop.settings import TrainSettings
from driftloop.tracking import leave_record
from driftloop.training.architectures import PLAIN_CNN, build_network
from driftloop.training.choice import check_network, check_weights
from driftloop.training.device import pick_device
from driftloop.training.loop import fit
from driftloop.training.model_events import write_model_events
from driftloop.training.outcome import TrainedModel, log_scores, score_final, write_trained_bundle
from driftloop.training.recipe import Recipe
from driftloop.training.seeding import set_seed
from driftloop.training.session import TrainingSession
from driftloop.training.task import Task

NOTES = ["A baseline: trained plainly, to have something to measure the optimised model against."]


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
) -> list[int]:
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

    Returns:
        The numbers of the tasks that search before the optimised training: a pipeline's loop goes over what a step returned.
    """
    began = time.monotonic()
    settings = TrainSettings.complete(config)
    # Of the next step: half an hour later is too late to hear that it cannot be had.
    image_size = read_description(dataset).image_size
    check_network(settings, image_size)
    check_weights(settings, image_size)
    device = pick_device(gpus)
    set_seed(seed)
    task = Task.open(dataset, device, settings)
    recipe = baseline_recipe(settings, int(epochs), task)

    with TrainingSession(model, task, step=BASELINE_TRAINING, identity=recipe.described(), seed=seed, progress=runtime.progress) as session:
        trained = train_baseline(task, recipe, seed, session)
    write_model_events(model, trained, task, step=BASELINE_TRAINING)
    facts = write_trained_bundle(
        model,
        trained,
        task,
        step=BASELINE_TRAINING,
        title="Baseline",
        notes=NOTES,
        facts={"seconds": round(time.monotonic() - began, 1)},
        inherited=[dataset],
    )
    Path(card).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(model, bundle.CARD), card)
    page = build_report(task, trained, facts)
    page.write(curves)
    write_chapter(model, BASELINE_TRAINING, page.chapter, dataset)
    bundle.seal(model)
    log_scores(trained.scores, task.description.classes, metrics, roc)
    leave_record(task.description.store, BASELINE_TRAINING, model, {bundle.CARD: card, "curves.html": curves})
    session.finish()
    runtime.report_metrics(
        f"accuracy {trained.scores.test.accuracy}, {counted(facts['epochs'], 'epoch')}, {facts['parameters'] / 1e6:.1f} M parameters"
    )
    return settings.searchers


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


def train_baseline(task: Task, recipe: Recipe, seed: int, session: TrainingSession) -> TrainedModel:
    """Train the plain network from fresh weights and score it; call `set_seed` before."""
    network = build_network(PLAIN_CNN, channels=task.description.channels, classes=len(task.description.classes)).to(task.device)
    history = fit(
        network,
        task.training_batches(),
        task.validation_batches(),
        recipe,
        seed=seed,
        patience=task.settings.patience,
        checkpoint=session.checkpoint,
        on_epoch=session.on_epoch,
    )
    return TrainedModel(network, PLAIN_CNN, recipe.described(), history, score_final(network, task), seed)
