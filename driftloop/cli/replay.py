"""`driftloop replay`: new traffic for a store's champion, from images of its stream that nobody has seen."""

import io
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated

import typer

from driftloop import registry
from driftloop.bundle import DESCRIPTION, ModelDescription
from driftloop.cli.existing_store import DEFAULT_STORE
from driftloop.errors import NoChampion
from driftloop.settings import TrafficSettings
from driftloop.store import Store, open_store

if TYPE_CHECKING:
    from driftloop.dataset import Description


def replay(
    drift: Annotated[str, typer.Option(help="Drift of the traffic: none, or such as blur+noise:0.6.")] = "none",
    count: Annotated[int, typer.Option(min=1, max=1_000_000, help="Requests; fewer where the stream has fewer new images.")] = 600,
    labels: Annotated[int, typer.Option(min=0, max=1_000_000, help="Labels that arrive for uniformly drawn requests.")] = 0,
    store: Annotated[str, typer.Option(help="The model's home: a folder or s3://bucket/prefix.")] = DEFAULT_STORE,
    seed: Annotated[int, typer.Option(help="Seed of all draws.")] = 1,
) -> None:
    """Send new images through the champion, and log them as production does."""
    # The command line starts without waiting for what only this command needs.
    from components.traffic_replay.replay import Amounts
    from components.traffic_replay.replay import replay as play
    from components.traffic_replay.stream import open_stream
    from driftloop.scenarios import parse

    scenario = parse(drift)
    home = open_store(store)
    description = champion_dataset(home)
    amounts = Amounts(clean=0 if scenario.drifts else count, drifted=count if scenario.drifts else 0, labels=labels)
    stream = open_stream(description)
    with redirect_stdout(io.StringIO()):  # the step's progress lines are for a pipeline's log
        played = play(
            home, stream, description, version="", scenario=scenario, amounts=amounts, seed=seed, settings=TrafficSettings.complete()
        )
    typer.echo(played.figures())


def champion_dataset(store: Store) -> "Description":
    """The dataset that the champion of `store` was trained on.

    Raises:
        NoChampion: the store names none.
    """
    from driftloop.dataset.description import NAME, Description

    champion = registry.current(store)
    if champion is None:
        raise NoChampion(f"{store.uri}: no champion to send traffic to; train one with `driftloop run training --store {store.uri}`")
    model = ModelDescription.model_validate_json(store.read(f"versions/{champion.version}/{DESCRIPTION}"))
    description = Description.model_validate_json(store.read(f"datasets/{model.dataset}/{NAME}"))
    # A store may have been moved since the dataset was written.
    return description.model_copy(update={"store": store.uri})
