"""The ROC curve and the area under it, by scikit-learn; that area and the precision-recall curve's in many draws of the same images."""

from dataclasses import dataclass

import numpy as np
from sklearn import metrics


@dataclass(frozen=True)
class RocCurve:
    """Points of a ROC curve, thresholds falling from 1 to 0.

    With two classes the second is the positive one. With more, the curve is the micro-average: every (image, class) pair is a case.
    """

    fpr: list[float]
    """false positive rates, rising from 0 to 1"""
    tpr: list[float]
    """true positive rates"""
    thresholds: list[float]
    """scores from which a case counts as positive, in [0, 1]"""
    micro_average: bool
    """whether the curve is the micro-average over more than two classes"""
    area: float
    """under this curve; the micro-average's is not the mean over the classes that `area_under_roc` gives"""


def roc_curve(probabilities: np.ndarray, labels: np.ndarray, *, points: int = 200) -> RocCurve | None:
    """The curve, thinned to `points`, or None where only one class has images.

    scikit-learn's first threshold is infinite, which KFP's UI cannot store: thresholds are clipped to [0, 1].

    Args:
        probabilities: (N, K).
        labels: int (N,).
        points: kept at most; the ends always are.
    """
    classes = probabilities.shape[1]
    if len(np.unique(labels)) < 2:
        return None
    if classes == 2:
        truth, scores = labels == 1, probabilities[:, 1]
    else:
        truth, scores = (np.eye(classes)[labels] == 1).ravel(), probabilities.ravel()
    fpr, tpr, thresholds = metrics.roc_curve(truth, scores)
    kept = np.unique(np.linspace(0, len(fpr) - 1, min(points, len(fpr))).round().astype(int))
    clipped = np.clip(thresholds[kept], 0, 1)
    return RocCurve(fpr[kept].tolist(), tpr[kept].tolist(), clipped.tolist(), classes > 2, float(metrics.auc(fpr, tpr)))


def area_under_roc(probabilities: np.ndarray, labels: np.ndarray) -> float | None:
    """The area under the curve; with more than two classes the mean over classes of one against the rest.

    None where a class has no images: the area is then not defined.

    Args:
        probabilities: (N, K), rows that add up to 1.
        labels: int (N,).
    """
    classes = probabilities.shape[1]
    if len(np.unique(labels)) < classes:
        return None
    positive = range(1, 2) if classes == 2 else range(classes)
    return float(np.mean([area_of(labels == index, probabilities[:, index]) for index in positive]))


def area_of(own: np.ndarray, scores: np.ndarray) -> float:
    """The area under the curve of one class against the rest; NaN where one of the two has no images.

    Args:
        own: bool (N,), which images are of the class.
        scores: (N,), of the class.
    """
    return float(metrics.roc_auc_score(own, scores)) if own.any() and not own.all() else np.nan


class DrawnAreas:
    """The areas under both curves of one class against the rest, of images that are drawn again and again.

    The same numbers as scikit-learn's with `sample_weight`, which sorts the scores, and looks at what it was given, for every draw anew.
    """

    def __init__(self, own: np.ndarray, scores: np.ndarray) -> None:
        """Args:
        own: bool (N,), which images are of the class.
        scores: (N,), of the class.
        """
        self._order = np.argsort(-scores, kind="stable")
        self._own = own[self._order]
        falling = scores[self._order]
        #: The last image of each score: equal ones are told apart by no threshold.
        self._ends = np.append(np.flatnonzero(falling[1:] != falling[:-1]), len(falling) - 1)

    def of(self, times: np.ndarray) -> tuple[float, float]:
        """AUROC and AUPRC (average precision) where each image came so many times, int (N,); NaN where they are not defined."""
        drawn = times[self._order]
        called = np.cumsum(drawn)[self._ends]
        right = np.cumsum(drawn * self._own)[self._ends]
        positives, negatives = int(right[-1]), int(called[-1] - right[-1])
        gained = np.diff(right, prepend=0)
        precision = right / np.maximum(called, 1)
        auprc = float(gained @ precision / positives) if positives else np.nan
        wrong = np.diff(called - right, prepend=0)
        auroc = float(wrong @ (right - gained / 2) / (positives * negatives)) if positives and negatives else np.nan
        return auroc, auprc
