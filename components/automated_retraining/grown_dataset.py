"""The dataset of a retraining: all that the champion learned from, the drifted images, and the regime it is to accept.

No image is copied: the new description points at the shards that stay. `provenance.parquet` says where each drifted image came from:
request, time, window, version that answered, label and its origin.
"""

import io
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from driftloop.contracts import DRIFTED_GATE, DRIFTED_SPLITS, MOST_LEARNED_REGIMES, REGIME_PREFIX
from driftloop.dataset import UNLABELLED, Description, extend_dataset
from driftloop.dataset.description import DATASET_FILE, TAGS, manifest_hash
from driftloop.dataset.reading import read_samples, stored_description
from driftloop.dataset.roles import REGIME
from driftloop.errors import InputError, NotFound
from driftloop.store import Store

PROVENANCE = "provenance.parquet"


@dataclass(frozen=True)
class GrownDataset:
    """The new dataset."""

    dataset: Description
    """its description"""
    regime: str | None
    """the regime that it begins; None without unlabelled rows"""
    dropped: tuple[str, ...]
    """regimes that it gave up for it"""


def open_parent(store: Store, manifest_hash: str) -> Description:
    """The dataset that the champion was trained on.

    Raises:
        InputError: the store does not have it.
    """
    try:
        return stored_description(store, manifest_hash)
    except NotFound:
        raise InputError(
            f"{store.uri}: the champion's dataset {manifest_hash[:12]} is not in this store; retrain in the store it was trained in"
        ) from None


def known_samples(store: Store, parent: Description) -> pd.DataFrame:
    """The parent's samples: path, label, split, group and the rest."""
    return read_samples(parent, store)


def grow(
    store: Store, parent: Description, rows: pd.DataFrame, roles: np.ndarray, images: np.ndarray, hold_out: str = DRIFTED_GATE
) -> GrownDataset:
    """Write the new dataset; doing it twice does it once.

    Splits of labelled images that the parent has already grow: what an earlier retraining learned is not forgotten. The regime is a
    split of its own, numbered on; where there would be too many the oldest goes.

    Args:
        store: the parent's home.
        parent: what the champion was trained on.
        rows: of the confirmed windows.
        roles: of each row.
        images: of each row, uint8 (N, H, W, C).
        hold_out: split of what is kept for the gate: `contracts.DRIFTED_GATE`, or `RECENT_GATE` where there was no harm to win back.
    """
    accepted = in_regime(roles)
    regime = next_regime(parent) if accepted.any() else None
    dropped = tuple(regimes_to_drop(parent)) if regime else ()
    base = without_splits(store, parent, dropped) if dropped else parent
    parts = {}
    for role in DRIFTED_SPLITS:
        chosen = rows[roles == role]
        if len(chosen):
            parts[split_of(role, hold_out)] = (images[roles == role], chosen["label"].to_numpy(np.int64), _samples(chosen, images))
    if regime:
        chosen = rows[accepted]
        parts[regime] = (images[accepted], np.full(len(chosen), UNLABELLED, np.int64), _samples(chosen, images))
    return GrownDataset(extend_dataset(store, base, parts), regime, dropped)


def in_regime(roles: np.ndarray) -> np.ndarray:
    """Which rows show what is accepted from now on, (N,) bool: those set aside for it and, beside them, those kept for the gate.

    Both are random samples of the drift, and the model has learned from neither.
    """
    return np.isin(roles, (REGIME, DRIFTED_GATE)) & (roles == REGIME).any()


def split_of(role: str, hold_out: str) -> str:
    """The split of the images with a role."""
    return hold_out if role == DRIFTED_GATE else role


def without_splits(store: Store, dataset: Description, splits: Collection[str]) -> Description:
    """`dataset` without `splits`: a small table and description in the store. No image is touched, and doing it twice does it once."""
    samples = read_samples(dataset, store)
    samples = samples[~samples["split"].isin(splits)].reset_index(drop=True)
    shards = [shard for shard in dataset.shards if shard.split not in splits]
    name = manifest_hash(dataset.classes, dataset.image_size, dataset.channels, shards, samples, dataset.resize, dataset.deep_range)
    view = dataset.model_copy(
        update={
            "manifest_hash": name,
            "samples": f"datasets/{name}/samples.parquet",
            "shards": shards,
            "counts": {split: count for split, count in dataset.counts.items() if split not in splits},
            "parent": dataset.manifest_hash,
        }
    )
    if not store.exists(f"datasets/{name}/{DATASET_FILE}"):
        with tempfile.TemporaryDirectory(prefix="driftloop-view-") as folder:
            path = Path(folder, "samples.parquet")
            samples.to_parquet(path, index=False)
            store.upload(view.samples, path)
        store.put(f"datasets/{name}/{DATASET_FILE}", (view.model_dump_json(indent=1) + "\n").encode())
    return view


def regimes(dataset: Description) -> list[str]:
    """The dataset's regimes, oldest first."""
    return sorted((name for name in dataset.counts if name.startswith(REGIME_PREFIX)), key=_number)


def next_regime(parent: Description) -> str:
    """The name of the regime that a retraining begins: numbers are never used twice, so a name always means the same images."""
    return f"{REGIME_PREFIX}{1 + max([_number(name) for name in regimes(parent)], default=0)}"


def regimes_to_drop(parent: Description) -> list[str]:
    """The parent's oldest regimes, for which a further one leaves no room: a window could fit some mixture of too many."""
    names = regimes(parent)
    return names[: max(0, len(names) - (MOST_LEARNED_REGIMES - 1))]


def provenance_table(
    rows: pd.DataFrame, roles: np.ndarray, classes: list[str], regime: str | None, hold_out: str = DRIFTED_GATE
) -> pd.DataFrame:
    """A line for each row and each split that it went into; `label` is its class name (None in a regime)."""
    names = pd.Series([classes[label] if label >= 0 else None for label in rows["label"]], index=rows.index, dtype=object)
    named = rows.assign(split=[split_of(role, hold_out) for role in roles], label=names).drop(columns="image")
    accepted = named[in_regime(roles)].assign(split=regime, label=None)
    return pd.concat([named[np.isin(roles, DRIFTED_SPLITS)], accepted], ignore_index=True)


def write_provenance(store: Store, dataset: Description, table: pd.DataFrame, directory: str | Path) -> None:
    """Write the table beside the dataset in the store, and into the artifact's directory."""
    stream = io.BytesIO()
    table.to_parquet(stream, index=False)
    store.put(f"datasets/{dataset.manifest_hash}/{PROVENANCE}", stream.getvalue())
    Path(directory, PROVENANCE).write_bytes(stream.getvalue())


def _number(name: str) -> int:
    return int(name.removeprefix(REGIME_PREFIX))


def _samples(rows: pd.DataFrame, images: np.ndarray) -> pd.DataFrame:
    height, width = images.shape[1:3]
    return pd.DataFrame(
        {
            "path": rows["request_id"].to_numpy(),
            "group": rows["group"].to_numpy(),
            TAGS: rows[TAGS].to_numpy(),
            "sha256": rows["image_sha256"].to_numpy(),
            "width": width,
            "height": height,
        }
    )
