"""What the retrained bundle says of itself: its description, with its parent, and its model card."""

from typing import Any

from components.automated_retraining.fine_tuning import FineTuningEpoch, FineTuningResult
from driftloop.bundle import ModelDescription
from driftloop.contracts import DRIFTED_VAL, VAL
from driftloop.dataset import Description
from driftloop.evaluation.intervals import Proportion, wilson
from driftloop.training.model_card import how_it_was_trained, limits, what_it_is
from driftloop.training.outcome import library_versions
from driftloop.training.privacy import PRIVACY, privacy_sentences


def describe_retrained(
    champion: ModelDescription, dataset: Description, result: FineTuningResult, *, parent: str, seed: int, training: dict[str, Any]
) -> ModelDescription:
    """`model.json` of the retrained model: the champion's, with its own dataset, metrics, seed and parent; not exported yet.

    The clean test split is the gate's: accuracy is given on the validation splits only.

    Args:
        champion: what it was fine-tuned from; input size, mean and std stay as they are.
        dataset: what it was fine-tuned on.
        result: of the fine-tuning.
        parent: version of the champion.
        seed: of the fine-tuning.
        training: the configuration.
    """
    counts = dataset.counts
    return champion.model_copy(
        update={
            "dataset": dataset.manifest_hash,
            "seed": seed,
            "training": training | {"best_epoch": result.best_epoch},
            "metrics": {
                "val_accuracy": _share(result.after.clean_accuracy, counts[VAL]),
                "drifted_val_accuracy": _share(result.after.drifted_accuracy, counts[DRIFTED_VAL]),
            },
            "libraries": library_versions(),
            "parent": parent,
            "served": "",
            "temperature": 1.0,
        }
    )


def retrained_card(model: ModelDescription, result: FineTuningResult) -> str:
    """The card of the retrained model. What its parent was measured to do stands on its parent's card, under that version."""
    lines = [
        "# Retrained model",
        "",
        *what_it_is(model),
        "",
        "## Retraining",
        "",
        f"Fine-tuned from version {model.parent} on dataset `{model.dataset[:12]}`, epoch {result.best_epoch} of {len(result.epochs)}. "
        "The clean test split and the drifted hold-out are the gate's: its decision says what they showed.",
        "",
        "| accuracy | clean validation | drifted validation |",
        "|---|---|---|",
        _line(f"version {model.parent}", result.before),
        _line("this model", result.after),
        "",
        *how_it_was_trained(model),
        "",
        *limits(
            [
                *(privacy_sentences(model.training[PRIVACY]) if PRIVACY in model.training else []),
                "It stands for the traffic of the drift that it learned, too; the next drift is another one.",
            ]
        ),
    ]
    return "\n".join(lines) + "\n"


def _line(name: str, epoch: FineTuningEpoch) -> str:
    return f"| {name} | {epoch.clean_accuracy:.3f} | {epoch.drifted_accuracy:.3f} |"


def _share(accuracy: float, n: int) -> Proportion:
    return wilson(round(accuracy * n), n)
