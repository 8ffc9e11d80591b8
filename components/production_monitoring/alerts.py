"""Alert rules: what somebody should look at now. They compare point values with limits and decide nothing about drift."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.production_monitoring.metrics import ExpectedMetrics, ModelMetrics, ServiceMetrics
from driftloop.contracts import UNFINISHED_WATCH
from driftloop.plurals import counted
from driftloop.settings import MonitorSettings
from driftloop.step_facts import write_json
from driftloop.watch_record import CLOSED, WatchRecord

#: Shares of fewer requests than this jump by chance alone.
MIN_REQUESTS = 50


@dataclass(frozen=True)
class AlertRule:
    """One rule, checked."""

    rule: str
    """Its name."""
    fired: bool
    """Whether the value lies beyond the limit."""
    value: float | None
    """What was measured; None where there is nothing to compare."""
    limit: float
    """What the value is compared with."""
    message: str
    """The same as a sentence, for people."""

    def as_json(self) -> dict[str, Any]:
        """The rule as plain JSON."""
        return asdict(self)


def check_alert_rules(
    service: ServiceMetrics, model: ModelMetrics, expected: ExpectedMetrics, settings: MonitorSettings
) -> list[AlertRule]:
    """Every rule, fired or not, in the order of their urgency."""
    return [
        no_traffic_rule(service),
        error_share_rule(service, settings.alert_error_share),
        latency_rule(service, expected, settings.alert_latency_ratio),
        class_shares_rule(service, model, expected, settings.alert_class_share),
        confidence_rule(service, model, expected, settings.alert_confidence_drop),
    ]


def write_alerts(traffic: str | Path, rules: list[AlertRule]) -> None:
    """Write `alerts.json` into the traffic artifact: the names of the rules that fired, and every rule with what it measured."""
    fired = [rule.rule for rule in rules if rule.fired]
    write_json(Path(traffic, "alerts.json"), {"fired": fired, "rules": [rule.as_json() for rule in rules]})


def unfinished_watch_rule(before: WatchRecord | None) -> AlertRule:
    """The watch before ended without its report: a retraining failed, a pod was killed."""
    if before is None or before.state == CLOSED:
        return AlertRule(UNFINISHED_WATCH, False, 0.0, 0.0, "the watch before was finished" if before else "this is the first watch")
    reason = before.failure or f"run {before.run_id} has not closed its record: a step failed, was killed, or is still running"
    return AlertRule(UNFINISHED_WATCH, True, 1.0, 0.0, f"watch {before.sequence} ({before.verdict}) was not finished: {reason}")


def no_traffic_rule(service: ServiceMetrics) -> AlertRule:
    """No request at all since the last watch."""
    message = "no request since the last watch" if service.requests == 0 else f"{counted(service.requests, 'request')} since the last watch"
    return AlertRule("no traffic", service.requests == 0, float(service.requests), 1.0, message)


def error_share_rule(service: ServiceMetrics, limit: float) -> AlertRule:
    """Too many failed requests."""
    fired = service.requests >= MIN_REQUESTS and service.error_share > limit
    message = f"{service.failed:,} of {counted(service.requests, 'request')} failed ({service.error_share:.1%}, limit {limit:.1%})"
    return AlertRule("error share", fired, service.error_share if service.requests else None, limit, message)


def latency_rule(service: ServiceMetrics, expected: ExpectedMetrics, limit: float) -> AlertRule:
    """The p95 latency against the one benchmarked when the model was exported."""
    if service.p95_ms is None or not expected.p95_ms:
        return AlertRule("p95 latency", False, None, limit, "no latency to compare with the benchmark")
    ratio = service.p95_ms / expected.p95_ms
    message = f"p95 latency {service.p95_ms:.2f} ms is {ratio:.1f} times the benchmark's {expected.p95_ms:.2f} ms (limit {limit:g})"
    return AlertRule("p95 latency", service.requests >= MIN_REQUESTS and ratio > limit, ratio, limit, message)


def class_shares_rule(service: ServiceMetrics, model: ModelMetrics, expected: ExpectedMetrics, limit: float) -> AlertRule:
    """The largest move of a predicted class's share, from the accepted regime that is nearest."""
    if not model.class_shares:
        return AlertRule("class shares", False, None, limit, "no prediction to compare")
    moves = [(*_largest_move(model.class_shares, regime.class_shares), regime.name) for regime in expected.regimes]
    size, name, before, now, regime = min(moves)
    message = f"{name} makes {now:.1%} of the predictions, {before:.1%} in {regime} (moved by {size:.1%}, limit {limit:.1%})"
    return AlertRule("class shares", service.requests >= MIN_REQUESTS and size > limit, size, limit, message)


def confidence_rule(service: ServiceMetrics, model: ModelMetrics, expected: ExpectedMetrics, limit: float) -> AlertRule:
    """The mean confidence against the least confident accepted regime."""
    if model.mean_confidence is None:
        return AlertRule("confidence", False, None, limit, "no prediction to compare")
    lowest = min(expected.regimes, key=lambda regime: regime.mean_confidence)
    drop = lowest.mean_confidence - model.mean_confidence
    message = (
        f"mean confidence {model.mean_confidence:.3f}, {lowest.mean_confidence:.3f} in {lowest.name} (drop {drop:.3f}, limit {limit:g})"
    )
    return AlertRule("confidence", service.requests >= MIN_REQUESTS and drop > limit, drop, limit, message)


def _largest_move(now: dict[str, float], before: dict[str, float]) -> tuple[float, str, float, float]:
    name = max(now, key=lambda key: abs(now[key] - before[key]))
    return abs(now[name] - before[name]), name, before[name], now[name]
