"""Model metrics: what the champion answers, how sure it is, and how often it is right where the truth is known."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from driftloop.evaluation.intervals import Proportion, wilson
from driftloop.inference.labels import RANDOM
from driftloop.inference.window import LABEL, LABEL_ORIGIN

#: Equal-width bins of the calibration error, as in Guo et al. (2017).
BINS = 15


@dataclass(frozen=True)
class ModelMetrics:
    """Of the fresh, answered requests. `class_shares` and `mean_confidence` need no labels (empty and None without requests).

    `accuracy` and `calibration_error` rest on the uniformly random labels of this window alone: images picked for being odd would
    make the model look worse than it is. None without such labels. `labelled` counts labels of every origin.
    """

    class_shares: dict[str, float]
    mean_confidence: float | None
    labelled: int
    accuracy: Proportion | None
    class_accuracy: dict[str, Proportion]
    calibration_error: float | None


def model_metrics(rows: pd.DataFrame, classes: list[str]) -> ModelMetrics:
    """The metrics of answered requests.

    Args:
        rows: predicted, confidence, label and label_origin.
        classes: the champion's; a label that is none of them counts as an error.
    """
    labelled = rows[rows[LABEL_ORIGIN] == RANDOM]
    right = (labelled["predicted"] == labelled[LABEL]).to_numpy()
    by_class = {name: right[(labelled[LABEL] == name).to_numpy()] for name in classes}
    return ModelMetrics(
        class_shares=class_shares(rows["predicted"], classes),
        mean_confidence=float(rows["confidence"].mean()) if len(rows) else None,
        labelled=int(rows[LABEL].notna().sum()),
        accuracy=wilson(int(right.sum()), len(right)) if len(right) else None,
        class_accuracy={name: wilson(int(hits.sum()), len(hits)) for name, hits in by_class.items() if len(hits)},
        calibration_error=calibration_error(labelled["confidence"].to_numpy(dtype=float), right) if len(right) else None,
    )


def class_shares(predicted: pd.Series, classes: list[str]) -> dict[str, float]:
    """The share of each class among the predictions; empty without predictions."""
    if not len(predicted):
        return {}
    return {name: float((predicted == name).mean()) for name in classes}


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error (Naeini et al. 2015): mean over equal-width bins of |accuracy - confidence|, weighted by size.

    Args:
        confidence: (N,) in [0, 1], N >= 1.
        right: (N,) bool.
        bins: at least 1.
    """
    number = np.minimum((confidence * bins).astype(int), bins - 1)
    gap = np.bincount(number, weights=right - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))
