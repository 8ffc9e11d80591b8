"""What a retraining reports: its facts, its metrics, its lines in the log."""

from dataclasses import asdict
from typing import Any

import numpy as np

from components.automated_retraining.drifted_images import DriftedImages
from components.automated_retraining.fine_tuning import FineTuningEpoch, FineTuningResult
from components.automated_retraining.grown_dataset import GrownDataset, in_regime, regimes
from driftloop.contracts import DRIFTED_GATE, DRIFTED_SPLITS, DRIFTED_TRAIN, MOST_REGIMES, RANDOM, RECENT_GATE, REGIME_WINDOWS, TRAIN
from driftloop.dataset.roles import count_labels
from driftloop.plurals import counted
from driftloop.runtime import MetricsLog
from driftloop.training.privacy import PRIVACY


def retraining_facts(
    grown: GrownDataset, drifted: DriftedImages, result: FineTuningResult, *, training: dict[str, Any], device: str, seconds: float
) -> dict[str, Any]:
    """The step's facts, as JSON takes them.

    Args:
        grown: the dataset.
        drifted: what it grew by.
        result: of the fine-tuning.
        training: the configuration.
        device: that it was trained on.
        seconds: the whole step took.
    """
    rows, roles = drifted.rows, drifted.roles
    regime_rows, head_only = int(in_regime(roles).sum()), training["layer_decay"] == 0
    return {
        "mix": {
            "drifted_share": training["drifted_share"],
            "old": grown.dataset.counts[TRAIN],
            "drifted": grown.dataset.counts[DRIFTED_TRAIN],
            "restyle_share": training["restyle_share"],
        },
        "counts": grown.dataset.counts,
        "added": count_labels(roles) | ({grown.regime: regime_rows} if grown.regime else {}),
        "origins": {str(origin): int(n) for origin, n in rows.loc[np.isin(roles, DRIFTED_SPLITS), "origin"].value_counts().items()},
        "regimes": regimes(grown.dataset),
        "dropped_regimes": list(grown.dropped),
        "val_before": validation_accuracies(result.before),
        "val_after": validation_accuracies(result.after),
        "history": [asdict(epoch) for epoch in result.epochs],
        "best_epoch": result.best_epoch,
        "epochs": len(result.epochs),
        "stopped_early": len(result.epochs) < training["epochs"],
        "learning_rate": training["learning_rate"],
        "output_offsets": [round(offset, 6) for offset in result.offsets],
        "head_only": head_only,
        PRIVACY: training.get(PRIVACY),
        "batch_norm": "running statistics stay"
        if head_only or training["keep_statistics"]
        else "group norm, which has no running statistics"
        if PRIVACY in training
        else "running statistics go on learning from the mixed batches",
        "device": device,
        "resumed": result.resumed_after > 0,
        "resumed_after_epoch": result.resumed_after,
        "notes": notes(grown, drifted),
        "seconds": round(seconds, 1),
    }


def validation_accuracies(epoch: FineTuningEpoch) -> dict[str, float]:
    """Accuracy on both validation splits."""
    return {"clean": epoch.clean_accuracy, "drifted": epoch.drifted_accuracy}


def notes(grown: GrownDataset, drifted: DriftedImages) -> list[str]:
    """What a reader should know about the data, a sentence each."""
    rows, roles, unknown = drifted.rows, drifted.roles, drifted.unknown_labels
    sentences = []
    if drifted.hold_out == RECENT_GATE and not drifted.wanted_groups:
        sentences.append("the calendar asked and no drift was confirmed: the images are of accepted kinds, and no reference begins")
    elif drifted.regime_groups < drifted.wanted_groups or not drifted.regime_groups:
        sentences.append(
            f"{drifted.regime_groups:,} groups of the confirmed windows could become a reference, {drifted.wanted_groups:,} are the least "
            f"({REGIME_WINDOWS} windows): there is none, and the same drift will alarm again"
        )
    labelled = rows["label"].to_numpy() >= 0
    chosen = int((labelled & (rows["origin"] != RANDOM).to_numpy() & np.isin(roles, DRIFTED_SPLITS)).sum())
    if chosen:
        only = "only trains" if chosen == 1 else "only train"
        sentences.append(f"{counted(chosen, 'label was', 'labels were')} not drawn at random (ranked or imported) and {only}")
    unused = int((labelled & ~np.isin(roles, DRIFTED_SPLITS)).sum())
    if unused:
        sentences.append(
            f"{unused} labelled images do not train: they stand for what is accepted, their patient is held out, or the dataset has them"
        )
    if unknown:
        names = ", ".join(sorted(unknown))
        sentences.append(
            f"{counted(sum(unknown.values()), 'image is', 'images are')} labelled {names}, which this model does not know: left out"
        )
    if grown.dropped:
        sentences.append(
            f"{', '.join(grown.dropped)} is given up: a model carries at most {MOST_REGIMES} references; its drift will alarm again"
        )
    return sentences


def log_metrics(facts: dict[str, Any], metrics: MetricsLog) -> None:
    """The figures that KFP's UI lists and compares between runs."""
    for when in ("before", "after"):
        for split, value in facts[f"val_{when}"].items():
            metrics.log_metric(f"{split}_val_accuracy_{when}", value)
    for name, count in facts["added"].items():
        metrics.log_metric(f"images_{name}", count)
    metrics.log_metric("epochs", facts["epochs"])
    metrics.log_metric("best_epoch", facts["best_epoch"])


def epoch_curves(epoch: FineTuningEpoch) -> dict[str, float | dict[str, float]]:
    """An epoch for TensorBoard: training and both validation splits side by side."""
    return {
        "loss": {"train": epoch.loss, "clean": epoch.clean_loss, "drifted": epoch.drifted_loss},
        "accuracy": {"clean": epoch.clean_accuracy, "drifted": epoch.drifted_accuracy},
        "seconds": epoch.seconds,
    }


def epoch_line(epoch: FineTuningEpoch) -> str:
    """An epoch in a few words."""
    return f"epoch {epoch.epoch}: validation {epoch.clean_accuracy:.3f} clean, {epoch.drifted_accuracy:.3f} drifted"


def summary_line(facts: dict[str, Any]) -> str:
    """The step in one line; a regime that is forgotten is said here, too, as its drift will alarm again."""
    forgotten = f"; {', '.join(facts['dropped_regimes'])} is forgotten" if facts["dropped_regimes"] else ""
    before, after, added = facts["val_before"], facts["val_after"], facts["added"]
    return (
        f"drifted validation {before['drifted']:.3f} -> {after['drifted']:.3f}, clean {before['clean']:.3f} -> {after['clean']:.3f} "
        f"({added[DRIFTED_TRAIN]} drifted images trained, {added[DRIFTED_GATE]} kept for the gate){forgotten}"
    )
