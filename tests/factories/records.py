"""Records that many tests need and few look at whole: of a model, of a traffic artifact, of a watch. What matters is given by name."""

from typing import Any

from driftloop.bundle import ModelDescription
from driftloop.inference.traffic import TrafficInfo
from driftloop.watch_record import WatchRecord

CLASSES = ["NORMAL", "PNEUMONIA"]


def model_description(**given: Any) -> ModelDescription:
    """A grey-scale model of 32-pixel images and two classes, but for what is given."""
    usual = {
        "architecture": "residual",
        "classes": CLASSES,
        "image_size": 32,
        "channels": 1,
        "mean": [0.5],
        "std": [0.2],
        "dataset": "0" * 64,
        "seed": 0,
        "training": {},
        "metrics": {},
        "libraries": {},
    }
    return ModelDescription(**usual | given)


def traffic_info(**given: Any) -> TrafficInfo:
    """The first watch of version 1, without rows, but for what is given."""
    usual = {
        "sequence": 1,
        "store": "store",
        "champion_version": "1",
        "since": "",
        "until": "2025-01-02T00:00:00+00:00",
        "classes": CLASSES,
        "statistic_names": [],
        "rows": 0,
        "fresh_rows": 0,
        "other_version_rows": 0,
    }
    return TrafficInfo(**usual | given)


def watch_record(sequence: int, finished: str = "2026-01-01T00:00:00+00:00", **given: Any) -> WatchRecord:
    """A quiet watch of version 1 that read up to its end, but for what is given."""
    usual = {
        "run_id": f"watch-{sequence}",
        "since": "",
        "until": finished,
        "champion_version": "1",
        "rows": 0,
        "windows": [],
        "confirmed": False,
        "verdict": "stable",
        "reason": "the window fits",
        "decision": None,
        "outcome": "watched",
        "promoted_version": None,
    }
    return WatchRecord(sequence=sequence, finished=finished, **usual | given)


def decided_watch(sequence: int, champion_version: str, decision: str | None) -> WatchRecord:
    """A watch that ended with `decision` of the gate, or with a stable window where there is none."""
    ended = {"confirmed": True, "verdict": "retrain", "outcome": "kept"} if decision else {}
    return watch_record(sequence, champion_version=champion_version, decision=decision, **ended)
