"""What each graph gets right, image by image."""

from dataclasses import dataclass

import numpy as np

from components.onnx_deployment.held_out import Cases, labels_of
from driftloop.evaluation.intervals import Proportion, wilson
from driftloop.evaluation.paired import compare
from driftloop.inference.served import ServedModel


@dataclass(frozen=True)
class Outcomes:
    """Both graphs on the same N labelled images: probabilities float32 (N, K), labels int64 (N,)."""

    fp32: np.ndarray
    int8: np.ndarray
    labels: np.ndarray

    @property
    def fp32_right(self) -> np.ndarray:
        return self.fp32.argmax(axis=1) == self.labels

    @property
    def int8_right(self) -> np.ndarray:
        return self.int8.argmax(axis=1) == self.labels

    @property
    def agreement(self) -> float:
        """The share of the images on which both name the same class."""
        return float((self.fp32.argmax(axis=1) == self.int8.argmax(axis=1)).mean())


def outcomes(fp32: ServedModel, int8: ServedModel, cases: list[Cases]) -> Outcomes:
    """Run both graphs over the cases."""
    run = [np.concatenate([model.predict(part.images).probabilities for part in cases]) for model in (fp32, int8)]
    return Outcomes(run[0], run[1], labels_of(cases))


def accuracy(right: np.ndarray) -> Proportion:
    """The share right, with its 95 % interval."""
    return wilson(int(right.sum()), len(right))


def drop(found: Outcomes) -> dict[str, float]:
    """Accuracy that INT8 loses against FP32 (positive is a loss), with its two-sided 95 % interval (Tango)."""
    difference = compare(found.fp32_right, found.int8_right, confidence=0.975)
    return {"value": difference.estimate, "low": difference.low, "high": difference.high}


def by_class(found: Outcomes, classes: list[str]) -> list[dict[str, object]]:
    """Accuracy of both graphs on the images of each class that has any."""
    rows: list[dict[str, object]] = []
    for label, name in enumerate(classes):
        of_class = found.labels == label
        if of_class.any():
            fp32, int8 = accuracy(found.fp32_right[of_class]), accuracy(found.int8_right[of_class])
            rows.append({"class": name, "images": int(of_class.sum()), "FP32": str(fp32), "INT8": str(int8)})
    return rows
