"""A search by several processes over one study."""

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.trial import TrialState

from components.model_optimization.sweep import FEWEST_FOR_IMPORTANCE, RANGES, Search, Sweep, Trial, search
from components.model_optimization.training_plan import full_plan
from driftloop.errors import RunFailed
from driftloop.settings import TrainSettings
from driftloop.store import Store
from driftloop.training.study_journal import StudyPlace
from driftloop.training.task import Task
from tests.factories.datasets import write_squares_dataset
from tests.processes import runs

CPU = torch.device("cpu")
SETTINGS = TrainSettings.complete({"batch_size": 16, "min_steps": 2, "sweep_processes": 2})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("side-by-side")
    write_squares_dataset(root)
    return root


def told(folder: str, trial: Trial, share: float) -> None:
    """Which process has finished which trial."""
    Path(folder, f"{trial.number}-{os.getpid()}").touch()


def told_and_killed(folder: str, trial: Trial, share: float) -> None:
    """The process that has done the third trial dies before the study knows."""
    if trial.number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    told(folder, trial, share)


class Told:
    """`on_trial` into a folder; takes this test's keys for S3 along into other processes, which an earlier test's environment may be in."""

    def __init__(self, folder: Path, *, deadly: bool = False) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.call = str(folder), told_and_killed if deadly else told
        self.environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        os.environ.update(self.environment)

    def __call__(self, trial: Trial, share: float) -> None:
        self.call(self.folder, trial, share)


def wanted(task: Task, place: StudyPlace, on_trial: Any, trials: int) -> Search:
    return Search(full_plan(task.settings, 2, task), place, 3, trials, 1, on_trial)


def states(place: StudyPlace) -> list[TrialState]:
    storage = optuna.storages.JournalStorage(place.open())
    return [trial.state for trial in optuna.load_study(storage=storage, study_name="sweep").trials]


def side_by_side(root: Path, place: StudyPlace, on_trial: Any, trials: int = 6, processes: int = 2) -> Sweep:
    task = Task.open(root / "dataset", CPU, SETTINGS.model_copy(update={"sweep_processes": processes}))
    return search(str(root / "dataset"), task, wanted(task, place, on_trial, trials))


def test_two_processes_share_the_trials_and_try_different_values(store: Store, root: Path, tmp_path: Path) -> None:
    sweep = side_by_side(root, StudyPlace(store.uri, "studies/both"), Told(tmp_path / "told"))
    done = [path.name.split("-") for path in (tmp_path / "told").iterdir()]
    assert sorted(int(number) for number, _ in done) == [1, 2, 3, 4, 5, 6]
    assert str(os.getpid()) not in {process for _, process in done}
    assert [trial.number for trial in sweep.trials] == [1, 2, 3, 4, 5, 6]
    assert len({tuple(trial.values.items()) for trial in sweep.trials}) == 6
    finished = [trial for trial in sweep.trials if trial.ended == "complete"]
    best = max(finished, key=lambda trial: trial.accuracy)
    assert sweep.plan.recipe.learning_rate == best.values["learning_rate"]


def test_a_process_that_is_killed_fails_the_step_and_the_next_one_makes_up_for_its_trials(store: Store, root: Path, tmp_path: Path) -> None:
    place = StudyPlace(store.uri, "studies/killed")
    with pytest.raises(RunFailed, match=r"a worker process was killed.*train_config\.sweep_processes=1"):
        side_by_side(root, place, Told(tmp_path / "told", deadly=True))
    while len(lost := states(place)) < 3:  # a process that was ended with the other may be writing still
        time.sleep(0.1)
    assert lost.count(TrialState.COMPLETE) >= len(lost) - 2, "a trial for each process at most"
    sweep = side_by_side(root, place, Told(tmp_path / "told"))
    assert [trial.number for trial in sweep.trials] == [1, 2, 3, 4, 5, 6]
    counted = [state for state in states(place) if state in (TrialState.COMPLETE, TrialState.PRUNED)]
    assert len(counted) == 6


def test_a_step_that_is_killed_takes_its_processes_along_and_each_loses_one_trial(store: Store, root: Path, tmp_path: Path) -> None:
    place, folder = StudyPlace(store.uri, "studies/step"), tmp_path / "told"
    step = multiprocessing.get_context("spawn").Process(target=side_by_side, args=(root, place, Told(folder), 40))
    step.start()
    while len(list(folder.iterdir())) < 5:
        assert step.is_alive()
        time.sleep(0.05)
    step.kill()
    step.join()
    for worker in {int(path.name.split("-")[1]) for path in folder.iterdir()}:
        while runs(worker):
            time.sleep(0.05)
    left = states(place)
    kept = left.count(TrialState.COMPLETE)
    assert len(list(folder.iterdir())) - 2 <= kept < 40
    lost = [number for number, state in enumerate(left) if state == TrialState.RUNNING]
    assert len(lost) <= 2
    sweep = side_by_side(root, place, Told(folder), kept + 2, processes=1)  # as where two found no room
    assert len(sweep.trials) == kept + 2
    ended = states(place)
    assert {ended[number] for number in lost} <= {TrialState.FAIL}
    assert TrialState.RUNNING not in ended


def test_importance_is_given_from_enough_trials_on_and_adds_up(root: Path, tmp_path: Path) -> None:
    task = Task.open(root / "dataset", CPU, SETTINGS.model_copy(update={"min_steps": 1, "sweep_processes": 1}))
    place = StudyPlace(str(tmp_path / "store"), "studies/many")
    few = search(str(root / "dataset"), task, wanted(task, place, lambda *_: None, 4))
    assert few.importance == {}
    many = search(str(root / "dataset"), task, wanted(task, place, lambda *_: None, FEWEST_FOR_IMPORTANCE))
    assert {trial.ended for trial in many.trials} == {"complete"}, "of one epoch there is nothing to cut short"
    assert many.importance.keys() == {"learning_rate", *RANGES}
    assert sum(many.importance.values()) == pytest.approx(1)
    assert many.trials[:4] == few.trials
