"""The baseline's report: how it learnt, and what it can do."""

from typing import Any

from driftloop.evaluation.plots import confusion_and_roc
from driftloop.reporting import Page
from driftloop.training.curves import learning_curves
from driftloop.training.outcome import TrainedModel
from driftloop.training.task import Task


def write_baseline_report(path: str, task: Task, trained: TrainedModel, facts: dict[str, Any]) -> None:
    """Write the HTML page to `path`; `facts` are the step's."""
    history, scores = trained.history, trained.scores
    test = scores.test
    page = Page("Baseline training", lead=f"A plain convolutional network, trained plainly on {len(task.train):,} images.")
    page.tiles(
        {
            "test accuracy": test.accuracy.value,
            "95 % interval": f"{test.accuracy.low:.3f} – {test.accuracy.high:.3f}",
            "area under ROC": scores.auc,
            "parameters": facts["parameters"],
            "seconds": round(facts["seconds"]),
        }
    )
    page.section(
        "How it learnt",
        f"Epoch {history.best_epoch} of {len(history.epochs)} was kept: the highest accuracy on the validation split "
        f"({len(task.val):,} images), which therefore reads a little too high. Trained on: {facts['device']}, "
        f"{facts['images_per_second']:,.0f} images per second.",
    )
    page.figure(learning_curves(history), "Loss, accuracy and learning rate by epoch; the dotted line marks the epoch that was kept.")
    page.section("What it can do", f"On the test split ({test.accuracy.n:,} images), which chose nothing and was looked at once.")
    page.figure(
        confusion_and_roc(test.confusion, task.description.classes, scores.roc, scores.auc),
        "Confusion matrix (counts) and ROC curve on the test split.",
    )
    page.table(
        [
            {
                "class": score.name,
                "images": score.images,
                "precision": score.precision,
                "recall": score.recall.value if score.recall else None,
                "recall, 95 % interval": f"{score.recall.low:.3f} – {score.recall.high:.3f}" if score.recall else None,
                "F1": score.f1,
            }
            for score in test.classes
        ]
    )
    page.write(path)
