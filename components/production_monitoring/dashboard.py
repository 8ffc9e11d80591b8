"""The dashboard: one page on what production did since the last watch, and its charts."""

import matplotlib.dates as mdates
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from components.production_monitoring.alerts import AlertRule
from components.production_monitoring.metrics import CurvePoint, ExpectedMetrics, ModelMetrics, ServiceMetrics
from driftloop.inference.log import STATUS_OK
from driftloop.inference.traffic import TrafficInfo
from driftloop.reporting import Page
from driftloop.reporting.plot_style import MUTED, PALETTE, axes

#: Bars of the chart of requests over time.
VOLUME_BINS = 30
#: Times written under the charts by request.
AXIS_TICKS = 5


def build_dashboard(
    info: TrafficInfo,
    all_fresh: pd.DataFrame,
    service: ServiceMetrics,
    model: ModelMetrics,
    expected: ExpectedMetrics,
    rules: list[AlertRule],
    points: list[CurvePoint],
    notes: list[str],
) -> Page:
    """The page; a watch without requests gets one that says so."""
    since = f"from {_readable(info.since)} " if info.since else ""
    page = Page("Production monitoring", lead=f"Watch {info.sequence}: version {info.champion_version}, {since}to {_readable(info.until)}.")
    page.tiles(_tiles(service, model))
    _alerts(page, rules)
    for note in notes:
        page.notice(note)
    if not points:
        page.text("There is nothing to draw: this version answered no request since the last watch.")
        return page
    page.section("Service")
    page.figure(latency_chart(points, expected), "Latency over time. Each point covers equally many requests.")
    page.figure(volume_chart(all_fresh), "Requests over time, all versions.")
    page.section("Answers")
    page.figure(shares_chart(points, expected), "Share of each predicted class; dashed: in the champion's reference.")
    page.table(_class_rows(model, expected), "Shares of the predictions, and accuracy where labels have come.")
    page.figure(confidence_chart(points, expected), "Mean confidence and accuracy; dashed: confidence in the champion's reference.")
    page.section("Images", "Whether these differ from the reference by more than chance is decided by drift_detection.")
    page.figure(statistics_chart(points, expected, info.statistic_names), "Means of the image statistics, in SD of the reference's images.")
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


def _alerts(page: Page, rules: list[AlertRule]) -> None:
    page.section("Alerts")
    fired = [rule for rule in rules if rule.fired]
    for rule in fired:
        page.notice(f"{rule.rule}: {rule.message}", "warning")
    if not fired:
        page.notice("No alert.", "good")
    page.table([{"rule": rule.rule, "value": rule.value, "limit": rule.limit, "as measured": rule.message} for rule in rules])


def _class_rows(model: ModelMetrics, expected: ExpectedMetrics) -> list[dict[str, object]]:
    return [
        {
            "class": name,
            "share now": share,
            "share in the reference": expected.reference.class_shares[name],
            "labelled": model.class_accuracy[name].n if name in model.class_accuracy else 0,
            "accuracy": str(model.class_accuracy[name]) if name in model.class_accuracy else None,
        }
        for name, share in model.class_shares.items()
    ]


def _readable(time: str) -> str:
    return f"{time[:19].replace('T', ' ')} UTC"


def latency_chart(points: list[CurvePoint], expected: ExpectedMetrics) -> Figure:
    """p50 and p95 latency over time, with the benchmark."""
    figure, (chart,) = axes(6.4, 2.8)
    order = _middle_requests(points)
    chart.plot(order, [point.p95_ms for point in points], color=PALETTE[3], marker="o", markersize=3, label="p95")
    chart.plot(order, [point.p50_ms for point in points], color=PALETTE[0], marker="o", markersize=3, label="p50")
    if expected.p95_ms:
        chart.axhline(expected.p95_ms, color=MUTED, linestyle="--", linewidth=1, label="benchmark p95")
    chart.set_ylabel("latency, ms")
    chart.set_ylim(bottom=0)
    chart.legend(ncols=3, fontsize=8, frameon=False)
    _request_axis(chart, points)
    return figure


def volume_chart(rows: pd.DataFrame) -> Figure:
    """Requests over time, answered and failed, of all versions."""
    figure, (chart,) = axes(6.4, 2.4)
    times = mdates.date2num(rows["time"].dt.tz_localize(None).to_numpy())
    edges = np.linspace(times.min(), max(times.max(), times.min() + 1e-7), VOLUME_BINS + 1)
    failed = (rows["status"] != STATUS_OK).to_numpy()
    parts, colors = [times[~failed], times[failed]], [PALETTE[0], PALETTE[3]]
    chart.hist(parts, bins=list(edges), stacked=True, color=colors, label=["answered", "failed"])
    chart.set_ylabel("requests")
    if failed.any():
        chart.legend(fontsize=8, frameon=False)
    _time_axis(chart)
    return figure


def shares_chart(points: list[CurvePoint], expected: ExpectedMetrics) -> Figure:
    """The share of each predicted class over time; dashed: the reference's."""
    figure, (chart,) = axes(6.4, 2.8)
    order = _middle_requests(points)
    names = sorted(expected.reference.class_shares, key=lambda name: -expected.reference.class_shares[name])
    for index, name in enumerate(names[: len(PALETTE)]):
        color = PALETTE[index]
        chart.plot(order, [point.class_shares[name] for point in points], color=color, marker="o", markersize=3, label=name)
        chart.axhline(expected.reference.class_shares[name], color=color, linestyle="--", linewidth=1)
    chart.set_ylabel("share of predictions")
    chart.set_ylim(0, 1)
    chart.legend(ncols=3, fontsize=8, frameon=False)
    _request_axis(chart, points)
    return figure


def confidence_chart(points: list[CurvePoint], expected: ExpectedMetrics) -> Figure:
    """Mean confidence and, where labels have come, accuracy over time; dashed: the reference's confidence."""
    figure, (chart,) = axes(6.4, 2.8)
    order = _middle_requests(points)
    chart.plot(order, [point.mean_confidence for point in points], color=PALETTE[0], marker="o", markersize=3, label="mean confidence")
    chart.axhline(expected.reference.mean_confidence, color=PALETTE[0], linestyle="--", linewidth=1)
    accuracy = np.array([np.nan if point.accuracy is None else point.accuracy for point in points])
    known = np.isfinite(accuracy)
    if known.any():
        chart.plot(order[known], accuracy[known], color=PALETTE[1], linestyle="", marker="o", markersize=4, label="accuracy of labelled")
    chart.set_ylabel("share")
    chart.set_ylim(top=1.02)
    chart.legend(ncols=2, fontsize=8, frameon=False)
    _request_axis(chart, points)
    return figure


def statistics_chart(points: list[CurvePoint], expected: ExpectedMetrics, names: list[str]) -> Figure:
    """Each image statistic over time, in standard deviations of the reference's images from the reference's mean."""
    figure, (chart,) = axes(6.4, 3.2)
    spread = np.where(expected.reference.statistics_std > 0, expected.reference.statistics_std, 1.0)
    moved = (np.stack([point.statistics for point in points]) - expected.reference.statistics_mean) / spread
    order = _middle_requests(points)
    for index, name in enumerate(names):
        color, style = PALETTE[index % len(PALETTE)], "-" if index < len(PALETTE) else "--"
        chart.plot(order, moved[:, index], color=color, linestyle=style, marker="o", markersize=2.5, label=name)
    chart.axhline(0, color=MUTED, linewidth=1)
    chart.set_ylabel("SD from the reference")
    figure.legend(loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    _request_axis(chart, points)
    return figure


def _middle_requests(points: list[CurvePoint]) -> np.ndarray:
    """The number of each point's middle request: traffic comes in bursts, which a time axis would press into a line."""
    sizes = np.array([point.requests for point in points])
    return np.cumsum(sizes) - sizes / 2


def _request_axis(chart: Axes, points: list[CurvePoint]) -> None:
    """Requests in their order along the axis, with the time of day under some of them."""
    order = _middle_requests(points)
    shown = np.unique(np.linspace(0, len(points) - 1, AXIS_TICKS).round().astype(int))
    labels = [f"{order[index]:,.0f}\n{points[index].time:%d %b %H:%M:%S}" for index in shown]
    chart.set_xticks(order[shown], labels)
    chart.set_xlabel("request, and its time in UTC")


def _time_axis(chart: Axes) -> None:
    locator = mdates.AutoDateLocator(minticks=3, maxticks=7)
    chart.xaxis.set_major_locator(locator)
    chart.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))
    chart.set_xlabel("time, UTC")
