"""An optional search over values of the plan with Optuna, on the validation split, before the training itself.

The study is a journal in the store, so that several processes and several tasks of a pipeline search side by side, and a search that is
killed is gone on with: each process that is killed loses the trial that it was at.
"""

import functools
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import optuna
import torch
from optuna.distributions import FloatDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from components.model_optimization.latency_limit import LatencyLimit, searched_widths, with_network
from components.model_optimization.training_plan import TrainingPlan
from driftloop.processes import end_with_parent, spread
from driftloop.runtime import available_threads
from driftloop.settings import TrainSettings
from driftloop.training import followers
from driftloop.training.architectures import of_width, share_of_width
from driftloop.training.loop import EpochRecord, deciding_accuracy, deciding_measure
from driftloop.training.seeding import derive
from driftloop.training.study_journal import StoreJournal, StudyPlace
from driftloop.training.task import Task

#: What is varied beside the learning rate, whose range goes by the kind of network, from where to where.
RANGES = {
    "weight_decay": FloatDistribution(1e-4, 0.5, log=True),
    "label_smoothing": FloatDistribution(0.0, 0.2),
    "augmentation": FloatDistribution(0.5, 2.0),
}
#: The share of the network's channels, which a search varies where there is a limit to what an image may cost.
WIDTH = "width"
#: How trials end that count; those that were killed are done again.
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
#: Importances compare this share of the trials, the best, with all. Optuna asks for five of them, so for twenty trials.
BEST_SHARE, FEWEST_FOR_IMPORTANCE = 0.25, 20
#: How a trial ends whose network takes too long: nothing was trained.
OVER = "over"
#: Marks the trial that is the plan as it is.
_OWN = "plan"
#: The name of the constraint, and of what was measured.
_LATENCY = "latency_ms"


@dataclass(frozen=True)
class Trial:
    """One set of values and what came of it."""

    number: int
    """In the search, from 1."""
    values: dict[str, float]
    """By name."""
    accuracies: list[float]
    """After each epoch, on the validation split."""
    accuracy: float | None
    """The best of them; of a trial that was cut short the last; None where nothing was trained."""
    ended: str
    """"complete", "pruned", or "over": its network takes too long for an image, so that nothing was trained."""
    measure: str
    """Which accuracy that is, by its name in `EpochRecord`: the one that chooses a training's epoch."""
    latency_ms: float | None = None
    """Processor time of its network for an image; None where there is no limit to it."""
    own: bool = False
    """Whether it is the plan as it is: the first, but where several tasks search, of which another can be faster."""

    @property
    def reached(self) -> float:
        """The accuracy of a trial that was trained."""
        assert self.accuracy is not None
        return self.accuracy

    def described(self) -> dict[str, Any]:
        """As a row of the report."""
        latency = {} if self.latency_ms is None else {_LATENCY: self.latency_ms}
        return {"trial": self.number, **self.values, **latency, self.measure: self.accuracy, "ended": self.ended}


@dataclass(frozen=True)
class Sweep:
    """The outcome of a search."""

    plan: TrainingPlan
    """With the best trial's values."""
    trials: list[Trial]
    """All that count, in the order in which they were begun."""
    importance: dict[str, float]
    """Of each value for being among the best trials, adding up to 1; empty where that cannot be said."""
    limit: LatencyLimit | None = None
    """What an image may cost, where that is limited."""


@dataclass(frozen=True)
class Search:
    """What is to be found; handed to every process that takes part."""

    plan: TrainingPlan
    """What is searched around."""
    place: StudyPlace
    """Of the study."""
    seed: int
    """Of the search and of every training."""
    trials: int
    """To be finished, at least 1, beside those that take too long and are not trained."""
    epochs: int
    """Of each."""
    on_trial: Callable[[Trial, float], None]
    """Called with each finished trial and the share of the trials done, in the process that tried; it may be called again with a trial
    whose process is killed before the study has it."""
    limit: LatencyLimit | None = None
    """What an image may cost, with each network that the search may try measured; the plan's own keeps it."""


def search(dataset: str, task: Task, wanted: Search) -> Sweep:
    """Try sets of values until so many are finished; trials below the median of the earlier ones are cut short.

    Trials are judged by the accuracy that chooses the epoch of a training, in which classes count as they do in the loss. The first trial
    is the plan as it is, so that the search never ends below it on the validation split; where two are equal the earlier one stays. Where
    it is limited what an image may cost, a trial whose network is over the limit ends before its training, and the sampler learns that as
    a constraint. Each
    trial draws by a seed of its own and from what the trials before it gave, so that a search in one process which goes on after a kill
    ends like one that was never stopped. With more than one of `sweep_processes` each opens the dataset and the study; of several GPUs
    each takes the next.

    Args:
        dataset: directory of the dataset artifact.
        task: what is learnt from it.
        wanted: the search.

    Raises:
        RunFailed: one of several processes died. The search goes on when it is called again.
        StoreError: the study cannot be read or written.
    """
    study, journal = _open_study(wanted)
    _begin(study, wanted.plan, task.settings)
    _take_part_in_processes(dataset, task, wanted, study, journal)
    return _outcome(study, wanted)


def join_search(dataset: str, task: Task, wanted: Search, number: int) -> int:
    """Take part in a search as one task of several, which begin when there is room for them, each with its processes.

    Nothing is given up: what looks lost may be under way elsewhere. `search`, when all of them have ended, makes up for what was.

    Args:
        dataset: directory of the dataset artifact, which each process opens.
        task: what is learnt.
        wanted: the search.
        number: of this task, from 0, which is the one that tries the plan as it is.

    Returns:
        How many trials have been finished, by whichever task.

    Raises:
        RunFailed: one of the processes died.
        StoreError: the study cannot be read or written.
    """
    study, journal = _open_study(wanted)
    if number == 0 and not _has_plan(study, (*ENDED, TrialState.RUNNING, TrialState.WAITING)):
        _put_plan_first(study, wanted.plan, task.settings)
    _take_part_in_processes(dataset, task, wanted, study, journal, number)
    return len(_trained(study.get_trials(deepcopy=False, states=ENDED)))


def take_part(task: Task, wanted: Search, study: optuna.Study, journal: StoreJournal, worker: int = 0) -> None:
    """Try sets of values until enough trials are finished or under way; one of them is kept free for the plan as it is.

    Args:
        task: what is learnt.
        wanted: the search.
        study, journal: where trials are told to, opened by this process.
        worker: a number of its own for each process.
    """
    while True:
        begun = _begun(study)
        if len(_trained(begun)) + (not _has_plan(study, (*ENDED, TrialState.RUNNING, TrialState.WAITING))) >= wanted.trials:
            return
        study.sampler = optuna.samplers.TPESampler(seed=derive(wanted.seed, len(begun), worker), n_startup_trials=5)
        trial = study.ask()
        earlier = [other for other in _begun(study) if other.number < trial.number]
        place = len(_trained(earlier)) + 1
        if place + (not _has_plan(study, (*ENDED, TrialState.RUNNING))) > wanted.trials:  # another process was faster
            study.tell(trial, state=TrialState.FAIL)
            return
        try:
            _try(trial, len(earlier) + 1, place / wanted.trials, task, wanted, study, journal)
        except UpdateFinishedTrialError:  # another step goes on with this search, and has counted this process among the dead
            continue


def ranges_of(plan: TrainingPlan, settings: TrainSettings) -> dict[str, FloatDistribution]:
    """What a search around a plan varies, from where to where; what the settings set to another value than usual stays as they have it."""
    low, high = plan.form.searched_rates
    ranges = {"learning_rate": FloatDistribution(low, high, log=True)} | RANGES
    if widths := searched_widths(plan.architecture, settings):
        ranges[WIDTH] = FloatDistribution(widths[0], widths[-1], step=widths[1] - widths[0])
    usual = {name: field.default for name, field in TrainSettings.model_fields.items()}
    return {name: range_ for name, range_ in ranges.items() if getattr(settings, name, None) == usual.get(name)}


def with_values(plan: TrainingPlan, values: dict[str, float]) -> TrainingPlan:
    """The plan with a trial's values; `augmentation` is a factor on every amount."""
    recipe = replace(
        plan.recipe,
        learning_rate=values.get("learning_rate", plan.recipe.learning_rate),
        weight_decay=values.get("weight_decay", plan.recipe.weight_decay),
        label_smoothing=values.get("label_smoothing", plan.recipe.label_smoothing),
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
            crop=min(0.95, views.crop * factor),
            randaugment=min(30, round(views.randaugment * factor)),
        )
    if WIDTH in values:
        plan = with_network(plan, of_width(plan.architecture, values[WIDTH]))
    return replace(plan, recipe=recipe, augmentation=views)


def _open_study(wanted: Search) -> tuple[optuna.Study, StoreJournal]:
    logging.getLogger("optuna").setLevel(logging.WARNING)
    journal = wanted.place.open()
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(journal),
        study_name="sweep",
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=wanted.epochs // 2),
    )
    return study, journal


def _begin(study: optuna.Study, plan: TrainingPlan, settings: TrainSettings) -> None:
    """Give up trials whose processes were killed, and put the plan as it is first, where it was not tried."""
    for lost in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(lost.number, state=TrialState.FAIL, skip_if_finished=True)
    if not _has_plan(study, (*ENDED, TrialState.WAITING)):
        _put_plan_first(study, plan, settings)


def _has_plan(study: optuna.Study, states: tuple[TrialState, ...]) -> bool:
    """Whether the trial that is the plan as it is is in one of these states."""
    return any(_OWN in trial.user_attrs for trial in study.get_trials(deepcopy=False, states=states))


def _put_plan_first(study: optuna.Study, plan: TrainingPlan, settings: TrainSettings) -> None:
    of_its_own = {"augmentation": 1.0, WIDTH: share_of_width(plan.architecture)}
    own = {name: of_its_own[name] if name in of_its_own else getattr(plan.recipe, name) for name in ranges_of(plan, settings)}
    study.enqueue_trial(own, user_attrs={_OWN: True})


def _begun(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that are finished or under way; not those that were given up."""
    return study.get_trials(deepcopy=False, states=(*ENDED, TrialState.RUNNING))


def _trained(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Without those that are known to take too long, which cost nothing and do not count."""
    return [trial for trial in trials if not _is_over(trial)]


def _is_over(trial: FrozenTrial) -> bool:
    return any(excess > 0 for excess in trial.constraints.values())


def _devices(device: torch.device) -> list[torch.device]:
    """Those that the step was given."""
    others = followers.started()
    return [torch.device(device.type, number) for number in range(others.rank.size)] if others and device.type == "cuda" else [device]


def _take_part_in_processes(dataset: str, task: Task, wanted: Search, study: optuna.Study, journal: StoreJournal, number: int = 0) -> None:
    """Take part in this process, or in as many as the settings say; `number` is that of the pipeline's task."""
    settings, workers = task.settings, task.settings.sweep_processes
    if workers == 1:
        take_part(task, wanted, study, journal, number)
        return
    part = functools.partial(_take_part_elsewhere, dataset, settings, _devices(task.device), wanted)
    for _ in spread(part, range(number * workers, (number + 1) * workers), workers=workers, setting="train_config.sweep_processes"):
        pass


def _take_part_elsewhere(dataset: str, settings: TrainSettings, devices: list[torch.device], wanted: Search, worker: int) -> None:
    """In a process of its own, which ends with the step's."""
    end_with_parent()
    device = devices[worker % len(devices)]
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.set_num_threads(max(1, available_threads() // settings.sweep_processes))
    study, journal = _open_study(wanted)
    take_part(Task.open(dataset, device, settings), wanted, study, journal, worker)


def _try(trial: optuna.Trial, number: int, share: float, task: Task, wanted: Search, study: optuna.Study, journal: StoreJournal) -> None:
    """Train by a trial's values, unless its network takes too long, and tell the study what came of it."""
    ranges = ranges_of(wanted.plan, task.settings)
    values = {name: trial.suggest_float(name, range_.low, range_.high, step=range_.step, log=range_.log) for name, range_ in ranges.items()}
    chosen, measure = with_values(wanted.plan, values), deciding_measure(wanted.plan.recipe)
    latency = None
    if wanted.limit:
        latency, excess = wanted.limit.measured[chosen.architecture], wanted.limit.excess(chosen.architecture)
        trial.set_user_attr(_LATENCY, latency)
        trial.set_constraint(_LATENCY, excess)
        if excess > 0:
            wanted.on_trial(Trial(number, values, [], None, OVER, measure, latency), share - 1 / wanted.trials)  # it does not count
            study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
            return
    journal.flush()  # others then try something else
    accuracies: list[float] = []

    def on_epoch(record: EpochRecord) -> None:
        accuracies.append(deciding_accuracy(record, wanted.plan.recipe))
        trial.report(accuracies[-1], record.epoch)
        if record.epoch < wanted.epochs and trial.should_prune():
            raise optuna.TrialPruned

    shortened = replace(chosen, recipe=replace(chosen.recipe, epochs=wanted.epochs))
    try:
        _, history = shortened.train(task, wanted.seed, on_epoch=on_epoch)
        state, accuracy = TrialState.COMPLETE, deciding_accuracy(history.best, wanted.plan.recipe)
    except optuna.TrialPruned:
        state, accuracy = TrialState.PRUNED, accuracies[-1]
    wanted.on_trial(Trial(number, values, accuracies, accuracy, state.name.lower(), measure, latency), share)
    study.tell(trial, accuracy if state == TrialState.COMPLETE else None, state, skip_if_finished=True)


def _outcome(study: optuna.Study, wanted: Search) -> Sweep:
    """Of the trials that ended; of those that are trained the first ones are never cut short, so that there is a best one."""
    measure = deciding_measure(wanted.plan.recipe)
    trials = [
        Trial(
            number,
            trial.params,
            list(trial.intermediate_values.values()),
            trial.values[0] if trial.values else None,
            OVER if _is_over(trial) else trial.state.name.lower(),
            measure,
            trial.user_attrs.get(_LATENCY),
            _OWN in trial.user_attrs,
        )
        for number, trial in enumerate(study.get_trials(deepcopy=False, states=ENDED), 1)
    ]
    return Sweep(with_values(wanted.plan, study.best_params), trials, _importance(study), wanted.limit)


def _importance(study: optuna.Study) -> dict[str, float]:
    """By PED-ANOVA (Watanabe et al. 2023), over the trials that were not cut short; empty, too, where its best ones are all of them."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    reached = sorted((trial.values[0] for trial in done), reverse=True)
    if len(done) < FEWEST_FOR_IMPORTANCE or reached[math.ceil(BEST_SHARE * len(done)) - 1] == reached[-1]:
        return {}
    return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=BEST_SHARE))
