"""A classifier against the labels: accuracy with its interval, and each class by itself. Needs NumPy and SciPy only."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from driftloop.evaluation.intervals import Proportion, wilson


@dataclass(frozen=True)
class ClassScore:
    """One class: of the images predicted so, the share that is (`precision`); of those that are, the share predicted so (`recall`).

    Precision is 0 where nothing was predicted so; recall is None, and F1 is 0, where the class has no images.
    """

    name: str
    precision: float
    recall: Proportion | None
    f1: float
    images: int

    def described(self) -> dict[str, Any]:
        """The score as JSON takes it."""
        recall = self.recall.model_dump() if self.recall else None
        return {"name": self.name, "precision": self.precision, "recall": recall, "f1": self.f1, "images": self.images}


@dataclass(frozen=True)
class Evaluation:
    """`confusion` counts images, int64 (K, K): rows are true classes, columns predicted ones. Macro F1 is over classes with images."""

    accuracy: Proportion
    macro_f1: float
    classes: list[ClassScore]
    confusion: np.ndarray


def evaluate(probabilities: np.ndarray, labels: np.ndarray, classes: list[str]) -> Evaluation:
    """Hold predictions against labels; the predicted class is the most probable one.

    Args:
        probabilities: (N, K), any scores whose largest marks the predicted class.
        labels: int (N,), in 0..K-1.
        classes: the K names.

    Raises:
        ValueError: no images, shapes that do not fit, a label outside 0..K-1, or a non-finite score.
    """
    probabilities, labels = np.asarray(probabilities), np.asarray(labels)
    if probabilities.shape != (len(labels), len(classes)) or not len(labels):
        raise ValueError(f"evaluate: needs scores ({len(labels)}, {len(classes)}) for at least one image, got {probabilities.shape}")
    if not np.isfinite(probabilities).all():
        raise ValueError(f"evaluate: image {int(np.flatnonzero(~np.isfinite(probabilities).all(1))[0])} has a score that is not a number")
    confusion = confusion_matrix(labels, probabilities.argmax(1), len(classes))
    scores = [_score(name, index, confusion) for index, name in enumerate(classes)]
    present = [score.f1 for score in scores if score.images]
    return Evaluation(wilson(int(np.trace(confusion)), len(labels)), float(np.mean(present)), scores, confusion)


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts int64 (K, K): rows are true classes, columns predicted ones.

    Raises:
        ValueError: a class number outside 0..K-1.
    """
    for name, numbers in (("label", labels), ("prediction", predicted)):
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < classes:
            raise ValueError(f"confusion_matrix: a {name} lies outside 0..{classes - 1}")
    return np.bincount(labels.astype(np.int64) * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def _score(name: str, index: int, confusion: np.ndarray) -> ClassScore:
    hits, images, predicted = int(confusion[index, index]), int(confusion[index].sum()), int(confusion[:, index].sum())
    precision = hits / predicted if predicted else 0.0
    f1 = 2 * hits / (images + predicted) if images else 0.0
    return ClassScore(name, precision, wilson(hits, images) if images else None, f1, images)
