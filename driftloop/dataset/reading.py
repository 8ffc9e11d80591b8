"""Opening one split of a dataset: only its shards are fetched, every byte is checked, nothing is held in memory."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from driftloop.bundle import sha256_file
from driftloop.dataset.description import DATASET_FILE, Description, Shard, manifest_hash, read_description, with_tags_column
from driftloop.dataset.npy_files import MappedFiles, map_images
from driftloop.errors import InputError, IntegrityError, NotFound
from driftloop.schema import parse_stored
from driftloop.store import Store, open_store
from driftloop.store.local import LocalStore

CACHE_VARIABLE = "DRIFTLOOP_CACHE"


@dataclass(frozen=True)
class Split:
    """One split of N images; changing them changes this process's view only."""

    images: np.ndarray
    """uint8 (N, H, W, C), memory-mapped; where they lie in several shards it is a `MappedFiles`, which answers like such an array."""
    labels: np.ndarray
    """int64 (N,), -1 for unlabelled."""
    samples: pd.DataFrame
    """N rows of `SAMPLE_COLUMNS` and `TAGS`."""

    def __len__(self) -> int:
        return len(self.labels)


def stored_description(store: Store, manifest_hash: str) -> Description:
    """The description that `store` keeps of a dataset; its home is this store, even if it was written where that lay elsewhere.

    Raises:
        NotFound: the store does not have that dataset.
        IntegrityError: its description is damaged.
    """
    key = f"datasets/{manifest_hash}/{DATASET_FILE}"
    description = parse_stored(Description, store.read(key), f"{store.uri}/{key}")
    return description.model_copy(update={"store": store.uri})


def open_split(dataset: str | Path | Description, split: str) -> Split:
    """Open a split of a dataset.

    The shards of a local store are mapped where they lie; others are fetched once into the cache folder: $DRIFTLOOP_CACHE, else a private
    one in the temporary directory.

    Args:
        dataset: a dataset artifact's directory, or its description.
        split: one of `contracts.SPLITS`, or what a retraining added.

    Raises:
        InputError: no dataset there, or no such split.
        IntegrityError: a shard or the table of samples is not what was written.
        StoreError: the store cannot be read.
    """
    description = dataset if isinstance(dataset, Description) else read_description(dataset)
    shards = [shard for shard in description.shards if shard.split == split]
    if not shards:
        raise InputError(f"dataset {description.manifest_hash[:12]} has no split '{split}'; it has {', '.join(description.counts)}")
    store = open_store(description.store)
    samples = read_samples(description, store)
    samples = samples[samples["split"] == split].reset_index(drop=True)
    files = [_fetched(store, shard) for shard in shards]
    images = map_images(files[0]) if len(files) == 1 else cast("np.ndarray", MappedFiles(files))
    if len(images) != len(samples):
        raise IntegrityError(f"{description.samples}: {len(samples)} samples for {len(images)} images of split '{split}'")
    return Split(images, samples["label"].to_numpy(np.int64), samples)


def read_samples(description: Description, store: Store | None = None) -> pd.DataFrame:
    """The table of all samples, checked against the dataset's hash.

    Raises:
        IntegrityError: the table, or what the description says of the shards, is not what was written.
    """
    store = store or open_store(description.store)
    if isinstance(store, LocalStore) and store.exists(description.samples):
        samples = pd.read_parquet(store.path(description.samples))
    else:
        with tempfile.TemporaryDirectory(prefix="driftloop-samples-") as folder:
            store.download(description.samples, Path(folder, "samples.parquet"))
            samples = pd.read_parquet(Path(folder, "samples.parquet"))
    actual_hash = manifest_hash(
        description.classes,
        description.image_size,
        description.channels,
        description.shards,
        samples,
        description.resize,
        description.deep_range,
    )
    if actual_hash != description.manifest_hash:
        raise IntegrityError(f"{description.samples}: not what dataset {description.manifest_hash[:12]} was written with; restore it")
    return with_tags_column(samples)


def _fetched(store: Store, shard: Shard) -> Path:
    """The shard as a local file with the right content."""
    if isinstance(store, LocalStore):
        path = store.path(shard.key)
        if not path.is_file():
            raise NotFound(f"{path}: no such shard; the dataset was deleted, run data_analysis anew")
    else:
        path = cache_folder() / f"{shard.sha256}.npy"
        if path.exists() and sha256_file(path) == shard.sha256:
            return path
        store.download(shard.key, path)
    if sha256_file(path) != shard.sha256:
        raise IntegrityError(f"{store.uri}/{shard.key}: damaged (its SHA-256 has changed); restore it or run data_analysis anew")
    return path


def cache_folder() -> Path:
    """Where fetched shards are kept: $DRIFTLOOP_CACHE, else a folder of this user alone in the temporary directory.

    Raises:
        InputError: that folder belongs to somebody else.
    """
    named = os.environ.get(CACHE_VARIABLE)
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(named) if named else Path(tempfile.gettempdir(), f"driftloop-{user}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not named and hasattr(os, "getuid") and folder.stat().st_uid != user:
        raise InputError(f"{folder}: belongs to another user; set {CACHE_VARIABLE} to a folder of your own")
    return folder
