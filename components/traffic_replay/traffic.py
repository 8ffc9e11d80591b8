"""The traffic itself: the planned images go through the model and into the log, one request after the other."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from components.traffic_replay.replay_plan import ReplayPlan
from driftloop import runtime
from driftloop.dataset import Split
from driftloop.dataset.description import TAGS
from driftloop.inference.log_writer import InferenceLogger
from driftloop.inference.served_model import ServedModel, ServedPredictions, joined
from driftloop.scenarios import Scenario
from driftloop.tags import read_tags_text

#: Requests read, drifted and logged together; memory does not grow with the length of the replay.
REQUESTS_PER_CHUNK = 100
#: The log's resolution in time.
TICK = timedelta(microseconds=1)


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class PlayedTraffic:
    """The requests of a replay, before they are answered."""

    stream: Split
    plan: ReplayPlan
    """Which rows of `stream` are asked about."""
    ids: list[str]
    """Request ids, by row of the plan."""
    scenario: Scenario
    """What happens to the drifted requests."""
    draws: list[int]
    """Seeds of what the scenario does to them."""

    def chunks(self) -> Iterator[slice]:
        """Stretches of the plan, none of them both clean and drifted."""
        for start, stop in ((0, self.plan.clean), (self.plan.clean, len(self.plan.rows))):
            for at in range(start, stop, REQUESTS_PER_CHUNK):
                yield slice(at, min(at + REQUESTS_PER_CHUNK, stop))

    def requests(self, chunk: slice) -> tuple[np.ndarray, np.ndarray]:
        """The images of a chunk as the model gets to see them, uint8 (n, H, W, C), and their true classes (n,)."""
        rows, clean = self.plan.rows[chunk], self.plan.clean
        images, labels = np.array(self.stream.images[rows]), np.array(self.stream.labels[rows])
        if chunk.start < clean:
            return images, labels
        # Each chunk has its own draws, so that a replay that goes on after a cut shows the same images.
        rng = np.random.default_rng([*self.draws, chunk.start])
        return self.scenario.transform(images, labels, rng, self.plan.position[chunk.start - clean : chunk.stop - clean])

    def groups(self, chunk: slice) -> np.ndarray:
        """The group (patient, site) of each request of a chunk."""
        return self.stream.samples["group"].to_numpy()[self.plan.rows[chunk]]

    def tags(self, chunk: slice) -> list[dict[str, str]]:
        """The tags (site, device, ...) of each request of a chunk, by name."""
        return [read_tags_text(text) for text in self.stream.samples[TAGS].to_numpy()[self.plan.rows[chunk]]]


@dataclass(frozen=True)
class AnsweredTraffic:
    """What is known once every request is in the log."""

    truth: np.ndarray
    """True class of every request, (n,)."""
    last: datetime
    """Time of the last request."""
    latencies_ms: list[float]
    """Of the requests answered now; those that were in the log already are left out."""

    @property
    def p50_ms(self) -> float | None:
        """The median latency, None when nothing was left to answer."""
        return float(np.median(self.latencies_ms)) if self.latencies_ms else None


def play(
    traffic: PlayedTraffic,
    model: ServedModel,
    log: InferenceLogger,
    logged: pd.DataFrame,
    *,
    version: str,
    batch_size: int,
    clock: Callable[[], datetime] = utc_now,
) -> AnsweredTraffic:
    """Answer and log every request that is not in the log yet.

    Args:
        logged: rows of this replay that are in the log already, with request_id and time.
        version: under which the model is registered.
        batch_size: requests answered together; their latency is that of the batch.
        clock: the time of each request.
    """
    done = set(logged["request_id"])
    last = logged["time"].max().to_pydatetime() if len(logged) else clock() - TICK
    truth, latencies = np.empty(len(traffic.ids), dtype=np.int64), []
    _warm_up(model)
    for chunk in traffic.chunks():
        images, truth[chunk] = traffic.requests(chunk)
        ids = traffic.ids[chunk]
        new = [index for index, identity in enumerate(ids) if identity not in done]
        if new:
            predictions, times, waited = answer(model, images[new], last, batch_size, clock)
            groups, tags = [str(group) for group in traffic.groups(chunk)[new]], traffic.tags(chunk)
            log.log(
                images[new],
                predictions,
                waited,
                version=version,
                classes=model.description.classes,
                groups=groups,
                tags=[tags[index] for index in new],
                request_ids=[ids[index] for index in new],
                times=times,
            )
            last = times[-1]
            latencies += waited
        runtime.progress(chunk.stop / len(traffic.ids), f"{chunk.stop:,} of {len(traffic.ids):,} requests")
    return AnsweredTraffic(truth, last, latencies)


def answer(
    model: ServedModel, images: np.ndarray, last: datetime, batch_size: int, clock: Callable[[], datetime] = utc_now
) -> tuple[ServedPredictions, list[datetime], list[float]]:
    """Predictions, times that increase from after `last`, and latencies in ms, each that of the request's batch."""
    parts, times, latencies = [], [], []
    for start in range(0, len(images), batch_size):
        began = time.perf_counter()
        part = model.predict(images[start : start + batch_size], batch_size=batch_size)
        elapsed_ms = (time.perf_counter() - began) * 1000
        parts.append(part)
        for _ in range(len(part)):
            last = max(clock(), last + TICK)
            times.append(last)
            latencies.append(elapsed_ms)
    return joined(parts), times, latencies


def _warm_up(model: ServedModel) -> None:
    """Answer one blank image: the first call is slow, and a service makes it before it takes requests."""
    side = model.description.image_size
    model.predict(np.zeros((1, side, side, model.description.channels), np.uint8))
