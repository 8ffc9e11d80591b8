"""Tiny real data: grey squares on noise, bright for one class and dark for the other, as arrays and as a dataset artifact."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from driftloop.dataset import Description, write_dataset, write_description
from driftloop.step_facts import write_facts
from driftloop.store import open_store
from driftloop.training.batches import OrderedBatches, TrainingBatches

SIDE = 32
CPU = torch.device("cpu")


def squares_on_noise(count: int, *, seed: int, classes: int = 2, channels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (count, 32, 32, channels) and labels (count,): the class sets the square's brightness."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    images = rng.normal(110, 25, (count, SIDE, SIDE, channels))
    for image, label in zip(images, labels, strict=True):
        row, column = rng.integers(4, 18, 2)
        image[row : row + 10, column : column + 10] += -60 + 120 * label / (classes - 1)
    return np.clip(images, 0, 255).astype(np.uint8), labels.astype(np.int64)


def training_batches(images: np.ndarray, labels: np.ndarray, **options: object) -> TrainingBatches:
    return TrainingBatches(images, labels, **({"mean": [0.45], "std": [0.15], "device": CPU, "batch_size": 16} | options))


def ordered_batches(images: np.ndarray, labels: np.ndarray, batch_size: int = 24) -> OrderedBatches:
    return OrderedBatches(images, labels, mean=[0.45], std=[0.15], device=CPU, batch_size=batch_size)


def write_squares_dataset(root: Path, *, classes: int = 2, channels: int = 1, train: int = 64, val: int = 32, seed: int = 0) -> Description:
    """A dataset artifact in `root/dataset` with train, val and test, its shards in `root/store`."""
    parts = {}
    for number, (split, count) in enumerate({"train": train, "val": val, "test": 48}.items()):
        if not count:
            continue
        images, labels = squares_on_noise(count, seed=100 * seed + number, classes=classes, channels=channels)
        parts[split] = (images, labels, _samples(split, count))
    names = [f"class {index}" for index in range(classes)]
    description = write_dataset(open_store(str(root / "store")), parts, classes=names, source="squares")
    write_description(root / "dataset", description)
    write_facts(root / "dataset", "data_analysis", {"source": "squares"})
    return description


def _samples(split: str, count: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "path": [f"{split}/{index}.png" for index in range(count)],
            "group": [f"{split} {index}" for index in range(count)],
            "sha256": [f"{index:064x}" for index in range(count)],
            "width": SIDE,
            "height": SIDE,
        }
    )


class MetricsFile:
    """Collects metrics as KFP's artifact does."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def log_metric(self, metric: str, value: float) -> None:
        self.values[metric] = value


class RocFile:
    """Collects what KFP's ClassificationMetrics takes, and refuses what it cannot store."""

    def __init__(self) -> None:
        self.curve: tuple[list[float], list[float], list[float]] | None = None
        self.categories: list[str] = []
        self.matrix: list[list[int]] = []

    def log_roc_curve(self, fpr: list[float], tpr: list[float], threshold: list[float]) -> None:
        assert len(fpr) == len(tpr) == len(threshold)
        assert np.isfinite([fpr, tpr, threshold]).all()
        self.curve = (fpr, tpr, threshold)

    def log_confusion_matrix(self, categories: list[str], matrix: list[list[int]]) -> None:
        self.categories, self.matrix = categories, matrix
