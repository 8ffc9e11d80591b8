"""Which graph users get: INT8 where it is shown to lose less than a point of accuracy, else FP32."""

from dataclasses import dataclass

import numpy as np

from components.onnx_deployment.held_out import Cases, case_groups, case_labels
from driftloop.bundle import ONNX_FP32, ONNX_INT8
from driftloop.evaluation.intervals import Proportion, wilson
from driftloop.evaluation.paired import PairedDifference, compare
from driftloop.inference.served_model import ServedModel


@dataclass(frozen=True)
class GraphOutcomes:
    """Both graphs on the same N labelled images."""

    fp32: np.ndarray
    """Probabilities of the FP32 graph, float32 (N, K)."""
    int8: np.ndarray
    """Probabilities of the INT8 graph, float32 (N, K)."""
    labels: np.ndarray
    """int64 (N,)."""
    groups: np.ndarray
    """The patient or site of each image, (N,)."""

    @property
    def fp32_right(self) -> np.ndarray:
        """Whether FP32 classifies each image as labelled, bool (N,)."""
        return self.fp32.argmax(axis=1) == self.labels

    @property
    def int8_right(self) -> np.ndarray:
        """Whether INT8 classifies each image as labelled, bool (N,)."""
        return self.int8.argmax(axis=1) == self.labels

    @property
    def agreement(self) -> float:
        """The share of the images on which both name the same class."""
        return float((self.fp32.argmax(axis=1) == self.int8.argmax(axis=1)).mean())


def run_graphs(fp32: ServedModel, int8: ServedModel, cases: list[Cases]) -> GraphOutcomes:
    """Run both graphs over the cases."""
    answers = [np.concatenate([model.predict(part.images).probabilities for part in cases]) for model in (fp32, int8)]
    return GraphOutcomes(answers[0], answers[1], case_labels(cases), case_groups(cases))


def proportion_right(right: np.ndarray) -> Proportion:
    """The share right, with its 95 % interval."""
    return wilson(int(right.sum()), len(right))


def accuracy_drop(outcomes: GraphOutcomes) -> dict[str, float]:
    """Accuracy that INT8 loses against FP32 (positive is a loss), with its two-sided 95 % interval (Tango).

    Images of one patient say less than as many patients: the interval is widened by the design effect.
    """
    difference = compare(outcomes.fp32_right, outcomes.int8_right, confidence=0.975, groups=outcomes.groups)
    return {"value": difference.estimate, "low": difference.low, "high": difference.high}


def by_class(outcomes: GraphOutcomes, classes: list[str]) -> list[dict[str, object]]:
    """Accuracy of both graphs on the images of each class that has any."""
    rows: list[dict[str, object]] = []
    for label, name in enumerate(classes):
        of_class = outcomes.labels == label
        if of_class.any():
            fp32, int8 = proportion_right(outcomes.fp32_right[of_class]), proportion_right(outcomes.int8_right[of_class])
            rows.append({"class": name, "images": int(of_class.sum()), "FP32": str(fp32), "INT8": str(int8)})
    return rows


@dataclass(frozen=True)
class VariantChoice:
    """Which graph is served."""

    served: str
    """Name of its file."""
    reason: str
    """Why, in one sentence."""
    difference: PairedDifference
    """Accuracy of INT8 minus that of FP32 on the images of the decision."""


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
    if holds:
        return VariantChoice(ONNX_INT8, f"INT8 is served: {figures}", difference)
    return VariantChoice(ONNX_FP32, f"FP32 is served; INT8: {figures}", difference)
