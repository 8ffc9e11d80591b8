"""What the service tells Prometheus of its store's watches: how old the last one is, its verdict, p-values, labels wanted."""

import logging
import time
from collections.abc import Iterator
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from driftloop.contracts import VERDICTS
from driftloop.store import Store
from driftloop.watch_record import CLOSED, FAILED, STARTED, WatchRecord
from driftloop.watch_store import newest_record

LOG = logging.getLogger("driftloop.serving")
#: Between two looks.
LOOK_SECONDS = 15.0
STATES = (STARTED, CLOSED, FAILED)


class WatchMetrics(Collector):
    """The newest watch record, as metrics; no samples before the first one.

    Every process behind the port reads it for itself and tells the whole of it, so nothing is added up.
    """

    def __init__(self) -> None:
        self._record: WatchRecord | None = None
        self._next = 0.0
        self._failed = ""

    def look(self, store: Store) -> None:
        """Read the newest record, unless that was done just now; where the store does not let us, the one before stays."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + LOOK_SECONDS
        try:
            self._record = newest_record(store, self._record.sequence if self._record else 0)
            self._failed = ""
        except Exception as error:  # whatever it is, it must not end the thread that follows the champion
            if str(error) != self._failed:
                LOG.error("the metrics of the watches stay as they are: %s", error)
            self._failed = str(error)

    def collect(self) -> Iterator[Metric]:
        """The record as it was last read."""
        record = self._record
        if record is None:
            return
        until = datetime.fromisoformat(record.until).timestamp()
        yield _gauge("watch_sequence", "Number of the last watch.", record.sequence)
        yield _gauge("watch_covered_timestamp_seconds", "End of what the last watch covered, in seconds since 1970.", until)
        yield _flags("watch_state", "1 for what became of the last watch.", "state", STATES, record.state)
        yield _flags("watch_verdict", "1 for the verdict of the last watch.", "verdict", VERDICTS, record.verdict)
        yield _gauge("watch_drift_confirmed", "1 where the last watch confirmed a drift.", record.confirmed)
        yield _gauge("watch_windows", "Windows that the last watch tested.", len(record.windows))
        yield _gauge("watch_drifted_windows", "Those of them that drifted.", sum(window.drifted for window in record.windows))
        yield _gauge("watch_limits_passed", "Limits of monitor_config that were passed.", len(record.alerts))
        wanted = record.labels_requested if record.verdict == "needs_labels" else 0
        yield _gauge("labels_wanted", "Images that the last watch needs labels of.", wanted)
        if record.windows:
            p_values = GaugeMetricFamily("driftloop_watch_p_value", "Of the newest window, by detector.", labels=["detector"])
            for detector, p_value in record.windows[-1].p_values.items():
                p_values.add_metric([detector], p_value)
            yield p_values
        if "accuracy" in record.metrics:
            yield _gauge("watch_accuracy_ratio", "Over the random labels of the last watch.", record.metrics["accuracy"])
        if record.drop is not None:
            drop = GaugeMetricFamily("driftloop_watch_accuracy_drop_ratio", "Below what was accepted, with bounds.", labels=["bound"])
            for bound in ("value", "low", "high"):
                drop.add_metric([bound], record.drop[bound])
            yield drop


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"driftloop_{name}", text, value=float(value))


def _flags(name: str, text: str, label: str, known: tuple[str, ...], current: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"driftloop_{name}", text, labels=[label])
    for value in known:
        family.add_metric([value], float(value == current))
    return family
