"""A limit to what an image may cost: measured before anything is trained, and kept by whatever a search ends with."""

import re
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.trial import TrialState
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from components.model_optimization.decisions import Decisions
from components.model_optimization.latency_limit import MARGIN, LatencyLimit, keep_limit, measure
from components.model_optimization.step import run
from components.model_optimization.sweep import OVER, Search, Sweep, search
from components.model_optimization.training_plan import TrainingPlan, full_plan
from driftloop import bundle
from driftloop.dataset import read_description
from driftloop.errors import InputError
from driftloop.settings import TrainSettings
from driftloop.step_facts import read_facts
from driftloop.store import open_store
from driftloop.tracking import want_records
from driftloop.tracking.step_record import RECORDS, StepRecord
from driftloop.training.loop import EpochRecord, TrainingHistory
from driftloop.training.study_journal import StudyPlace
from driftloop.training.task import Task
from driftloop.training.weights import load_model
from tests.factories.metrics import MetricsFile, RocFile
from tests.factories.squares_baseline import write_squares_and_baseline

CPU = torch.device("cpu")
CONFIG = {"batch_size": 16, "min_steps": 1, "ablation_epochs": 0, "baseline_share": 1.0, "sweep_epochs": 1}
#: Milliseconds of an earlier start, whose measurement a step goes on with.
MEASURED = {"residual:0.25": 1.0, "residual:0.5": 2.0, "residual:0.75": 3.0, "residual": 4.0}
EPOCHS, SEED = 1, 3


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("limited")
    write_squares_and_baseline(root, CONFIG)
    return root


def decided(root: Path, measured: dict[str, float] | None = None, **settings: Any) -> tuple[TrainingPlan, Task, Decisions]:
    """A plan before its limit is looked at, where an earlier start has measured."""
    task = Task.open(root / "dataset", CPU, TrainSettings.complete(CONFIG | settings))
    decisions = Decisions(task, epochs=EPOCHS, seed=SEED)
    if measured:
        decisions.keep_latencies(measured)
    return full_plan(task.settings, EPOCHS, task), task, decisions


def optimise(root: Path, name: str, **settings: Any) -> dict[str, Any]:
    """What theme 3 states of itself."""
    run(
        *(str(root / part) for part in ("dataset", "baseline", f"{name}/model", f"{name}/report.html")),
        epochs=EPOCHS,
        gpus="0",
        seed=SEED,
        config=CONFIG | settings,
        metrics=MetricsFile(),
        roc=RocFile(),
    )
    return read_facts(root / name / "model")["model_optimization"]


def searched(root: Path, place: Path, limit_ms: float, trials: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Sweep, list[str]]:
    """A search whose widest networks are the best, and the networks that were trained."""
    plan, task, decisions = decided(root, MEASURED, max_latency_ms=limit_ms, sweep_trials=trials)
    plan, limit = keep_limit(plan, task, decisions)
    trained: list[str] = []

    def train(plan: TrainingPlan, task: Task, seed: int, *, on_epoch: Any) -> tuple[None, TrainingHistory]:
        trained.append(plan.architecture)
        accuracy = 0.5 + MEASURED[plan.architecture] / 10 + plan.recipe.learning_rate
        record = EpochRecord(1, 0.1, 1.0, 0.2, accuracy, accuracy, 1e-3, 1.0, 1.0)
        on_epoch(record)
        return None, TrainingHistory([record], 1)

    monkeypatch.setattr(TrainingPlan, "train", train)
    told = Search(plan, StudyPlace(str(place), "study"), SEED, trials, 1, lambda *_: None, limit)
    return search(str(root / "dataset"), task, told), trained


def test_without_a_limit_nothing_is_measured_and_no_width_is_varied(root: Path) -> None:
    plan, task, decisions = decided(root, sweep_trials=3)
    assert keep_limit(plan, task, decisions) == (plan, None)
    assert decisions.latencies is None


def test_the_network_of_a_plan_is_measured_as_it_would_be_served(root: Path) -> None:
    plan, task, decisions = decided(root, max_latency_ms=60_000)
    same, limit = keep_limit(plan, task, decisions)
    assert same == plan
    assert limit is not None
    assert limit.measured.keys() == {"residual"}, "there is no search that could take another width"
    assert 0 < limit.measured["residual"] < 60_000
    assert Decisions(task, epochs=EPOCHS, seed=SEED).latencies == limit.measured, "a step that is killed goes on with it"


def test_all_widths_are_measured_where_a_search_may_take_them(root: Path) -> None:
    _, task, _ = decided(root)
    assert all(taken > 0 for taken in measure(list(MEASURED), task).values())


@pytest.mark.parametrize(
    ("limit_ms", "network"),
    [(4 * (1 + MARGIN), "residual"), (4 * (1 + MARGIN) - 0.01, "residual:0.75"), (2.5, "residual:0.5"), (1.2, "residual:0.25")],
)
def test_a_search_begins_with_the_widest_network_that_keeps_the_limit_and_its_margin(root: Path, limit_ms: float, network: str) -> None:
    plan, limit = keep_limit(*decided(root, MEASURED, max_latency_ms=limit_ms, sweep_trials=3))
    assert plan.architecture == network
    assert plan.why.startswith(f"{network} from fresh weights: ")
    assert limit == LatencyLimit(limit_ms, MEASURED)


@pytest.mark.parametrize(
    ("measured", "settings", "said"),
    [
        (
            MEASURED,
            {"sweep_trials": 3},
            r"residual:0\.25, .* needs 1\.00 ms .* 32 pixels.* set it to 1\.15 or more, or set data_image",
        ),
        ({"residual": 4.0}, {}, r"residual, .* needs 4\.00 ms .* set it to 4\.60 or more, or set train_config\.sweep_trials"),
    ],
)
def test_where_nothing_keeps_it_that_is_said_with_the_fastest_and_the_cure(
    root: Path, measured: dict[str, float], settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=rf"train_config\.max_latency_ms=0\.5: {said}"):
        keep_limit(*decided(root, measured, max_latency_ms=0.5, **settings))


def test_it_is_refused_before_anything_is_trained(root: Path) -> None:
    with pytest.raises(InputError, match=r"max_latency_ms=1e-06: residual, the fastest that may be taken, needs"):
        optimise(root, "refused", max_latency_ms=1e-6)
    assert not (root / "refused").exists()


def test_no_trial_over_the_limit_is_trained_or_counts_or_is_the_best(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep, trained = searched(root, tmp_path, 2.5, 12, monkeypatch)
    assert len(trained) == 12
    assert set(trained) == {"residual:0.5", "residual:0.25"}
    over = [trial for trial in sweep.trials if trial.ended == OVER]
    assert {trial.values["width"] for trial in over} == {0.75, 1.0}
    assert [(trial.accuracy, trial.accuracies) for trial in over] == [(None, [])] * len(over)
    assert len(sweep.trials) == 12 + len(over)
    assert sweep.trials[0].own
    assert sweep.trials[0].values["width"] == 0.5
    assert sweep.plan.architecture == "residual:0.5"
    for trial in sweep.trials:
        assert trial.latency_ms == MEASURED[f"residual:{trial.values['width']:g}".removesuffix(":1")]


def test_the_sampler_learns_of_the_limit_as_a_constraint(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep, _ = searched(root, tmp_path, 1.2, 40, monkeypatch)
    storage = optuna.storages.JournalStorage(StudyPlace(str(tmp_path), "study").open())
    trials = optuna.load_study(storage=storage, study_name="sweep").get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))
    assert [trial.constraints["latency_ms"] > 0 for trial in trials] == [trial.ended == OVER for trial in sweep.trials]
    # At random three of four would be over.
    assert sum(trial.ended == OVER for trial in sweep.trials[-20:]) < 10


def test_a_killed_search_goes_on_with_the_trials_that_were_over(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = searched(root, tmp_path / "whole", 2.5, 8, monkeypatch)
    train, calls = TrainingPlan.train, []

    def killed(*given: Any, **more: Any) -> Any:
        calls.append(given)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return train(*given, **more)

    plan, task, decisions = decided(root, MEASURED, max_latency_ms=2.5, sweep_trials=8)
    plan, limit = keep_limit(plan, task, decisions)
    monkeypatch.setattr(TrainingPlan, "train", killed)
    told = Search(plan, StudyPlace(str(tmp_path / "killed"), "study"), SEED, 8, 1, lambda *_: None, limit)
    with pytest.raises(KeyboardInterrupt):
        search(str(root / "dataset"), task, told)
    assert search(str(root / "dataset"), task, told).trials == whole.trials


def test_a_narrow_network_is_trained_tracked_reported_and_read_back(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTLOOP_RUN_ID", "narrow")
    store = open_store(read_description(root / "dataset").store)
    want_records(store)
    settings: dict[str, Any] = {"max_latency_ms": 1.5, "sweep_trials": 2}
    decided(root, MEASURED, **settings)
    facts = optimise(root, "narrow", **settings)
    assert facts["latency"] == {"limit_ms": 1.5, "margin": MARGIN, "measured": MEASURED}
    assert facts["network"].startswith("residual:0.25 from fresh weights")
    assert bundle.read_model(root / "narrow/model").architecture == "residual:0.25"
    assert load_model(root / "narrow/model").embedding_size == 64
    html = (root / "narrow/report.html").read_text()
    assert "An image takes this network 1.00 ms of processor time" in html

    records = [StepRecord.model_validate_json(store.read(info.key)) for info in store.list(RECORDS) if info.key.endswith("record.json")]
    trials = {record.step: record for record in records if re.fullmatch(r"model_optimization_trial_\d+", record.step)}
    assert len(trials) == len(facts["sweep"])
    for row in facts["sweep"]:
        record = trials[f"model_optimization_trial_{row['trial']}"]
        assert record.metrics["latency_ms"] == row["latency_ms"]
        assert record.parameters["ended"] == row["ended"]
        assert ("best_val_balanced" in record.metrics) == (row["ended"] != OVER)
        events = EventAccumulator(str(root / f"narrow/model/events/trials/{row['trial']:04d}"))
        events.Reload()
        assert [point.value for point in events.Scalars("trial/latency_ms")] == [row["latency_ms"]]
