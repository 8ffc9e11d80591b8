"""The optimisation's report: the learning rate, the learning, what helped, and what came of it."""

from dataclasses import dataclass
from typing import Any

from components.model_optimization.ablation import Ablation, summarise
from components.model_optimization.comparison import conclusion
from components.model_optimization.sweep import Sweep
from components.model_optimization.training_plan import TrainingPlan
from driftloop.evaluation.intervals import Proportion
from driftloop.evaluation.paired import PairedDifference
from driftloop.evaluation.plots import confusion_and_roc
from driftloop.reporting import Page
from driftloop.training import lr_finder
from driftloop.training.curves import learning_curves
from driftloop.training.lr_finder import RangeTest
from driftloop.training.outcome import TrainedModel
from driftloop.training.task import Task


@dataclass(frozen=True)
class OptimizationFindings:
    """What the step found out."""

    plan: TrainingPlan
    """What was trained and how."""
    range_test: RangeTest
    """Of the learning rate."""
    sweep: Sweep | None
    """The search, where the settings ask for it."""
    ablation: Ablation
    """What each ingredient brought."""
    trained: TrainedModel
    """The final model and its scores."""
    baseline: Proportion
    """The baseline's accuracy on the test split."""
    difference: PairedDifference
    """Of the final model's accuracy to the baseline's on the same test images."""


def write_optimization_report(path: str, task: Task, findings: OptimizationFindings, facts: dict[str, Any]) -> None:
    """Write the HTML page to `path`; `facts` are the step's."""
    test = findings.trained.scores.test.accuracy
    page = Page("Model optimisation", lead=f"A residual network with a better recipe, trained on {len(task.train):,} images.")
    page.tiles(
        {
            "test accuracy": test.value,
            "95 % interval": f"{test.low:.3f} – {test.high:.3f}",
            "baseline": findings.baseline.value,
            "parameters": facts["parameters"],
            "seconds": round(facts["seconds"]),
        }
    )
    page.notice(*conclusion(findings.difference))
    _learning_rate(page, findings)
    _sweep(page, findings.sweep)
    _learning(page, task, findings, facts)
    _ablation(page, findings.ablation)
    _evaluation(page, task, findings)
    page.write(path)


def _learning_rate(page: Page, findings: OptimizationFindings) -> None:
    used, suggested = findings.plan.recipe.learning_rate, findings.range_test.suggestion
    origin = (
        "where the loss has made two thirds of its fall"
        if used == suggested
        else f"the settings or the search; the test alone suggests {suggested:.1e}"
    )
    page.section(
        "Learning rate",
        "The rate is raised step by step on a copy of the fresh network, without augmentation, while the loss is watched (Smith 2017). "
        f"Used as the peak: {used:.1e}, from {origin}.",
    )
    page.figure(lr_finder.plot(findings.range_test, used), "Range test: smoothed training loss over the learning rate.")


def _sweep(page: Page, sweep: Sweep | None) -> None:
    if sweep is None:
        return
    page.section("Search", "Optuna's trials, judged on the validation split; the best values were used below.")
    page.table(sweep.trials)


def _learning(page: Page, task: Task, findings: OptimizationFindings, facts: dict[str, Any]) -> None:
    history, recipe = findings.trained.history, findings.plan.recipe
    page.section(
        "How it learnt",
        f"{recipe.epochs} epochs with OneCycle in {recipe.precision}. Epoch {history.best_epoch} was kept: the highest accuracy on the "
        f"validation split ({len(task.val):,} images), which therefore reads a little too high. Trained on: {facts['device']}, "
        f"{facts['images_per_second']:,.0f} images per second.",
    )
    page.figure(learning_curves(history), "Loss, accuracy and learning rate by epoch; the dotted line marks the epoch that was kept.")


def _ablation(page: Page, ablation: Ablation) -> None:
    page.section("What helped")
    page.text(summarise(ablation))
    if not ablation.rows:
        return
    page.table(
        [
            {
                "run": row.name,
                "validation accuracy": row.val_accuracy,
                "change, points": None if row.change is None else f"{100 * row.change:+.1f}",
                "95 % interval": "" if row.low is None or row.high is None else f"{100 * row.low:+.1f} to {100 * row.high:+.1f}",
                "images per second": round(row.images_per_second),
            }
            for row in ablation.rows
        ],
        caption=f"One ingredient left out at a time; {ablation.epochs} epochs each, one seed, on the validation split only. The "
        "intervals are paired, over images; another seed may differ by more. Regularisation (augmentation, smoothing, decay) pays off "
        "late: short runs understate it.",
    )
    if ablation.left_out:
        page.text(f"Left out for want of time (train_config.ablation_seconds): {', '.join(ablation.left_out)}.")


def _evaluation(page: Page, task: Task, findings: OptimizationFindings) -> None:
    scores = findings.trained.scores
    test = scores.test
    page.section("What it can do", f"On the test split ({test.accuracy.n:,} images), which chose nothing and was looked at once.")
    page.figure(
        confusion_and_roc(test.confusion, task.description.classes, scores.roc, scores.auc),
        "Confusion matrix (counts) and ROC curve on the test split.",
    )
