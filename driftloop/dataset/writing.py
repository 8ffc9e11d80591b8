"""Datasets from arrays, and datasets that grow out of others."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from driftloop.dataset.description import NAME, Description
from driftloop.dataset.shards import SHARD_BYTES, ShardWriter
from driftloop.errors import InputError
from driftloop.facts import write_json
from driftloop.store import Store

#: The label of an image whose class nobody has said.
UNLABELLED = -1

#: Images uint8 (N, side, side, C), labels int (N,), samples with path, group, sha256, width and height.
Part = tuple[np.ndarray, np.ndarray, pd.DataFrame]


def write_dataset(
    store: Store, parts: Mapping[str, Part], *, classes: list[str], source: str, shard_bytes: int = SHARD_BYTES
) -> Description:
    """Publish a dataset whose splits are at hand as arrays.

    Args:
        store: where `datasets/<hash>/` is made.
        parts: by split: images, labels, samples.
        classes: names by label.
        source: what the images came from.
        shard_bytes: size at which a shard is closed.
    """
    first = next(iter(parts.values()))[0]
    with ShardWriter(image_size=first.shape[1], channels=first.shape[3], shard_bytes=shard_bytes) as writer:
        for split, (images, labels, samples) in parts.items():
            writer.add(split, images, labels, samples)
        return writer.publish(store, classes=classes, source=source)


def extend_dataset(store: Store, parent: Description, additions: Mapping[str, Part], *, source: str = "") -> Description:
    """A new dataset with everything in `parent` and the `additions`: nothing is copied, the parent's shards are pointed at.

    Mean and std stay the parent's, since the model that is fine-tuned from it was trained under them. Doing it twice does it once.

    Args:
        store: the parent's home.
        parent: what it grows out of.
        additions: by split (an old one grows, a new one begins): images, labels (-1 for unlabelled), samples.
        source: where the additions came from; default: the parent's source.

    Raises:
        InputError: the parent lies in another store, or the images' size or channels differ.
    """
    if not store.exists(parent.samples):
        raise InputError(f"{store.uri}: dataset {parent.manifest_hash[:12]} is not in this store; extend it in its own, {parent.store}")
    with ShardWriter(image_size=parent.image_size, channels=parent.channels) as writer:
        for split, (images, labels, samples) in additions.items():
            if images.shape[1:] != (parent.image_size, parent.image_size, parent.channels):
                expected = (parent.image_size, parent.image_size, parent.channels)
                raise InputError(f"{split}: images of shape {images.shape[1:]} cannot join a dataset of {expected}")
            writer.add(split, images, labels, samples)
        if not writer.files:
            return parent
        return writer.publish(store, classes=parent.classes, source=source or parent.source, parent=parent)


def write_description(directory: str | Path, description: Description) -> None:
    """Write `dataset.json` into a dataset artifact's directory, which is made."""
    write_json(Path(directory, NAME), description.model_dump())
