"""What theme 3 searches for, and a task of that search, several of which run side by side before it and decide nothing."""

import functools
from collections.abc import Callable
from typing import Any

from components.model_optimization.decisions import Decisions, decided_plan, with_learning_rate
from components.model_optimization.latency_limit import LatencyLimit, keep_limit
from components.model_optimization.sweep import OVER, Search, Trial, join_search
from components.model_optimization.training_plan import TrainingPlan
from components.model_optimization.trial_records import leave_trial
from driftloop import runtime
from driftloop.settings import TrainSettings
from driftloop.training.device import pick_device
from driftloop.training.task import Task


def run(dataset: str, *, number: int, epochs: int, gpus: str, seed: int, config: dict[str, Any]) -> int:
    """Try sets of values until all trials of the search are finished or under way.

    The study lies in the store, where theme 3 finds it: it does what a task that died has left, and takes the best. Killed and run again,
    a task goes on with the study as it is then.

    Args:
        dataset: directory of the dataset artifact.
        number: of this task among those of the search, from 0.
        epochs: of the training that follows.
        gpus: number of GPUs asked for.
        seed: of everything random.
        config: overrides of `TrainSettings`.

    Returns:
        How many trials have been finished, by whichever task.
    """
    settings = TrainSettings.complete(config)
    task = Task.open(dataset, pick_device(gpus), settings)
    decisions = Decisions(task, epochs=int(epochs), seed=seed)
    plan = decided_plan(task, int(epochs), decisions)
    print(plan.why, flush=True)
    if plan.head_only:
        runtime.report_metrics("no search: the head of a pretrained network has no values to be found")
        return 0
    plan, limit = keep_limit(plan, task, decisions)
    plan, _ = with_learning_rate(plan, task, seed, decisions)
    finished = join_search(dataset, task, asked_search(plan, task, decisions, seed, runtime.progress, limit), number)
    runtime.report_metrics(f"{finished} of {settings.sweep_trials} trials are done")
    return finished


def asked_search(
    plan: TrainingPlan, task: Task, decisions: Decisions, seed: int, report: Callable[[float, str], None], limit: LatencyLimit | None
) -> Search:
    """The search around a plan that the settings ask for, whose trials are shown to the trackers.

    Args:
        plan: what is searched around.
        task: what is learnt.
        decisions: of this training, which know where the study is.
        seed: of everything random.
        report: called after each trial with the share of the search that is done and a short text; processes get a copy.
        limit: to what an image may cost.
    """
    told = functools.partial(_on_trial, task.description.store, report)
    return Search(plan, decisions.study, seed, task.settings.sweep_trials, task.settings.sweep_epochs, told, limit)


def _on_trial(store: str, report: Callable[[float, str], None], trial: Trial, share: float) -> None:
    """Report a finished trial, and show it to the trackers."""
    if trial.ended == OVER:
        report(share, f"trial {trial.number}: {trial.latency_ms:.2f} ms an image, over the limit, not trained")
    else:
        report(share, f"trial {trial.number}: validation {trial.reached:.3f}")
    leave_trial(store, trial)
