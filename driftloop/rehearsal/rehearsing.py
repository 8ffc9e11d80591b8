"""The rehearsal from beginning to end: a champion, then window after window of traffic with its watch; under one policy or several."""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from components.traffic_replay.replay_plan import open_stream
from driftloop import registry, runtime
from driftloop.dataset import Description, Split, read_description
from driftloop.errors import DriftloopError
from driftloop.rehearsal import shortened
from driftloop.rehearsal.production import LabellingTeam, Production, fewest_groups, what_can_be_played, window_size
from driftloop.rehearsal.report import table_line
from driftloop.rehearsal.result import AcceptedDrifts, Comparison, PolicyResult, Rehearsal, conclude
from driftloop.rehearsal.steps import Announce, StepCaller, champion_stage, data_stage
from driftloop.rehearsal.timeline import Calendar, images_needed
from driftloop.rehearsal.window import RehearsalHistory, WindowPlayer
from driftloop.scenarios import Scenario
from driftloop.settings import DriftSettings, TrainingParameters, WatchParameters
from driftloop.sources.built_in import with_stream
from driftloop.store import open_store


@dataclass(frozen=True)
class RehearsalPlan:
    """What is rehearsed."""

    drift: str
    """The text that `timeline` was read from."""
    timeline: list[Scenario]
    """What is played in each window."""
    arguments: dict[str, Any]
    """The parameters of the full-loop pipeline, with a store of the rehearsal's own."""
    windows_per_day: int = 1
    """Windows of traffic on each simulated day."""
    labels_after: float = 4.0
    """Days after which the labels of a list that the team took arrive."""
    ranked_labels: bool = False
    """Whether the team labels the most shifted images as well."""
    labels_per_window: int = 0
    """Labels that arrive with each window besides."""
    subgroup: float | None = None
    """Share of the traffic that drifts, as `timeline` has it; None: nothing was asked for."""

    def steps_arguments(self) -> dict[str, Any]:
        """The arguments as the steps get them: quick where nothing else was asked for, and with a stream that is long enough."""
        given = self.arguments
        size = DriftSettings.complete(given["drift_config"]).window_size
        # A few more than needed: copies of an image are played once.
        source = with_stream(given["data_source"], round(1.02 * images_needed(self.timeline, size)))
        return shortened(given) | {"data_source": source}


@dataclass(frozen=True)
class World:
    """What every policy finds: a store with a first champion, and the traffic that will come."""

    stream: Split
    """The images that are played."""
    description: Description
    """Of the dataset that they belong to."""
    size: int
    """Images a window."""
    timeline: list[Scenario]
    """What is played in each window that can be played."""
    notes: list[str]
    """What a reader must know of it."""


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
    return _concluded(plan, keep, lambda history: _play(plan, begin(plan, artifacts, announce), artifacts, announce, history))


def compare(
    plan: RehearsalPlan,
    policies: Mapping[str, dict[str, Any]],
    artifacts: Path,
    announce: Callable[[str], Announce],
    keep: Callable[[Comparison], None],
) -> Comparison:
    """Play the same traffic under several policies, each from the same first champion and in a store of its own.

    Args:
        plan: what to play; its store is where each policy begins from.
        policies: the arguments of the plan as each policy has them, by name.
        artifacts: where the steps' outputs go: `training/`, then a folder for each policy.
        announce: of a policy's name (empty: what is done for all), opens each step for the person who watches.
        keep: takes the result after each policy, also that of one which ended early.

    Raises:
        DriftloopError: as `rehearse`.
    """
    world, store = begin(plan, artifacts, announce("")), Path(plan.arguments["store"])
    finished: list[PolicyResult] = []
    for name, given in policies.items():
        arguments = given | {"store": plan.arguments["store"]}
        own = store.parent / "policies" / name / "store"
        shutil.copytree(store, own)
        changes = {key: _changed(value, plan.arguments[key]) for key, value in arguments.items() if value != plan.arguments[key]}
        policy = replace(plan, arguments=arguments | {"store": str(own)})

        def keep_all(result: Rehearsal, name: str = name, changes: dict[str, Any] = changes) -> None:
            finished.append(PolicyResult(name=name, changes=changes, rehearsal=result))
            keep(Comparison(policies=finished))

        def play(history: RehearsalHistory, policy: RehearsalPlan = policy, name: str = name) -> None:
            _play(policy, world, artifacts / name, announce(name), history)

        _concluded(policy, keep_all, play)
    return Comparison(policies=finished)


def begin(plan: RehearsalPlan, artifacts: Path, announce: Announce) -> World:
    """Read the source, and train the first champion."""
    arguments = plan.steps_arguments()
    training, call = TrainingParameters.of(arguments), StepCaller(artifacts / "training")
    dataset = data_stage(call, training, announce)
    description = read_description(dataset)
    stream = open_stream(description)
    settings = DriftSettings.complete(arguments["drift_config"])
    size = window_size(description, settings)
    timeline, notes = what_can_be_played(plan.timeline, stream, size, fewest_groups(size, settings))
    champion_stage(call, training, dataset, announce)
    return World(stream, description, size, timeline, notes)


def _concluded(plan: RehearsalPlan, keep: Callable[[Rehearsal], None], play: Callable[[RehearsalHistory], None]) -> Rehearsal:
    """The result of what `play` does to a new history, which is kept however that ends."""
    began, history = time.monotonic(), RehearsalHistory()
    error: str | None = "interrupted"
    try:
        play(history)
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
            windows_per_day=plan.windows_per_day,
            labels_after=plan.labels_after,
            ranked_labels=plan.ranked_labels,
            labels_per_window=plan.labels_per_window,
            subgroup=plan.subgroup,
            rollbacks=_rollbacks(plan.arguments["store"]),
            notes=history.notes,
            error=error,
            seconds=round(time.monotonic() - began, 1),
        )
        keep(result)
    return result


def _play(plan: RehearsalPlan, world: World, artifacts: Path, announce: Announce, history: RehearsalHistory) -> None:
    arguments = plan.steps_arguments()
    store, seed, config = open_store(arguments["store"]), arguments["seed"], arguments["traffic_config"]
    history.notes = list(world.notes)
    calendar = Calendar(len(plan.timeline), plan.windows_per_day)
    player = WindowPlayer(
        Production(store, world.stream, world.description, world.size, plan.labels_per_window, seed, config),
        calendar,
        LabellingTeam(calendar.windows_in(plan.labels_after), ranked=plan.ranked_labels),
        AcceptedDrifts(),
        WatchParameters.of(arguments),
        history,
    )
    for number, scenario in enumerate(world.timeline, 1):
        with announce(f"window {number}"):
            record = player.play(number, scenario, artifacts / f"window-{number:03d}")
            runtime.report_metrics(table_line(record))
        if record.requests < world.size:
            history.notes.append(f"The stream had no more images of the classes wanted: window {number} was the last.")
            return


def _changed(value: Any, before: Any) -> Any:
    """Of a group of settings those that differ; any other value as it is."""
    return {name: item for name, item in value.items() if before.get(name) != item} if isinstance(value, dict) else value


def _rollbacks(uri: str) -> int:
    champion = registry.current(open_store(uri))
    return sum(change.action == "rollback" for change in champion.history) if champion else 0
