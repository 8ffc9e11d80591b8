"""What a service tells Prometheus, and what its page shows of the last minutes."""

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from driftloop.inference.log_writer import LogCounts
from driftloop.serving.gpu_metrics import GpuMetrics
from driftloop.serving.live_model import LiveModel
from driftloop.serving.process_metrics import ProcessMetrics
from driftloop.serving.watch_metrics import WatchMetrics

#: Latencies in seconds, and images in a batch.
LATENCIES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
CONFIDENCES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
#: Requests that the page knows of, and seconds over which it states a rate.
RECENT, SHOWN, RATE_SECONDS = 2000, 50, 60


@dataclass(frozen=True)
class Seen:
    """An answered image, for the page."""

    at: float
    """Monotonic seconds."""
    time: datetime
    request_id: str
    predicted: str
    confidence: float
    unusual_p: float
    latency_ms: float
    version: str


class Metrics:
    """Counters; safe to share between threads. Where prometheus_client was told of a folder, processes add theirs up there."""

    def __init__(self, *, siblings: Path | None = None) -> None:
        """Args:
        siblings: that folder; None for a process on its own.
        """
        self.registry = CollectorRegistry()
        self._siblings = siblings
        ours = self.registry
        self.requests = Counter("driftloop_requests", "Requests, by path and status.", ["path", "status"], registry=ours)
        self.latency = Histogram("driftloop_request_seconds", "From request to answer.", ["path"], buckets=LATENCIES, registry=ours)
        self.images = Counter("driftloop_images", "Images classified.", ["version", "predicted"], registry=ours)
        self.confidence = Histogram("driftloop_confidence", "Probability of the predicted class.", buckets=CONFIDENCES, registry=ours)
        self.unusual = Counter("driftloop_unusual_images", "Images whose p-value against the reference is at most 0.01.", registry=ours)
        self.cut = Counter("driftloop_cut_images", "Images with levels above those that the model was trained on.", registry=ours)
        self.batches = Histogram("driftloop_batch_images", "Images in a batch.", buckets=BATCHES, registry=ours)
        self.queue = Gauge("driftloop_queue_images", "Images that wait for a batch.", registry=ours, multiprocess_mode="livesum")
        self.swaps = Counter("driftloop_swaps", "Changes of the version that answers.", registry=ours)
        self.refusals = Counter("driftloop_swap_failures", "Looks at the champion that failed; the version before went on.", registry=ours)
        self.version = Gauge(
            "driftloop_model_info",
            "1 for the version that answers.",
            ["version", "graph", "provider"],
            registry=ours,
            multiprocess_mode="livemax",
        )
        self.feedback = Counter("driftloop_feedback", "Labels taken.", registry=ours)
        self.rows = Gauge(
            "driftloop_log_rows", "Rows of the log by what became of them.", ["state"], registry=ours, multiprocess_mode="livesum"
        )
        # A gauge of the live ones alone falls when a process is replaced, which an alert on its increase would take for a loss.
        self.lost = Counter("driftloop_log_lost_rows", "Rows of the log that were lost, by processes that are gone, too.", registry=ours)
        self.bytes = Gauge(
            "driftloop_log_spool_bytes", "On this machine's disk, not yet in the store.", registry=ours, multiprocess_mode="livesum"
        )
        self.lag = Gauge(
            "driftloop_log_lag_seconds",
            "For how long the oldest row there has waited.",
            registry=ours,
            multiprocess_mode="livemax",
        )
        self.failures = Gauge("driftloop_log_failures", "Writes that the store refused.", registry=ours, multiprocess_mode="livesum")
        #: What is not added up over processes.
        self._apart = CollectorRegistry()
        self.watches = WatchMetrics()
        self._apart.register(self.watches)
        self._apart.register(GpuMetrics())
        self._apart.register(ProcessMetrics(siblings))
        self._recent: deque[Seen] = deque(maxlen=RECENT)
        self._errors = 0
        self._answered = 0
        self._lost = 0
        self._answering: tuple[str, str, str] | None = None
        self._lock = threading.Lock()

    def answering(self, live: LiveModel) -> None:
        """Another version answers."""
        # 0 rather than gone: what processes add up cannot be taken away.
        if self._answering:
            self.version.labels(*self._answering).set(0)
        self._answering = (live.version, live.model.variant, live.model.provider)
        self.version.labels(*self._answering).set(1)

    def answered(self, seen: list[Seen]) -> None:
        """A batch was answered."""
        self.batches.observe(len(seen))
        with self._lock:
            self._recent += seen
            self._answered += len(seen)
        for image in seen:
            self.images.labels(image.version, image.predicted).inc()
            self.confidence.observe(image.confidence)
            if image.unusual_p <= 0.01:
                self.unusual.inc()

    def request(self, path: str, status: int, seconds: float) -> None:
        """A request ended."""
        self.requests.labels(path, str(status)).inc()
        self.latency.labels(path).observe(seconds)
        if status >= 500:
            with self._lock:
                self._errors += 1

    def observe_log(self, counts: LogCounts, queued: int) -> None:
        """What became of the rows so far, and what waits at the moment."""
        for state in ("logged", "written", "waiting", "dropped_rows", "dropped_images"):
            self.rows.labels(state).set(getattr(counts, state))
        with self._lock:
            self.lost.inc(max(0, counts.dropped_rows - self._lost))
            self._lost = max(self._lost, counts.dropped_rows)
        self.bytes.set(counts.waiting_bytes)
        self.lag.set(counts.lag_seconds)
        self.failures.set(counts.failures)
        self.queue.set(queued)

    def text(self) -> bytes:
        """Everything in Prometheus' text format, of all processes behind the port."""
        together = self.registry
        if self._siblings is not None:
            together = CollectorRegistry()
            MultiProcessCollector(together, path=str(self._siblings))
        return generate_latest(together) + generate_latest(self._apart)

    def lately(self) -> dict[str, Any]:
        """What this process has to tell of itself, as JSON holds it: counts, and the images of the last minute."""
        now = time.monotonic()
        with self._lock:
            recent, errors, answered = list(self._recent), self._errors, self._answered
        return {
            "requests": answered,
            "errors": errors,
            "latencies": [(image.at, round(image.latency_ms, 3)) for image in recent if now - image.at <= RATE_SECONDS],
            "recent": [
                {
                    "time": image.time.astimezone(UTC).isoformat(timespec="milliseconds"),
                    "request_id": image.request_id,
                    "class": image.predicted,
                    "confidence": image.confidence,
                    "unusual_p": image.unusual_p,
                    "latency_ms": round(image.latency_ms, 3),
                    "version": image.version,
                }
                for image in recent[-SHOWN:]
            ],
        }


def added_up(told: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the page shows of the last minute, from what each process has told of itself (`Metrics.lately`)."""
    now = time.monotonic()  # the same clock in all processes of a machine
    rate, latencies = 0.0, []
    for process in told:
        times = [at for at, _ in process["latencies"] if now - at <= RATE_SECONDS]
        latencies += [latency for at, latency in process["latencies"] if now - at <= RATE_SECONDS]
        # Where more came than are remembered, the rate is that of the time they span.
        rate += len(times) / (max(now - times[0], 1e-3) if len(times) == RECENT else RATE_SECONDS)
    recent = sorted((image for process in told for image in process["recent"]), key=lambda image: image["time"], reverse=True)
    return {
        "requests": sum(process["requests"] for process in told),
        "errors": sum(process["errors"] for process in told),
        "requests_per_second": round(rate, 2),
        "p50_ms": round(float(np.percentile(latencies, 50)), 3) if latencies else None,
        "p95_ms": round(float(np.percentile(latencies, 95)), 3) if latencies else None,
        "recent": recent[:SHOWN],
    }
