"""A small production with a log that the real logger wrote, and the step run on it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components.production_monitoring.collect import answered_by, next_period, read_fresh
from components.production_monitoring.step import run
from driftloop.inference.labels import write_labels
from driftloop.inference.log_writer import InferenceLogger
from driftloop.inference.served_model import ServedModel
from driftloop.inference.traffic import Traffic, read_traffic
from driftloop.inference.watch_tables import write_window_rows
from driftloop.settings import MonitorSettings
from driftloop.store import Store
from driftloop.watch_record import RecordedWindow, WatchRecord
from driftloop.watch_store import read_records, record_key
from tests.factories.metrics import MetricsFile
from tests.factories.records import watch_record
from tests.factories.serving_store import CLASSES, build_serving_store, textured_squares

START = datetime.fromisoformat("2025-03-01T10:00:00+00:00")
MINUTE = timedelta(minutes=1)
NOW = datetime.now(UTC)


def window_at(minutes: float, *, rows: int = 1, drifted: bool = False) -> RecordedWindow:
    """A window of a moment, so many minutes after START."""
    time = (START + minutes * MINUTE).isoformat()
    return RecordedWindow(first=time, last=time, rows=rows, drifted=drifted)


@dataclass
class Production:
    """The store, and short ways to let things happen in it. Times are minutes after START."""

    root: Path
    store: Store
    runs: int = 0
    metrics: MetricsFile = field(default_factory=MetricsFile)

    def requests(
        self,
        n: int,
        *,
        at: float = 0.0,
        version: str = "1",
        seed: int = 9,
        status: str = "ok",
        latency_ms: float = 2.0,
        seen_as: Callable[[np.ndarray], np.ndarray] = np.array,
        ids: list[str] | None = None,
    ) -> list[str]:
        """Log n requests, a second apart, of images changed by `seen_as`; their ids."""
        images, _, samples = textured_squares(n, seed=seed)
        images = seen_as(images)
        predictions = self.model.predict(images) if status == "ok" else None
        times = [START + at * MINUTE + timedelta(seconds=index) for index in range(n)]
        given = {"groups": list(samples["group"]), "times": times, "status": status, "request_ids": ids}
        with InferenceLogger(self.store) as log:
            return log.log(images, predictions, latency_ms, version=version, classes=CLASSES, **given)

    @property
    def model(self) -> ServedModel:
        return ServedModel.open(self.root / "candidate-0")

    def label(self, ids: list[str], names: list[str], origin: str = "random") -> None:
        write_labels(self.store, pd.DataFrame({"request_id": ids, "label": names, "origin": origin}))

    def commit(self, until: float, *, until_as_recorded: str = "", **given: Any) -> WatchRecord:
        """Record a watch that ended `until` minutes after START and covered what was there; it keeps all its rows as one window."""
        records = read_records(self.store)
        period = next_period(records, (START + until * MINUTE).isoformat(), NOW)
        covered = read_fresh(self.store, period, MonitorSettings(), NOW)
        rows = answered_by(covered.rows, "1")
        kept = write_window_rows(self.store, period.sequence, rows.assign(watch=period.sequence, window=0))
        usual = {"windows": [window_at(until, rows=len(rows), drifted=True)], "coverage": covered.coverage}
        end = until_as_recorded or period.until.isoformat()
        record = watch_record(period.sequence, until=end, **{"window_rows": kept} | usual | given)
        self.store.create(record_key(record.sequence), record.model_dump_json().encode())
        return record

    def watch(self, until: float | str = 1000.0, **config: Any) -> Traffic:
        """Run the step up to `until` minutes after START."""
        self.runs += 1
        end = until if isinstance(until, str) else (START + until * MINUTE).isoformat()
        self.metrics = MetricsFile()
        run(
            self.store.uri,
            str(self.folder / "traffic"),
            str(self.folder / "champion"),
            str(self.folder / "dashboard.html"),
            until=end,
            config=config,
            metrics=self.metrics,
        )
        return read_traffic(self.folder / "traffic")

    @property
    def folder(self) -> Path:
        """Where the last watch wrote."""
        return self.root / f"watch-{self.runs}"

    def json(self, name: str) -> Any:
        return json.loads((self.folder / "traffic" / name).read_text())


@pytest.fixture
def production(tmp_path: Path) -> Production:
    store, _ = build_serving_store(tmp_path, stream=10, p95_ms=2.0)
    return Production(tmp_path, store)
