"""A classifier against the labels: accuracy with its interval, and each class by itself. Needs NumPy and SciPy only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from driftloop.evaluation.clustered import proportion_right
from driftloop.evaluation.intervals import Proportion

#: Of more classes than this a table shows the hardest, and a confusion matrix those that errors concern most.
MOST_CLASSES, MOST_CONFUSED = 20, 12


@dataclass(frozen=True)
class ClassScore:
    """How well one class is told from the others."""

    name: str
    """of the class"""
    precision: float
    """of the images predicted as this class, the share that is; 0 where there are none"""
    recall: Proportion | None
    """of the images of this class, the share predicted as such; None where there are none"""
    f1: float
    """harmonic mean of the two; 0 where the class has no images"""
    images: int
    """of this class"""

    def described(self) -> dict[str, Any]:
        """The score as JSON takes it."""
        recall = self.recall.model_dump() if self.recall else None
        return {"name": self.name, "precision": self.precision, "recall": recall, "f1": self.f1, "images": self.images}


@dataclass(frozen=True)
class Evaluation:
    """A classifier's predictions held against the labels."""

    accuracy: Proportion
    """share of images with the right class"""
    macro_f1: float
    """mean F1 over the classes that have images"""
    classes: list[ClassScore]
    """each class by itself"""
    confusion: np.ndarray
    """numbers of images, int64 (K, K): rows are true classes, columns predicted ones"""


def named_classes(probabilities: np.ndarray, shares: Sequence[float] = ()) -> np.ndarray:
    """The class that each image is called, int64 (N,).

    Without `shares` it is the most probable one, which makes the fewest errors: of a rare class it names next to none. Where classes
    count alike, however many images each has, it is the one whose probability is highest against its share (Menon et al. 2021).

    Args:
        probabilities: (N, K).
        shares: of the K classes, all above 0; none where images count alike.
    """
    named: np.ndarray = (probabilities / np.asarray(shares) if len(shares) else probabilities).argmax(axis=1)
    return named


def probability_of(named: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The probability of the class that each image is called: of `named` (N,), from (N, K)."""
    return np.take_along_axis(probabilities, named[:, None], axis=1)[:, 0]


def evaluate(
    probabilities: np.ndarray,
    labels: np.ndarray,
    classes: list[str],
    groups: np.ndarray | None = None,
    shares: Sequence[float] = (),
) -> Evaluation:
    """Hold predictions against labels; the predicted class is that of `named_classes`.

    Args:
        probabilities: (N, K), or any scores where no `shares` are given.
        labels: int (N,), in 0..K-1.
        classes: the K names.
        groups: (N,), the patient or lot of each image, which widens the intervals; None where each stands for itself.
        shares: as for `named_classes`.

    Raises:
        ValueError: no images, shapes that do not fit, a label outside 0..K-1, or a non-finite score.
    """
    probabilities, labels = np.asarray(probabilities), np.asarray(labels)
    if probabilities.shape != (len(labels), len(classes)) or not len(labels):
        raise ValueError(f"evaluate: needs scores ({len(labels)}, {len(classes)}) for at least one image, got {probabilities.shape}")
    if not np.isfinite(probabilities).all():
        raise ValueError(f"evaluate: image {int(np.flatnonzero(~np.isfinite(probabilities).all(1))[0])} has a score that is not a number")
    predicted = named_classes(probabilities, shares)
    confusion, right = confusion_matrix(labels, predicted, len(classes)), predicted == labels

    def share(rows: np.ndarray) -> Proportion | None:
        return proportion_right(right[rows], None if groups is None else groups[rows]) if rows.any() else None

    scores = [_score(name, index, confusion, share(labels == index)) for index, name in enumerate(classes)]
    present = [score.f1 for score in scores if score.images]
    return Evaluation(proportion_right(right, groups), float(np.mean(present)), scores, confusion)


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts int64 (K, K): rows are true classes, columns predicted ones.

    Raises:
        ValueError: a class number outside 0..K-1.
    """
    for name, numbers in (("label", labels), ("prediction", predicted)):
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < classes:
            raise ValueError(f"confusion_matrix: a {name} lies outside 0..{classes - 1}")
    return np.bincount(labels.astype(np.int64) * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def _score(name: str, index: int, confusion: np.ndarray, recall: Proportion | None) -> ClassScore:
    hits, images, predicted = int(confusion[index, index]), int(confusion[index].sum()), int(confusion[:, index].sum())
    precision = hits / predicted if predicted else 0.0
    f1 = 2 * hits / (images + predicted) if images else 0.0
    return ClassScore(name, precision, recall, f1, images)


def hardest(scores: Sequence[ClassScore]) -> list[ClassScore]:
    """The `MOST_CLASSES` classes with images of the lowest recall, in the order of the classes; all where there are no more."""
    if len(scores) <= MOST_CLASSES:
        return list(scores)
    order = sorted(range(len(scores)), key=lambda index: recall.value if (recall := scores[index].recall) else 2.0)
    return [scores[index] for index in sorted(order[:MOST_CLASSES])]


def condensed(confusion: np.ndarray, classes: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """A confusion matrix (K, K) that can be read, and the names of its rows.

    Of more than `MOST_CLASSES` classes the `MOST_CONFUSED` stay that take part in most errors, and all others become one, the last: what
    lies on its diagonal may be errors among them.
    """
    if len(classes) <= MOST_CLASSES:
        return confusion, list(classes)
    errors = confusion.sum(0) + confusion.sum(1) - 2 * np.diag(confusion)
    kept = np.sort(np.argsort(-errors, kind="stable")[:MOST_CONFUSED])
    place = np.full(len(classes), len(kept))
    place[kept] = np.arange(len(kept))
    matrix = np.zeros((len(kept) + 1, len(kept) + 1), confusion.dtype)
    np.add.at(matrix, (place[:, None], place[None, :]), confusion)
    return matrix, [*(classes[index] for index in kept), f"{len(classes) - len(kept)} others"]
