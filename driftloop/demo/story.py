"""What happens next: train, serve, let visitors come, watch, have labels given, until a candidate has replaced the champion or not."""

import base64
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from driftloop import registry
from driftloop.contracts import AUTOMATED_RETRAINING, DRIFT_DETECTION, FOR_TRAINING, MODEL_PROMOTION, ONNX_DEPLOYMENT, VALIDATION_GATE
from driftloop.dataset import Description
from driftloop.demo.visitors import Visitors
from driftloop.demo.worker import Told, Worker
from driftloop.errors import DriftloopError, NotMet, RunFailed
from driftloop.store import Store, open_store

#: The way, in the words of the page.
STAGES = ("serving", "suspected", "confirmed", "labels", "retraining", "gate", "promoted")
#: Seconds between two writings of the service's log, and what a watch waits for them besides.
FLUSH, LOGGED = 1.0, 2.0
#: Requests of a window, a second before and while a model is trained, and unattended ones: before the drift, and after the swap.
WINDOW, QUIET_RATE, FIRST, LAST = 200, 4.0, 2 * 200, 200
#: Watches after which the unattended story ends without a promotion.
MOST_WATCHES = 25
#: Seconds for the service to answer, and for it to follow a promotion.
PATIENCE = 120.0


@dataclass(frozen=True)
class Event:
    """Something worth a line."""

    seconds: float
    """Since the demo began."""
    event: str
    """drift_on, drift_confirmed, labels, retrained, gate, promoted, swapped, ...: what a script may wait for."""
    text: str
    """In plain words."""
    details: dict[str, Any] = field(default_factory=dict)
    """Figures, by event."""


class Story:
    """The demo: its processes, its state for the page, and what its controls do."""

    def __init__(
        self,
        folder: Path,
        arguments: dict[str, Any],
        *,
        kind: str,
        drift: str,
        rate: float,
        say: Callable[[Event], None],
    ) -> None:
        """Start the worker.

        Args:
            folder: of this demo: store, logs, what the steps leave.
            arguments: parameters of the full-loop pipeline; the store is a folder, with a champion or without.
            kind: of the visitors' images, as in `driftloop.synthetic.SYNTHETIC_KINDS`; the champion knows its classes.
            drift: kinds of drift without a severity, such as blur+noise.
            rate: visitors a second.
            say: takes each event.
        """
        self.folder, self.arguments, self.kind, self.drift, self.rate = folder, arguments, kind, drift, rate
        self.store: Store = open_store(arguments["store"])
        self.events: list[Event] = []
        self.stage = "training"
        self.step = ""
        self.labelling = True
        self.watches: list[dict[str, Any]] = []
        self.windows: list[dict[str, Any]] = []
        self.criteria: list[dict[str, Any]] = []
        self.cloud: dict[str, Any] = {}
        self.latency: dict[str, float | None] = {"p95_ms": None, "limit_ms": None}
        self.neighbours: list[list[str]] = []
        self.labelled: set[str] = set()
        self.asked: list[str] = []
        self.needed = 0
        self.visitors: Visitors | None = None
        self._say, self._began, self._lock = say, time.monotonic(), threading.RLock()
        self._worker = Worker(folder)
        self._service: subprocess.Popen[bytes] | None = None
        self._port = 0

    def close(self) -> None:
        """End every process; the service writes its log first."""
        if self.visitors:
            self.visitors.close()
        if self._service:
            self._service.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._service.wait(30)
            if self._service.poll() is None:
                self._service.kill()
        self._worker.close()

    def begin(self) -> None:
        """Train where there is no champion, serve, and let the first visitors come.

        Raises:
            RunFailed: a step failed, or the service did not come up.
        """
        if registry.current(self.store) is None:
            self._worker.ask("train", self._told, arguments=self.arguments)
            model = registry.description(self.store, "1")
            accuracy = model.metrics["served_accuracy"]
            self._note("trained", f"version 1 has {accuracy.value:.3f} of its test images right", accuracy=accuracy.value)
        self._serve()
        champion = registry.current(self.store)
        assert champion is not None
        dataset = registry.description(self.store, champion.version).dataset
        description = Description.model_validate_json(self.store.read(f"datasets/{dataset}/dataset.json"))
        self.visitors = Visitors(
            f"http://127.0.0.1:{self._port}", description, kind=self.kind, drift=self.drift, seed=self.arguments["seed"]
        )
        self.visitors.start(self.rate)
        self.stage = "serving"
        self._note("serving", f"version {champion.version} answers on port {self._port}", version=champion.version)

    def go_on(self) -> None:
        """Watch whenever a window is full or labels have come, for ever: what a person at the page looks at.

        Raises:
            RunFailed: the service or a watch cannot go on.
        """
        while True:
            self._wait_for(WINDOW)
            self._watch()

    def play(self) -> None:
        """The story without a person: clean traffic, a drift, and everything until the new version answers.

        Raises:
            NotMet: it ended without a promotion.
            RunFailed: something failed.
        """
        self._wait_for(FIRST)
        self._watch()
        self.set_drift(1.0)
        while self.watches[-1]["promoted"] is None:
            if len(self.watches) >= MOST_WATCHES:
                raise NotMet(f"demo: no candidate was promoted in {MOST_WATCHES} watches; the last verdict: {self.watches[-1]['verdict']}")
            self._wait_for(WINDOW)
            self._watch()
        self._wait_for(LAST)
        self._watch()

    def set_drift(self, severity: float) -> None:
        """Turn the drift of the visitors' images to `severity`, in [0, 1]."""
        if self.visitors:
            before, self.visitors.severity = self.visitors.severity, severity
            if before == 0 < severity:
                self._note("drift_on", f"the images begin to drift: {self.drift} at {severity:.2f}", severity=severity)
            elif severity == 0 < before:
                self._note("drift_off", "the images are as they were")

    def roll_back(self) -> None:
        """Let the version before the champion serve again.

        Raises:
            DriftloopError: there is none.
        """
        champion = registry.rollback(self.store, reason="by hand, in the demo")
        if self.stage == "promoted":
            self.stage = "serving"
        self._note("rolled_back", f"version {champion.version} serves again, by hand", version=champion.version)

    def state(self) -> dict[str, Any]:
        """All that the page shows, as JSON values."""
        with self._lock:
            champion = None
            with suppress(DriftloopError):
                champion = registry.current(self.store)
            return {
                "stages": STAGES,
                "stage": self.stage,
                "step": self.step,
                "seconds": self._seconds(),
                "drift": self.drift,
                "labelling": self.labelling,
                "champion": champion.version if champion else None,
                "champion_since": champion.history[-1].at if champion and champion.history else None,
                "can_roll_back": bool(champion and champion.previous),
                "events": [asdict(event) for event in self.events[-60:]],
                "windows": self.windows[-60:],
                "criteria": self.criteria,
                "cloud": self.cloud,
                "latency": self.latency,
                "neighbours": self.neighbours,
                "labels": {"given": len(self.labelled), "asked": len(self.asked), "needed": self.needed},
                "watches": len(self.watches),
                "visitors": self.visitors.snapshot() if self.visitors else None,
            }

    def _serve(self) -> None:
        log = (self.folder / "serve.log").open("ab")
        port = _free_port()
        command = [sys.executable, "-m", "driftloop.cli.main", "serve", "--store", self.arguments["store"], "--port", str(port)]
        command += ["--flush", str(FLUSH), "--poll", "0.5", "--processes", "1", "--spool", str(self.folder / "spool")]
        environment = os.environ | {"DRIFTLOOP_API_KEY": "", "DRIFTLOOP_FEEDBACK_KEY": ""}
        self._service = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment)
        log.close()
        self._port = port
        began = time.monotonic()
        while not self._ready():
            if self._service.poll() is not None or time.monotonic() - began > PATIENCE:
                raise RunFailed(f"demo: the service did not come up; see {self.folder / 'serve.log'}")
            time.sleep(0.1)

    def _ready(self) -> bool:
        with suppress(OSError, http.client.HTTPException):
            return self._ask_service("GET", "/v2/health/ready") == 200
        return False

    def _ask_service(self, method: str, path: str, body: bytes | None = None) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            answer = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            connection.close()

    def _wait_for(self, requests: int) -> None:
        """Until so many more visitors have their answers in the log, or wanted labels have been given."""
        assert self.visitors
        until = self.visitors.answered + requests
        while self.visitors.answered < until:
            if self.visitors.problem:
                raise RunFailed(f"demo: {self.visitors.problem}")
            if self.labelling and self.asked and not self.labelled.issuperset(self.asked):
                self._label()
            time.sleep(0.1)
        time.sleep(FLUSH + LOGGED)

    def _label(self) -> None:
        """The labelling team: says the truth of every image that the last watch asked about."""
        assert self.visitors
        wanted = [name for name in self.asked if name not in self.labelled and name in self.visitors.truth]
        for name in wanted:
            body = json.dumps({"request_id": name, "label": self.visitors.truth[name]}).encode()
            status = self._ask_service("POST", "/feedback", body)
            if status != 202:
                raise RunFailed(f"demo: the service answered {status} to a label")
            with self._lock:
                self.labelled.add(name)
        if self.stage in ("labels", "confirmed"):
            self._note("labels", f"{len(wanted)} labels were given, {len(self.labelled)} in all", labels=len(wanted))
        self.asked = []

    def _watch(self) -> None:
        assert self.visitors
        number = len(self.watches) + 1
        found = self._worker.ask(
            "watch", self._told, arguments=self.arguments, until=datetime.now(UTC).isoformat(timespec="microseconds"), number=number
        )
        with self._lock:
            self.watches.append(found)
            self.cloud = found["cloud"] | {"version": self.visitors.version}
            self.latency = found["latency"]
            drifted = bool(self.windows) and self.windows[-1]["drifted"]
            self.neighbours = [[_data_url(picture) for picture in row] for row in found.pop("neighbours")] if drifted else []
            self.asked = found["asked"]
            self.visitors.rate = self.rate
        if found["failure"]:
            self.stage, self.step = "confirmed", ""  # the step that failed has said no more
            self._note("failed", found["failure"])
        if found["promoted"]:
            self._follow(found["promoted"])
        elif found["decision"]:
            self.stage = "labels"

    def _follow(self, version: str) -> None:
        """Until the service answers with the version that was promoted, or somebody has rolled it back."""
        assert self.visitors
        began = time.monotonic()
        while self.visitors.version != version:
            champion = registry.current(self.store)
            if champion is None or champion.version != version:
                self.stage = "serving"
                return
            if self.visitors.problem or time.monotonic() - began > PATIENCE:
                said = self.visitors.problem or "the service goes on as before"
                raise RunFailed(f"demo: no answer of version {version}: {said}")
            time.sleep(0.05)
        self._note("swapped", f"version {version} answers; every visitor got an answer", version=version)

    def _told(self, message: Told) -> None:
        """What the worker says of its steps, as stages and events."""
        with self._lock:
            self.step = message.step if message.kind == "started" else ""
        if message.kind == "started":
            if message.step in (AUTOMATED_RETRAINING, ONNX_DEPLOYMENT):
                self.stage = "retraining"
            elif message.step == VALIDATION_GATE:
                self.stage = "gate"
            if message.step == AUTOMATED_RETRAINING and self.visitors:
                self.visitors.rate = min(self.rate, QUIET_RATE)  # a training needs the processor
            return
        if message.step == DRIFT_DETECTION:
            self._drift_was_judged(message.content)
        elif message.step == ONNX_DEPLOYMENT and self.stage == "retraining":
            self._note("retrained", "a candidate was trained on the labelled images and on the old ones")
        elif message.step == VALIDATION_GATE and message.content:
            self._gate_decided(message.content)
        elif message.step == MODEL_PROMOTION:
            self.stage = "promoted"
            self._note("promoted", f"version {message.content} is the champion", version=message.content)

    def _drift_was_judged(self, drift: dict[str, Any]) -> None:
        alpha = drift["alpha"] / len(drift["p_values"])
        windows = [{"p": min(window["p_values"].values()), "drifted": window["drifted"], "alpha": alpha} for window in drift["windows"]]
        with self._lock:
            self.windows += windows
        self.needed = drift["labels"] + sum(count for purpose, count in drift["requests_for"].items() if purpose != FOR_TRAINING)
        suspected = any(window["drifted"] for window in windows)
        verdict = drift["verdict"]
        if not drift["confirmed"]:
            self.stage = "suspected" if suspected else "serving"
            if suspected:
                self._note("drift_suspected", "a window has drifted; two of three confirm it")
            else:
                self._note("stable", drift["in_plain_words"])
            return
        if not any(event.event == "drift_confirmed" for event in self.events[self._last("promoted") :]):
            self._note("drift_confirmed", drift["in_plain_words"], p=windows[-1]["p"] if windows else None)
        elif verdict != "retrain":
            self._note(verdict, drift["in_plain_words"])
        self.stage = {"needs_labels": "labels", "retrain": "retraining"}.get(verdict, "confirmed")
        if verdict == "stable":
            self.stage = "serving"

    def _gate_decided(self, gate: dict[str, Any]) -> None:
        with self._lock:
            self.criteria = gate["criteria"]
            self._note("gate", f"{gate['decision']}: {'; '.join(gate['reasons'])}", decision=gate["decision"])

    def _last(self, name: str) -> int:
        """Where the newest event of that name stands; 0 where there is none."""
        return max((index for index, event in enumerate(self.events) if event.event == name), default=0)

    def _note(self, name: str, text: str, **details: Any) -> None:
        event = Event(self._seconds(), name, text, details)
        with self._lock:
            self.events.append(event)
        self._say(event)

    def _seconds(self) -> float:
        return round(time.monotonic() - self._began, 1)


def _data_url(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
