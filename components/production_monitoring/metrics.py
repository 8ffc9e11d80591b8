"""What production did, in numbers, and the champion's own numbers that it is compared with.

Service metrics say whether it is up, fast and used. Model metrics say what the champion answers, how sure it is, and how often it is
right where the truth is known. Curve points are both over time, for the dashboard's charts and TensorBoard: each holds equally many
consecutive requests, so that every point is equally uncertain, whatever the traffic.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from driftloop.bundle import REFERENCE, ModelDescription
from driftloop.contracts import ONNX_DEPLOYMENT, RANDOM
from driftloop.evaluation.classification import named_classes, probability_of
from driftloop.evaluation.intervals import Proportion, wilson
from driftloop.inference.log import STATUS_OK, logged_statistics
from driftloop.inference.reference import Regime, read_reference
from driftloop.inference.traffic import LABEL, LABEL_ORIGIN
from driftloop.step_facts import read_facts

#: Equal-width bins of the calibration error, as in Guo et al. (2017).
CALIBRATION_BINS = 15
#: Curves have at most so many points, of at least so many requests each.
MOST_CURVE_POINTS, FEWEST_REQUESTS_A_POINT = 40, 20


@dataclass(frozen=True)
class RegimeMetrics:
    """One accepted regime as the champion sees it."""

    name: str
    """The regime's."""
    class_shares: dict[str, float]
    """Of the predictions, by class."""
    mean_confidence: float
    """0-1."""
    statistics_mean: np.ndarray
    """Of each image statistic, float64 (F,)."""
    statistics_std: np.ndarray
    """Of each image statistic, float64 (F,)."""


@dataclass(frozen=True)
class ExpectedMetrics:
    """What production should look like: the champion's own numbers."""

    regimes: list[RegimeMetrics]
    """The accepted ones, the clean reference first."""
    p95_ms: float | None
    """Benchmarked p95 latency at batch 1, in ms; None where it was not measured."""

    @property
    def reference(self) -> RegimeMetrics:
        """The clean reference."""
        return self.regimes[0]


def read_expected_metrics(champion: str | Path, model: ModelDescription) -> ExpectedMetrics:
    """What the champion bundle in the directory `champion` expects of production."""
    regimes = [_regime_metrics(regime, model) for regime in read_reference(Path(champion, REFERENCE))]
    return ExpectedMetrics(regimes, benchmark_p95(read_facts(champion), model.served))


def _regime_metrics(regime: Regime, model: ModelDescription) -> RegimeMetrics:
    predicted = named_classes(regime.probabilities, model.naming_shares)
    return RegimeMetrics(
        name=regime.name,
        class_shares={name: float((predicted == index).mean()) for index, name in enumerate(model.classes)},
        mean_confidence=float(probability_of(predicted, regime.probabilities).mean(dtype=np.float64)),
        statistics_mean=regime.statistics.mean(axis=0, dtype=np.float64),
        statistics_std=regime.statistics.std(axis=0, dtype=np.float64),
    )


def benchmark_p95(facts: dict[str, Any], served: str) -> float | None:
    """The p95 latency of the served graph at batch 1 as onnx_deployment measured it, in ms; None where it was not measured."""
    deployed = facts.get(ONNX_DEPLOYMENT, {})
    # What is served on a GPU is expected to be as fast as it was there, where it was timed there.
    for row in deployed.get("benchmark_gpu" if deployed.get("serve_on") == "cuda" else "benchmark") or []:
        if row.get("variant") == served and row.get("batch") == 1 and row.get("p95_ms") is not None:
            return float(row["p95_ms"])
    return None


@dataclass(frozen=True)
class ServiceMetrics:
    """Of the champion's fresh requests; None where there is nothing to measure."""

    requests: int
    """Answered and failed ones."""
    failed: int
    """Requests with another status than `STATUS_OK`."""
    p50_ms: float | None
    """Median latency of the answered requests, in ms."""
    p95_ms: float | None
    """95th percentile, in ms."""
    p99_ms: float | None
    """99th percentile, in ms."""
    per_second: float | None
    """Mean throughput between the first and the last request."""

    @property
    def error_share(self) -> float:
        """Failed requests among all, 0-1."""
        return self.failed / self.requests if self.requests else 0.0


def service_metrics(rows: pd.DataFrame, sampled: float = 1.0) -> ServiceMetrics:
    """Latency percentiles of the answered requests, throughput, and how many failed.

    Args:
        rows: time, status and latency_ms, in time order.
        sampled: the share of the requests that these rows are; numbers of requests are scaled up by it.
    """
    good = rows["status"] == STATUS_OK
    latency = rows.loc[good, "latency_ms"].dropna().to_numpy(dtype=float)
    quantiles = [float(value) for value in np.percentile(latency, [50, 95, 99])] if len(latency) else [None, None, None]
    seconds = (rows["time"].iloc[-1] - rows["time"].iloc[0]).total_seconds() if len(rows) > 1 else 0.0
    return ServiceMetrics(
        requests=round(len(rows) / sampled),
        failed=round(int((~good).sum()) / sampled),
        p50_ms=quantiles[0],
        p95_ms=quantiles[1],
        p99_ms=quantiles[2],
        per_second=(len(rows) - 1) / sampled / seconds if seconds > 0 else None,
    )


@dataclass(frozen=True)
class ModelMetrics:
    """Of the champion's fresh, answered requests.

    Accuracy and calibration rest on the uniformly random labels of this watch alone: images picked for being odd would make the model
    look worse than it is.
    """

    class_shares: dict[str, float]
    """Of the predictions, by class; empty without requests."""
    mean_confidence: float | None
    """0-1; None without requests."""
    labelled: int
    """Requests with a label of whatever origin."""
    accuracy: Proportion | None
    """With Wilson's interval; None without random labels."""
    class_accuracy: dict[str, Proportion]
    """The same by true class, for the classes that have random labels."""
    calibration_error: float | None
    """Expected calibration error, 0-1; None without random labels."""


def model_metrics(rows: pd.DataFrame, classes: list[str]) -> ModelMetrics:
    """The metrics of answered requests.

    Args:
        rows: predicted, confidence, label and label_origin.
        classes: the champion's; a label outside of them counts as an error.
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


@dataclass(frozen=True)
class CurvePoint:
    """Consecutive answered requests of the champion, as one point of every curve."""

    time: pd.Timestamp
    """Of the middle request."""
    requests: int
    """How many there are."""
    p50_ms: float
    """Median latency, in ms."""
    p95_ms: float
    """95th percentile of the latency, in ms."""
    class_shares: dict[str, float]
    """Of the predictions, by class."""
    mean_confidence: float
    """0-1."""
    accuracy: float | None
    """Over the random labels among these requests; None without any."""
    labelled: int
    """How many these are."""
    statistics: np.ndarray
    """Mean of each image statistic, float64 (F,)."""


def curve_points(rows: pd.DataFrame, classes: list[str]) -> list[CurvePoint]:
    """Answered requests, in time order, cut into at most 40 points of at least 20 requests (one point where there are fewer)."""
    if not len(rows):
        return []
    count = min(MOST_CURVE_POINTS, max(1, len(rows) // FEWEST_REQUESTS_A_POINT))
    return [_curve_point(rows.iloc[part], classes) for part in np.array_split(np.arange(len(rows)), count)]


def _curve_point(rows: pd.DataFrame, classes: list[str]) -> CurvePoint:
    labelled = rows[rows[LABEL_ORIGIN] == RANDOM]
    latency = rows["latency_ms"].to_numpy(dtype=float)
    return CurvePoint(
        time=rows["time"].iloc[len(rows) // 2],
        requests=len(rows),
        p50_ms=float(np.percentile(latency, 50)),
        p95_ms=float(np.percentile(latency, 95)),
        class_shares=class_shares(rows["predicted"], classes),
        mean_confidence=float(rows["confidence"].mean()),
        accuracy=float((labelled["predicted"] == labelled[LABEL]).mean()) if len(labelled) else None,
        labelled=len(labelled),
        statistics=logged_statistics(rows).mean(axis=0, dtype=np.float64),
    )
