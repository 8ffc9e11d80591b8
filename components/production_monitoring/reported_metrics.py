"""What a watch leaves of its metrics besides the dashboard: the step's facts, KFP's metrics, one line, and TensorBoard's curves.

The curves are written without torch or TensorFlow.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from tensorboard.summary import Writer

from components.production_monitoring.alerts import AlertRule
from components.production_monitoring.metrics import CurvePoint, ExpectedMetrics, ModelMetrics, ServiceMetrics
from driftloop.inference.traffic import TrafficInfo
from driftloop.plurals import counted
from driftloop.runtime import MetricsLog

EVENTS_FOLDER = "events"


def traffic_facts(
    info: TrafficInfo, service: ServiceMetrics, model: ModelMetrics, expected: ExpectedMetrics, rules: list[AlertRule]
) -> dict[str, Any]:
    """The step's facts: plain numbers, None where there is nothing to measure."""
    accuracy = model.accuracy.model_dump() if model.accuracy else None
    class_accuracy = {name: value.model_dump() for name, value in model.class_accuracy.items()}
    return {
        "sequence": info.sequence,
        "champion_version": info.champion_version,
        "since": info.since,
        "until": info.until,
        "rows": info.requests,
        "sampled": info.sampled,
        "late_rows": info.late_rows,
        "context_rows": info.rows - info.fresh_rows,
        "other_version_rows": info.other_version_rows,
        "error_share": service.error_share,
        **asdict(service),
        **asdict(model),
        "accuracy": accuracy,
        "class_accuracy": class_accuracy,
        "baseline": {"p95_ms": expected.p95_ms, "mean_confidence": min(regime.mean_confidence for regime in expected.regimes)},
        "alerts": [rule.as_json() for rule in rules if rule.fired],
    }


def log_traffic_metrics(
    metrics: MetricsLog, info: TrafficInfo, service: ServiceMetrics, model: ModelMetrics, rules: list[AlertRule]
) -> None:
    """The numbers that KFP's interface compares between runs; what could not be measured is left out."""
    values = {
        "rows": info.requests,
        "sampled": info.sampled,
        "p50_ms": service.p50_ms,
        "p95_ms": service.p95_ms,
        "p99_ms": service.p99_ms,
        "requests_per_second": service.per_second,
        "error_share": service.error_share,
        "mean_confidence": model.mean_confidence,
        "labelled": model.labelled,
        "accuracy": model.accuracy.value if model.accuracy else None,
        "calibration_error_on_traffic": model.calibration_error,
        "alerts": sum(rule.fired for rule in rules),
    }
    for name, value in values.items():
        if value is not None:
            metrics.log_metric(name, float(value))


def metrics_line(info: TrafficInfo, service: ServiceMetrics, model: ModelMetrics, rules: list[AlertRule]) -> str:
    """The metrics that matter in one line, for the person who waits."""
    fired = [rule.rule for rule in rules if rule.fired]
    alerts = f"alerts: {', '.join(fired)}" if fired else "no alert"
    if info.fresh_rows == 0:
        return f"no request of version {info.champion_version} since the last watch, {alerts}"
    accuracy = f"accuracy {model.accuracy.value:.3f} of {counted(model.accuracy.n, 'label')}, " if model.accuracy else ""
    looked_at = f" ({info.sampled:.1%} of them looked at)" if info.sampled < 1 else ""
    return f"{counted(info.requests, 'request')}{looked_at}, p95 {service.p95_ms:.2f} ms, {accuracy}{alerts}"


def write_curve_events(traffic: str | Path, points: list[CurvePoint], statistic_names: list[str]) -> None:
    """Write scalar curves into `<traffic>/events`: one step a point, at the point's own time. Nothing without points."""
    if not points:
        return
    writer = Writer(str(Path(traffic, EVENTS_FOLDER)))
    for step, point in enumerate(points):
        for tag, value in _scalars_by_tag(point, statistic_names).items():
            writer.add_scalar(tag, value, step, wall_time=point.time.timestamp())
    writer.close()


def _scalars_by_tag(point: CurvePoint, statistic_names: list[str]) -> dict[str, float]:
    scalars = {"service/p50_ms": point.p50_ms, "service/p95_ms": point.p95_ms, "model/mean_confidence": point.mean_confidence}
    if point.accuracy is not None:
        scalars["model/accuracy_of_labelled"] = point.accuracy
    scalars |= {f"class_share/{name}": share for name, share in point.class_shares.items()}
    return scalars | {f"statistics/{name}": float(value) for name, value in zip(statistic_names, point.statistics, strict=True)}
