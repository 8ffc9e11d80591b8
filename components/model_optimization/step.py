"""Progress of a step whose parts take very different times: their shares are reckoned from the optimiser steps they take.

Theme 3: find a learning rate, train with everything that helps, ask what helped, compare with the baseline.
"""

import time
from dataclasses import asdict, replace
from typing import Any

from components.model_optimization.ablation import ablate, plan_variants
from components.model_optimization.comparison import against_baseline, check_same_data
from components.model_optimization.keepsakes import write_keepsakes
from components.model_optimization.plan import TrainingPlan, full_plan
from components.model_optimization.report import OptimizationFindings, write_optimization_report
from components.model_optimization.sweep import Sweep, search
from driftloop import runtime
from driftloop.reporting.tensorboard import publish_events
from driftloop.runtime import ClassificationLog, MetricsLog
from driftloop.settings import TrainSettings
from driftloop.step_facts import read_facts
from driftloop.training import outcome
from driftloop.training.checkpoint import FileCheckpoint
from driftloop.training.curves import TrainingEvents
from driftloop.training.device import pick_device
from driftloop.training.loop import EpochRecord
from driftloop.training.lr_finder import STEPS, RangeTest, find_learning_rate
from driftloop.training.model_card import model_card
from driftloop.training.task import Task


class StageProgress:
    """The parts in their order, and how far the step is."""

    def __init__(self, plan: TrainingPlan, settings: TrainSettings, images: int) -> None:
        steps = max(settings.min_steps, images // settings.batch_size, 1)
        self.sizes = {
            "range test": STEPS,
            "sweep": settings.sweep_trials * settings.sweep_epochs * steps,
            "training": plan.recipe.epochs * steps,
            "ablation": len(plan_variants(plan)) * settings.ablation_epochs * steps,
        }

    def within(self, stage: str, share: float, text: str) -> None:
        """Say that `share` of `stage` is done."""
        names = list(self.sizes)
        before = sum(self.sizes[name] for name in names[: names.index(stage)])
        runtime.progress((before + share * self.sizes[stage]) / sum(self.sizes.values()), text)

    def done(self, stage: str, text: str) -> None:
        """Say that `stage` is done."""
        self.within(stage, 1.0, text)


def run(
    dataset: str,
    baseline: str,
    model: str,
    report: str,
    *,
    epochs: int,
    gpus: str,
    seed: int,
    config: dict[str, Any],
    metrics: MetricsLog,
    roc: ClassificationLog,
) -> None:
    """Train the optimised model and write its bundle and report.

    Everything is chosen on the validation split; the test split is opened at the end, once.

    Args:
        dataset: directory of the dataset artifact.
        baseline: directory of the baseline's bundle.
        model: directory of the bundle to write.
        report: file for the HTML report.
        epochs: of the training.
        gpus: number of GPUs asked for.
        seed: of everything random.
        config: overrides of `TrainSettings`.
        metrics, roc: where KFP's UI takes its figures from.
    """
    began = time.monotonic()
    settings = TrainSettings.complete(config)
    device = pick_device(gpus)
    task = Task.open(dataset, device, settings)
    check_same_data(baseline, task)
    plan = full_plan(settings, int(epochs), task)
    stages = StageProgress(plan, settings, len(task.train))

    plan, test = _with_learning_rate(plan, task, settings, seed)
    stages.done("range test", f"learning rate {plan.recipe.learning_rate:.1e}")
    plan, sweep = _with_sweep(plan, task, settings, seed, stages)

    identity = {"step": "optimised", "dataset": task.description.manifest_hash, "seed": seed} | described(plan) | settings.model_dump()
    checkpoint = FileCheckpoint(settings.checkpoints, identity) if settings.checkpoints else None
    with TrainingEvents(model) as events:

        def on_epoch(record: EpochRecord) -> None:
            events.epoch(record)
            stages.within("training", record.epoch / plan.recipe.epochs, f"epoch {record.epoch}: validation {record.val_accuracy:.3f}")

        network, history = plan.train(task, seed, checkpoint=checkpoint, on_epoch=on_epoch)
    publish_events(events.folder, task.description.store, "model-optimization")

    ablation = ablate(
        plan,
        task,
        seed=seed,
        epochs=settings.ablation_epochs,
        seconds=settings.ablation_seconds,
        on_run=lambda share, name: stages.within("ablation", share, name),
    )

    judgement = outcome.score_final(network, task)
    before, difference = against_baseline(judgement, baseline, task)
    description = outcome.model_description(network, plan.architecture, task, history, judgement, seed=seed, training=described(plan))
    text = model_card(
        "Optimised model",
        description,
        judgement.test,
        auc=judgement.auc,
        counts=task.description.counts,
        source=read_facts(dataset).get("data_analysis", {}).get("source", task.description.source),
        notes=[f"The baseline reached {before} on the same test images."],
    )
    found = outcome.common_facts(network, device, history, judgement) | {
        "learning_rate": plan.recipe.learning_rate,
        "precision": plan.recipe.precision,
        "ablation": [row.described() for row in ablation.rows],
        "ablation_epochs": ablation.epochs,
        "ablation_left_out": ablation.left_out,
        "sweep": sweep.trials if sweep else [],
        "compared_with_baseline": {"baseline": before.model_dump()} | asdict(difference),
        "seconds": round(time.monotonic() - began, 1),
    }
    outcome.write_bundle(model, network, description, text, "model_optimization", found, dataset, baseline)
    findings = OptimizationFindings(plan, test, sweep, history, ablation, judgement, before, difference)
    write_optimization_report(report, task, findings, found)
    write_keepsakes(model, findings)
    outcome.log_scores(judgement, task.description.classes, metrics, roc)
    metrics.log_metric("gain_over_baseline", round(difference.estimate, 6))
    if checkpoint:
        checkpoint.clear()
    runtime.report_metrics(
        f"accuracy {judgement.test.accuracy}, {100 * difference.estimate:+.1f} points over the baseline, "
        f"learning rate {plan.recipe.learning_rate:.1e}, {plan.recipe.precision}"
    )


def described(plan: TrainingPlan) -> dict[str, Any]:
    """The plan as `model.json` and the card have it."""
    views = asdict(plan.augmentation) if plan.augmentation else {}
    return plan.recipe.described() | {"augmentation": views, "mixup": plan.mixup}


def _with_learning_rate(plan: TrainingPlan, task: Task, settings: TrainSettings, seed: int) -> tuple[TrainingPlan, RangeTest]:
    """The plan with the rate of the range test, unless the settings name one; the test is run and shown either way."""
    test = find_learning_rate(plan.network(task, seed), task.training_batches(), plan.recipe, seed=seed)
    rate = settings.learning_rate or test.suggestion
    return replace(plan, recipe=replace(plan.recipe, learning_rate=rate)), test


def _with_sweep(
    plan: TrainingPlan, task: Task, settings: TrainSettings, seed: int, stages: StageProgress
) -> tuple[TrainingPlan, Sweep | None]:
    """The plan with the values of the best trial, where a search is asked for."""
    if settings.sweep_trials == 0:
        return plan, None
    sweep = search(
        plan,
        task,
        seed=seed,
        trials=settings.sweep_trials,
        epochs=settings.sweep_epochs,
        on_trial=lambda share: stages.within("sweep", share, "search"),
    )
    return sweep.plan, sweep
