"""Refusing a retraining that cannot succeed: too few labels on one of the three sides.

The confirmed drift as material: which rows there are, and what each is for.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from components.automated_retraining.confirmed_rows import confirmed_rows, rows_per_window, unknown_classes
from components.automated_retraining.grown_dataset import known_samples
from components.automated_retraining.roles import GATE, LABELLED, TRAIN, VAL, assign_sides
from driftloop.dataset import Description
from driftloop.errors import InputError
from driftloop.inference.traffic import Traffic
from driftloop.settings import RetrainSettings
from driftloop.store import Store

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


@dataclass(frozen=True)
class Drifted:
    """Rows of the confirmed windows and the side (N,) of each.

    `parent` is the champion's dataset; `unknown` counts labels that are no class of the model; `window_rows` are the rows of a window.
    """

    parent: Description
    rows: pd.DataFrame
    sides: np.ndarray
    unknown: dict[str, int]
    window_rows: int


def gather(store: Store, window: Traffic, coverage: pd.DataFrame, parent: Description, settings: RetrainSettings) -> Drifted:
    """Collect the rows and decide what each is for.

    Raises:
        InputError: too few labels.
    """
    rows = confirmed_rows(window, coverage, parent.classes)
    sides = assign_sides(rows, known_samples(store, parent), settings)
    unknown = unknown_classes(window, coverage, parent.classes)
    require_enough(count_sides(sides), settings, unknown=unknown)
    return Drifted(parent, rows, sides, unknown, rows_per_window(coverage))
