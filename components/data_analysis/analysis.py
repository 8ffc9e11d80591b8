"""Everything that is known about a dataset once it is packed: what the report shows and the facts repeat."""

from dataclasses import dataclass
from pathlib import Path

from components.data_analysis.audit import Audited
from components.data_analysis.loader_benchmark import LoaderBenchmark, benchmark_loaders
from components.data_analysis.statistics import ClassStatistics, class_counts, describe_training
from driftloop.dataset import Description, Split
from driftloop.sources import SPLITS


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
