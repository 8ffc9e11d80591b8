"""The dataset of a retraining: all that the champion learned from, the drifted images, and the regime it is to accept."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from components.automated_retraining.dataset_view import without_splits
from components.automated_retraining.sides import LABELLED, REGIME, REGIME_PREFIX
from driftloop.dataset import Description, extend_dataset
from driftloop.dataset.reading import read_samples
from driftloop.errors import InputError, NotFound
from driftloop.store import Store

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
