"""Packing the images of a window into one array."""

import numpy as np
import pandas as pd

from driftloop.bundle import ModelDescription
from driftloop.errors import NotFound
from driftloop.inference.log import read_images
from driftloop.inference.window import FRESH, IMAGE_INDEX, LABEL
from driftloop.store import Store


def pack_images(store: Store, rows: pd.DataFrame, model: ModelDescription, mib: int) -> tuple[pd.DataFrame, np.ndarray, int]:
    """Fetch the kept images of `rows`, as many as fit into `mib` MiB: labelled rows first, then fresh ones, then the newest.

    Returns:
        The rows with `image_index`, the images uint8 (n, H, W, C) in the order of the rows, and the number of images that are gone
        from the store (deleted by a retention rule): their rows stay, without an image.
    """
    shape = (model.image_size, model.image_size, model.channels)
    chosen = choose(rows, int(mib * 2**20 // np.prod(shape)))
    images: dict[int, np.ndarray] = {}
    gone = 0
    files = rows.loc[chosen, "image"].str.rpartition("#")[0] if len(chosen) else pd.Series(dtype=object)
    for _, part in rows.loc[chosen].groupby(files, sort=True):
        try:
            images.update(zip(part.index, read_images(store, part), strict=True))
        except NotFound:
            gone += len(part)
    order = sorted(images)
    index = pd.Series(-1, index=rows.index, dtype=np.int64)
    index.loc[order] = np.arange(len(order))
    packed = np.stack([images[row] for row in order]) if order else np.zeros((0, *shape), np.uint8)
    return rows.assign(**{IMAGE_INDEX: index}), packed, gone


def choose(rows: pd.DataFrame, most: int) -> pd.Index:
    """The index of the rows whose images are packed: `most` at most."""
    kept = rows[rows["image"].notna()]
    rank = pd.DataFrame({"labelled": kept[LABEL].notna(), "fresh": kept[FRESH], "time": kept["time"]})
    return rank.sort_values(["labelled", "fresh", "time"], ascending=False, kind="stable").index[:most]
