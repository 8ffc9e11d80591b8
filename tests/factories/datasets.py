"""Small splits and datasets: images of noise or of squares on noise, with their labels and samples. No torch."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from driftloop.dataset import Description, write_dataset, write_description
from driftloop.dataset.writing import Part
from driftloop.step_facts import write_facts
from driftloop.store import open_store

SIDE = 32


def sample_table(
    prefix: str | int,
    count: int,
    *,
    groups: Sequence[str] | None = None,
    digests: Sequence[str] | None = None,
    width: int = SIDE,
    height: int = SIDE,
) -> pd.DataFrame:
    """The samples of a split; unless told otherwise every image is its own group and no other's copy."""
    paths = [f"{prefix}/{index}.png" for index in range(count)]
    return pd.DataFrame(
        {
            "path": paths,
            "group": groups or [f"{prefix}-{index}" for index in range(count)],
            "sha256": digests or [hashlib.sha256(path.encode()).hexdigest() for path in paths],
            "width": width,
            "height": height,
        }
    )


def image_digests(images: np.ndarray) -> list[str]:
    """SHA-256 of each image's pixels."""
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in images]


def random_split(count: int, *, seed: int, side: int = 8, channels: int = 1, classes: int = 2) -> Part:
    """Random images with labels (classes in turn) and samples."""
    images = np.random.default_rng(seed).integers(0, 256, (count, side, side, channels), np.uint8)
    return images, np.arange(count) % classes, sample_table(seed, count, digests=image_digests(images), width=30, height=20)


def squares_on_noise(count: int, *, seed: int, classes: int = 2, channels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (count, 32, 32, channels) and labels (count,): the class sets the square's brightness."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    images = rng.normal(110, 25, (count, SIDE, SIDE, channels))
    for image, label in zip(images, labels, strict=True):
        row, column = rng.integers(4, 18, 2)
        image[row : row + 10, column : column + 10] += -60 + 120 * label / (classes - 1)
    return np.clip(images, 0, 255).astype(np.uint8), labels.astype(np.int64)


def write_squares_dataset(
    root: Path,
    *,
    classes: int = 2,
    channels: int = 1,
    train: int = 64,
    val: int = 32,
    images_per_group: int = 1,
    seed: int = 0,
    store: str = "",
) -> Description:
    """A dataset artifact in `root/dataset` with train, val and test, its shards in `store`, by default `root/store`."""
    parts = {}
    for number, (split, count) in enumerate({"train": train, "val": val, "test": 48}.items()):
        if not count:
            continue
        images, labels = squares_on_noise(count, seed=100 * seed + number, classes=classes, channels=channels)
        groups = [f"{split}-{index // images_per_group}" for index in range(count)]
        parts[split] = (images, labels, sample_table(split, count, groups=groups))
    names = [f"class {index}" for index in range(classes)]
    description = write_dataset(open_store(store or str(root / "store")), parts, classes=names, source="squares")
    write_description(root / "dataset", description)
    write_facts(root / "dataset", "data_analysis", {"source": "squares"})
    return description
