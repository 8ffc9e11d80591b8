"""Which graph users get: the fastest, where it will be served, of those that are shown to lose less than a point of accuracy.

FP32 is always admissible. On CPUs it competes with INT8, on GPUs with FP16: onnxruntime computes INT8 convolutions on CPUs alone, and a
GPU's machine should not be left to its CPU.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.onnx_deployment.held_out import Cases, case_groups, case_labels
from driftloop.bundle import ONNX_FP16, ONNX_FP32, ONNX_INT8
from driftloop.evaluation.classification import named_classes
from driftloop.evaluation.clustered import proportion_right
from driftloop.evaluation.intervals import Proportion, say_groups
from driftloop.evaluation.paired import PairedDifference, compare
from driftloop.inference.served_model import ServedModel
from driftloop.tags import level_name, levels_by_tag

GRAPH_NAMES = {ONNX_FP32: "FP32", ONNX_INT8: "INT8", ONNX_FP16: "FP16"}
#: The graphs beside FP32 that compete on each hardware.
COMPETING = {"cpu": (ONNX_INT8,), "cuda": (ONNX_FP16,)}


@dataclass(frozen=True)
class GraphOutcomes:
    """The FP32 graph and one made of it, INT8 or FP16, on the same N labelled images."""

    fp32: np.ndarray
    """Probabilities of the FP32 graph, float32 (N, K)."""
    reduced: np.ndarray
    """Probabilities of the other graph, float32 (N, K)."""
    labels: np.ndarray
    """int64 (N,)."""
    groups: np.ndarray
    """The patient or site of each image, (N,)."""
    shares: Sequence[float] = ()
    """The model's `naming_shares`."""

    @property
    def fp32_right(self) -> np.ndarray:
        """Whether FP32 classifies each image as labelled, bool (N,)."""
        return named_classes(self.fp32, self.shares) == self.labels

    @property
    def reduced_right(self) -> np.ndarray:
        """Whether the other one does, bool (N,)."""
        return named_classes(self.reduced, self.shares) == self.labels

    @property
    def agreement(self) -> float:
        """The share of the images on which both name the same class."""
        return float((named_classes(self.fp32, self.shares) == named_classes(self.reduced, self.shares)).mean())


def run_graphs(fp32: ServedModel, reduced: ServedModel, cases: list[Cases]) -> GraphOutcomes:
    """Run both graphs over the cases."""
    answers = [np.concatenate([model.predict(part.images).probabilities for part in cases]) for model in (fp32, reduced)]
    return GraphOutcomes(answers[0], answers[1], case_labels(cases), case_groups(cases), fp32.naming_shares)


def by_tag(right: np.ndarray, tags: np.ndarray, groups: np.ndarray) -> dict[str, Proportion]:
    """The share right on the images of each level of each tag, as in site=B.

    Args:
        right: bool (N,).
        tags: (N,) as stored.
        groups: (N,), the patient or site of each image.
    """
    found = levels_by_tag(tags)
    return {
        level_name(name, level): proportion_right(right[levels == level], groups[levels == level])
        for name, levels in found.items()
        for level in sorted(set(levels.tolist()) - {""})
    }


def accuracy_drop(outcomes: GraphOutcomes) -> dict[str, float]:
    """Accuracy that the reduced graph loses against FP32 (positive is a loss), with its two-sided 95 % interval (Tango).

    Images of one patient say less than as many patients: the interval is widened by the design effect.
    """
    difference = compare(outcomes.fp32_right, outcomes.reduced_right, confidence=0.975, groups=outcomes.groups)
    return {"value": difference.estimate, "low": difference.low, "high": difference.high}


def by_class(outcomes: dict[str, GraphOutcomes], classes: list[str]) -> list[dict[str, object]]:
    """Accuracy of FP32 and of each reduced graph, by its name, on the images of each class that has any."""
    rows: list[dict[str, object]] = []
    first = next(iter(outcomes.values()))
    for label, name in enumerate(classes):
        of_class = first.labels == label
        if of_class.any():
            right = {"FP32": first.fp32_right} | {GRAPH_NAMES[file]: found.reduced_right for file, found in outcomes.items()}
            shares = {graph: str(proportion_right(found[of_class], first.groups[of_class])) for graph, found in right.items()}
            rows.append({"class": name, "images": int(of_class.sum())} | shares)
    return rows


@dataclass(frozen=True)
class Admission:
    """Whether a reduced graph may be served."""

    holds: bool
    """Shown to lose less than the limit."""
    difference: PairedDifference
    """Its accuracy minus that of FP32 on the images of the decision."""
    figures: str
    """The difference and its bound, in words."""


def judge_accuracy(outcomes: GraphOutcomes, *, max_drop: float) -> Admission:
    """Admissible when the one-sided 95 % lower bound of its accuracy difference to FP32 (Tango's score interval) lies above -max_drop.

    The images are held out from training and from calibration, and are not the gate's test split: a choice made on the split that later
    judges the model would count its own luck as accuracy. Images of one patient or site count as fewer.

    Args:
        outcomes: of FP32 and the reduced graph.
        max_drop: as a share, 0.01 for a point.
    """
    difference = compare(outcomes.reduced_right, outcomes.fp32_right, confidence=0.95, groups=outcomes.groups)
    holds = difference.low > -max_drop
    whose = say_groups(difference.groups, difference.n)
    figures = (
        f"{100 * difference.estimate:+.2f} points against FP32 on {difference.n:,} held-out images{whose}, "
        f"95 % lower bound {100 * difference.low:+.2f}, {'above' if holds else 'not above'} {-100 * max_drop:+.2g}"
    )
    return Admission(holds, difference, figures)


@dataclass(frozen=True)
class VariantChoice:
    """Which graph is served."""

    served: str
    """Name of its file."""
    reason: str
    """Why, in one sentence."""
    admissions: dict[str, Admission]
    """Of each reduced graph that was considered, by file name."""


def choose_variant(admissions: dict[str, Admission], milliseconds: dict[str, float]) -> VariantChoice:
    """The fastest of FP32 and the admissible ones; the first of them where nothing could be timed.

    Args:
        admissions: by file name, of the reduced graphs that the hardware can compute.
        milliseconds: a call takes there, by file name, at batch 1; empty where this machine has no such hardware.
    """
    candidates = [name for name, admission in admissions.items() if admission.holds]
    told = "; ".join(f"{GRAPH_NAMES[name]}: {admission.figures}" for name, admission in admissions.items())
    if not milliseconds:
        served = next(iter(candidates), ONNX_FP32)
        return VariantChoice(
            served,
            f"{GRAPH_NAMES[served]} is served, by accuracy alone: speed was not measured here, where there is no such hardware; {told}",
            admissions,
        )
    served = min([*candidates, ONNX_FP32], key=lambda name: milliseconds[name])
    if not candidates:
        return VariantChoice(served, f"FP32 is served; {told}", admissions)
    speeds = ", ".join(f"{GRAPH_NAMES[name]} {milliseconds[name]:.3g} ms" for name in [ONNX_FP32, *candidates])
    return VariantChoice(served, f"{GRAPH_NAMES[served]} is served, the fastest admissible graph ({speeds} a call); {told}", admissions)
