"""What theme 3 begins with: a dataset of squares, and the baseline that was trained on it for an epoch."""

from pathlib import Path
from typing import Any

from components.baseline_training.step import run as train_baseline
from tests.factories.datasets import write_squares_dataset
from tests.factories.metrics import MetricsFile, RocFile


def write_squares_and_baseline(root: Path, config: dict[str, Any], *, store: str = "") -> None:
    """`root/dataset`, as `write_squares_dataset` makes it, and `root/baseline`."""
    write_squares_dataset(root, store=store)
    places = [str(root / name) for name in ("dataset", "baseline", "card.md", "curves.html")]
    train_baseline(*places, epochs=1, gpus="0", seed=3, config=config, metrics=MetricsFile(), roc=RocFile())
