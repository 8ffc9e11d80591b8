"""What each graph gets right, image by image.

Which graph users get: INT8 where it is shown to lose less than a point of accuracy, else FP32.
"""

from dataclasses import dataclass

import numpy as np

from components.onnx_deployment.held_out import Cases, case_labels
from driftloop.bundle import ONNX_FP32, ONNX_INT8
from driftloop.evaluation.intervals import Proportion, wilson
from driftloop.evaluation.paired import PairedDifference, compare
from driftloop.inference.served_model import ServedModel


@dataclass(frozen=True)
class GraphOutcomes:
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


def run_graphs(fp32: ServedModel, int8: ServedModel, cases: list[Cases]) -> GraphOutcomes:
    """Run both graphs over the cases."""
    run = [np.concatenate([model.predict(part.images).probabilities for part in cases]) for model in (fp32, int8)]
    return GraphOutcomes(run[0], run[1], case_labels(cases))


def proportion_right(right: np.ndarray) -> Proportion:
    """The share right, with its 95 % interval."""
    return wilson(int(right.sum()), len(right))


def accuracy_drop(found: GraphOutcomes) -> dict[str, float]:
    """Accuracy that INT8 loses against FP32 (positive is a loss), with its two-sided 95 % interval (Tango)."""
    difference = compare(found.fp32_right, found.int8_right, confidence=0.975)
    return {"value": difference.estimate, "low": difference.low, "high": difference.high}


def by_class(found: GraphOutcomes, classes: list[str]) -> list[dict[str, object]]:
    """Accuracy of both graphs on the images of each class that has any."""
    rows: list[dict[str, object]] = []
    for label, name in enumerate(classes):
        of_class = found.labels == label
        if of_class.any():
            fp32, int8 = proportion_right(found.fp32_right[of_class]), proportion_right(found.int8_right[of_class])
            rows.append({"class": name, "images": int(of_class.sum()), "FP32": str(fp32), "INT8": str(int8)})
    return rows


@dataclass(frozen=True)
class VariantChoice:
    """The file to serve and why; `difference` is the accuracy of INT8 minus that of FP32 on the images of the decision."""

    served: str
    reason: str
    difference: PairedDifference


def choose_variant(fp32_right: np.ndarray, int8_right: np.ndarray, groups: np.ndarray, *, max_drop: float) -> VariantChoice:
    """INT8 when the one-sided 95 % lower bound of its accuracy difference (Tango's score interval) lies above -max_drop.

    The images are held out from training and from calibration, and are not the gate's test split: a choice made on the split that later
    judges the model would count its own luck as accuracy.

    Args:
        fp32_right, int8_right: bool (N,), which images each graph classifies right.
        groups: (N,), the patient or site of each image; images of one group count as fewer.
        max_drop: as a share, 0.01 for a point.
    """
    difference = compare(int8_right, fp32_right, confidence=0.95, groups=groups)
    holds = difference.low > -max_drop
    figures = (
        f"{100 * difference.estimate:+.2f} points against FP32 on {difference.n:,} held-out images, "
        f"95 % lower bound {100 * difference.low:+.2f}, {'above' if holds else 'not above'} {-100 * max_drop:+.2g}"
    )
    return (
        VariantChoice(ONNX_INT8, f"INT8 is served: {figures}", difference)
        if holds
        else VariantChoice(ONNX_FP32, f"FP32 is served; INT8: {figures}", difference)
    )
