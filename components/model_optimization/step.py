"""Theme 3: find a learning rate, train with all ingredients, measure what each of them brought, compare with the baseline."""

import functools
import statistics
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from components.model_optimization.ablation import Ablation, ablate, plan_variants
from components.model_optimization.comparison import against_baseline, check_same_data
from components.model_optimization.decisions import Decisions, decided_plan, with_learning_rate
from components.model_optimization.latency_limit import LatencyLimit, keep_limit
from components.model_optimization.nodes import Nodes
from components.model_optimization.report import OptimizationFindings, build_report
from components.model_optimization.sweep import Sweep, search
from components.model_optimization.training_plan import TrainingPlan
from components.model_optimization.trial_records import write_trial_events
from components.model_optimization.trial_search import asked_search
from driftloop import bundle, runtime
from driftloop.contracts import MODEL_OPTIMIZATION
from driftloop.deliverables import write_training_plots
from driftloop.reporting.chapter import write_chapter
from driftloop.runtime import ClassificationLog, MetricsLog
from driftloop.settings import TrainSettings
from driftloop.tracking import leave_record
from driftloop.training import lr_finder
from driftloop.training.device import pick_device
from driftloop.training.loop import TrainingHistory
from driftloop.training.model_events import write_model_events
from driftloop.training.outcome import TrainedModel, log_scores, score_final, write_trained_bundle
from driftloop.training.privacy import PRIVACY, privacy_sentences
from driftloop.training.session import TrainingSession
from driftloop.training.task import Task


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

    Killed and run again, it goes on from the last finished trial or epoch.

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
    task = Task.open(dataset, pick_device(gpus), settings)
    check_same_data(baseline, task)
    decisions = Decisions(task, epochs=int(epochs), seed=seed)
    plan, limit = keep_limit(decided_plan(task, int(epochs), decisions), task, decisions)
    print(plan.why, flush=True)
    nodes = Nodes.asked_for(task, plan)
    stages = StageProgress(plan, settings, len(task.train))

    range_test, sweep = None, None
    # Every look at the training images would spend some of a budget of privacy; a fitted head has nothing to be searched.
    if not plan.recipe.privacy and not plan.head_only:
        plan, range_test = with_learning_rate(plan, task, seed, decisions)
        stages.report("range test", 1.0, f"learning rate {plan.recipe.learning_rate:.1e}")
        plan, sweep = _with_sweep(plan, task, dataset, seed, stages, decisions, limit)
    progress = functools.partial(stages.report, "training")
    identity = plan.described() | ({"network": plan.architecture} if limit else {})
    with TrainingSession(model, task, step=MODEL_OPTIMIZATION, identity=identity, seed=seed, progress=progress) as session:
        if nodes:
            nodes.train(plan, task, seed, checkpoint=session.checkpoint, progress=progress)
        network, history = plan.train(task, seed, checkpoint=session.checkpoint, on_epoch=session.on_epoch)
    ablation = Ablation([], [], 0) if plan.head_only or plan.recipe.privacy else _ablation(plan, task, seed, history, stages)

    trained = TrainedModel(network, plan.architecture, plan.described(), history, score_final(network, task), seed)
    write_trial_events(model, sweep.trials if sweep else [])
    write_model_events(
        model,
        trained,
        task,
        step=MODEL_OPTIMIZATION,
        augmentation=plan.augmentation,
        mixup_alpha=plan.mixup,
        cutmix_alpha=plan.cutmix,
    )
    accuracy, difference = against_baseline(trained.scores, baseline, task)
    findings = OptimizationFindings(plan, range_test, sweep, ablation, trained, accuracy, difference, limit)
    facts = write_trained_bundle(
        model,
        trained,
        task,
        step=MODEL_OPTIMIZATION,
        title="Optimised model",
        notes=[*_promise(plan, task), f"The baseline reached {accuracy} on the same test images."],
        facts=_own_facts(findings, task) | {"seconds": round(time.monotonic() - began, 1)},
        inherited=[dataset, baseline],
    )
    page = build_report(task, findings, facts)
    page.write(report)
    write_chapter(model, MODEL_OPTIMIZATION, page.chapter, dataset, baseline)
    bundle.seal(model)
    write_training_plots(model, lr_finder.plot(range_test, plan.recipe.learning_rate) if range_test else None, facts["ablation"])
    log_scores(trained.scores, task.description.classes, metrics, roc)
    metrics.log_metric("gain_over_baseline", round(difference.estimate, 6))
    leave_record(task.description.store, MODEL_OPTIMIZATION, model, {bundle.CARD: Path(model, bundle.CARD), "report.html": report})
    if nodes:
        nodes.clear(session.checkpoint)
    session.finish()
    decisions.clear()
    runtime.report_metrics(
        f"accuracy {trained.scores.test.accuracy}, {100 * difference.estimate:+.1f} points over the baseline, "
        + (
            f"learning rate {plan.recipe.learning_rate:.1e}, {plan.recipe.precision}"
            if range_test
            else f"epsilon {plan.recipe.privacy.total_epsilon:.2f} at delta {plan.recipe.privacy.total_delta:.0e}"
            if plan.recipe.privacy
            else "only the head of a pretrained network"
        )
    )


class StageProgress:
    """Progress over stages of very different length, whose shares are reckoned from the optimiser steps that they take."""

    def __init__(self, plan: TrainingPlan, settings: TrainSettings, images: int) -> None:
        steps = max(settings.min_steps, images // settings.batch_size, 1)
        self._sizes = {
            "range test": plan.form.range_steps,
            "sweep": settings.sweep_trials * settings.sweep_epochs * steps,
            "training": plan.recipe.epochs * steps,
            "ablation": len(plan_variants(plan)) * settings.ablation_epochs * steps,
        }

    def report(self, stage: str, share: float, text: str) -> None:
        """Say that `share` of `stage` is done."""
        names = list(self._sizes)
        before = sum(self._sizes[name] for name in names[: names.index(stage)])
        runtime.progress((before + share * self._sizes[stage]) / sum(self._sizes.values()), text)


def _with_sweep(
    plan: TrainingPlan,
    task: Task,
    dataset: str,
    seed: int,
    stages: StageProgress,
    decisions: Decisions,
    limit: LatencyLimit | None,
) -> tuple[TrainingPlan, Sweep | None]:
    """The plan with the values of the best trial, where a search is asked for."""
    if task.settings.sweep_trials == 0:
        return plan, None
    sweep = search(dataset, task, asked_search(plan, task, decisions, seed, functools.partial(stages.report, "sweep"), limit))
    return sweep.plan, sweep


def _ablation(plan: TrainingPlan, task: Task, seed: int, history: TrainingHistory, stages: StageProgress) -> Ablation:
    epochs = task.settings.ablation_epochs
    return ablate(
        plan,
        task,
        seed=seed,
        epochs=epochs,
        seconds=task.settings.ablation_seconds,
        expected=epochs * statistics.median(record.seconds for record in history.epochs),
        on_run=lambda share, name: stages.report("ablation", share, name),
    )


def _promise(plan: TrainingPlan, task: Task) -> list[str]:
    """What the card says of the privacy of the training images."""
    if plan.recipe.privacy is None:
        return []
    return privacy_sentences(plan.recipe.privacy.described(), largest_group=task.largest_group)


def _own_facts(findings: OptimizationFindings, task: Task) -> dict[str, Any]:
    """What this step states beside the facts that every training states."""
    recipe, ablation, sweep = findings.plan.recipe, findings.ablation, findings.sweep
    return {
        "network": findings.plan.why,
        "learning_rate": recipe.learning_rate,
        "precision": recipe.precision,
        "ablation": [row.described() for row in ablation.rows],
        "ablation_epochs": ablation.epochs,
        "ablation_left_out": ablation.left_out,
        "sweep": [trial.described() for trial in sweep.trials] if sweep else [],
        "sweep_importance": sweep.importance if sweep else {},
        "latency": findings.limit.described() if findings.limit else None,
        PRIVACY: recipe.privacy.described() | {"largest_group": task.largest_group} if recipe.privacy else None,
        "compared_with_baseline": {"baseline": findings.baseline.model_dump()} | asdict(findings.difference),
    }
