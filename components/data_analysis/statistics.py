"""Everything that is known about a dataset once it is packed: what the report shows and the facts repeat.

How many images each split and class has, and what the training images look like: brightness and contrast by class, mean images.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from components.data_analysis.audit import Audited
from components.data_analysis.doubts import Doubt, find_doubts
from components.data_analysis.label_errors import LabelCheck, check_labels
from components.data_analysis.loader_benchmark import LoaderBenchmark, benchmark_loaders
from driftloop.contracts import SPLITS
from driftloop.dataset import Description, Split
from driftloop.dataset.npy_files import give_back
from driftloop.dataset.writing import PixelCounts
from driftloop.inference.image_statistics import image_statistics, statistic_names

#: Images measured at once.
_BATCH = 256
#: Broken files that the facts list; all of them are counted.
_LISTED = 100
#: Suspected labels that the facts list, the most suspected first; all of them are counted.
_SUSPECTED = 1_000


@dataclass(frozen=True)
class ClassStatistics:
    """Of the N training images, by class."""

    names: tuple[str, ...]
    """Of the F statistics of an image, which the drift tests will compare in production."""
    statistics: np.ndarray
    """(N, F) float32."""
    labels: np.ndarray
    """(N,)."""
    mean_images: np.ndarray
    """(K, H, W, C) float64, grey levels 0-255; zeros for a class without images."""
    histogram: np.ndarray
    """(C, 256) int64, counts of grey levels."""

    def column(self, name: str) -> np.ndarray:
        """One statistic of every training image, (N,)."""
        return self.statistics[:, self.names.index(name)]


@dataclass(frozen=True)
class Analysis:
    """What the report and the facts are made of."""

    description: Description
    audited: Audited
    counts: dict[str, dict[str, int]]
    """Images by split and class."""
    train: Split
    """The packed training split."""
    statistics: ClassStatistics
    loader: LoaderBenchmark | None
    """None where no file could be opened any more."""
    checked: LabelCheck | None
    """What models say of the training labels; None where nothing was looked at."""
    doubts: list[Doubt]
    """The gravest first."""
    seed: int
    """Of the images that are timed and shown."""


def analyse(
    description: Description, train: Split, audited: Audited, *, files: Mapping[str, Path], labels_checked: int, seed: int
) -> Analysis:
    """Count and measure.

    Args:
        train: the packed training split.
        files: the source's, by the path that samples have, for the loader benchmark.
        labels_checked: training images whose labels are looked at, at most.
        seed: of the images that are looked at, timed and shown.
    """
    by_class = class_counts(audited.frame, description.classes)
    statistics = describe_training(train, len(description.classes))
    measured = statistics.names, statistics.statistics, statistics.labels
    checked = check_labels(train, description, most=labels_checked, seed=seed)
    return Analysis(
        description=description,
        audited=audited,
        counts={split: by_class[split] for split in SPLITS if split in by_class},
        train=train,
        statistics=statistics,
        checked=checked,
        doubts=find_doubts(audited.frame, *measured, resize=description.resize, checked=checked),
        loader=benchmark_loaders(train, files, description.mean, description.std, seed=seed),
        seed=seed,
    )


def collect_facts(analysis: Analysis, source_hash: str, seconds: float) -> dict[str, Any]:
    """The facts of this step as JSON takes them; of broken files and suspected labels the first are listed, all are counted."""
    description, audited, findings, loader = analysis.description, analysis.audited, analysis.audited.findings, analysis.loader
    return {
        "source": description.source,
        "source_hash": source_hash,
        "manifest_hash": description.manifest_hash,
        "classes": description.classes,
        "counts": description.counts,
        "class_counts": analysis.counts,
        "image_size": description.image_size,
        "channels": description.channels,
        "mean": description.mean,
        "std": description.std,
        "statistics": list(analysis.statistics.names),
        "groups": int(audited.frame["group"].nunique()),
        "groups_by_split": {str(split): int(count) for split, count in audited.frame.groupby("split")["group"].nunique().items()},
        "kept_in_place": audited.kept,
        "broken_count": len(audited.broken),
        "broken": [{"path": path, "reason": reason} for path, reason in audited.broken[:_LISTED]],
        "conflicting_labels": findings.conflicting,
        "duplicates_within": findings.duplicates_within,
        "duplicates_across": findings.duplicates_across,
        "near_duplicates": findings.near_duplicate_images,
        "near_duplicate_clusters": findings.near_duplicate_clusters,
        "leaking_groups": findings.leaking_groups,
        "leaking_images": findings.leaking_images,
        "merged_val": findings.merged_val,
        "loader": {
            "images_per_second": loader.packed.images_per_second,
            "files_images_per_second": loader.files.images_per_second,
            "speedup": loader.speedup,
            "images": loader.images,
        }
        if loader
        else None,
        "labels": _checked(analysis),
        "notes": audited.notes,
        "doubts": [asdict(doubt) for doubt in analysis.doubts],
        "seconds": round(seconds, 2),
    }


def _checked(analysis: Analysis) -> dict[str, Any] | None:
    checked, train, classes = analysis.checked, analysis.train, analysis.description.classes
    if checked is None:
        return None
    listed = [
        {"path": train.samples["path"].iloc[row], "label": classes[train.labels[row]], "looks_like": classes[like]}
        for row, like in zip(checked.rows[:_SUSPECTED], checked.looks_like[:_SUSPECTED], strict=True)
    ]
    told = {"images": checked.images, "seen_by": checked.seen_by, "agreement": checked.agreement}
    return told | {"suspected_count": len(checked.rows), "suspected": listed}


def class_counts(frame: pd.DataFrame, classes: list[str]) -> dict[str, dict[str, int]]:
    """Images by split and class name, zeros included."""
    table = frame.groupby(["split", "label"]).size().unstack(fill_value=0).reindex(columns=classes, fill_value=0)
    return {str(split): {name: int(row[name]) for name in classes} for split, row in table.iterrows()}


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


def _batches(split: Split) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, len(split), _BATCH):
        yield split.images[start : start + _BATCH], split.labels[start : start + _BATCH]
        give_back(split.images)
