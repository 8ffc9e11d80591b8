"""`driftloop replay`: new traffic for a store's champion, from images of its stream that nobody has seen, or from another source."""

import io
from contextlib import nullcontext, redirect_stdout
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from driftloop import registry
from driftloop.cli.arguments import DEFAULT_STORE, JsonOption, answer
from driftloop.errors import NoChampion
from driftloop.settings import TrafficSettings
from driftloop.store import Store, open_store

if TYPE_CHECKING:
    from driftloop.dataset import Description


def replay(
    drift: Annotated[str, typer.Option(help="Drift of the traffic: none, or such as blur+noise:0.6.")] = "none",
    count: Annotated[int, typer.Option(min=1, max=1_000_000, help="Requests; fewer where the stream has fewer new images.")] = 600,
    labels: Annotated[int, typer.Option(min=0, max=1_000_000, help="Labels that arrive for uniformly drawn requests.")] = 0,
    source: Annotated[
        str, typer.Option(help="Other labelled images instead, such as a new site's: a folder, zip, s3://..., synthetic:...")
    ] = "",
    store: Annotated[str, typer.Option(help="The model's home: a folder or s3://bucket/prefix.")] = DEFAULT_STORE,
    seed: Annotated[int, typer.Option(help="Seed of all draws.")] = 1,
    to: Annotated[str, typer.Option(help="Ask a running `driftloop serve` on the same store, http://host:port, as its clients do.")] = "",
    rate: Annotated[float, typer.Option(min=0, help="Requests a second to that service; 0: as fast as it answers.")] = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Send new images through the champion, and log them as production does."""
    # The command line starts without waiting for what only this command needs.
    from components.traffic_replay.replay import Amounts
    from components.traffic_replay.replay import replay as play
    from components.traffic_replay.replay_plan import open_stream
    from driftloop.cli.replay_source import opened_source
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
        result = play(home, stream, played, version="", scenario=scenario, amounts=amounts, seed=seed, settings=settings, to=to, rate=rate)
    result = replace(result, source=source)
    answer(result.figures(), result.record(), as_json=as_json)


def champion_dataset(store: Store) -> "Description":
    """The dataset that the champion of `store` was trained on.

    Raises:
        NoChampion: the store names none.
    """
    from driftloop.dataset.reading import stored_description

    champion = registry.current(store)
    if champion is None:
        raise NoChampion(f"{store.uri}: no champion to send traffic to; train one with `driftloop run training --store {store.uri}`")
    return stored_description(store, registry.description(store, champion.version).dataset)
