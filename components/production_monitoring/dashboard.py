"""The dashboard: one page on what production did since the last watch."""

from components.production_monitoring.alerts import Rule
from components.production_monitoring.baseline import Baseline
from components.production_monitoring.blocks import Block
from components.production_monitoring.charts import confidence_chart, latency_chart, shares_chart, statistics_chart, volume_chart
from components.production_monitoring.collect import Collected
from components.production_monitoring.model_metrics import ModelMetrics
from components.production_monitoring.service_metrics import ServiceMetrics
from driftloop.inference.window import WindowInfo
from driftloop.reporting import Page


def build_dashboard(
    info: WindowInfo,
    collected: Collected,
    service: ServiceMetrics,
    model: ModelMetrics,
    baseline: Baseline,
    rules: list[Rule],
    points: list[Block],
    notes: list[str],
) -> Page:
    """The page; an empty window gets one that says so."""
    since = f"from {_readable(info.since)} " if info.since else ""
    page = Page("Production monitoring", lead=f"Watch {info.sequence}: version {info.champion_version}, {since}to {_readable(info.until)}.")
    page.tiles(_tiles(service, model))
    _alerts(page, rules)
    for note in notes:
        page.notice(note)
    if not points:
        page.text("There is nothing to draw: this version answered no request in this window.")
        return page
    page.section("Service")
    page.figure(latency_chart(points, baseline), "Latency over time. Each point covers equally many requests.")
    page.figure(volume_chart(collected.everything), "Requests over time, all versions.")
    page.section("Answers")
    page.figure(shares_chart(points, baseline), "Share of each predicted class; dashed: in the champion's reference.")
    page.table(_class_rows(model, baseline), "Shares of the predictions, and accuracy where labels have come.")
    page.figure(confidence_chart(points, baseline), "Mean confidence and accuracy; dashed: confidence in the champion's reference.")
    page.section("Images", "Whether these differ from the reference by more than chance is for the drift verdict to say.")
    page.figure(statistics_chart(points, baseline, info.statistic_names), "Means of the image statistics, in SD of the reference's images.")
    return page


def _tiles(service: ServiceMetrics, model: ModelMetrics) -> dict[str, object]:
    tiles: dict[str, object] = {
        "requests": service.requests,
        "failed": service.failed,
        "p50 latency, ms": service.p50_ms,
        "p95 latency, ms": service.p95_ms,
        "p99 latency, ms": service.p99_ms,
        "requests a second": service.per_second,
        "mean confidence": model.mean_confidence,
        "labels": model.labelled,
    }
    if model.accuracy is not None:
        tiles["accuracy of random labels"] = f"{model.accuracy.value:.3f}"
        tiles["its 95 % interval"] = f"{model.accuracy.low:.3f}-{model.accuracy.high:.3f}"
        tiles["calibration error"] = model.calibration_error
    return tiles


def _alerts(page: Page, rules: list[Rule]) -> None:
    page.section("Alerts")
    fired = [rule for rule in rules if rule.fired]
    for rule in fired:
        page.notice(f"{rule.rule}: {rule.message}", "warning")
    if not fired:
        page.notice("No alert.", "good")
    page.table([{"rule": rule.rule, "value": rule.value, "limit": rule.limit, "as measured": rule.message} for rule in rules])


def _class_rows(model: ModelMetrics, baseline: Baseline) -> list[dict[str, object]]:
    return [
        {
            "class": name,
            "share now": share,
            "share in the reference": baseline.reference.class_shares[name],
            "labelled": model.class_accuracy[name].n if name in model.class_accuracy else 0,
            "accuracy": str(model.class_accuracy[name]) if name in model.class_accuracy else None,
        }
        for name, share in model.class_shares.items()
    ]


def _readable(time: str) -> str:
    return f"{time[:19].replace('T', ' ')} UTC"
