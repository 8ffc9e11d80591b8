"""The rehearsal from beginning to end: a champion, then a window of traffic and a watch a day."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.traffic_replay.replay_plan import open_stream
from driftloop import registry, runtime
from driftloop.dataset import read_description
from driftloop.errors import DriftloopError
from driftloop.rehearsal.day import DayPlayer, RehearsalHistory
from driftloop.rehearsal.production import LabellingTeam, Production, what_can_be_played, window_size
from driftloop.rehearsal.report import table_line
from driftloop.rehearsal.result import AcceptedDrifts, Rehearsal, conclude
from driftloop.rehearsal.steps import Announce, StepCaller, champion_stage, data_stage
from driftloop.rehearsal.timeline import Calendar, images_needed
from driftloop.scenarios import Scenario
from driftloop.settings import DriftSettings, TrainingParameters, WatchParameters
from driftloop.sources.built_in import with_stream
from driftloop.store import open_store

#: A rehearsal leaves the ablation out and measures speed briefly, unless asked otherwise: neither changes what the policy does.
QUICK = {"train_config": {"ablation_epochs": 0}, "deploy_config": {"benchmark_seconds": 1.0}}


@dataclass(frozen=True)
class RehearsalPlan:
    """What is rehearsed."""

    drift: str
    """The text that `timeline` was read from."""
    timeline: list[Scenario]
    """What is played in each window."""
    arguments: dict[str, Any]
    """The parameters of the full-loop pipeline, with a store of the rehearsal's own."""
    label_delay: int = 4
    """Windows after which the labels of a list that the team took arrive."""
    labels_per_window: int = 0
    """Labels that arrive with each window besides."""

    def steps_arguments(self) -> dict[str, Any]:
        """The arguments as the steps get them: quick where nothing else was asked for, and with a stream that is long enough."""
        given = self.arguments
        quick = {group: overrides | given[group] for group, overrides in QUICK.items()}
        size = DriftSettings.complete(given["drift_config"]).window_size
        # A few more than needed: copies of an image are played once.
        source = with_stream(given["data_source"], round(1.02 * images_needed(self.timeline, size)))
        return {**given, **quick, "data_source": source}


def rehearse(plan: RehearsalPlan, artifacts: Path, announce: Announce, keep: Callable[[Rehearsal], None]) -> Rehearsal:
    """Play the plan.

    Args:
        plan: what to play.
        artifacts: where the steps' outputs go: `training/`, then a folder for each window.
        announce: opens each step for the person who watches.
        keep: takes the result, also that of a rehearsal which ended early.

    Raises:
        InputError: a source without enough images, a drift that it cannot show.
        GateRefused: no first champion.
    """
    began, history = time.monotonic(), RehearsalHistory()
    error: str | None = "interrupted"
    try:
        _play(plan, artifacts, announce, history)
        error = None
    except DriftloopError as problem:
        error = str(problem)
        raise
    finally:
        result = conclude(
            history.windows,
            seed=plan.arguments["seed"],
            source=plan.arguments["data_source"],
            drift=plan.drift,
            rollbacks=_rollbacks(plan.arguments["store"]),
            notes=history.notes,
            error=error,
            seconds=round(time.monotonic() - began, 1),
        )
        keep(result)
    return result


def _play(plan: RehearsalPlan, artifacts: Path, announce: Announce, history: RehearsalHistory) -> None:
    arguments = plan.steps_arguments()
    training, call = TrainingParameters.of(arguments), StepCaller(artifacts / "training")
    dataset = data_stage(call, training, announce)
    description = read_description(dataset)
    stream = open_stream(description)
    size = window_size(description, DriftSettings.complete(arguments["drift_config"]))
    timeline, history.notes = what_can_be_played(plan.timeline, stream, size)
    champion_stage(call, training, dataset, announce)
    store, seed, config = open_store(arguments["store"]), arguments["seed"], arguments["traffic_config"]
    player = DayPlayer(
        Production(store, stream, description, size, plan.labels_per_window, seed, config),
        Calendar(len(plan.timeline)),
        LabellingTeam(plan.label_delay),
        AcceptedDrifts(),
        WatchParameters.of(arguments),
        history,
    )
    for number, scenario in enumerate(timeline, 1):
        with announce(f"window {number}"):
            record = player.play(number, scenario, artifacts / f"window-{number:03d}")
            runtime.report_metrics(table_line(record))
        if record.requests < size:
            history.notes.append(f"The stream had no more images of the classes wanted: window {number} was the last.")
            return


def _rollbacks(uri: str) -> int:
    champion = registry.current(open_store(uri))
    return sum(change.action == "rollback" for change in champion.history) if champion else 0
