"""A window of production: traffic, labels that arrive, a watch, and what comes of it."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from components.traffic_replay.replay import Replayed
from driftloop.contracts import DRIFT_DETECTION, PRODUCTION_MONITORING
from driftloop.inference.traffic import read_traffic
from driftloop.rehearsal.production import LabellingTeam, Production
from driftloop.rehearsal.report import describe_events
from driftloop.rehearsal.result import NONE, AcceptedDrifts, WindowRecord
from driftloop.rehearsal.steps import StepCaller, WatchOutcome, watch_stage
from driftloop.rehearsal.timeline import Calendar
from driftloop.scenarios import Scenario
from driftloop.settings import WatchParameters
from driftloop.step_facts import read_facts


@dataclass
class RehearsalHistory:
    """What has happened so far."""

    windows: list[WindowRecord] = field(default_factory=list)
    """The record of each window, in order."""
    truth: dict[str, str] = field(default_factory=dict)
    """True class of every request played, by request id."""
    notes: list[str] = field(default_factory=list)
    """What a reader must know besides."""


@dataclass(frozen=True)
class Watched:
    """A watch: what it did, and what it saw."""

    outcome: WatchOutcome
    """Verdict, decision, promotion."""
    rows: pd.DataFrame
    """The fresh rows of the log."""
    version: str
    """The champion that was watched."""
    drift: dict[str, Any]
    """The facts of drift_detection."""


@dataclass(frozen=True)
class WindowPlayer:
    """Plays windows of production, one after the other."""

    production: Production
    """Makes the traffic."""
    calendar: Calendar
    """Says when each window is."""
    team: LabellingTeam
    """Labels what a watch asks for."""
    accepted: AcceptedDrifts
    """What the champion was accepted for."""
    parameters: WatchParameters
    """Of every watch."""
    history: RehearsalHistory
    """Grows by a record each window."""

    def play(self, number: int, scenario: Scenario, artifacts: Path) -> WindowRecord:
        """Play and watch window `number`; its record, which is in the history then.

        Raises:
            DriftloopError: no image left, or a step of the watch failed other than in a retraining.
        """
        history = self.history
        played = self.production.traffic(scenario, self.calendar.clock(number))
        history.truth |= played.truth
        handed_in = self.team.hand_in(self.production.store, history.truth, number)
        watched = watch(self.parameters, played.until, artifacts)
        outcome = watched.outcome
        # A gate that could not decide and a retraining that had too few ask for labels, too.
        needs_labels = outcome.verdict == "needs_labels" or outcome.decision == "inconclusive" or outcome.failure is not None
        job = self.team.take(Path(outcome.evidence), number) if needs_labels else None
        record = self._record(number, scenario, played, watched, handed_in)
        before = history.windows[-1] if history.windows else None
        events = describe_events(record, before, handed_in=handed_in, job=job, failure=outcome.failure)
        record = record.model_copy(update={"events": events})
        history.windows.append(record)
        if outcome.promoted:
            served = [window for window in history.windows if window.version == watched.version]
            self.accepted.promote(window.drift for window in served if window.drifted)
        return record

    def _record(self, number: int, scenario: Scenario, played: Replayed, watched: Watched, handed_in: int) -> WindowRecord:
        drift = str(scenario) if scenario.drifts else NONE
        windows = watched.drift["windows"]
        correct = int((watched.rows["predicted"] == watched.rows["request_id"].map(self.history.truth)).sum())
        return WindowRecord(
            window=number,
            day=f"{self.calendar.start(number):%Y-%m-%d}",
            until=played.until,
            drift=drift,
            accepted=drift in self.accepted,
            version=watched.version,
            requests=played.requests,
            correct=correct,
            accuracy=round(correct / played.requests, 4),
            drifted=any(window["drifted"] for window in windows) if windows else None,
            p_value=min((min(window["p_values"].values()) for window in windows), default=None),
            confirmed=watched.drift["confirmed"],
            verdict=watched.outcome.verdict,
            reason=watched.drift["reason"],
            decision=watched.outcome.decision,
            promoted=watched.outcome.promoted,
            labels=handed_in + played.labels,
            events=[],
        )


def watch(parameters: WatchParameters, until: str, artifacts: Path) -> Watched:
    """Watch the traffic up to `until`, and close the loop where the verdict asks for it.

    The traffic is removed in the end: it lies in the store, and that of many watches would fill a disk.

    Args:
        parameters: of the watch.
        until: the end of the window, ISO 8601.
        artifacts: where the steps' outputs go.

    Raises:
        DriftloopError: a step other than those that retrain failed.
    """
    call = StepCaller(artifacts)
    try:
        outcome = watch_stage(call, parameters, until)
        traffic = read_traffic(outcome.traffic)
    finally:
        shutil.rmtree(call.folder(PRODUCTION_MONITORING) / "traffic", ignore_errors=True)
    return Watched(outcome, traffic.fresh, traffic.info.champion_version, read_facts(outcome.evidence)[DRIFT_DETECTION])
