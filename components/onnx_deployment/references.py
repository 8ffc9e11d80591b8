"""The regimes a candidate accepts, measured by the graph it serves: the clean hold-out, and the windows it was retrained for."""

import numpy as np

from driftloop.dataset import Description, open_split
from driftloop.inference.reference import CLEAN, Regime, measure_regime
from driftloop.inference.served import ServedModel

#: Splits of unlabelled, untrained images that a retraining adds.
REGIME_PREFIX = "regime-"


def measure_references(served: ServedModel, dataset: Description) -> list[Regime]:
    """The split `reference` first, then each `regime-*`, in order of their numbers."""
    later = sorted((name for name, count in dataset.counts.items() if name.startswith(REGIME_PREFIX) and count), key=_number)
    regimes = []
    for name in (CLEAN, *later):
        split = open_split(dataset, name)
        regimes.append(measure_regime(name, served, split.images, split.samples["group"].to_numpy(dtype=np.str_)))
    return regimes


def _number(name: str) -> tuple[int, str]:
    suffix = name.removeprefix(REGIME_PREFIX)
    return (int(suffix) if suffix.isdecimal() else 0, name)
