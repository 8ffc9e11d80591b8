"""The process that trains and watches, so that the page and the visitors are not kept waiting; its output goes into a log file."""

import multiprocessing
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from driftloop.bundle import REFERENCE
from driftloop.contracts import DRIFT_DETECTION, LABEL_REQUESTS, MODEL_PROMOTION, PRODUCTION_MONITORING, RANDOM, VALIDATION_GATE
from driftloop.errors import DriftloopError, RunFailed
from driftloop.processes import end_with_parent
from driftloop.store import Store, open_store

if TYPE_CHECKING:
    import pandas as pd

    from driftloop.inference.reference import Regime

LOG = "worker.log"
#: Seconds that a worker which waits has to end.
ENDS_SECONDS = 3.0
#: Points of the embedding cloud, of the reference and of the latest requests.
CLOUD = 150
#: Requests that are shown beside what they resemble most, and how many images each is shown beside.
STRANGEST, NEAREST = 3, 3


@dataclass(frozen=True)
class Told:
    """A message of the worker."""

    kind: str
    """started, ended (a step), done, or failed (what was asked for)."""
    step: str = ""
    content: Any = None
    """What `done` brings; the reason of `failed`; of steps that ended: what drift test or gate found, the version that was promoted."""


class Worker:
    """The process, from this side. One thing is asked for at a time."""

    def __init__(self, folder: Path) -> None:
        """Start it; `folder` is the demo's: its log, and what the steps leave."""
        self._log = folder / LOG
        context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, folder), name="driftloop-worker")
        self._process.start()
        theirs.close()

    def ask(self, what: str, told: Callable[[Told], None], **arguments: Any) -> Any:
        """Have `train` or `watch` done; what it found.

        Args:
            what: a name in `TASKS`.
            told: takes each message about a step.
            arguments: of the function of that name.

        Raises:
            RunFailed: it failed; the reason in one line.
        """
        self._ours.send((what, arguments))
        while True:
            try:
                message: Told = self._ours.recv()
            except EOFError:
                raise RunFailed(f"demo: the worker ended; see {self._log}") from None
            if message.kind == "done":
                return message.content
            if message.kind == "failed":
                raise RunFailed(str(message.content))
            told(message)

    def close(self) -> None:
        """End it: at once where it waits, else in the middle of what it does."""
        self._ours.close()
        self._process.join(ENDS_SECONDS)
        self._process.terminate()
        self._process.join()


def _work(connection: Connection, folder: Path) -> None:
    """The loop of the process; it ends with its parent, killed perhaps, also in the middle of a step."""
    end_with_parent()
    log = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ["DRIFTLOOP_RUN_ID"] = folder.name
    while True:
        try:
            what, arguments = connection.recv()
        except (EOFError, KeyboardInterrupt):
            sys.exit(0)
        try:
            connection.send(Told("done", content=TASKS[what](folder, connection.send, **arguments)))
        except DriftloopError as error:
            connection.send(Told("failed", content=str(error)))
        except KeyboardInterrupt:
            sys.exit(0)
        except Exception:
            traceback.print_exc()
            connection.send(Told("failed", content=f"demo: {what} failed; see {folder / LOG}"))


def train(folder: Path, tell: Callable[[Told], None], *, arguments: dict[str, Any]) -> str:
    """Themes 1 to 4 and the first gate: the first champion's version."""
    from driftloop.rehearsal.steps import StepCaller, champion_stage, data_stage
    from driftloop.settings import TrainingParameters

    @contextmanager
    def announce(step: str) -> Iterator[None]:
        tell(Told("started", step))
        yield
        tell(Told("ended", step))

    parameters, call = TrainingParameters.of(arguments), StepCaller(folder / "training")
    return champion_stage(call, parameters, data_stage(call, parameters, announce), announce)


def watch(folder: Path, tell: Callable[[Told], None], *, arguments: dict[str, Any], until: str, number: int) -> dict[str, Any]:
    """A watch, and what follows from its verdict: a row of the demo's history."""
    import pandas as pd

    from driftloop.inference.log import EMBEDDING_DTYPE
    from driftloop.inference.traffic import read_traffic
    from driftloop.rehearsal.steps import FinishedStep, StepCaller, watch_stage
    from driftloop.settings import MonitorSettings, WatchParameters
    from driftloop.step_facts import read_facts

    class Announced(StepCaller):
        def __call__(self, component: str, /, **inputs: Any) -> FinishedStep:
            tell(Told("started", component))
            finished = super().__call__(component, **inputs)
            found = read_facts(finished.outputs["evidence"])[component] if component in (DRIFT_DETECTION, VALIDATION_GATE) else None
            tell(Told("ended", component, finished.output if component == MODEL_PROMOTION else found))
            return finished

    call, parameters = Announced(folder / f"watch-{number:03d}"), WatchParameters.of(arguments)
    outcome = watch_stage(call, parameters, until)
    requested = pd.read_csv(Path(outcome.evidence, LABEL_REQUESTS), dtype={"request_id": str})
    traffic = read_traffic(outcome.traffic)
    measured = read_facts(outcome.traffic)[PRODUCTION_MONITORING]
    benchmark, ratio = measured["baseline"]["p95_ms"], MonitorSettings.complete(parameters.monitor_config).alert_latency_ratio
    store = open_store(arguments["store"])
    regimes = _regimes(store, call.folder(PRODUCTION_MONITORING) / "champion")
    seen = traffic.fresh.dropna(subset=["embedding", "image"])
    latest = np.array([np.frombuffer(vector, EMBEDDING_DTYPE) for vector in seen["embedding"]])
    return {
        "verdict": outcome.verdict,
        "decision": outcome.decision,
        "promoted": outcome.promoted,
        "failure": outcome.failure,
        "asked": requested.loc[requested["origin"] == RANDOM, "request_id"].tolist(),
        "latency": {"p95_ms": measured["p95_ms"], "limit_ms": benchmark and benchmark * ratio},
        "cloud": _cloud(regimes[0], latest),
        "neighbours": _neighbours(store, regimes, seen, latest),
    }


def _regimes(store: Store, champion: Path) -> "list[Regime]":
    """What the champion was accepted for."""
    from driftloop.inference.reference import read_reference
    from driftloop.registry.bundle_link import linked_bundle

    with tempfile.TemporaryDirectory(prefix="driftloop-demo-") as scratch:
        return read_reference(linked_bundle(store, champion, scratch) / REFERENCE)


def _cloud(clean: "Regime", latest: np.ndarray) -> dict[str, Any]:
    """The latest requests beside the clean reference, on the reference's two main axes: lists of points."""
    reference = clean.embedding.astype(np.float64)
    middle = reference.mean(axis=0)
    axes = np.zeros((reference.shape[1], 2))
    main = np.linalg.svd(reference - middle, full_matrices=False)[2][:2]
    # A common sign, so that the cloud does not turn over from one watch to the next.
    axes[:, : len(main)] = (main * np.sign(main[range(len(main)), np.abs(main).argmax(axis=1)])[:, None]).T

    def points(vectors: np.ndarray) -> list[list[float]]:
        chosen = vectors[np.linspace(0, len(vectors) - 1, min(CLOUD, len(vectors))).astype(int)]
        return np.round((chosen.astype(np.float64) - middle) @ axes, 3).tolist()

    return {"reference": points(reference), "now": points(latest) if len(latest) else []}


def _neighbours(store: Store, regimes: "list[Regime]", seen: "pd.DataFrame", latest: np.ndarray) -> list[list[bytes]]:
    """The requests furthest from all that was accepted, each before the accepted images that are nearest to it, as PNG."""
    from sklearn.neighbors import NearestNeighbors

    from components.traffic_replay.client import as_png
    from driftloop.inference.log import read_images

    if not len(latest):
        return []
    pictures = [picture for regime in regimes for picture in regime.thumbnails]
    known = np.concatenate([regime.embedding for regime in regimes]).astype(np.float64)
    distances, places = NearestNeighbors(n_neighbors=NEAREST).fit(known).kneighbors(latest.astype(np.float64))
    strangest = np.argsort(-distances[:, 0])[:STRANGEST]
    own = read_images(store, seen.iloc[strangest])
    return [[as_png(image), *(as_png(pictures[place]) for place in places[row])] for image, row in zip(own, strangest, strict=True)]


TASKS: dict[str, Callable[..., Any]] = {"train": train, "watch": watch}
