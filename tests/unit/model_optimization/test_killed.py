"""An optimisation that SIGKILL ends goes on with its rate, its trials and its epochs, on another number of threads as well."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from components.baseline_training.step import run as train_baseline
from components.model_optimization.decisions import Decisions
from components.model_optimization.step import run
from components.model_optimization.sweep import search
from components.model_optimization.training_plan import full_plan
from driftloop.dataset import read_description
from driftloop.settings import TrainSettings
from driftloop.step_facts import read_facts
from driftloop.store import Store, open_store
from driftloop.training.task import Task
from tests.factories.datasets import write_squares_dataset
from tests.factories.metrics import MetricsFile, RocFile
from tests.killing import killed_before

CONFIG = {"batch_size": 16, "min_steps": 2, "ablation_epochs": 0, "sweep_trials": 2, "sweep_epochs": 1, "baseline_share": 0.1}
EPOCHS = 3


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("killed")
    write_squares_dataset(root)
    places = [str(root / "baseline"), str(root / "card.md"), str(root / "curves.html")]
    train_baseline(str(root / "dataset"), *places, epochs=1, gpus="0", seed=3, config=CONFIG, metrics=MetricsFile(), roc=RocFile())
    return root


def optimise(store: Store, root: Path, name: str, threads: str) -> None:
    os.environ["OMP_NUM_THREADS"] = threads
    dataset, baseline, model, report = (str(root / part) for part in ("dataset", "baseline", f"{name}/model", f"{name}/report.html"))
    metrics, roc = MetricsFile(), RocFile()
    run(dataset, baseline, model, report, epochs=EPOCHS, gpus="0", seed=3, config=CONFIG, metrics=metrics, roc=roc)


def kept(root: Path) -> tuple[float, list[dict[str, Any]]]:
    """The rate and the trials that wait in the store."""
    task = Task.open(root / "dataset", torch.device("cpu"), TrainSettings.complete(CONFIG))
    decisions = Decisions(task, epochs=EPOCHS, seed=3)
    assert decisions.range_test
    return decisions.range_test.suggestion, decisions.trials


def test_at_most_a_trial_and_an_epoch_are_lost_and_the_rate_stays_on_another_number_of_threads(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # to be set back
    store = open_store(read_description(root / "dataset").store)
    # The range test is kept by the first write, each trial by one, each epoch by one.
    assert killed_before(2, optimise, store.uri, root, "first", "1")
    rate, trials = kept(root)
    assert len(trials) == 1
    assert killed_before(2, optimise, store.uri, root, "second", "2")
    assert kept(root)[0] == rate
    assert len(kept(root)[1]) == 2
    optimise(store, root, "whole", "2")
    assert f"resumed after epoch 1 of {EPOCHS}" in capsys.readouterr().out
    facts = read_facts(root / "whole/model")["model_optimization"]
    assert [row["trial"] for row in facts["sweep"]] == [1, 2]
    assert facts["sweep"][0]["learning_rate"] == rate
    assert not [info.key for info in store.list("datasets/") if "/checkpoints/" in info.key]


def test_a_search_that_goes_on_ends_like_one_that_was_never_stopped(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = Task.open(root / "dataset", torch.device("cpu"), TrainSettings.complete(CONFIG))
    plan = full_plan(task.settings, EPOCHS, task)
    finished: list[dict[str, Any]] = []
    asked: dict[str, Any] = {"seed": 3, "trials": 3, "epochs": 1, "on_trial": lambda _: None}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # other numbers of threads add up in another order
    whole = search(plan, task, keep=finished.append, **asked)
    resumed = search(plan, task, done=finished[:2], **asked)
    torch.set_num_threads(threads)
    assert resumed == whole
    assert [row["trial"] for row in whole.trials] == [1, 2, 3]
