"""A task of the search of theme 3, several of which run side by side before it: it tries sets of values, and decides nothing."""

import functools
from typing import Any

from components.model_optimization.decisions import Decisions, decided_plan, with_learning_rate
from components.model_optimization.sweep import Search, Trial, join_search
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
    plan, _ = with_learning_rate(plan, task, seed, decisions)
    told = functools.partial(_on_trial, task.description.store)
    wanted = Search(plan, decisions.study, seed, settings.sweep_trials, settings.sweep_epochs, told)
    finished = join_search(dataset, task, wanted, number)
    runtime.report_metrics(f"{finished} of {settings.sweep_trials} trials are done")
    return finished


def _on_trial(store: str, trial: Trial, share: float) -> None:
    runtime.progress(share, f"trial {trial.number}: validation {trial.accuracy:.3f}")
    leave_trial(store, trial)
