"""What a retraining has to say: its facts, its metrics, its one line."""

from dataclasses import asdict
from typing import Any

import numpy as np

from components.automated_retraining.drifted_images import Drifted
from components.automated_retraining.fine_tuning import Course, Epoch
from components.automated_retraining.grown_dataset import Grown, regimes
from components.automated_retraining.roles import LABELLED, REGIME
from driftloop.inference.labels import RANDOM
from driftloop.runtime import MetricsLog

#: A regime should have this many times the rows of the windows that will be compared with it.
REGIME_WINDOWS = 4


def findings(grown: Grown, drifted: Drifted, course: Course, *, training: dict[str, Any], device: str, seconds: float) -> dict[str, Any]:
    """The step's facts, as JSON takes them.

    Args:
        grown: the dataset.
        drifted: what it grew by.
        course: of the fine-tuning.
        training: the configuration.
        device: that it was trained on.
        seconds: the whole step took.
    """
    rows, sides = drifted.rows, drifted.sides
    regime_rows = int((sides == REGIME).sum())
    return {
        "mix": {
            "drifted_share": training["drifted_share"],
            "old": grown.dataset.counts["train"],
            "drifted": grown.dataset.counts["drifted_train"],
            "restyle_share": training["restyle_share"],
        },
        "counts": grown.dataset.counts,
        "added": {side: int((sides == side).sum()) for side in LABELLED} | ({grown.regime: regime_rows} if grown.regime else {}),
        "origins": {str(origin): int(n) for origin, n in rows.loc[np.isin(sides, LABELLED), "origin"].value_counts().items()},
        "regimes": regimes(grown.dataset),
        "dropped_regimes": list(grown.dropped),
        "val_before": accuracies(course.before),
        "val_after": accuracies(course.after),
        "history": [asdict(epoch) for epoch in course.epochs],
        "best_epoch": course.best_epoch,
        "epochs": len(course.epochs),
        "stopped_early": len(course.epochs) < training["epochs"],
        "learning_rate": training["learning_rate"],
        "output_offsets": [round(offset, 6) for offset in course.offsets],
        "batch_norm": "running statistics go on learning from the mixed batches",
        "device": device,
        "resumed": course.resumed_after > 0,
        "resumed_after_epoch": course.resumed_after,
        "notes": notes(grown, drifted),
        "seconds": round(seconds, 1),
    }


def accuracies(epoch: Epoch) -> dict[str, float]:
    """Accuracy on both validation splits."""
    return {"clean": epoch.clean_accuracy, "drifted": epoch.drifted_accuracy}


def notes(grown: Grown, drifted: Drifted) -> list[str]:
    """What a reader should know about the data, a sentence each."""
    rows, sides, unknown, window_rows = drifted.rows, drifted.sides, drifted.unknown, drifted.window_rows
    said = []
    regime_rows, wanted = int((sides == REGIME).sum()), REGIME_WINDOWS * window_rows
    if regime_rows < wanted:
        said.append(
            f"{regime_rows} unlabelled rows of the confirmed windows become a reference; {wanted} would be needed to judge windows of "
            f"{window_rows} rows, smaller ones will be judged instead"
            if regime_rows
            else "no unlabelled row of the confirmed windows is left to become a reference: the same drift will alarm again"
        )
    labelled = rows["label"].to_numpy() >= 0
    chosen = int((labelled & (rows["origin"] != RANDOM).to_numpy() & np.isin(sides, LABELLED)).sum())
    if chosen:
        said.append(f"{chosen} labels were not drawn at random (ranked or imported) and only train")
    unused = int((labelled & ~np.isin(sides, LABELLED)).sum())
    if unused:
        said.append(f"{unused} labelled images are left out: their patient is held out, or the dataset has them already")
    if unknown:
        said.append(f"{sum(unknown.values())} images are labelled {', '.join(sorted(unknown))}, which this model does not know: left out")
    if grown.dropped:
        said.append(f"{', '.join(grown.dropped)} is given up: a model carries three references at most")
    return said


def log_metrics(found: dict[str, Any], metrics: MetricsLog) -> None:
    """The figures that KFP's UI lists and compares between runs."""
    for when in ("before", "after"):
        for split, value in found[f"val_{when}"].items():
            metrics.log_metric(f"{split}_val_accuracy_{when}", value)
    for name, count in found["added"].items():
        metrics.log_metric(f"images_{name}", count)
    metrics.log_metric("epochs", found["epochs"])
    metrics.log_metric("best_epoch", found["best_epoch"])


def say(epoch: Epoch) -> str:
    """An epoch in a few words."""
    return f"epoch {epoch.epoch}: validation {epoch.clean_accuracy:.3f} clean, {epoch.drifted_accuracy:.3f} drifted"


def summary(found: dict[str, Any]) -> str:
    """The step in one line."""
    before, after, added = found["val_before"], found["val_after"], found["added"]
    return (
        f"drifted validation {before['drifted']:.3f} -> {after['drifted']:.3f}, clean {before['clean']:.3f} -> {after['clean']:.3f} "
        f"({added['drifted_train']} drifted images trained, {added['drifted_gate']} kept for the gate)"
    )
