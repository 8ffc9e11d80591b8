"""The confirmed drift as material: which rows there are, and what each is for."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from components.automated_retraining.confirmed_rows import confirmed_rows, rows_per_window, unknown_classes
from components.automated_retraining.enough_labels import count_sides, require_enough
from components.automated_retraining.grown_dataset import known_samples
from components.automated_retraining.sides import assign_sides
from driftloop.dataset import Description
from driftloop.inference.window import Window
from driftloop.settings import RetrainSettings
from driftloop.store import Store


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


def gather(store: Store, window: Window, coverage: pd.DataFrame, parent: Description, settings: RetrainSettings) -> Drifted:
    """Collect the rows and decide what each is for.

    Raises:
        InputError: too few labels.
    """
    rows = confirmed_rows(window, coverage, parent.classes)
    sides = assign_sides(rows, known_samples(store, parent), settings)
    unknown = unknown_classes(window, coverage, parent.classes)
    require_enough(count_sides(sides), settings, unknown=unknown)
    return Drifted(parent, rows, sides, unknown, rows_per_window(coverage))
