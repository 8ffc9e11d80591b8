"""The baseline's report: what it is, how it learnt, and what it can do."""

from typing import Any

from driftloop.reporting import Page
from driftloop.reporting.wording import with_interval
from driftloop.training.outcome import TrainedModel
from driftloop.training.report_sections import add_evaluation, add_learning, add_network, score_numbers
from driftloop.training.task import Task

KEY = "baseline"


def build_report(task: Task, trained: TrainedModel, facts: dict[str, Any]) -> Page:
    """The page; `facts` are the step's."""
    history, scores = trained.history, trained.scores
    test = scores.test
    page = Page(
        "Baseline training",
        lead=f"A plain convolutional network, trained plainly on {len(task.train):,} images.",
        question="How far does a plain network get, with nothing but the images?",
    )
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
        "Why a baseline",
        "A gain is a difference, and a difference needs something to be taken from. The baseline is what one would try first: five "
        "convolutions with batch normalisation and max-pooling and a head of two layers, trained with Adam at a constant rate, without "
        "augmentation, smoothing or decay. Whatever the next chapter adds has to pay for itself against this figure, on the same images.",
    )
    page.section("Architecture")
    add_network(page, trained.network, KEY)  # type: ignore[arg-type]
    page.section(
        "How it learnt",
        f"Epoch {history.best_epoch} of {len(history.epochs)} was kept: the highest accuracy on the validation split "
        f"({len(task.val):,} images), which therefore reads a little too high. Trained on: {facts['device']}, "
        f"{facts['images_per_second']:,.0f} images per second.",
    )
    recipe = trained.training
    page.table(
        [
            {"setting": name.replace("_", " "), "value": _plain(value)}
            for name, value in recipe.items()
            if value not in (None, "", [], {}) and not isinstance(value, dict)
        ],
        "The recipe of the baseline.",
        key="baseline-recipe",
    )
    add_learning(page, history, KEY)
    add_evaluation(page, task, trained, KEY)
    page.conclude(
        f"A plain network classifies {with_interval(test.accuracy)} of the test images correctly after {facts['seconds']:.0f} "
        "seconds of training.",
        limits=[
            "One training with one seed: another seed gives another figure, which the interval, being over images, does not cover.",
            "Its settings were not searched: a better baseline may exist, and a gain over this one is a gain over this one.",
        ],
        decision="The optimised model is compared with this one, image by image, on the same test split.",
        numbers=score_numbers(trained, facts),
    )
    return page


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else f"{value:g}" if isinstance(value, float) else str(value)
