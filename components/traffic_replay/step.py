"""The step `traffic_replay`: a stretch of production traffic, made from images that the model has never seen."""

from typing import Any

from components.traffic_replay.replay import Amounts, replay
from components.traffic_replay.replay_plan import open_stream
from driftloop import runtime
from driftloop.dataset.description import read_description
from driftloop.scenarios import parse
from driftloop.settings import TrafficSettings
from driftloop.store import open_store


def run(dataset: str, *, champion_version: str, drift: str, seed: int, store: str, config: dict[str, Any]) -> str:
    """Replay the stream split of the dataset artifact in `dataset`; the ISO 8601 time just after the last logged row.

    Raises:
        InputError: an unknown drift, or no stream image left to play.
        NoChampion: no version given and the store names no champion.
    """
    settings = TrafficSettings.complete(config)
    scenario = parse(drift)
    description = read_description(dataset)
    played = replay(
        open_store(store),
        open_stream(description),
        description,
        version=champion_version,
        scenario=scenario,
        amounts=Amounts.of(settings),
        seed=seed,
        settings=settings,
    )
    runtime.report_metrics(played.figures())
    return played.until
