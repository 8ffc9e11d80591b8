"""Which images answer which question, so that no split is used for two that disturb each other.

ranges of INT8          train and drifted_train: ranges are part of the model, and must cover the drift it was retrained for
temperature             val and drifted_val
INT8 or FP32            val, drifted_val and reference: labelled, trained on by neither; the test split stays the gate's
what the report says    test, once everything is decided

The regimes a candidate accepts, measured by the graph it serves: the clean hold-out, and the windows it was retrained for.
"""

from dataclasses import dataclass

import numpy as np

from driftloop.bundle import ModelDescription
from driftloop.dataset import Description, open_split
from driftloop.errors import InputError
from driftloop.inference.reference import CLEAN_REGIME, Regime, measure_regime
from driftloop.inference.served_model import ServedModel

RANGE_SPLITS = ("train", "drifted_train")


TEMPERATURE_SPLITS = ("val", "drifted_val")


VARIANT_SPLITS = ("val", "drifted_val", "reference")


TEST_SPLITS = ("test",)


NEEDED_SPLITS = ("train", "val", "test", "reference")


@dataclass(frozen=True)
class Cases:
    """Labelled images by split: `images` uint8 (N, H, W, C) may be memory-mapped; labels int64 (N,); groups str (N,)."""

    split: str
    images: np.ndarray
    labels: np.ndarray
    groups: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


def open_cases(dataset: Description, splits: tuple[str, ...]) -> list[Cases]:
    """The labelled images of those of the `splits` that the dataset has.

    Raises:
        InputError: it has none of them, or no labelled image in them.
    """
    found = []
    for name in splits:
        if not dataset.counts.get(name):
            continue
        split = open_split(dataset, name)
        labelled = split.labels >= 0
        images = split.images if labelled.all() else split.images[labelled]
        groups = split.samples["group"].to_numpy(dtype=np.str_)
        found.append(Cases(name, images, split.labels[labelled], groups[labelled]))
    if not sum(len(cases) for cases in found):
        named = " or ".join(splits)
        raise InputError(f"dataset {dataset.manifest_hash[:12]} has no labelled images in {named}; data_analysis cuts these splits")
    return found


def case_labels(cases: list[Cases]) -> np.ndarray:
    """The labels of all cases, int64 (N,)."""
    return np.concatenate([part.labels for part in cases])


def case_groups(cases: list[Cases]) -> np.ndarray:
    """The groups of all cases, str (N,); a group of one split is another than a group of that name in another split."""
    return np.concatenate([np.char.add(f"{part.split}/", part.groups) for part in cases])


def draw_images(cases: list[Cases], count: int, *, seed: int) -> np.ndarray:
    """At most `count` images, uint8 (n, H, W, C), the same number from each split as far as it has them, in random order."""
    rng = np.random.default_rng(seed)
    drawn, left = [], count
    for position, part in enumerate(sorted(cases, key=len)):
        share = min(len(part), left // (len(cases) - position))
        left -= share
        drawn.append(part.images[np.sort(rng.choice(len(part), share, replace=False))])
    images = np.concatenate(drawn)
    return images[rng.permutation(len(images))]


def check_fit(dataset: Description, model: ModelDescription) -> None:
    """Refuse a dataset whose images or classes are not the model's, or that lacks a split, before time is spent on it.

    Raises:
        InputError: with what differs.
    """
    pairs = {
        "classes": (dataset.classes, model.classes),
        "image size": (dataset.image_size, model.image_size),
        "channels": (dataset.channels, model.channels),
    }
    for name, (theirs, ours) in pairs.items():
        if theirs != ours:
            cure = "pass the dataset that the model was trained on"
            raise InputError(f"onnx_deployment: {name} of the dataset {theirs}, of the model {ours}; {cure}")
    for split in NEEDED_SPLITS:
        if not dataset.counts.get(split):
            cure = f"set data_config.{split}_share above 0 and run data_analysis again"
            raise InputError(f"dataset {dataset.manifest_hash[:12]} has no images in split '{split}'; {cure}")


#: Splits of unlabelled, untrained images that a retraining adds.
REGIME_PREFIX = "regime-"


def measure_references(served: ServedModel, dataset: Description) -> list[Regime]:
    """The split `reference` first, then each `regime-*`, in order of their numbers."""
    later = sorted((name for name, count in dataset.counts.items() if name.startswith(REGIME_PREFIX) and count), key=_number)
    regimes = []
    for name in (CLEAN_REGIME, *later):
        split = open_split(dataset, name)
        regimes.append(measure_regime(name, served, split.images, split.samples["group"].to_numpy(dtype=np.str_)))
    return regimes


def _number(name: str) -> tuple[int, str]:
    suffix = name.removeprefix(REGIME_PREFIX)
    return (int(suffix) if suffix.isdecimal() else 0, name)
