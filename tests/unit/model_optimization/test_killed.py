"""An optimisation that SIGKILL ends goes on with its rate, its trials and its epochs, on another number of threads as well."""

import os
from pathlib import Path

import optuna
import pytest
import torch
from optuna.trial import TrialState

from components.model_optimization.decisions import Decisions
from components.model_optimization.step import run
from components.model_optimization.sweep import Search, Sweep, search
from components.model_optimization.training_plan import full_plan
from driftloop.dataset import read_description
from driftloop.settings import TrainSettings
from driftloop.step_facts import read_facts
from driftloop.store import Store, open_store
from driftloop.training.study_journal import StudyPlace
from driftloop.training.task import Task
from tests.factories.metrics import MetricsFile, RocFile
from tests.factories.squares_baseline import write_squares_and_baseline
from tests.killing import killed_before

CONFIG = {"batch_size": 16, "min_steps": 2, "ablation_epochs": 0, "sweep_trials": 2, "sweep_epochs": 1, "baseline_share": 0.1}
EPOCHS = 3


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("killed")
    write_squares_and_baseline(root, CONFIG)
    return root


def optimise(store: Store, root: Path, name: str, threads: str) -> None:
    os.environ["OMP_NUM_THREADS"] = threads
    dataset, baseline, model, report = (str(root / part) for part in ("dataset", "baseline", f"{name}/model", f"{name}/report.html"))
    metrics, roc = MetricsFile(), RocFile()
    run(dataset, baseline, model, report, epochs=EPOCHS, gpus="0", seed=3, config=CONFIG, metrics=metrics, roc=roc)


def kept(root: Path) -> tuple[float, list[TrialState]]:
    """The rate that waits in the store, and how the trials of the study there stand."""
    task = Task.open(root / "dataset", torch.device("cpu"), TrainSettings.complete(CONFIG))
    decisions = Decisions(task, epochs=EPOCHS, seed=3)
    assert decisions.range_test
    storage = optuna.storages.JournalStorage(decisions.study.open())
    [study] = optuna.get_all_study_names(storage)
    return decisions.range_test.suggestion, [trial.state for trial in optuna.load_study(storage=storage, study_name=study).trials]


def test_at_most_a_trial_and_an_epoch_are_lost_and_the_rate_stays_on_another_number_of_threads(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # to be set back
    store = open_store(read_description(root / "dataset").store)
    # Layers need no decision here. Range test, name of the journal, study, the plan as a trial to be done; then three writes a trial,
    # when it begins, when its values are drawn, and when it ends.
    assert killed_before(9, optimise, store.uri, root, "first", "1")
    rate, trials = kept(root)
    assert trials == [TrialState.COMPLETE, TrialState.RUNNING]
    # The journal is opened by two writes, the lost trial given up by one, and another done in its place; then a write an epoch.
    assert killed_before(7, optimise, store.uri, root, "second", "2")
    assert kept(root) == (rate, [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE])
    optimise(store, root, "whole", "2")
    assert f"resumed after epoch 1 of {EPOCHS}" in capsys.readouterr().out
    facts = read_facts(root / "whole/model")["model_optimization"]
    assert [row["trial"] for row in facts["sweep"]] == [1, 2]
    assert facts["sweep"][0]["learning_rate"] == rate
    assert not [info.key for info in store.list("datasets/") if "/checkpoints/" in info.key]


def search_here(store: Store, root: Path, name: str, trials: int = 7) -> Sweep:
    """A search in a study of its own."""
    task, threads = Task.open(root / "dataset", torch.device("cpu"), TrainSettings.complete(CONFIG)), torch.get_num_threads()
    torch.set_num_threads(1)  # other numbers of threads add up in another order
    place = StudyPlace(store.uri, f"studies/{name}")
    sweep = search(str(root / "dataset"), task, Search(full_plan(task.settings, EPOCHS, task), place, 3, trials, 2, lambda *_: None))
    torch.set_num_threads(threads)
    return sweep


@pytest.fixture(scope="module")
def whole(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """The search that was never stopped: where its study lies plays no part."""
    return search_here(open_store(str(tmp_path_factory.mktemp("whole") / "store")), root, "whole")


@pytest.mark.parametrize("write", [3, 4, 5, 10, 23])
def test_a_search_that_is_killed_anywhere_ends_like_one_that_was_never_stopped(store: Store, root: Path, whole: Sweep, write: int) -> None:
    assert killed_before(write, search_here, store.uri, root, "killed")
    resumed = search_here(store, root, "killed")
    assert resumed == whole
    assert [trial.number for trial in whole.trials] == [1, 2, 3, 4, 5, 6, 7]
    standing = [trial for trial in resumed.trials if trial.ended == "complete"]
    assert whole.plan.recipe.learning_rate == max(standing, key=lambda trial: trial.accuracy).values["learning_rate"]
