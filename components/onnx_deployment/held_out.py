"""Which images answer which question, so that no split is used for two that disturb each other.

ranges of INT8          train and drifted_train: ranges are part of the model, and must cover the drift it was retrained for
temperature             val and drifted_val
INT8 or FP32            val, drifted_val and reference: labelled, trained on by neither; the test split stays the gate's
what the report says    test, once everything is decided
drift reference         reference and each regime-*: the regimes that a candidate accepts, measured by the graph it serves
"""

from dataclasses import dataclass

import numpy as np
import torch

from driftloop.bundle import ModelDescription
from driftloop.contracts import DRIFTED_TRAIN, DRIFTED_VAL, REFERENCE, REGIME_PREFIX, TEST, TRAIN, VAL
from driftloop.dataset import Description, open_split
from driftloop.dataset.description import TAGS
from driftloop.errors import InputError
from driftloop.inference.reference import CLEAN_REGIME, Regime, measure_regime
from driftloop.inference.served_model import ServedModel
from driftloop.training.batches import normalise, to_tensor
from driftloop.training.classifier import Classifier
from driftloop.training.epoch import at_shares

RANGE_SPLITS = (TRAIN, DRIFTED_TRAIN)
TEMPERATURE_SPLITS = (VAL, DRIFTED_VAL)
#: Of a model that was trained with differential privacy: ranges of training images would tell of them.
PRIVATE_RANGE_SPLITS = (VAL, DRIFTED_VAL)
VARIANT_SPLITS = (VAL, DRIFTED_VAL, REFERENCE)
TEST_SPLITS = (TEST,)
#: Splits that a dataset must have.
NEEDED_SPLITS = (TRAIN, VAL, TEST, REFERENCE)
#: Images that pass through the network together.
LOGITS_BATCH = 64


@dataclass(frozen=True)
class Cases:
    """The labelled images of a split."""

    split: str
    """Its name."""
    images: np.ndarray
    """uint8 (N, H, W, C), possibly memory-mapped."""
    labels: np.ndarray
    """int64 (N,)."""
    groups: np.ndarray
    """The patient or site of each image, str (N,)."""
    tags: np.ndarray
    """Its tags as `driftloop.tags` stores them, str (N,)."""

    def __len__(self) -> int:
        return len(self.labels)


def open_cases(dataset: Description, splits: tuple[str, ...]) -> list[Cases]:
    """The labelled images of those of the `splits` that the dataset has.

    Raises:
        InputError: it has none of them, or no labelled image in them.
    """
    cases = []
    for name in splits:
        if not dataset.counts.get(name):
            continue
        split = open_split(dataset, name)
        labelled = split.labels >= 0
        images = split.images if labelled.all() else split.images[labelled]
        groups, tags = (split.samples[column].to_numpy(dtype=np.str_)[labelled] for column in ("group", TAGS))
        cases.append(Cases(name, images, split.labels[labelled], groups, tags))
    if not sum(len(part) for part in cases):
        named = " or ".join(splits)
        raise InputError(f"dataset {dataset.manifest_hash[:12]} has no labelled images in {named}; data_analysis cuts these splits")
    return cases


def case_labels(cases: list[Cases]) -> np.ndarray:
    """The labels of all cases, int64 (N,)."""
    return np.concatenate([part.labels for part in cases])


def case_groups(cases: list[Cases]) -> np.ndarray:
    """The groups of all cases, str (N,); a group of one split is another than a group of that name in another split."""
    return np.concatenate([np.char.add(f"{part.split}/", part.groups) for part in cases])


@torch.inference_mode()
def compute_logits(network: Classifier, model: ModelDescription, cases: list[Cases]) -> np.ndarray:
    """The logits of all cases in PyTorch as the graph has them before the temperature, float32 (N, K)."""
    mean, std = torch.tensor(model.mean), torch.tensor(model.std)
    logits: list[torch.Tensor] = []
    for part in cases:
        batches = (part.images[start : start + LOGITS_BATCH] for start in range(0, len(part), LOGITS_BATCH))
        logits += [at_shares(network(normalise(to_tensor(batch), mean, std)), model.class_shares) for batch in batches]
    return torch.cat(logits).numpy()


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
        "resize mode": (dataset.resize, model.resize),
        "range of levels": (dataset.deep_range, model.deep_range),
    }
    for name, (of_dataset, of_model) in pairs.items():
        if of_dataset != of_model:
            cure = "pass the dataset that the model was trained on"
            raise InputError(f"onnx_deployment: {name} of the dataset {of_dataset}, of the model {of_model}; {cure}")
    for split in NEEDED_SPLITS:
        if not dataset.counts.get(split):
            cure = f"set data_config.{split}_share above 0 and run data_analysis again"
            raise InputError(f"dataset {dataset.manifest_hash[:12]} has no images in split '{split}'; {cure}")


def measure_references(served: ServedModel, dataset: Description) -> list[Regime]:
    """The split `reference` first, then each `regime-*`, in order of their numbers."""
    later = sorted((name for name, count in dataset.counts.items() if name.startswith(REGIME_PREFIX) and count), key=_number)
    regimes = []
    for name in (CLEAN_REGIME, *later):
        split = open_split(dataset, name)
        groups, tags = (split.samples[column].to_numpy(dtype=np.str_) for column in ("group", TAGS))
        regimes.append(measure_regime(name, served, split.images, groups, tags))
    return regimes


def _number(name: str) -> tuple[int, str]:
    suffix = name.removeprefix(REGIME_PREFIX)
    return (int(suffix) if suffix.isdecimal() else 0, name)
