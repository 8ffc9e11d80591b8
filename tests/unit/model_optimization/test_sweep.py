"""What a search judges its trials by, and what it varies."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from components.model_optimization.sweep import FEWEST_FOR_IMPORTANCE, RANGES, Search, Sweep, ranges_of, search
from components.model_optimization.training_plan import TrainingPlan, full_plan
from driftloop.settings import TrainSettings
from driftloop.training.loop import EpochRecord, TrainingHistory
from driftloop.training.pretrained import Pretrained
from driftloop.training.recipes import FROM_SCRATCH, PRETRAINED, RecipeForm
from driftloop.training.study_journal import StudyPlace
from driftloop.training.task import Task
from tests.factories.datasets import write_squares_dataset

CPU = torch.device("cpu")
#: Validation accuracy and its balanced kin of two recipes on 400 sound parts and 20 with defects: the plan finds 2 of these, another
#: recipe 16, with 30 false alarms.
BLIND, SEEING = (402 / 420, (1 + 2 / 20) / 2), ((370 + 16) / 420, (370 / 400 + 16 / 20) / 2)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("judged")
    write_squares_dataset(root)
    return root


def searched(root: Path, place: Path, epochs: int = 1, trials: int = 3, **settings: Any) -> tuple[TrainingPlan, Sweep]:
    given = TrainSettings.complete({"batch_size": 16, "min_steps": 1} | settings)
    task = Task.open(root / "dataset", CPU, given)
    plan = full_plan(given, 2, task)
    return plan, search(str(root / "dataset"), task, Search(plan, StudyPlace(str(place), "study"), 3, trials, epochs, lambda *_: None))


def recorded(figures: Callable[[TrainingPlan], list[tuple[float, float]]]) -> Callable[..., tuple[None, TrainingHistory]]:
    """In place of a training: its epochs' accuracies, as they were recorded."""

    def train(plan: TrainingPlan, task: Task, seed: int, *, on_epoch: Callable[[EpochRecord], None]) -> tuple[None, TrainingHistory]:
        records = []
        for epoch, (plain, balanced) in enumerate(figures(plan), 1):
            records.append(EpochRecord(epoch, 0.1, 1.0, 0.2, plain, balanced, 1e-3, 1.0, 1.0))
            on_epoch(records[-1])
        return None, TrainingHistory(records, len(records))

    return train


@pytest.mark.parametrize(("weighted", "kept", "measure"), [(True, SEEING[1], "val_balanced"), (False, BLIND[0], "val_accuracy")])
def test_a_search_looks_for_what_chooses_the_epoch(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weighted: bool, kept: float, measure: str
) -> None:
    own = TrainSettings().weight_decay
    monkeypatch.setattr(TrainingPlan, "train", recorded(lambda plan: [BLIND if plan.recipe.weight_decay == own else SEEING]))
    plan, sweep = searched(root, tmp_path, class_weights=weighted)
    assert max(trial.accuracy for trial in sweep.trials) == kept
    assert {trial.measure for trial in sweep.trials} == {measure}
    assert (sweep.plan.recipe.weight_decay == plan.recipe.weight_decay) == (not weighted)
    assert sweep.trials[0].described()[measure] == sweep.trials[0].accuracy


def test_a_trial_that_finds_the_rare_class_is_not_cut_short_for_its_false_alarms(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[TrainingPlan] = []

    def figures(plan: TrainingPlan) -> list[tuple[float, float]]:
        begun.append(plan)
        return [SEEING if len(begun) > 4 else BLIND] * 4

    monkeypatch.setattr(TrainingPlan, "train", recorded(figures))
    _, sweep = searched(root, tmp_path, epochs=4, trials=5)
    assert [trial.ended for trial in sweep.trials] == ["complete"] * 5
    assert sweep.plan.recipe.learning_rate == begun[4].recipe.learning_rate


@pytest.mark.parametrize(
    ("settings", "stays"),
    [
        ({"learning_rate": 1e-4, "weight_decay": 0.0, "label_smoothing": 0.3}, {"learning_rate", "weight_decay", "label_smoothing"}),
        ({"learning_rate": 0.5}, {"learning_rate"}),
        ({}, set()),
    ],
)
def test_the_first_trial_is_the_plan_as_it_is_and_what_the_settings_give_stays(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, float], stays: set[str]
) -> None:
    begun: list[TrainingPlan] = []

    def figures(plan: TrainingPlan) -> list[tuple[float, float]]:
        begun.append(plan)
        return [BLIND if len(begun) == 1 else SEEING]

    monkeypatch.setattr(TrainingPlan, "train", recorded(figures))
    plan, sweep = searched(root, tmp_path, **settings)
    assert begun[0] == replace(plan, recipe=replace(plan.recipe, epochs=1))
    assert sweep.trials[0].values.keys() == {"learning_rate", "weight_decay", "label_smoothing", "augmentation"} - stays
    for tried in (*begun[1:], sweep.plan):
        same = {name for name in ("learning_rate", "weight_decay", "label_smoothing") if getattr(tried.recipe, name) == settings.get(name)}
        assert same == stays
        assert tried.augmentation != plan.augmentation


def test_a_pretrained_network_is_searched_at_rates_that_leave_its_weights_what_they_are(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainingPlan, "train", recorded(lambda _: [SEEING]))
    task = Task.open(root / "dataset", CPU, TrainSettings.complete({"batch_size": 16, "min_steps": 1}))
    fresh = full_plan(task.settings, 2, task)
    recipe = replace(fresh.recipe, learning_rate=PRETRAINED.suggested_rates[0])
    plan = replace(fresh, recipe=recipe, pretrained=Pretrained("weights.pth"))
    sweep = search(str(root / "dataset"), task, Search(plan, StudyPlace(str(tmp_path), "study"), 3, 12, 1, lambda *_: None))
    rates = [trial.values["learning_rate"] for trial in sweep.trials]
    assert rates[0] == PRETRAINED.suggested_rates[0]
    assert max(rates) <= PRETRAINED.suggested_rates[1] < 2e-3 < ranges_of(fresh, task.settings)["learning_rate"].high
    assert min(rates) < PRETRAINED.suggested_rates[0]


def test_where_most_trials_reach_the_same_no_value_is_said_to_matter(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = TrainSettings().weight_decay
    monkeypatch.setattr(TrainingPlan, "train", recorded(lambda plan: [SEEING if plan.recipe.weight_decay == own else BLIND]))
    _, sweep = searched(root, tmp_path, trials=FEWEST_FOR_IMPORTANCE)
    assert [trial.ended for trial in sweep.trials] == ["complete"] * FEWEST_FOR_IMPORTANCE
    assert sweep.importance == {}


@pytest.mark.parametrize("form", [FROM_SCRATCH, PRETRAINED])
def test_every_rate_that_a_range_test_suggests_and_every_default_can_be_tried(form: RecipeForm) -> None:
    (low, high), suggested = form.searched_rates, form.suggested_rates
    assert low <= suggested[0] < suggested[1] <= high
    usual = TrainSettings()
    assert all(RANGES[name].low <= getattr(usual, name, 1.0) <= RANGES[name].high for name in RANGES)
