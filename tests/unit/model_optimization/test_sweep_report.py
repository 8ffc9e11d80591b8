"""What the page says of a search, and in French."""

import re
from dataclasses import replace
from typing import Any

import pytest

from components.model_optimization.latency_limit import MARGIN, LatencyLimit, latency_sentence
from components.model_optimization.sweep import OVER, Sweep, Trial
from components.model_optimization.sweep_report import MOST_ROWS, add_sweep, history_plot
from components.model_optimization.training_plan import TrainingPlan
from driftloop.reporting import Page
from driftloop.reporting.chapter import Figure, Table
from driftloop.reporting.translation import Translator
from driftloop.training.recipe import Recipe

PLAN = TrainingPlan("residual", Recipe(1, 1e-3), None)
IMPORTANCE = {"learning_rate": 0.625, "weight_decay": 0.25, "label_smoothing": 0.075, "augmentation": 0.05}


def tried(number: int, accuracy: float, ended: str = "complete", measure: str = "val_balanced") -> Trial:
    values = {"learning_rate": 1e-3 * number, "weight_decay": 0.05, "label_smoothing": 0.01, "augmentation": 1.0}
    return Trial(number, values, [accuracy / 2, accuracy], accuracy, ended, measure, own=number == 1)


def limited(*shares: float) -> Sweep:
    """A search with networks of these widths, of which one beyond half is over the limit."""
    limit = LatencyLimit(2.5, {"residual:0.25": 1.0, "residual:0.5": 2.0, "residual": 4.0})
    trials = []
    for trial in (tried(number, 0.7 + number / 100) for number in range(1, len(shares) + 1)):
        share = shares[trial.number - 1]
        over: dict[str, Any] = {"accuracy": None, "accuracies": [], "ended": OVER} if share > 0.5 else {}
        trials.append(replace(trial, values=trial.values | {"width": share}, latency_ms=4 * share, **over))
    return Sweep(replace(PLAN, architecture="residual:0.5"), trials, IMPORTANCE, limit)


def page_of(sweep: Sweep) -> tuple[Page, str]:
    page = Page("Model optimisation", lead="", question="")
    add_sweep(page, sweep)
    return page, page.html()


TRIALS = [tried(1, 0.8), tried(2, 0.95, "pruned"), tried(3, 0.9)]


def test_the_best_trial_is_set_against_the_recipe_as_it_was() -> None:
    page, html = page_of(Sweep(PLAN, TRIALS, IMPORTANCE))
    assert "2 of 3 trials went through all of their epochs" in html
    assert (
        "The best is trial 3, whose balanced validation accuracy is 90.0 %; the first, which is the recipe as it was, has 80.0 %." in html
    )
    assert [table.columns[-2].name for table in page.chapter.blocks if isinstance(table, Table)] == ["balanced validation accuracy"]
    assert "The best 25 % of the 2 trials" in html
    assert "most by learning rate, 62.5 % of it all" in html
    assert [block.key for block in page.chapter.blocks if isinstance(block, Figure)] == ["optimised-search", "optimised-importance"]


def test_no_best_trial_is_made_of_one_that_was_cut_short_and_none_of_a_draw() -> None:
    _, html = page_of(Sweep(PLAN, [tried(1, 0.8), tried(2, 0.8), tried(3, 0.9, "pruned")], {}))
    assert "None is better than the first, which is the recipe as it was: its balanced validation accuracy is 80.0 %." in html


def test_where_the_loss_counts_images_alike_the_accuracy_is_the_plain_one() -> None:
    trials = [tried(number, accuracy, measure="val_accuracy") for number, accuracy in ((1, 0.8), (2, 0.9))]
    page, html = page_of(Sweep(PLAN, trials, {}))
    assert "whose validation accuracy is 90.0 %" in html
    assert "balanced" not in html
    assert [table.columns[-2].name for table in page.chapter.blocks if isinstance(table, Table)] == ["validation accuracy"]


def test_values_that_the_settings_give_are_named_as_not_varied() -> None:
    trials = [replace(trial, values={"augmentation": 1.0, "weight_decay": 0.05}) for trial in TRIALS]
    page, html = page_of(Sweep(PLAN, trials, {}))
    assert "since the settings give another value than usual: learning rate, label smoothing." in html
    translator = Translator("fr")
    translator.chapter(page.chapter)
    assert translator.missing == []


def test_trials_over_the_limit_are_shown_and_neither_counted_nor_called_cut_short() -> None:
    page, html = page_of(limited(0.5, 1.0, 0.25))
    assert "2 of 2 trials went through all of their epochs" in html
    assert "Trials beside these that took up a network which is too slow for the limit: 1." in html
    assert "The best is trial 3, whose" in html
    [table] = [block for block in page.chapter.blocks if isinstance(block, Table)]
    names = [column.name for column in table.columns]
    assert [dict(zip(names, row, strict=True))["ms an image"] for row in table.rows] == ["2.000", "4.000", "1.000"]
    assert [row[-1] for row in table.rows] == ["gone through", "over the limit, not trained", "gone through"]
    accuracy, latency = history_plot(limited(0.5, 1.0, 0.25)).axes
    assert list(accuracy.get_lines()[0].get_xdata()) == [1, 3]
    lines = {line.get_label(): line for line in latency.get_lines()}
    assert list(lines["over the limit"].get_xdata()) == [2]
    assert set(lines["limit less its margin"].get_ydata()) == {2.5 / (1 + MARGIN)}
    _, html = page_of(limited(0.5, 0.25))
    assert "took up a network" not in html


def test_where_tasks_search_the_recipe_as_it_was_need_not_be_the_first() -> None:
    _, html = page_of(Sweep(PLAN, [replace(tried(1, 0.9), own=False), replace(tried(2, 0.8), own=True)], {}))
    assert "The best is trial 1, whose balanced validation accuracy is 90.0 %; trial 2, which is the recipe as it was, has 80.0 %." in html
    _, html = page_of(Sweep(PLAN, [replace(tried(1, 0.7), own=False), replace(tried(2, 0.8), own=True)], {}))
    assert "None is better than trial 2, which is the recipe as it was: its balanced validation accuracy is 80.0 %." in html


def test_too_few_trials_say_nothing_of_importance() -> None:
    page, html = page_of(Sweep(PLAN, TRIALS, {}))
    assert "Which of the values mattered cannot be said: 2 trials went through" in html
    assert [block.key for block in page.chapter.blocks if isinstance(block, Figure)] == ["optimised-search"]


def test_of_a_long_search_the_best_trials_are_listed_in_their_order() -> None:
    trials = [tried(number, 1 - number / 1000, "complete" if number % 2 else "pruned") for number in range(1, 2 * MOST_ROWS + 1)]
    page, _ = page_of(Sweep(PLAN, trials, IMPORTANCE))
    [table] = [block for block in page.chapter.blocks if isinstance(block, Table)]
    assert [row[0] for row in table.rows] == [str(number) for number in range(1, 2 * MOST_ROWS, 2)]
    assert table.caption.startswith(f"The best {MOST_ROWS} of {2 * MOST_ROWS} trials: ")


def test_the_history_shows_the_best_so_far_of_what_went_through() -> None:
    [axis] = history_plot(Sweep(PLAN, TRIALS, {})).axes
    lines = {line.get_label(): line for line in axis.get_lines()}
    assert list(lines["best so far"].get_ydata()) == [0.8, 0.8, 0.9]
    assert list(lines["cut short"].get_ydata()) == [0.95]
    assert list(lines["gone through"].get_xdata()) == [1, 3]


@pytest.mark.parametrize(
    "sweep",
    [
        Sweep(PLAN, TRIALS, IMPORTANCE),
        Sweep(PLAN, TRIALS[:1], {}),
        Sweep(PLAN, [tried(n, 0.5) for n in range(1, 60)], IMPORTANCE),
        Sweep(PLAN, [replace(trial, own=trial.number == 2) for trial in TRIALS], IMPORTANCE),
        Sweep(PLAN, [replace(trial, own=trial.number == 3) for trial in TRIALS], IMPORTANCE),
        Sweep(PLAN, [tried(n, 0.5) for n in range(1, 60)], {}),
        limited(0.5, 1.0, 0.25),
    ],
)
@pytest.mark.parametrize(
    ("measure", "label"),
    [("val_balanced", "exactitude équilibrée de validation"), ("val_accuracy", "exactitude de validation")],
)
def test_it_is_said_in_french(sweep: Sweep, measure: str, label: str) -> None:
    sweep = replace(sweep, trials=[replace(trial, measure=measure) for trial in sweep.trials])
    page, _ = page_of(sweep)
    if sweep.limit:
        page.text(latency_sentence(sweep.limit, sweep.plan.architecture))
    translator = Translator("fr")
    blocks = translator.chapter(page.chapter).blocks
    assert translator.missing == []
    drawn = {text for block in blocks if isinstance(block, Figure) for text in re.findall(r"<text\b[^>]*>([^<]+)</text>", block.svg)}
    assert {"essai", label, "meilleur jusque-là"} <= drawn
