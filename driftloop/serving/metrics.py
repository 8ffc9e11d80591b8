"""What a service tells Prometheus, and what its page shows of the last minutes."""

import threading
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from driftloop.inference.log_writer import InferenceLogger
from driftloop.serving.live_model import LiveModel

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
    """Counters of one process; safe to share between threads."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ours = self.registry
        self.requests = Counter("driftloop_requests", "Requests, by path and status.", ["path", "status"], registry=ours)
        self.latency = Histogram("driftloop_request_seconds", "From request to answer.", ["path"], buckets=LATENCIES, registry=ours)
        self.images = Counter("driftloop_images", "Images classified.", ["version", "predicted"], registry=ours)
        self.confidence = Histogram("driftloop_confidence", "Probability of the predicted class.", buckets=CONFIDENCES, registry=ours)
        self.unusual = Counter("driftloop_unusual_images", "Images whose p-value against the reference is at most 0.01.", registry=ours)
        self.batches = Histogram("driftloop_batch_images", "Images in a batch.", buckets=BATCHES, registry=ours)
        self.queue = Gauge("driftloop_queue_images", "Images that wait for a batch.", registry=ours)
        self.swaps = Counter("driftloop_swaps", "Changes of the version that answers.", registry=ours)
        self.refusals = Counter("driftloop_swap_failures", "Looks at the champion that failed; the version before went on.", registry=ours)
        self.version = Gauge("driftloop_model_info", "1 for the version that answers.", ["version", "graph", "provider"], registry=ours)
        self.feedback = Counter("driftloop_feedback", "Labels taken.", registry=ours)
        self.rows = Gauge("driftloop_log_rows", "Rows of the log by what became of them.", ["state"], registry=ours)
        self.bytes = Gauge("driftloop_log_spool_bytes", "On this machine's disk, not yet in the store.", registry=ours)
        self.failures = Gauge("driftloop_log_failures", "Writes that the store refused.", registry=ours)
        self._recent: deque[Seen] = deque(maxlen=RECENT)
        self._errors = 0
        self._answered = 0
        self._lock = threading.Lock()

    def answering(self, live: LiveModel) -> None:
        """Another version answers."""
        self.version.clear()
        self.version.labels(live.version, live.model.variant, live.model.provider).set(1)

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

    def text(self, log: InferenceLogger) -> bytes:
        """Everything in Prometheus' text format."""
        counts = log.counts
        for state in ("logged", "written", "waiting", "dropped_rows", "dropped_images"):
            self.rows.labels(state).set(getattr(counts, state))
        self.bytes.set(counts.waiting_bytes)
        self.failures.set(counts.failures)
        return generate_latest(self.registry)

    def activity(self) -> dict[str, Any]:
        """What the page shows of this process."""
        now = time.monotonic()
        with self._lock:
            recent, errors, answered = list(self._recent), self._errors, self._answered
        lately = [image for image in recent if now - image.at <= RATE_SECONDS]
        latencies = [image.latency_ms for image in lately]
        # Where more came than are remembered, the rate is that of the time they span.
        span = max(now - lately[0].at, 1e-3) if len(lately) == RECENT else RATE_SECONDS
        return {
            "requests": answered,
            "errors": errors,
            "requests_per_second": round(len(lately) / span, 2),
            "p50_ms": round(float(np.percentile(latencies, 50)), 3) if latencies else None,
            "p95_ms": round(float(np.percentile(latencies, 95)), 3) if latencies else None,
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
                for image in reversed(recent[-SHOWN:])
            ],
        }
