"""The images of another source as traffic: a new site's folder, read as the champion's own images were.

`driftloop replay`: new traffic for a store's champion, from images of its stream that nobody has seen, or from another source.
"""

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import pandas as pd
import typer

from components.data_analysis.audit import audit
from components.data_analysis.ingest import Ingested, check_broken, ingest, pack
from driftloop import registry
from driftloop.cli.arguments import DEFAULT_STORE
from driftloop.dataset import Description, Split, open_split
from driftloop.dataset.reading import read_samples
from driftloop.errors import InputError, NoChampion
from driftloop.settings import DataSettings, TrafficSettings
from driftloop.sources import opened
from driftloop.store import Store, open_store

if TYPE_CHECKING:
    from driftloop.dataset import Description


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
        packed = pack(frame, ingested, open_store(str(Path(folder, "store"))), image_size=champions.image_size, source=source)
        split = open_split(packed, "stream")
        images = np.broadcast_to(split.images, (*split.images.shape[:3], champions.channels))
        labels = np.array([champions.classes.index(name) for name in packed.classes])[split.labels]
        yield (
            Split(images, labels, split.samples.assign(label=labels)),
            champions.model_copy(update={"manifest_hash": packed.manifest_hash}),
        )


def _read(source: str, champions: Description, spool: Path, seed: int) -> tuple[pd.DataFrame, Ingested]:
    """What the source has for the champion: the audited table, and the pixels that it points to."""
    settings = DataSettings.complete()
    with opened(source, seed=seed, workers=settings.workers) as folder:
        _check_classes({file.label for file in folder.files}, champions.classes, source)
        ingested = ingest(folder.root, folder.files, spool, image_size=champions.image_size, workers=settings.workers)
    check_broken(ingested, source, settings.max_broken_share)
    if ingested.channels > champions.channels:
        raise InputError(f"{source}: has images in colour, and the champion was trained on grey ones; convert them to grey first")
    unsplit = ingested.frame.assign(source_split="")
    frame, _ = audit(unsplit, ingested.thumbnails, group_pattern=settings.group_pattern, smallest_val=0)
    fresh = frame[~frame["sha256"].isin(read_samples(champions)["sha256"])]
    if fresh.empty:
        raise InputError(f"{source}: the champion's dataset holds all of its {len(frame):,} images; give new ones")
    return fresh.assign(split="stream"), ingested


def _check_classes(found: set[str], known: list[str], source: str) -> None:
    strange = sorted(found - set(known))
    if strange:
        raise InputError(f"{source}: the champion knows {', '.join(known)}, but not {', '.join(strange)}; rename or leave out that folder")


def replay(
    drift: Annotated[str, typer.Option(help="Drift of the traffic: none, or such as blur+noise:0.6.")] = "none",
    count: Annotated[int, typer.Option(min=1, max=1_000_000, help="Requests; fewer where the stream has fewer new images.")] = 600,
    labels: Annotated[int, typer.Option(min=0, max=1_000_000, help="Labels that arrive for uniformly drawn requests.")] = 0,
    source: Annotated[
        str, typer.Option(help="Other labelled images instead, such as a new site's: a folder, zip, s3://..., synthetic:...")
    ] = "",
    store: Annotated[str, typer.Option(help="The model's home: a folder or s3://bucket/prefix.")] = DEFAULT_STORE,
    seed: Annotated[int, typer.Option(help="Seed of all draws.")] = 1,
) -> None:
    """Send new images through the champion, and log them as production does."""
    # The command line starts without waiting for what only this command needs.
    from components.traffic_replay.replay import Amounts
    from components.traffic_replay.replay import replay as play
    from components.traffic_replay.replay_plan import open_stream
    from driftloop.scenarios import parse

    scenario = parse(drift)
    home = open_store(store)
    description = champion_dataset(home)
    amounts = Amounts(clean=0 if scenario.drifts else count, drifted=count if scenario.drifts else 0, labels=labels)
    settings = TrafficSettings.complete()
    with (
        redirect_stdout(io.StringIO()),  # the steps' progress lines are for a pipeline's log
        opened_source(source, description, seed=seed) if source else nullcontext((open_stream(description), description)) as (
            stream,
            played,
        ),
    ):
        result = play(home, stream, played, version="", scenario=scenario, amounts=amounts, seed=seed, settings=settings)
    typer.echo(result.figures())


def champion_dataset(store: Store) -> "Description":
    """The dataset that the champion of `store` was trained on.

    Raises:
        NoChampion: the store names none.
    """
    from driftloop.dataset.description import DATASET_FILE, Description

    champion = registry.current(store)
    if champion is None:
        raise NoChampion(f"{store.uri}: no champion to send traffic to; train one with `driftloop run training --store {store.uri}`")
    model = registry.description(store, champion.version)
    description = Description.model_validate_json(store.read(f"datasets/{model.dataset}/{DATASET_FILE}"))
    # A store may have been moved since the dataset was written.
    return description.model_copy(update={"store": store.uri})
