"""Refusing a retraining that cannot succeed: too few labels on one of the three sides."""

from collections.abc import Mapping

import numpy as np

from components.automated_retraining.sides import GATE, LABELLED, TRAIN, VAL
from driftloop.errors import InputError
from driftloop.settings import RetrainSettings

#: With fewer on a side there is nothing to learn from, to stop by, or to judge by.
LEAST = {TRAIN: 10, VAL: 1, GATE: 10}
PURPOSE = {TRAIN: "training", VAL: "early stopping", GATE: "the gate"}
CURE = "label the images in label_requests.csv of the drift evidence and bring them in with 'driftloop labels import FILE.csv'"


def count_sides(sides: np.ndarray) -> dict[str, int]:
    """Rows on each of the three labelled sides."""
    return {side: int((sides == side).sum()) for side in LABELLED}


def require_enough(counts: Mapping[str, int], settings: RetrainSettings, *, unknown: Mapping[str, int]) -> None:
    """Check the labels of the confirmed windows.

    Args:
        counts: labelled images by side.
        settings: how many are needed in all.
        unknown: labels that are no class of the model.

    Raises:
        InputError: too few, with how many there are, how many are missing and how to label.
    """
    total = sum(counts.values())
    besides = f"; {sum(unknown.values())} more are labelled {', '.join(sorted(unknown))}, which this model does not know" if unknown else ""
    there = ", ".join(f"{counts[side]} for {PURPOSE[side]}" for side in LABELLED)
    if total < settings.minimum_labels:
        missing = settings.minimum_labels - total
        raise InputError(
            f"retraining: {total} labelled images of the confirmed drift ({there}){besides}, {settings.minimum_labels} are needed: "
            f"{missing} more; {CURE}"
        )
    for side, least in LEAST.items():
        if counts[side] < least:
            raise InputError(
                f"retraining: {counts[side]} labelled drifted images for {PURPOSE[side]}, at least {least} are needed (there are {there}; "
                f"only uniformly random labels count for early stopping and the gate){besides}; {CURE}"
            )
