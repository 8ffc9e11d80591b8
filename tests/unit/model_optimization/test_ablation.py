from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from components.model_optimization.ablation import FULL, Ablation, AblationRow, ablate, plan_variants, summarise
from components.model_optimization.comparison import conclusion
from components.model_optimization.report import add_ablation
from components.model_optimization.sweep import with_values
from components.model_optimization.training_plan import full_plan
from driftloop.contracts import VAL
from driftloop.evaluation.paired import PairedDifference
from driftloop.reporting import Page
from driftloop.reporting.chapter import Table
from driftloop.reporting.translation import Translator
from driftloop.settings import TrainSettings
from driftloop.training.task import Task
from tests.factories.datasets import write_squares_dataset
from tests.factories.training_batches import CPU

SETTINGS = TrainSettings(batch_size=16, min_steps=2, precision="bfloat16")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    root: Path = tmp_path_factory.mktemp("ablation")
    write_squares_dataset(root, train=32)
    return Task.open(root / "dataset", CPU, SETTINGS)


def test_each_variant_lacks_one_ingredient_and_nothing_else(task: Task) -> None:
    plan = full_plan(SETTINGS, 5, task)
    result = plan_variants(plan)
    assert result[FULL] == plan
    assert result["without augmentation"] == replace(plan, augmentation=None)
    assert result["without label smoothing"].recipe == replace(plan.recipe, label_smoothing=0.0)
    assert result["without mixed precision"].recipe.precision == "float32"
    assert len(result) == 7
    mixed = plan_variants(replace(plan, cutmix=1.0, mixup=0.2))
    assert mixed["without mixed images"] == plan


def test_an_ingredient_that_is_not_there_cannot_be_taken_away(task: Task) -> None:
    plan = full_plan(TrainSettings(label_smoothing=0, weight_decay=0, precision="float32"), 5, task)
    assert set(plan_variants(plan)) == {FULL, "without augmentation", "without OneCycle", "without residual blocks"}


def test_runs_that_would_not_fit_into_the_time_are_left_out_and_named(task: Task) -> None:
    times = iter(range(0, 1000, 10))  # every look at the clock is 10 seconds later
    plan = full_plan(SETTINGS, 5, task)
    result = ablate(plan, task, seed=1, epochs=1, seconds=45, expected=0, on_run=lambda share, name: None, clock=lambda: next(times))
    assert [row.name for row in result.rows] == [FULL, "without augmentation"]
    assert result.left_out == list(plan_variants(plan))[2:]


def test_no_epochs_are_no_ablation(task: Task) -> None:
    result = ablate(full_plan(SETTINGS, 5, task), task, seed=1, epochs=0, seconds=1e9, expected=0, on_run=lambda share, name: None)
    assert result.rows == []
    assert summarise(result) == "No ablation was run: no time or no epochs were given to it."


@pytest.mark.parametrize("weighted", [True, False])
def test_the_balanced_accuracy_stands_beside_the_compared_one_where_it_chose_the_epoch(tmp_path: Path, weighted: bool) -> None:
    write_squares_dataset(tmp_path, train=32, val=33)  # 17 of one class, 16 of the other
    settings = SETTINGS.model_copy(update={"class_weights": weighted})
    task = Task.open(tmp_path / "dataset", CPU, settings)
    plan = full_plan(settings, 1, task)
    [row, *_] = ablate(plan, task, seed=1, epochs=1, seconds=1, expected=0, on_run=lambda *_: None).rows
    answers = task.predict(plan.train(task, 1)[0], VAL)
    recalls = [answers.right[answers.labels == label].mean() for label in (0, 1)]
    assert recalls[0] != recalls[1]
    assert row.val_accuracy == answers.right.mean()
    assert row.val_balanced == (pytest.approx(np.mean(recalls)) if weighted else None)

    page = Page("Model optimisation", lead="", question="")
    add_ablation(page, Ablation([row, replace(row, name="without augmentation", change=0.0, low=-0.1, high=0.1)], ["without OneCycle"], 1))
    [table] = [block for block in page.chapter.blocks if isinstance(block, Table)]
    assert ("balanced accuracy" in [column.name for column in table.columns]) == weighted
    assert ("highest balanced accuracy" in page.html()) == weighted
    translator = Translator("fr")
    translator.chapter(page.chapter)
    assert translator.missing == []


def row(name: str, change: float, low: float, high: float) -> AblationRow:
    return AblationRow(name, 0.8 + change, 100.0, change, low, high)


def test_the_words_say_only_what_the_intervals_carry() -> None:
    rows = [
        AblationRow(FULL, 0.8, 100.0),
        row("without a", -0.1, -0.15, -0.05),
        row("without b", 0.1, 0.02, 0.2),
        row("without c", -0.02, -0.05, 0.01),
    ]
    words = summarise(Ablation(rows, [], 5))
    assert "cost accuracy beyond chance: without a (-10.0 points)" in words
    assert "do harm: without b (+10.0 points)" in words
    assert "Not to be told from chance: without c." in words


@pytest.mark.parametrize(("low", "high", "tone"), [(0.01, 0.05, "good"), (-0.05, -0.01, "bad"), (-0.01, 0.05, "warning")])
def test_the_verdict_on_the_baseline_follows_the_interval(low: float, high: float, tone: str) -> None:
    difference = PairedDifference((low + high) / 2, low, high, 1500, 60, 30, 1500.0, 1500)
    assert conclusion(difference)[1] == tone


def test_a_trial_turns_the_plans_knobs_within_their_ranges(task: Task) -> None:
    plan = full_plan(SETTINGS.model_copy(update={"rotation": 150.0}), 5, task)
    plan = full_plan(TrainSettings(rotation=150), 5, replace(task, settings=TrainSettings(rotation=150, crop=0.6, randaugment=9)))
    result = with_values(plan, {"learning_rate": 2e-3, "weight_decay": 0.1, "label_smoothing": 0.1, "augmentation": 2.0})
    assert result.recipe.learning_rate == 2e-3
    assert result.augmentation is not None
    assert result.augmentation.rotation == 180
    assert (result.augmentation.crop, result.augmentation.randaugment) == (0.95, 18)
