"""Where each drifted image of a retraining dataset came from: request, time, window, version that answered, label and its origin.

A dataset without some of its splits: a small table and description in the store, which point at the shards that stay.

The dataset of a retraining: all that the champion learned from, the drifted images, and the regime it is to accept.
"""

import io
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from components.automated_retraining.roles import LABELLED, LEFT_OUT, REGIME, REGIME_PREFIX
from driftloop.dataset import Description, extend_dataset
from driftloop.dataset.description import NAME, manifest_hash
from driftloop.dataset.reading import read_samples
from driftloop.errors import InputError, NotFound
from driftloop.store import Store

PROVENANCE = "provenance.parquet"


def provenance(rows: pd.DataFrame, sides: np.ndarray, classes: list[str], regime: str | None) -> pd.DataFrame:
    """One line for each row that went into the dataset; `split` is where it went, `label` its class name (None in a regime)."""
    table = rows.assign(split=np.where(sides == REGIME, regime or LEFT_OUT, sides))[sides != LEFT_OUT]
    names = [classes[label] if label >= 0 else None for label in table["label"]]
    return table.assign(label=names).drop(columns="image_index").reset_index(drop=True)


def write_provenance(store: Store, dataset: Description, table: pd.DataFrame, directory: str | Path) -> None:
    """Write it beside the dataset in the store, and into the artifact's directory."""
    stream = io.BytesIO()
    table.to_parquet(stream, index=False)
    store.put(f"datasets/{dataset.manifest_hash}/{PROVENANCE}", stream.getvalue())
    Path(directory, PROVENANCE).write_bytes(stream.getvalue())


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


#: Beside the clean reference; a model carries three in all, because a window could fit some mixture of more.
MOST_REGIMES = 2


@dataclass(frozen=True)
class Grown:
    """The new dataset; the regime it begins (None without unlabelled rows) and those it gave up for it."""

    dataset: Description
    regime: str | None
    dropped: tuple[str, ...]


def open_parent(store: Store, manifest_hash: str) -> Description:
    """The dataset that the champion was trained on.

    Raises:
        InputError: the store does not have it.
    """
    try:
        found = Description.model_validate_json(store.read(f"datasets/{manifest_hash}/dataset.json"))
    except NotFound:
        raise InputError(
            f"{store.uri}: the champion's dataset {manifest_hash[:12]} is not in this store; retrain in the store it was trained in"
        ) from None
    # A store that was moved or is mounted elsewhere is still the dataset's home.
    return found.model_copy(update={"store": store.uri})


def known_samples(store: Store, parent: Description) -> pd.DataFrame:
    """The parent's samples: path, label, split, group and the rest."""
    return read_samples(parent, store)


def grow(store: Store, parent: Description, rows: pd.DataFrame, sides: np.ndarray, images: np.ndarray) -> Grown:
    """Write the new dataset; doing it twice does it once.

    Splits of labelled images that the parent has already grow: what an earlier retraining learned is not forgotten. The regime is a
    split of its own, numbered on; with more than two the oldest goes.

    Args:
        store: the parent's home.
        parent: what the champion was trained on.
        rows: of the confirmed windows.
        sides: of each row.
        images: of the window, by the rows' `image_index`.
    """
    regime = next_regime(parent) if (sides == REGIME).any() else None
    dropped = tuple(surplus(parent)) if regime else ()
    base = without_splits(store, parent, dropped) if dropped else parent
    parts = {}
    for side in (*LABELLED, REGIME):
        chosen = rows[sides == side]
        if len(chosen):
            name = regime if regime and side == REGIME else side
            parts[name] = (images[chosen["image_index"].to_numpy()], chosen["label"].to_numpy(np.int64), _samples(chosen, images))
    return Grown(extend_dataset(store, base, parts), regime, dropped)


def regimes(dataset: Description) -> list[str]:
    """The dataset's regimes, oldest first."""
    return sorted((name for name in dataset.counts if name.startswith(REGIME_PREFIX)), key=_number)


def next_regime(parent: Description) -> str:
    """The name of the regime that a retraining begins: numbers are never used twice, so a name always means the same images."""
    return f"{REGIME_PREFIX}{1 + max([_number(name) for name in regimes(parent)], default=0)}"


def surplus(parent: Description) -> list[str]:
    """The parent's regimes for which a further one leaves no room."""
    named = regimes(parent)
    return named[: max(0, len(named) - (MOST_REGIMES - 1))]


def _number(name: str) -> int:
    return int(name.removeprefix(REGIME_PREFIX))


def _samples(rows: pd.DataFrame, images: np.ndarray) -> pd.DataFrame:
    height, width = images.shape[1:3]
    return pd.DataFrame(
        {
            "path": rows["request_id"].to_numpy(),
            "group": rows["group"].to_numpy(),
            "sha256": rows["image_sha256"].to_numpy(),
            "width": width,
            "height": height,
        }
    )
