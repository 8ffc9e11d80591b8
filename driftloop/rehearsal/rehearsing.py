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
from driftloop.rehearsal.day import Day, History
from driftloop.rehearsal.production import LabellingTeam, Production, what_can_be_played, window_size
from driftloop.rehearsal.report import line
from driftloop.rehearsal.result import AcceptedDrifts, Rehearsal, conclude
from driftloop.rehearsal.steps import Steps, prepare_data, train_champion
from driftloop.rehearsal.timeline import Calendar, images_needed
from driftloop.scenarios import Scenario
from driftloop.settings import DriftSettings
from driftloop.sources.built_in import with_stream
from driftloop.store import open_store

#: What a rehearsal does without unless it is asked for: neither changes what the policy does, and both take long.
QUICK = {"train_config": {"ablation_epochs": 0}, "deploy_config": {"benchmark_seconds": 1.0}}


@dataclass(frozen=True)
class Plan:
    """What is rehearsed.

    `drift` is the text that `timeline` was read from. `arguments` are the parameters of the full-loop pipeline, with a store of the
    rehearsal's own. Labels of the team arrive `label_delay` windows after it took a list; `labels_per_window` arrive with each window.
    """

    drift: str
    timeline: list[Scenario]
    arguments: dict[str, Any]
    label_delay: int = 4
    labels_per_window: int = 0

    def steps_arguments(self) -> dict[str, Any]:
        """The arguments as the steps get them: quick where nothing else was asked for, and with a stream that is long enough."""
        given = self.arguments
        quick = {group: overrides | given[group] for group, overrides in QUICK.items()}
        size = DriftSettings.complete(given["drift_config"]).window_size
        # A few more than needed: copies of an image are played once.
        source = with_stream(given["data_source"], round(1.02 * images_needed(self.timeline, size)))
        return {**given, **quick, "data_source": source}


def rehearse(plan: Plan, artifacts: Path, steps: Steps, keep: Callable[[Rehearsal], None]) -> Rehearsal:
    """Play the plan.

    Args:
        plan: what to play.
        artifacts: where the steps' outputs go: `training/`, then a folder for each window.
        steps: opens each step for the person who watches.
        keep: takes the result, also that of a rehearsal which ended early.

    Raises:
        InputError: a source without enough images, a drift that it cannot show.
        GateRefused: no first champion.
    """
    began, history = time.monotonic(), History()
    error: str | None = "interrupted"
    try:
        _play(plan, artifacts, steps, history)
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


def _play(plan: Plan, artifacts: Path, steps: Steps, history: History) -> None:
    arguments = plan.steps_arguments()
    dataset = prepare_data(arguments, artifacts / "training", steps)
    description = read_description(dataset)
    stream = open_stream(description)
    size = window_size(description, DriftSettings.complete(arguments["drift_config"]))
    timeline, history.notes = what_can_be_played(plan.timeline, stream, size)
    train_champion(arguments, dataset, artifacts / "training", steps)
    store, seed, config = open_store(arguments["store"]), arguments["seed"], arguments["traffic_config"]
    day = Day(
        Production(store, stream, description, size, plan.labels_per_window, seed, config),
        Calendar(len(plan.timeline)),
        LabellingTeam(plan.label_delay),
        AcceptedDrifts(),
        arguments,
        history,
    )
    for number, scenario in enumerate(timeline, 1):
        with steps(f"window {number}"):
            record = day.pass_by(number, scenario, artifacts / f"window-{number:03d}")
            runtime.report_metrics(line(record))
        if record.requests < size:
            history.notes.append(f"The stream had no more images of the classes wanted: window {number} was the last.")
            return


def _rollbacks(uri: str) -> int:
    champion = registry.current(open_store(uri))
    return sum(change.action == "rollback" for change in champion.history) if champion else 0
