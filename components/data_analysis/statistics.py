"""What the images look like: brightness and contrast by class, mean images, sizes, class balance.

Everything that is known about a dataset once it is packed: what the report shows and the facts repeat.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from components.data_analysis.audit import Audited
from components.data_analysis.loader_benchmark import LoaderBenchmark, benchmark_loaders
from driftloop.contracts import SPLITS
from driftloop.dataset import Description, Split
from driftloop.dataset.writing import PixelCounts
from driftloop.inference.image_statistics import image_statistics, statistic_names

_BATCH = 256


@dataclass(frozen=True)
class ClassStatistics:
    """Of the training images, by class.

    Args:
        statistics: (N, F) float32, columns `names`: what the drift tests will compare in production.
        labels: (N,).
        mean_images: (K, H, W, C) float64, grey levels 0-255; zeros for a class without images.
        histogram: (C, 256) int64, counts of grey levels.
    """

    names: tuple[str, ...]
    statistics: np.ndarray
    labels: np.ndarray
    mean_images: np.ndarray
    histogram: np.ndarray

    def column(self, name: str) -> np.ndarray:
        """One statistic of every training image, (N,)."""
        return self.statistics[:, self.names.index(name)]


def describe_training(train: Split, classes: int) -> ClassStatistics:
    """One pass over the training images, a batch at a time."""
    channels = train.images.shape[-1]
    totals = np.zeros((classes, *train.images.shape[1:]))
    counted, statistics = PixelCounts(channels), []
    for images, labels in _batches(train):
        counted.add(images)
        statistics.append(image_statistics(images))
        for label in np.unique(labels):
            totals[label] += images[labels == label].sum(0, dtype=np.float64)
    counts = np.maximum(np.bincount(train.labels, minlength=classes), 1)
    return ClassStatistics(
        names=statistic_names(channels),
        statistics=np.concatenate(statistics),
        labels=train.labels,
        mean_images=totals / counts[:, None, None, None],
        histogram=counted.counts,
    )


def class_counts(frame: pd.DataFrame, classes: list[str]) -> dict[str, dict[str, int]]:
    """Images by split and class name, zeros included."""
    table = frame.groupby(["split", "label"]).size().unstack(fill_value=0).reindex(columns=classes, fill_value=0)
    return {str(split): {name: int(row[name]) for name in classes} for split, row in table.iterrows()}


def _batches(split: Split) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, len(split), _BATCH):
        yield split.images[start : start + _BATCH], split.labels[start : start + _BATCH]


@dataclass(frozen=True)
class Analysis:
    """The dataset, the audit of its source, images by split and class, and what was measured."""

    description: Description
    audited: Audited
    counts: dict[str, dict[str, int]]
    train: Split
    statistics: ClassStatistics
    loader: LoaderBenchmark
    seed: int


def analyse(description: Description, train: Split, audited: Audited, *, root: Path, seed: int) -> Analysis:
    """Count and measure.

    Args:
        train: the packed training split.
        root: of the source's files, for the loader benchmark.
        seed: of the images that are timed and shown.
    """
    by_class = class_counts(audited.frame, description.classes)
    return Analysis(
        description=description,
        audited=audited,
        counts={split: by_class[split] for split in SPLITS if split in by_class},
        train=train,
        statistics=describe_training(train, len(description.classes)),
        loader=benchmark_loaders(train, root, description.mean, description.std, seed=seed),
        seed=seed,
    )
