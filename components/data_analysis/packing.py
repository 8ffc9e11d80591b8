"""From the spool to the store, split by split, without holding more than a batch."""

import numpy as np
import pandas as pd

from components.data_analysis.ingest import Ingested
from driftloop.dataset import Description, ShardWriter
from driftloop.dataset.splitting import position
from driftloop.sources import SPLITS
from driftloop.store import Store

_BATCH = 256


def pack(frame: pd.DataFrame, ingested: Ingested, store: Store, *, image_size: int, source: str) -> Description:
    """Publish the frame's images as a dataset.

    Within a split the order is by hash: whoever reads a split from the front gets all classes mixed, and the same images first
    when others are added.
    """
    classes = sorted(set(frame["label"]))
    labels = {name: number for number, name in enumerate(classes)}
    with ShardWriter(image_size=image_size, channels=ingested.channels) as writer:
        for split in SPLITS:
            part = frame[frame["split"] == split]
            part = part.assign(position=part["sha256"].map(position)).sort_values(["position", "path"])
            for start in range(0, len(part), _BATCH):
                batch = part.iloc[start : start + _BATCH]
                writer.add(split, _images(batch, ingested, image_size), batch["label"].map(labels).to_numpy(), batch)
        return writer.publish(store, classes=classes, source=source)


def _images(batch: pd.DataFrame, ingested: Ingested, side: int) -> np.ndarray:
    """The batch's pixels; grey images of a dataset in colour get three equal channels."""
    images = np.empty((len(batch), side, side, ingested.channels), np.uint8)
    chunks, rows = batch["chunk"].to_numpy(), batch["row"].to_numpy()
    for chunk in np.unique(chunks):
        here = chunks == chunk
        images[here] = ingested.pixels(int(chunk))[rows[here]]
    return images
