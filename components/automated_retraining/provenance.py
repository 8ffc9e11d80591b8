"""Where each drifted image of a retraining dataset came from: request, time, window, version that answered, label and its origin."""

import io
from pathlib import Path

import numpy as np
import pandas as pd

from components.automated_retraining.sides import LEFT_OUT, REGIME
from driftloop.dataset import Description
from driftloop.store import Store

NAME = "provenance.parquet"


def provenance(rows: pd.DataFrame, sides: np.ndarray, classes: list[str], regime: str | None) -> pd.DataFrame:
    """One line for each row that went into the dataset; `split` is where it went, `label` its class name (None in a regime)."""
    table = rows.assign(split=np.where(sides == REGIME, regime or LEFT_OUT, sides))[sides != LEFT_OUT]
    names = [classes[label] if label >= 0 else None for label in table["label"]]
    return table.assign(label=names).drop(columns="image_index").reset_index(drop=True)


def write_provenance(store: Store, dataset: Description, table: pd.DataFrame, directory: str | Path) -> None:
    """Write it beside the dataset in the store, and into the artifact's directory."""
    stream = io.BytesIO()
    table.to_parquet(stream, index=False)
    store.put(f"datasets/{dataset.manifest_hash}/{NAME}", stream.getvalue())
    Path(directory, NAME).write_bytes(stream.getvalue())
