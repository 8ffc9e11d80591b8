"""What production is compared with: the champion's accepted regimes and its benchmark.

Service metrics: is it up, is it fast, is it used.

Model metrics: what the champion answers, how sure it is, and how often it is right where the truth is known.

A window cut into blocks of consecutive requests: the points of the dashboard's charts and of the TensorBoard curves.

Blocks hold equally many requests, so every point of a curve is equally uncertain, whatever the traffic.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from components.production_monitoring.collect import OK
from driftloop.bundle import REFERENCE, ModelDescription
from driftloop.contracts import RANDOM
from driftloop.evaluation.intervals import Proportion, wilson
from driftloop.inference.log import logged_statistics
from driftloop.inference.reference import Regime, read_reference
from driftloop.inference.traffic import LABEL, LABEL_ORIGIN
from driftloop.step_facts import read_facts


@dataclass(frozen=True)
class RegimeMetrics:
    """One accepted regime as the champion sees it: class shares, mean confidence, mean and spread of each statistic (F,)."""

    name: str
    class_shares: dict[str, float]
    mean_confidence: float
    statistics_mean: np.ndarray
    statistics_std: np.ndarray


@dataclass(frozen=True)
class ExpectedMetrics:
    """The champion's regimes, the clean reference first, and its benchmarked p95 latency at batch 1 in ms (None where unknown)."""

    regimes: list[RegimeMetrics]
    p95_ms: float | None

    @property
    def reference(self) -> RegimeMetrics:
        return self.regimes[0]


def read_expected_metrics(champion: str | Path, model: ModelDescription) -> ExpectedMetrics:
    """The baseline of the champion bundle in the directory `champion`."""
    regimes = [_figures(regime, model.classes) for regime in read_reference(Path(champion, REFERENCE))]
    return ExpectedMetrics(regimes, benchmark_p95(read_facts(champion), model.served))


def _figures(regime: Regime, classes: list[str]) -> RegimeMetrics:
    predicted = regime.probabilities.argmax(axis=1)
    return RegimeMetrics(
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


@dataclass(frozen=True)
class ServiceMetrics:
    """Of the champion's requests; times in ms, None where there is nothing to measure. `per_second` is the mean over their span."""

    requests: int
    failed: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    per_second: float | None

    @property
    def error_share(self) -> float:
        return self.failed / self.requests if self.requests else 0.0


def service_metrics(rows: pd.DataFrame) -> ServiceMetrics:
    """Latency percentiles of the answered requests, throughput, and how many failed.

    Args:
        rows: time, status and latency_ms, in time order.
    """
    good = rows["status"] == OK
    latency = rows.loc[good, "latency_ms"].dropna().to_numpy(dtype=float)
    quantiles = [float(value) for value in np.percentile(latency, [50, 95, 99])] if len(latency) else [None, None, None]
    seconds = (rows["time"].iloc[-1] - rows["time"].iloc[0]).total_seconds() if len(rows) > 1 else 0.0
    return ServiceMetrics(
        requests=len(rows),
        failed=int((~good).sum()),
        p50_ms=quantiles[0],
        p95_ms=quantiles[1],
        p99_ms=quantiles[2],
        per_second=(len(rows) - 1) / seconds if seconds > 0 else None,
    )


#: Equal-width bins of the calibration error, as in Guo et al. (2017).
CALIBRATION_BINS = 15


@dataclass(frozen=True)
class ModelMetrics:
    """Of the fresh, answered requests. `class_shares` and `mean_confidence` need no labels (empty and None without requests).

    `accuracy` and `calibration_error` rest on the uniformly random labels of this window alone: images picked for being odd would
    make the model look worse than it is. None without such labels. `labelled` counts labels of every origin.
    """

    class_shares: dict[str, float]
    mean_confidence: float | None
    labelled: int
    accuracy: Proportion | None
    class_accuracy: dict[str, Proportion]
    calibration_error: float | None


def model_metrics(rows: pd.DataFrame, classes: list[str]) -> ModelMetrics:
    """The metrics of answered requests.

    Args:
        rows: predicted, confidence, label and label_origin.
        classes: the champion's; a label that is none of them counts as an error.
    """
    labelled = rows[rows[LABEL_ORIGIN] == RANDOM]
    right = (labelled["predicted"] == labelled[LABEL]).to_numpy()
    by_class = {name: right[(labelled[LABEL] == name).to_numpy()] for name in classes}
    return ModelMetrics(
        class_shares=class_shares(rows["predicted"], classes),
        mean_confidence=float(rows["confidence"].mean()) if len(rows) else None,
        labelled=int(rows[LABEL].notna().sum()),
        accuracy=wilson(int(right.sum()), len(right)) if len(right) else None,
        class_accuracy={name: wilson(int(hits.sum()), len(hits)) for name, hits in by_class.items() if len(hits)},
        calibration_error=calibration_error(labelled["confidence"].to_numpy(dtype=float), right) if len(right) else None,
    )


def class_shares(predicted: pd.Series, classes: list[str]) -> dict[str, float]:
    """The share of each class among the predictions; empty without predictions."""
    if not len(predicted):
        return {}
    return {name: float((predicted == name).mean()) for name in classes}


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = CALIBRATION_BINS) -> float:
    """Expected calibration error (Naeini et al. 2015): mean over equal-width bins of |accuracy - confidence|, weighted by size.

    Args:
        confidence: (N,) in [0, 1], N >= 1.
        right: (N,) bool.
        bins: at least 1.
    """
    number = np.minimum((confidence * bins).astype(int), bins - 1)
    gap = np.bincount(number, weights=right - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))


MOST_POINTS, FEWEST_REQUESTS_A_POINT = 40, 20


@dataclass(frozen=True)
class CurvePoint:
    """Consecutive answered requests: their middle time, latency percentiles in ms, class shares, confidence, statistics (F,)."""

    time: pd.Timestamp
    requests: int
    p50_ms: float
    p95_ms: float
    class_shares: dict[str, float]
    mean_confidence: float
    accuracy: float | None
    statistics: np.ndarray


def curve_points(rows: pd.DataFrame, classes: list[str]) -> list[CurvePoint]:
    """Answered requests, in time order, as at most 40 blocks of at least 20 requests (one block where there are fewer)."""
    if not len(rows):
        return []
    count = min(MOST_POINTS, max(1, len(rows) // FEWEST_REQUESTS_A_POINT))
    return [_block(rows.iloc[part], classes) for part in np.array_split(np.arange(len(rows)), count)]


def _block(rows: pd.DataFrame, classes: list[str]) -> CurvePoint:
    known = rows[rows["label_origin"] == "random"]
    latency = rows["latency_ms"].to_numpy(dtype=float)
    return CurvePoint(
        time=rows["time"].iloc[len(rows) // 2],
        requests=len(rows),
        p50_ms=float(np.percentile(latency, 50)),
        p95_ms=float(np.percentile(latency, 95)),
        class_shares={name: float((rows["predicted"] == name).mean()) for name in classes},
        mean_confidence=float(rows["confidence"].mean()),
        accuracy=float((known["predicted"] == known["label"]).mean()) if len(known) else None,
        statistics=logged_statistics(rows).mean(axis=0, dtype=np.float64),
    )
