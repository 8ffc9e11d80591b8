"""Which graph users get: INT8 where it is shown to lose less than a point of accuracy, else FP32."""

from dataclasses import dataclass

import numpy as np

from driftloop.bundle import ONNX_FP32, ONNX_INT8
from driftloop.evaluation.paired import PairedDifference, compare


@dataclass(frozen=True)
class Choice:
    """The file to serve and why; `difference` is the accuracy of INT8 minus that of FP32 on the images of the decision."""

    served: str
    reason: str
    difference: PairedDifference


def choose_variant(fp32_right: np.ndarray, int8_right: np.ndarray, groups: np.ndarray, *, max_drop: float) -> Choice:
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
        Choice(ONNX_INT8, f"INT8 is served: {figures}", difference)
        if holds
        else Choice(ONNX_FP32, f"FP32 is served; INT8: {figures}", difference)
    )
