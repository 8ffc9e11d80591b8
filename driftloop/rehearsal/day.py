"""One day of production: a window of traffic, labels that arrive, a watch, and what comes of it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.traffic_replay.replay import Replayed
from driftloop.rehearsal.production import LabellingTeam, Production
from driftloop.rehearsal.report import tell
from driftloop.rehearsal.result import NONE, AcceptedDrifts, WindowRecord
from driftloop.rehearsal.steps import Watched, watch
from driftloop.rehearsal.timeline import Calendar
from driftloop.scenarios import Scenario


@dataclass
class History:
    """What has happened so far: the records, the true class of every request, and what a reader must know besides."""

    windows: list[WindowRecord] = field(default_factory=list)
    truth: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Day:
    """Everything that takes part in a day; `arguments` are the parameters of the full-loop pipeline."""

    production: Production
    calendar: Calendar
    team: LabellingTeam
    accepted: AcceptedDrifts
    arguments: dict[str, Any]
    history: History

    def pass_by(self, number: int, scenario: Scenario, artifacts: Path) -> WindowRecord:
        """Play and watch window `number`; its record, which is in the history then.

        Raises:
            DriftloopError: no image left, or a step of the watch failed other than in a retraining.
        """
        history = self.history
        played = self.production.traffic(scenario, self.calendar.clock(number))
        history.truth |= played.truth
        handed_in = self.team.hand_in(self.production.store, history.truth, number)
        watched = watch(self.arguments, played.until, artifacts)
        # A gate that could not decide and a retraining that had too few ask for labels, too.
        asked = watched.verdict == "needs_labels" or watched.decision == "inconclusive" or watched.failure is not None
        job = self.team.take(watched.evidence, number) if asked else None
        record = self._record(number, scenario, played, watched, handed_in)
        before = history.windows[-1] if history.windows else None
        events = tell(record, before, handed_in=handed_in, job=job, failure=watched.failure)
        record = record.model_copy(update={"events": events})
        history.windows.append(record)
        if watched.promoted:
            served = [one for one in history.windows if one.version == watched.version]
            self.accepted.promote(one.drift for one in served if one.drifted)
        return record

    def _record(self, number: int, scenario: Scenario, played: Replayed, watched: Watched, handed_in: int) -> WindowRecord:
        drift = str(scenario) if scenario.drifts else NONE
        windows = watched.found["windows"]
        correct = int((watched.rows["predicted"] == watched.rows["request_id"].map(self.history.truth)).sum())
        return WindowRecord(
            window=number,
            day=f"{self.calendar.noon(number):%Y-%m-%d}",
            drift=drift,
            accepted=drift in self.accepted,
            version=watched.version,
            requests=played.requests,
            correct=correct,
            accuracy=round(correct / played.requests, 4),
            drifted=any(window["drifted"] for window in windows) if windows else None,
            p_value=min((min(window["p_statistics"], window["p_embedding"]) for window in windows), default=None),
            confirmed=watched.found["confirmed"],
            verdict=watched.verdict,
            reason=watched.found["reason"],
            decision=watched.decision,
            promoted=watched.promoted,
            labels=handed_in + played.labels,
            events=[],
        )
