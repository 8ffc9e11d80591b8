"""What the retrained bundle says of itself: its description, with its parent, and its model card."""

import re
from pathlib import Path
from typing import Any

from components.automated_retraining.fine_tuning import Course, Epoch
from driftloop import bundle
from driftloop.bundle import ModelDescription
from driftloop.dataset import Description
from driftloop.evaluation.intervals import Proportion, wilson
from driftloop.training.outcome import library_versions

HEADING = "## Retraining"


def describe_model(
    champion: ModelDescription, dataset: Description, course: Course, *, parent: str, seed: int, training: dict[str, Any]
) -> ModelDescription:
    """`model.json` of the retrained model: the champion's, with its own dataset, metrics, seed and parent; not exported yet.

    The clean test split is the gate's: accuracy is given on the validation splits only.

    Args:
        champion: what it was fine-tuned from; input size, mean and std stay as they are.
        dataset: what it was fine-tuned on.
        course: of the fine-tuning.
        parent: version of the champion.
        seed: of the fine-tuning.
        training: the configuration.
    """
    counts = dataset.counts
    return champion.model_copy(
        update={
            "dataset": dataset.manifest_hash,
            "seed": seed,
            "training": training | {"best_epoch": course.best_epoch},
            "metrics": {
                "val_accuracy": _share(course.after.clean_accuracy, counts["val"]),
                "drifted_val_accuracy": _share(course.after.drifted_accuracy, counts["drifted_val"]),
            },
            "libraries": library_versions(),
            "parent": parent,
            "served": "",
            "temperature": 1.0,
        }
    )


def with_retraining(champion: str | Path, model: ModelDescription, course: Course) -> str:
    """The card of the champion's bundle with a Retraining section in place of any older one."""
    path = Path(champion, bundle.CARD)
    card = path.read_text(encoding="utf-8") if path.exists() else f"# Model card\n\n`{model.architecture}`.\n"
    kept = re.sub(rf"^{HEADING}\n.*?(?=^## |\Z)", "", card, flags=re.MULTILINE | re.DOTALL).rstrip()
    lines = [
        HEADING,
        "",
        f"Fine-tuned from version {model.parent} on dataset `{model.dataset[:12]}`, epoch {course.best_epoch} of {len(course.epochs)}; "
        "everything above this section is about the model it started from.",
        "",
        "| | clean validation | drifted validation |",
        "|---|---|---|",
        _line("before", course.before),
        _line("after", course.after),
    ]
    return f"{kept}\n\n" + "\n".join(lines) + "\n"


def _line(name: str, epoch: Epoch) -> str:
    return f"| {name} | {epoch.clean_accuracy:.3f} | {epoch.drifted_accuracy:.3f} |"


def _share(accuracy: float, n: int) -> Proportion:
    return wilson(round(accuracy * n), n)
