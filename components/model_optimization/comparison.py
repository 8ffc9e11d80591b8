"""The optimised model against the baseline, on the same test images."""

from pathlib import Path
from typing import Literal

from driftloop import bundle
from driftloop.contracts import TEST
from driftloop.errors import InputError
from driftloop.evaluation.intervals import Proportion
from driftloop.evaluation.paired import PairedDifference, compare
from driftloop.training.outcome import FinalScores
from driftloop.training.task import Task
from driftloop.training.weights import load_model


def check_same_data(baseline: str | Path, task: Task) -> None:
    """Make sure that the baseline was trained on this dataset, before any time is spent.

    Raises:
        InputError: no bundle there, or one of another dataset.
    """
    trained_on = bundle.read_model(baseline).dataset
    if trained_on != task.description.manifest_hash:
        raise InputError(
            f"{baseline}: this baseline was trained on dataset {trained_on[:12]}, not on {task.description.manifest_hash[:12]}; "
            "its accuracy cannot be compared: run baseline_training on this dataset"
        )


def against_baseline(scores: FinalScores, baseline: str | Path, task: Task) -> tuple[Proportion, PairedDifference]:
    """The baseline's accuracy on the test split, and the paired difference to it, bounds one-sided at 97.5 % (a 95 % interval).

    Images of one patient say less than as many patients: the interval is widened by the design effect.
    """
    before = task.predict(load_model(baseline).to(task.device), TEST)
    difference = compare(scores.test_predictions.right, before.right, confidence=0.975, groups=task.groups(TEST))
    return bundle.read_model(baseline).metrics["test_accuracy"], difference


def conclusion(difference: PairedDifference) -> tuple[str, Literal["good", "warning", "bad"]]:
    """One sentence on whether the optimised model is better, and the tone to say it in."""
    gain = f"{100 * difference.estimate:+.1f} points (95 % interval {100 * difference.low:+.1f} to {100 * difference.high:+.1f})"
    if difference.low > 0:
        return f"Better than the baseline on the same {difference.n:,} test images: {gain}.", "good"
    if difference.high < 0:
        return f"Worse than the baseline on the same {difference.n:,} test images: {gain}.", "bad"
    return f"Not to be told from the baseline on the same {difference.n:,} test images: {gain}.", "warning"
