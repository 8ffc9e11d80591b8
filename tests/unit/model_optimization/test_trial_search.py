"""A search by several tasks of a pipeline, each with a beginning and an end of its own, over one study."""

import multiprocessing
import os
import signal
from pathlib import Path

import optuna
import pytest
import torch
from optuna.trial import TrialState

from components.baseline_training.step import run as train_baseline
from components.model_optimization.step import run as optimise
from components.model_optimization.sweep import RANGES, Search, Sweep, Trial, join_search, search
from components.model_optimization.training_plan import full_plan
from components.model_optimization.trial_search import run
from driftloop.dataset import read_description
from driftloop.settings import TrainSettings
from driftloop.step_facts import read_facts
from driftloop.store import open_store
from driftloop.training.architectures import build_network
from driftloop.training.study_journal import StudyPlace
from driftloop.training.task import Task
from tests.factories.datasets import write_squares_dataset
from tests.factories.metrics import MetricsFile, RocFile

TRIALS = 5
CONFIG = {"batch_size": 16, "min_steps": 2, "ablation_epochs": 0, "sweep_trials": TRIALS, "sweep_epochs": 1, "sweep_tasks": 2}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tasks")
    write_squares_dataset(root)
    return root


@pytest.fixture
def place(tmp_path: Path) -> StudyPlace:
    return StudyPlace(str(tmp_path / "store"), "studies/tasks")


def wanted(task: Task, place: StudyPlace, deadly: bool = False) -> Search:
    return Search(full_plan(task.settings, 2, task), place, 3, TRIALS, 1, killed if deadly else quiet)


def quiet(trial: Trial, share: float) -> None:
    """Nothing is told."""


def killed(trial: Trial, share: float) -> None:
    """The task that has done the second trial dies before the study knows."""
    if trial.number == 2:
        os.kill(os.getpid(), signal.SIGKILL)


def take_part(root: Path, place: StudyPlace, number: int, *, deadly: bool = False, processes: int = 1) -> int:
    """What task `number` does."""
    task = Task.open(root / "dataset", torch.device("cpu"), TrainSettings.complete(CONFIG | {"sweep_processes": processes}))
    return join_search(str(root / "dataset"), task, wanted(task, place, deadly), number)


def finish(root: Path, place: StudyPlace) -> Sweep:
    """What theme 3 does when they have ended."""
    task = Task.open(root / "dataset", torch.device("cpu"), TrainSettings.complete(CONFIG))
    return search(str(root / "dataset"), task, wanted(task, place))


def trials(place: StudyPlace) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(storage=optuna.storages.JournalStorage(place.open()), study_name="sweep").trials


def test_the_first_task_may_come_last_and_tries_the_plan_all_the_same(root: Path, place: StudyPlace) -> None:
    assert take_part(root, place, 1) == TRIALS - 1
    assert take_part(root, place, 1) == TRIALS - 1, "one is kept free"
    assert take_part(root, place, 0) == TRIALS
    task = Task.open(root / "dataset", torch.device("cpu"), TrainSettings.complete(CONFIG))
    own = trials(place)[-1]
    assert own.params["weight_decay"] == full_plan(task.settings, 2, task).recipe.weight_decay
    assert [trial.params for trial in trials(place)[:-1]] != [own.params] * (TRIALS - 1)
    sweep = finish(root, place)
    assert [trial.values for trial in sweep.trials] == [trial.params for trial in trials(place)]
    assert len(trials(place)) == TRIALS, "nothing was left to be done"


def test_two_tasks_at_once_do_every_trial_once(root: Path, place: StudyPlace) -> None:
    context = multiprocessing.get_context("spawn")
    tasks = [context.Process(target=take_part, args=(root, place, number)) for number in (1, 0)]
    for task in tasks:
        task.start()
    for task in tasks:
        task.join()
    assert [task.exitcode for task in tasks] == [0, 0]
    counted = [trial for trial in trials(place) if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    assert len(counted) == TRIALS
    assert sum(bool(trial.user_attrs) for trial in counted) == 1, "the plan as it is, once"


def test_what_a_killed_task_was_at_is_left_alone_by_the_others_and_done_by_the_step(root: Path, place: StudyPlace) -> None:
    context = multiprocessing.get_context("spawn")
    task = context.Process(target=take_part, args=(root, place, 0), kwargs={"deadly": True})
    task.start()
    task.join()
    assert task.exitcode == -signal.SIGKILL
    assert take_part(root, place, 1) == TRIALS - 1, "the lost one might be under way still"
    assert [trial.state for trial in trials(place)].count(TrialState.RUNNING) == 1
    sweep = finish(root, place)
    assert len(sweep.trials) == TRIALS
    assert [trial.state for trial in trials(place)].count(TrialState.FAIL) == 1


def test_a_task_of_several_processes_shares_its_trials_among_them(root: Path, place: StudyPlace) -> None:
    assert take_part(root, place, 0, processes=2) == TRIALS
    assert len({tuple(trial.params.values()) for trial in trials(place) if trial.state == TrialState.COMPLETE}) == TRIALS


def test_the_step_takes_the_best_of_what_its_tasks_have_tried(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset, baseline, card, curves = (str(root / name) for name in ("dataset", "baseline", "card.md", "curves.html"))
    given = {"epochs": 2, "gpus": "0", "seed": 3, "config": CONFIG}
    searchers = train_baseline(dataset, baseline, card, curves, **given, metrics=MetricsFile(), roc=RocFile())
    assert searchers == [0, 1]
    assert [run(dataset, number=number, **given) for number in searchers] == [TRIALS, TRIALS]
    assert f"{TRIALS} of {TRIALS} trials are done" in capsys.readouterr().out
    optimise(dataset, baseline, str(root / "model"), str(root / "report.html"), **given, metrics=MetricsFile(), roc=RocFile())
    assert "trial" not in capsys.readouterr().out, "none was left"
    facts = read_facts(root / "model")["model_optimization"]
    assert [row["trial"] for row in facts["sweep"]] == list(range(1, TRIALS + 1))
    assert {"learning_rate", *RANGES} < facts["sweep"][0].keys()
    best = max(facts["sweep"], key=lambda row: row["val_balanced"])
    assert facts["learning_rate"] == best["learning_rate"]
    store = open_store(read_description(root / "dataset").store)
    assert not [info.key for info in store.list("datasets/") if "/checkpoints/" in info.key], "the study goes with the rest"


def test_nothing_is_searched_where_only_a_head_learns(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(build_network("timm:test_efficientnet", channels=1, classes=2).backbone.state_dict(), tmp_path / "weights.pth")
    asked = {"architecture": "timm:test_efficientnet", "weights": str(tmp_path / "weights.pth"), "trained_layers": "head"}
    assert run(str(root / "dataset"), number=0, epochs=2, gpus="0", seed=3, config=CONFIG | asked) == 0
    assert "no search" in capsys.readouterr().out


@pytest.mark.parametrize(("asked", "numbers"), [({}, []), ({"sweep_tasks": 3}, []), ({"sweep_tasks": 3, "sweep_trials": 9}, [0, 1, 2])])
def test_there_are_tasks_only_where_there_is_a_search(asked: dict, numbers: list[int]) -> None:
    assert TrainSettings.complete(asked).searchers == numbers
