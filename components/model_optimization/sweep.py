"""An optional search over values of the plan with Optuna, on the validation split, before the training itself."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.distributions import FloatDistribution

from components.model_optimization.training_plan import TrainingPlan
from driftloop.training.loop import EpochRecord
from driftloop.training.seeding import derive
from driftloop.training.task import Task

#: What is varied, from where to where.
RANGES = {
    "learning_rate": FloatDistribution(3e-4, 1e-2, log=True),
    "weight_decay": FloatDistribution(1e-4, 0.5, log=True),
    "label_smoothing": FloatDistribution(0.0, 0.2),
    "augmentation": FloatDistribution(0.5, 2.0),
}


@dataclass(frozen=True)
class Sweep:
    """The outcome of a search."""

    plan: TrainingPlan
    """With the best trial's values."""
    trials: list[dict[str, Any]]
    """Every trial as a row of the report."""


def search(
    plan: TrainingPlan,
    task: Task,
    *,
    seed: int,
    trials: int,
    epochs: int,
    on_trial: Callable[[float], None],
    done: Sequence[dict[str, Any]] = (),
    keep: Callable[[dict[str, Any]], None] = lambda _: None,
) -> Sweep:
    """Try `trials` sets of values, each trained for `epochs`; trials below the median of the earlier ones are cut short.

    The first trial is the plan as it is, so that the search never ends below it on the validation split; where two are equal the
    earlier one stays. Each trial draws by a seed of its own and from what the trials before it gave, so that a search which goes on after
    `done` ends like one that was never stopped.

    Args:
        plan: what is searched around.
        task: what is learnt.
        seed: of the search and of every training.
        trials: number of trials, at least 1.
        epochs: of each.
        on_trial: called after each trial with the share of the trials done.
        done: trials of this search that were finished before, as `keep` got them.
        keep: called with each trial that is finished: plain values.
    """
    logging.getLogger("optuna").setLevel(logging.WARNING)
    study = optuna.create_study(
        direction="maximize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=epochs // 2),
    )
    for trial in done:
        study.add_trial(optuna.trial.create_trial(**trial | {"state": optuna.trial.TrialState[trial["state"]], "distributions": RANGES}))
    if not done:
        own = {name: getattr(plan.recipe, name, 1.0) for name in RANGES}  # the strength of augmentation is a factor
        study.enqueue_trial({name: min(max(own[name], values.low), values.high) for name, values in RANGES.items()})

    def objective(trial: optuna.Trial) -> float:
        def on_epoch(record: EpochRecord) -> None:
            trial.report(record.val_accuracy, record.epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        chosen = with_values(plan, _draw(trial))
        shortened = replace(chosen, recipe=replace(chosen.recipe, epochs=epochs))
        _, history = shortened.train(task, seed, on_epoch=on_epoch)
        return history.best.val_accuracy

    for number in range(len(done), trials):
        study.sampler = optuna.samplers.TPESampler(seed=derive(seed, number), n_startup_trials=5)
        study.optimize(objective, n_trials=1)
        keep(_kept(study.trials[-1]))
        on_trial((number + 1) / trials)
    rows = [
        {"trial": trial.number + 1, **trial.params, "val_accuracy": trial.value, "ended": trial.state.name.lower()}
        for trial in study.trials
    ]
    return Sweep(with_values(plan, study.best_params), rows)


def with_values(plan: TrainingPlan, values: dict[str, float]) -> TrainingPlan:
    """The plan with a trial's values; `augmentation` is a factor on every amount."""
    recipe = replace(
        plan.recipe,
        learning_rate=values["learning_rate"],
        weight_decay=values["weight_decay"],
        label_smoothing=values["label_smoothing"],
    )
    views = plan.augmentation
    if views:
        factor = values["augmentation"]
        views = replace(
            views,
            rotation=min(180.0, views.rotation * factor),
            scale=min(0.5, views.scale * factor),
            shift=min(0.5, views.shift * factor),
            brightness=views.brightness * factor,
            contrast=min(0.9, views.contrast * factor),
        )
    return replace(plan, recipe=recipe, augmentation=views)


def _draw(trial: optuna.Trial) -> dict[str, float]:
    return {name: trial.suggest_float(name, values.low, values.high, log=values.log) for name, values in RANGES.items()}


def _kept(trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    """A finished trial as plain values."""
    return {
        "state": trial.state.name,
        "params": dict(trial.params),
        "value": trial.value,
        "intermediate_values": dict(trial.intermediate_values),
    }
