"""What production is compared with: the champion's accepted regimes and its benchmark."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from driftloop import facts
from driftloop.bundle import REFERENCE, ModelDescription
from driftloop.inference.reference import Regime, read_reference


@dataclass(frozen=True)
class RegimeFigures:
    """One accepted regime as the champion sees it: class shares, mean confidence, mean and spread of each statistic (F,)."""

    name: str
    class_shares: dict[str, float]
    mean_confidence: float
    statistics_mean: np.ndarray
    statistics_std: np.ndarray


@dataclass(frozen=True)
class Baseline:
    """The champion's regimes, the clean reference first, and its benchmarked p95 latency at batch 1 in ms (None where unknown)."""

    regimes: list[RegimeFigures]
    p95_ms: float | None

    @property
    def reference(self) -> RegimeFigures:
        return self.regimes[0]


def read_baseline(champion: str | Path, model: ModelDescription) -> Baseline:
    """The baseline of the champion bundle in the directory `champion`."""
    regimes = [_figures(regime, model.classes) for regime in read_reference(Path(champion, REFERENCE))]
    return Baseline(regimes, benchmark_p95(facts.read(champion), model.served))


def _figures(regime: Regime, classes: list[str]) -> RegimeFigures:
    predicted = regime.probabilities.argmax(axis=1)
    return RegimeFigures(
        name=regime.name,
        class_shares={name: float((predicted == index).mean()) for index, name in enumerate(classes)},
        mean_confidence=float(regime.probabilities.max(axis=1).mean(dtype=np.float64)),
        statistics_mean=regime.statistics.mean(axis=0, dtype=np.float64),
        statistics_std=regime.statistics.std(axis=0, dtype=np.float64),
    )


def benchmark_p95(known: dict[str, Any], served: str) -> float | None:
    """The p95 latency of the served graph at batch 1 as onnx_deployment measured it, in ms; None where it was not measured."""
    for row in known.get("onnx_deployment", {}).get("benchmark") or []:
        if row.get("variant") == served and row.get("batch") == 1 and row.get("p95_ms") is not None:
            return float(row["p95_ms"])
    return None
