"""The images of another source as traffic: a new site's folder, read as the champion's own images were.

Loaded only where a replay names a source: it brings pandas and the reading of images along.
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from components.data_analysis.audit import audit
from components.data_analysis.ingest import Ingested, check_broken, ingest, pack
from driftloop.contracts import STREAM
from driftloop.dataset import Description, Split, open_split
from driftloop.dataset.reading import read_samples
from driftloop.errors import InputError
from driftloop.settings import DataSettings
from driftloop.sources import opened
from driftloop.spelling import composed
from driftloop.store import open_store


@contextmanager
def opened_source(source: str, champions: Description, *, seed: int) -> Iterator[tuple[Split, Description]]:
    """The images of a labelled source that the champion's dataset does not hold, at its input size, as long as the context lasts.

    Args:
        source: a folder, a zip, `s3://...`, or a built-in source; what splits it has plays no part.
        champions: the dataset that the champion was trained on.
        seed: of synthetic images that name none themselves.

    Returns:
        The images as a stream split, their labels as indices of the champion's classes; and the champion's description under the
        hash of these images, which is what tells one replay from another.

    Raises:
        InputError, StoreError: the source cannot be used, or knows other classes, or is in colour where the champion sees grey.
    """
    with tempfile.TemporaryDirectory(prefix="driftloop-replay-") as folder:
        spool = Path(folder, "spool")
        spool.mkdir()
        frame, ingested = _read(source, champions, spool, seed)
        home = open_store(str(Path(folder, "store")))
        packed = pack(frame, ingested, home, image_size=champions.image_size, resize=champions.resize, source=source)
        split = open_split(packed, STREAM)
        same = packed.channels == champions.channels
        images = split.images if same else np.broadcast_to(split.images, (*split.images.shape[:3], champions.channels))
        known = [composed(name) for name in champions.classes]
        labels = np.array([known.index(name) for name in packed.classes])[split.labels]
        yield (
            Split(images, labels, split.samples.assign(label=labels)),
            champions.model_copy(update={"manifest_hash": packed.manifest_hash}),
        )


def _read(source: str, champions: Description, spool: Path, seed: int) -> tuple[pd.DataFrame, Ingested]:
    """What the source has for the champion: the audited table, and the pixels that it points to."""
    settings = DataSettings.complete(dict(champions.naming))
    with opened(source, seed=seed, classes=settings.classes, workers=settings.workers) as folder:
        _check_classes({file.label for file in folder.files}, champions.classes, source)
        ingested = ingest(
            folder.root,
            folder.files,
            spool,
            image_size=champions.image_size,
            resize=champions.resize,
            workers=settings.workers,
            deep_range=champions.deep_range,
        )
    check_broken(ingested, source, settings.max_broken_share)
    beyond = ingested.frame[ingested.frame["full"] > ingested.frame["scaled"]]
    if len(beyond):
        print(
            f"{source}: {len(beyond):,} of {len(ingested.frame):,} images (such as {beyond['path'].iloc[0]}) have levels above "
            f"{champions.deep_range:,}, the highest that the champion was trained on; they are cut there, as its service does",
            file=sys.stderr,
        )
    if ingested.channels > champions.channels:
        raise InputError(f"{source}: has images in colour, and the champion was trained on grey ones; convert them to grey first")
    unsplit = ingested.frame.assign(source_split="")
    frame, _ = audit(unsplit, ingested.thumbnails, group_pattern=settings.group_pattern, smallest_val=0)
    fresh = frame[~frame["sha256"].isin(read_samples(champions)["sha256"])]
    if fresh.empty:
        raise InputError(f"{source}: the champion's dataset holds all of its {len(frame):,} images; give new ones")
    return fresh.assign(split=STREAM), ingested


def _check_classes(names: set[str], known: list[str], source: str) -> None:
    unknown = sorted(names - {composed(name) for name in known})
    if unknown:
        raise InputError(f"{source}: the champion knows {', '.join(known)}, but not {', '.join(unknown)}; rename or leave out that folder")
