"""What the reports of both trainings show alike: the network, how it learnt, what it can do on the test split, and what it gets wrong."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy import stats
from torch import nn

from driftloop.contracts import TEST
from driftloop.dataset import open_split
from driftloop.evaluation.classification import MOST_CLASSES, ClassScore, hardest
from driftloop.evaluation.intervals import Proportion
from driftloop.evaluation.measures import MEASURES, Measure, Measured
from driftloop.evaluation.plots import confusion_and_roc
from driftloop.reporting import Page
from driftloop.reporting.plot_style import MUTED, PALETTE, axes
from driftloop.reporting.wording import confusion_sentence, curve_sentence, extremes, percent, with_interval
from driftloop.training.classifier import Classifier
from driftloop.training.curves import learning_curves
from driftloop.training.loop import TrainingHistory
from driftloop.training.outcome import FinalScores, TrainedModel
from driftloop.training.privacy import privacy_sentences
from driftloop.training.saliency import EDGE_SHARE, Saliency, overlaid, saliency_of
from driftloop.training.task import SplitPredictions, Task

#: By these models are compared, beside their accuracy: what the report calls them, and their names among the measures.
COMPARED = {"balanced": "balanced_accuracy", "auroc": "auroc", "sensitivity": "sensitivity_at_95", "ece": "calibration_error_on_test"}
#: Errors that a gallery shows: those of which the network was surest.
SHOWN_ERRORS = 8
#: Of the histogram of confidence.
CONFIDENCE_BINS = 20


def add_network(page: Page, network: Classifier, key: str) -> None:
    """Layers and parameters of a network."""
    rows = layer_rows(network)
    page.table(rows, "Layers with weights, in the order of the computation.", key=f"{key}-layers")
    largest = max(rows, key=lambda row: int(str(row["parameters"])))
    total = sum(int(str(row["parameters"])) for row in rows)
    page.text(
        f"[[{key}-layers]]: {total:,} parameters, of which the layer `{largest['layer']}` has "
        f"{percent(int(str(largest['parameters'])) / total)}. "
        f"The embedding, whose {network.embedding_size} numbers the drift tests compare, is the mean over all positions of the "
        "last feature "
        "maps: it says what an image shows, not where."
    )


def layer_rows(network: nn.Module) -> list[dict[str, object]]:
    """One row a layer with weights of its own: a norm is counted with the layer before it."""
    rows: list[dict[str, object]] = []
    for name, module in network.named_modules():
        own = sum(parameter.numel() for parameter in module.parameters(recurse=False))
        if not own:
            continue
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm) and rows:
            rows[-1] |= {"parameters": int(str(rows[-1]["parameters"])) + own, "norm": True}
            continue
        shape = " x ".join(str(size) for size in next(module.parameters(recurse=False)).shape)
        rows.append({"layer": name, "kind": type(module).__name__, "weights": shape, "norm": False, "parameters": own})
    return rows


#: Of a described budget, what its table leaves to the sentences above it.
IN_SENTENCES = ("largest_group", "head_only")


def add_privacy(page: Page, budget: Mapping[str, Any], largest_group: int | None = None) -> None:
    """What a private training spent, and what that does and does not promise.

    Args:
        page: that it is added to.
        budget: as `PrivacyBudget.described` gives it.
        largest_group: most training images of one patient or site.
    """
    page.section("Privacy", " ".join(privacy_sentences(budget, largest_group=largest_group)))
    page.table(
        [{"quantity": name.replace("_", " "), "value": value} for name, value in budget.items() if name not in IN_SENTENCES],
        "The budget of privacy: what was asked for (target), what this training spent (epsilon at delta), and the total.",
        key="privacy",
    )
    page.text(
        "[[privacy]]: each step took every image by a coin of its own, shortened each image's gradient and added noise to the sum, so "
        "that "
        "no image can be read off the weights with more certainty than this. Left out for its sake: range test, search, ablation, class "
        "weights and fitted heads, which look at the training images without noise, batch norm, mixup and CutMix, which mix images, and "
        "an early end; images are normalised by fixed numbers, not by their own mean. The noise and the draws are not repeatable by the "
        "seed."
    )


def add_learning(page: Page, history: TrainingHistory, key: str) -> None:
    """The curves of a training, and what they say."""
    page.figure(
        learning_curves(history),
        "Loss, accuracy and learning rate by epoch; the dotted line marks the epoch that was kept.",
        key=f"{key}-curves",
    )
    epochs = history.epochs
    page.text(
        f"[[{key}-curves]]: {curve_sentence([epoch.loss for epoch in epochs], [epoch.val_loss for epoch in epochs], history.best_epoch)}"
    )
    best = epochs[history.best_epoch - 1]
    page.text(
        f"The kept epoch has a validation accuracy of {percent(best.val_accuracy)} (training {percent(best.accuracy)}); over all "
        "epochs the "
        f"former lies between {percent(min(epoch.val_accuracy for epoch in epochs))} and "
        f"{percent(max(epoch.val_accuracy for epoch in epochs))}."
        + (
            f" It is the best of {len(epochs)} looks at the same images, so it reads a little too high; the test accuracy below does not."
            if len(epochs) > 1
            else ""
        )
    )


def add_evaluation(page: Page, task: Task, trained: TrainedModel, key: str) -> None:
    """The test split: overall, by class, by threshold, and image by image."""
    scores, classes = trained.scores, task.description.classes
    test = scores.test
    page.section(
        "What it can do",
        f"On the test split ({test.accuracy.n:,} images{test.accuracy.of_groups}), which chose nothing and was looked at once.",
    )
    page.figure(
        confusion_and_roc(test.confusion, classes, scores.roc),
        "Confusion matrix (counts) and ROC curve on the test split."
        if len(classes) <= MOST_CLASSES
        else "Confusion matrix (counts) of the classes that most errors concern, the others as one, and ROC curve on the test split.",
        key=f"{key}-roc",
    )
    page.text(
        f"[[{key}-roc]]: the accuracy is {with_interval(test.accuracy)}. {confusion_sentence(test.confusion.tolist(), classes)} "
        + threshold_sentence(scores)
    )
    page.table(
        [
            {
                "class": score.name,
                "images": score.images,
                "groups": score.recall.groups or None if score.recall else None,
                "precision": score.precision,
                "recall": score.recall.value if score.recall else None,
                "recall, 95 % interval": f"{score.recall.low:.3f} – {score.recall.high:.3f}" if score.recall else None,
                "F1": score.f1,
            }
            for score in hardest(test.classes)
        ],
        "Each class by itself on the test split."
        if len(classes) <= MOST_CLASSES
        else f"The {MOST_CLASSES} classes of the lowest recall on the test split; the facts have all.",
        key=f"{key}-classes",
    )
    recalls = {score.name: score.recall.value for score in test.classes if score.recall}
    page.text(
        f"[[{key}-classes]]: {extremes('the recall', recalls)} {_apart(test.classes)} The macro-averaged F1, in which each class counts "
        "alike, is "
        f"{test.macro_f1:.3f}; the validation split, which chose the epoch, gave {percent(scores.val.accuracy.value)}."
    )
    add_measures(page, scores.measures, key)
    _add_confidence(page, scores, key)
    _add_errors(page, task, trained, key)


def threshold_sentence(scores: FinalScores) -> str:
    """What the ROC curve adds to the accuracy."""
    if scores.auc is None:
        return "A class has no test images, so there is no area under the ROC curve."
    text = f"The area under the ROC curve is {scores.auc:.3f}: "
    if scores.test_predictions.probabilities.shape[1] != 2:
        return (
            text
            + "the mean over the classes of one against the rest. The curve drawn counts every pair of image and class as a case, so that "
            "common classes weigh more in it."
        )
    text += "the chance that a random positive image scores above a random negative one, whatever the threshold."
    measures = scores.measures.overall
    if "sensitivity_at_95" not in measures:
        return text
    reached, kept = (measures[name].value for name in ("sensitivity_at_95", "specificity_at_95"))
    return (
        f"{text} At the threshold that kept a specificity of 95 % on the validation split the sensitivity is {percent(reached)} and the "
        f"specificity {percent(kept)}: where false alarms are dear, these say more than the accuracy."
    )


def add_measures(page: Page, measured: Measured, key: str) -> None:
    """What a classifier can do beyond accuracy: overall, by class, and by level of a tag where images have tags."""
    rows = [
        {"measure": MEASURES[name], "value": found.value, "95 % interval": _interval(found)} for name, found in measured.overall.items()
    ]
    how = (
        f"intervals by drawing its {measured.groups:,} groups again"
        if any(found.low is not None for found in measured.overall.values())
        else "too few groups, or too many or too rare classes, for intervals"
    )
    page.table(rows, f"Beyond accuracy, on the test split; {how}.", key=f"{key}-measures")
    classes = measured.classes
    weakest = sorted(classes, key=lambda name: classes[name]["f1"].value if "f1" in classes[name] else 2.0)[:MOST_CLASSES]
    by_class = [{"class": name} | _shown(found, MEASURES) for name, found in classes.items() if name in weakest]
    page.table(
        by_class,
        "The same for each class against the rest."
        if len(classes) <= MOST_CLASSES
        else f"The same for each of the {MOST_CLASSES} classes of the lowest F1 against the rest; the facts have all.",
        key=f"{key}-measures-by-class",
    )
    text = f"[[{key}-measures]] and [[{key}-measures-by-class]]: "
    overall = measured.overall
    if {"auroc", "balanced_accuracy"} <= overall.keys():
        text += f"the balanced accuracy is {overall['balanced_accuracy']}, the area under the ROC curve {overall['auroc']}. "
    text += "Thresholds come from images that are not measured on, so the specificity reached is not exactly the one that was asked for."
    page.text(text)
    if measured.tags:
        levels = [{"tag": name} | _shown(found, found) for name, found in measured.tags.items()]
        page.table(levels, "By level of a tag.", key=f"{key}-measures-by-tag")
        if len(measured.tags) > 1:
            accuracies = {name: found["accuracy"].value for name, found in measured.tags.items()}
            page.text(f"[[{key}-measures-by-tag]]: {extremes('the accuracy', accuracies)}")


def _shown(found: Mapping[str, Measure], names: Iterable[str]) -> dict[str, object]:
    return {name.replace("_", " "): str(found[name]) for name in names if name in found}


def _interval(found: Measure) -> str | None:
    return None if found.low is None else f"{found.low:.3f} – {found.high:.3f}"


def _apart(classes: Sequence[ClassScore]) -> str:
    known = sorted((score.recall for score in classes if score.recall), key=lambda recall: recall.value)
    if len(known) < 2 or known[0].value == known[-1].value:
        return ""
    if known[-1].low > known[0].high:
        return "Their intervals do not overlap: the weaker class is weaker by more than chance."
    return "Their intervals overlap: at this number of images the order of the two may be chance."


def _add_confidence(page: Page, scores: FinalScores, key: str) -> None:
    predictions = scores.test_predictions
    confidence, right = predictions.confidences, predictions.right
    page.figure(
        confidence_histogram(confidence, right),
        "Confidence of the answers on the test split, right and wrong ones.",
        key=f"{key}-confidence",
    )
    page.text(f"[[{key}-confidence]]: {confidence_sentence(confidence, right, scores.test.accuracy)}{naming_sentence(predictions)}")


def confidence_sentence(confidence: np.ndarray, right: np.ndarray, accuracy: Proportion) -> str:
    """Whether confidence tells right answers from wrong ones, and whether it promises too much, beyond what chance does to the accuracy."""
    mean = float(confidence.mean())
    gap = mean - accuracy.value
    apart = f"{100 * abs(gap):.1f} points {'more' if gap > 0 else 'less'} than the accuracy"
    if abs(gap) < 0.01:
        promise = "which promises as much as it keeps, to a point"
    elif accuracy.low <= mean <= accuracy.high:
        promise = f"{apart} and within its interval: so many images do not show that it promises too {'much' if gap > 0 else 'little'}"
    else:
        promise = f"{apart}: it is {'over' if gap > 0 else 'under'}confident"
    text = f"The mean confidence is {percent(mean)}, {promise}."
    if right.all() or not right.any():
        return text
    sure = confidence >= 0.9
    text += (
        f" Right answers have {percent(float(confidence[right].mean()))} on average, wrong ones "
        f"{percent(float(confidence[~right].mean()))}."
    )
    if sure.any():
        text += (
            f" Of the {int(sure.sum()):,} answers with at least 90 % confidence, {percent(float(right[sure].mean()))} are right; "
            "leaving the "
            f"other {int((~sure).sum()):,} to a person would keep {int((~right & sure).sum()):,} of {int((~right).sum()):,} errors."
        )
    return text


def naming_sentence(predictions: SplitPredictions) -> str:
    """Why an answer may have a small confidence; empty where each is the most probable class."""
    others = int((predictions.named != predictions.probabilities.argmax(axis=1)).sum())
    if not others:
        return ""
    return (
        f" Another class than the most probable one is named by {others:,} of {len(predictions.labels):,} answers: every class counts "
        "alike (`train_config.class_weights`), and confidence is the probability of the class that is named, which may be small for a "
        "rare one."
    )


def confidence_histogram(confidence: np.ndarray, right: np.ndarray) -> Figure:
    """How many answers have which confidence; wrong ones stand on top."""
    figure, (axis,) = axes(7.0, 2.3)
    edges = np.linspace(1 / 2 if confidence.min() >= 0.5 else 0, 1, CONFIDENCE_BINS + 1).tolist()
    axis.hist([confidence[right], confidence[~right]], bins=edges, stacked=True, color=[PALETTE[0], PALETTE[3]], label=["right", "wrong"])
    axis.axvline(float(confidence.mean()), color=MUTED, linestyle=":", label="mean")
    axis.set(xlabel="confidence", ylabel="images")
    axis.legend(loc="upper left")
    return figure


def _add_errors(page: Page, task: Task, trained: TrainedModel, key: str) -> None:
    predictions = trained.scores.test_predictions
    worst = predictions.surest_errors(SHOWN_ERRORS)
    if not len(worst):
        page.text("There is no error to show.")
        return
    classes = task.description.classes
    images = np.array(open_split(task.description, TEST).images[worst])
    looked = saliency_of(
        trained.network,
        images,
        mean=task.description.mean,
        std=task.description.std,
        device=task.device,
        class_shares=task.class_shares,
    )
    pictures, captions = [], []
    for row, image, fall, confidence in zip(worst, images, looked.fall, looked.confidence, strict=True):
        pictures += [image, overlaid(image, fall)]
        captions += [predictions.described_error(row, classes), f"{confidence:.2f} → {confidence - max(0.0, fall.max()):.2f}"]
    page.gallery(
        pictures,
        captions,
        "Errors of which the model was surest, with its confidence. Beside each, in red, where covering a patch lowers that confidence, "
        "and from what to what at most.",
        key=f"{key}-errors",
    )
    page.text(
        f"[[{key}-errors]] are worth a person's look: where the label turns out to be wrong, the data have to be mended; where the "
        "image shows too "
        "little, no model will do; where neither is so, this is what the next model has to learn. "
        f"They are {len(worst)} of {int((~predictions.right).sum()):,} errors, the surest of which has a confidence of "
        f"{predictions.confidences[worst[0]]:.2f}."
    )
    page.text(saliency_sentence(looked))


def saliency_sentence(looked: Saliency) -> str:
    """What covering patches says of these answers."""
    count, changed, edge = len(looked.fall), int(looked.changed.sum()), int(looked.at_the_edge.sum())
    text = f"Covering the one patch that matters most changes the answer for {changed} of these {count} images [[cite:zeiler2014]]"
    text += "." if changed else ": what misleads the network is spread over the image."
    text += " The cover has the mean colour of the training images, and may look like a finding itself."
    if stats.binom.sf(edge - 1, count, EDGE_SHARE) < 0.05:
        text += (
            f" For {edge} of them it touches the edge of the image, more than by chance: where what is to be recognised lies inside, look "
            "for a marker, a border or a text there."
        )
    return text


def score_numbers(trained: TrainedModel, facts: dict[str, Any]) -> dict[str, float]:
    """What the synthesis compares models by, beside what the facts say."""
    costs = {"parameters": float(facts["parameters"]), "seconds": float(facts["seconds"])}
    return costs | compared_numbers(trained.scores.measures)


def compared_numbers(measured: Measured) -> dict[str, float]:
    """The measures by which models are compared, by the names of `COMPARED`; what is not defined is not there."""
    return {name: measured.overall[own].value for name, own in COMPARED.items() if own in measured.overall}
