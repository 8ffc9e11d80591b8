"""The model card, in Markdown that KFP's UI shows: what the model is, what it was measured to do, and what it is not for."""

from collections.abc import Sequence

from driftloop.bundle import ModelDescription
from driftloop.evaluation.classification import MOST_CLASSES, ClassScore, Evaluation, condensed, hardest


def model_card(
    title: str, model: ModelDescription, test: Evaluation, *, auc: float | None, counts: dict[str, int], source: str, notes: Sequence[str]
) -> str:
    """A card after Mitchell et al. (2019), of what this run knows and nothing else.

    Args:
        title: the heading.
        model: of the bundle that the card goes with.
        test: on the clean test split.
        auc: area under the ROC curve there, or None.
        counts: images by split.
        source: where the images come from.
        notes: sentences that belong to this model alone.
    """
    matrix, names = condensed(test.confusion, model.classes)
    many = len(model.classes) > MOST_CLASSES
    method = f"Wilson{', widened since images come in groups' if test.accuracy.of_groups else ''}"
    lines = [
        f"# {title}",
        "",
        *what_it_is(model),
        "",
        "## Measured",
        "",
        f"On the test split, {test.accuracy.n:,} images{test.accuracy.of_groups} that chose nothing, looked at once:",
        "",
        "| | |",
        "|---|---|",
        f"| accuracy | {test.accuracy.value:.3f} (95 % interval {test.accuracy.low:.3f} to {test.accuracy.high:.3f}, {method}) |",
        f"| macro F1 | {test.macro_f1:.3f} |",
        f"| area under the ROC curve{'' if len(model.classes) == 2 else ' (one against the rest, mean)'} | {_figure(auc)} |",
        f"| accuracy on the validation split, which chose the epoch | {model.metrics['val_accuracy']} |",
        "",
        "| class | images | precision | recall (95 % interval) | F1 |",
        "|---|---|---|---|---|",
        *(_class_row(score) for score in hardest(test.classes)),
        "",
        *([f"These are the {MOST_CLASSES} classes of the lowest recall; below, those that most errors concern.", ""] if many else []),
        "Rows are the true classes, columns the predicted ones:",
        "",
        f"| | {' | '.join(map(_escaped, names))} |",
        "|---" * (len(names) + 1) + "|",
        *(
            f"| **{_escaped(name)}** | {' | '.join(str(count) for count in row)} |"
            for name, row in zip(names, matrix.tolist(), strict=True)
        ),
        "",
        "## Data",
        "",
        f"Source: {_escaped(source)}; dataset `{model.dataset[:12]}`; "
        + ", ".join(f"{split} {count:,}" for split, count in counts.items())
        + " images. Splits are by group (patient, site): nobody is on two sides.",
        "",
        *how_it_was_trained(model),
        "",
        *limits(notes),
    ]
    return "\n".join(lines) + "\n"


def what_it_is(model: ModelDescription) -> list[str]:
    """What goes in and what comes out."""
    named, more = ", ".join(model.classes[:MOST_CLASSES]), len(model.classes) - MOST_CLASSES
    size = f", {model.training['parameters']:,} parameters" if "parameters" in model.training else ""
    return [
        f"An image classifier: `{model.architecture}`{size}. In: "
        f"{'grey' if model.channels == 1 else 'colour'} images of {model.image_size} x {model.image_size} pixels. "
        f"Out: one of {len(model.classes)} classes ({named}{f' and {more} more: model.json' if more > 0 else ''})."
    ]


def how_it_was_trained(model: ModelDescription) -> list[str]:
    """The section about the training."""
    training = {name: value for name, value in model.training.items() if value not in ("", [], None)}
    return [
        "## Training",
        "",
        *(f"- {name.replace('_', ' ')}: {_escaped(str(value))}" for name, value in training.items()),
        f"- seed: {model.seed}; made with {', '.join(f'{name} {version}' for name, version in model.libraries.items())}",
    ]


def limits(notes: Sequence[str]) -> list[str]:
    """The section about what the model is not for: `notes` of its own, and what is true of each."""
    return [
        "## Limits",
        "",
        *(f"- {note}" for note in notes),
        "- The figures hold for images like those of the source, not for another device or site: the drift watch is there to notice.",
        "- Not a medical device, and not evaluated as one: no decision about a person may rest on it.",
    ]


def _class_row(score: ClassScore) -> str:
    recall = "–" if score.recall is None else f"{score.recall.value:.3f} ({score.recall.low:.3f} to {score.recall.high:.3f})"
    groups = score.recall.of_groups if score.recall else ""
    return f"| {_escaped(score.name)} | {score.images:,}{groups} | {score.precision:.3f} | {recall} | {score.f1:.3f} |"


def _figure(value: float | None) -> str:
    return "– (a class without test images)" if value is None else f"{value:.3f}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
