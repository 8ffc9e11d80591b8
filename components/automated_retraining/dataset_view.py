"""A dataset without some of its splits: a small table and description in the store, which point at the shards that stay."""

import tempfile
from collections.abc import Collection
from pathlib import Path

from driftloop.dataset import Description
from driftloop.dataset.description import NAME
from driftloop.dataset.manifest import manifest_hash
from driftloop.dataset.reading import read_samples
from driftloop.store import Store


def without_splits(store: Store, dataset: Description, splits: Collection[str]) -> Description:
    """`dataset` without `splits`; no image is touched, and doing it twice does it once."""
    samples = read_samples(dataset, store)
    samples = samples[~samples["split"].isin(splits)].reset_index(drop=True)
    shards = [shard for shard in dataset.shards if shard.split not in splits]
    name = manifest_hash(dataset.classes, dataset.image_size, dataset.channels, shards, samples)
    view = dataset.model_copy(
        update={
            "manifest_hash": name,
            "samples": f"datasets/{name}/samples.parquet",
            "shards": shards,
            "counts": {split: count for split, count in dataset.counts.items() if split not in splits},
            "parent": dataset.manifest_hash,
        }
    )
    if not store.exists(f"datasets/{name}/{NAME}"):
        with tempfile.TemporaryDirectory(prefix="driftloop-view-") as folder:
            path = Path(folder, "samples.parquet")
            samples.to_parquet(path, index=False)
            store.upload(view.samples, path)
        store.put(f"datasets/{name}/{NAME}", (view.model_dump_json(indent=1) + "\n").encode())
    return view
