"""The logs of a run's steps, read from their pods through KFP: kept in the run's log, and read for figures, progress and errors."""

import re
from collections.abc import Callable, Mapping
from typing import TextIO

from driftloop.backends.base import Failure
from driftloop.backends.cluster.connection import SIGNED_OUT, ClusterConnection, ClusterError
from driftloop.backends.cluster.live_table import StepProgress
from driftloop.backends.cluster.workflow import WorkflowNode
from driftloop.backends.log_events import COLOUR, read_event

#: KFP's API answers 200 before it looks for the log; this is what then comes in its place.
NO_LOG = b'{"error_message":'
#: What KFP's launcher and Argo write around a step's own lines.
AROUND = re.compile(r"^(?:[IWEF]\d{4} [\d:.]+ |time=\S+ level=)")
#: Why KFP's launcher gave up: what it could not do around a step that was fine.
LAUNCHER_ERROR = re.compile(r"^F\d{4} [\d:.]+ +\d+ [\w.]+:\d+\] (?:failed to execute component: )?(.*)")
#: What the launcher and Argo write of a step that failed by itself, which explains nothing.
STEP_FAILED = re.compile(r"^(?:Error: )?exit status \d+$")
LONGEST_REASON = 300
#: A line that the command line, not a step, has printed for an error of ours.
PRINTED_ERROR = re.compile(r"^driftloop: (.*)")


class PodLogs:
    """Reads the pods' logs as a run goes.

    Args:
        run_id: KFP's id of the run.
        file: takes the log of each step, whole, when the step has ended.
        echo: takes its lines, too (`--verbose`).
    """

    def __init__(self, connection: ClusterConnection, run_id: str, file: TextIO, echo: Callable[[str], None] | None) -> None:
        self._connection, self._run_id, self._file, self._echo = connection, run_id, file, echo
        self._ended: dict[str, list[str]] = {}
        #: What to show beside each step: how far it is, and in the end its figures.
        self.texts: dict[str, str] = {}
        #: Why no log was shown to this token; "" where one was, or none was refused.
        self.refused = ""

    def read(self, nodes: Mapping[str, WorkflowNode], progress: Mapping[str, StepProgress]) -> None:
        """Look at the steps that are running, and keep the logs of those that have ended since."""
        for name, now in progress.items():
            # A step that never began has failed in its driver, whose log then is the only one.
            pod = next((nodes[node].pod for node in (name, f"{name}-driver") if node in nodes and nodes[node].pod), "")
            if now.state in ("running", "done", "failed") and pod and name not in self._ended:
                lines = self._lines(pod)
                self.texts[name] = _text(lines, ended=now.state != "running") if lines else ""
                if now.state != "running" and lines:
                    self._keep(name, lines)

    def last_lines(self, step: str, count: int) -> list[str]:
        """The end of what a step itself has written; of all of its log where it has written nothing."""
        lines = [line for line in self._ended.get(step, []) if line.strip()]
        return ([line for line in lines if not AROUND.match(line)] or lines)[-count:]

    def was_killed(self, step: str) -> bool:
        """Whether KFP's launcher says that a signal that nobody can catch has ended the step: that is how Linux makes room in memory."""
        return any(given_up[1] == "signal: killed" for line in self._ended.get(step, []) if (given_up := LAUNCHER_ERROR.match(line)))

    def failure(self, step: str) -> Failure | None:
        """Why a step failed, by its log: a line of driftloop's own counts before any other, and the launcher's last."""
        ours = other = around = ""
        for line in self._ended.get(step, []):
            event, printed = read_event(line), PRINTED_ERROR.match(line)
            if printed or (event is not None and event.kind == "our_error"):
                ours = ours or (printed[1] if printed else event.text if event else "")
            elif event is not None and event.kind == "other_error" and not STEP_FAILED.match(event.text):
                other = other or event.text
            elif (given_up := LAUNCHER_ERROR.match(line)) and not STEP_FAILED.match(given_up[1]):
                around = shortened(given_up[1])
        reason = ours or other or around
        return Failure(reason, ours=bool(ours)) if reason else None

    def _lines(self, pod: str) -> list[str]:
        """A pod's log, from KFP's UI, or where the endpoint is the API itself, from that; empty where neither has it."""
        through_ui = "/k8s/pod/logs", {"podname": pod, "runid": self._run_id, "podnamespace": self._connection.namespace}
        for path, query in (through_ui, (f"/apis/v1alpha1/runs/{self._run_id}/nodes/{pod}/log", {})):
            try:
                content = self._connection.read(path, query)
            except ClusterError as error:
                if error.status in SIGNED_OUT and not self._ended:
                    self.refused = "KFP's UI gives them to nobody with a token alone; let KFP_ENDPOINT name Kubeflow's gateway"
                continue
            self.refused = ""
            return [] if content.startswith(NO_LOG) else COLOUR.sub("", content.decode(errors="replace")).splitlines()
        return []

    def _keep(self, name: str, lines: list[str]) -> None:
        self._ended[name] = lines
        self._file.write("\n".join([f"--- {name}", *lines, ""]))
        self._file.flush()
        for line in lines if self._echo else ():
            self._echo(line)  # type: ignore[misc]


def shortened(reason: str) -> str:
    """A long reason's two ends: what was tried, and why it did not succeed."""
    return reason if len(reason) <= LONGEST_REASON else f"{reason[: LONGEST_REASON // 2]} ... {reason[-LONGEST_REASON // 2 :]}"


def _text(lines: list[str], *, ended: bool) -> str:
    """What a log says in a few words: a step's figures, or while it runs how far it is."""
    events = [event for event in map(read_event, lines) if event is not None]
    figures = [event.text for event in events if event.kind == "figures"]
    if ended or figures:
        return figures[-1] if figures else ""
    steps = [event for event in events if event.kind == "progress"]
    return f"{steps[-1].fraction:.0%} {steps[-1].text}".strip() if steps else ""
