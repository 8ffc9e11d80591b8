"""The charts of the dashboard."""

import matplotlib.dates as mdates
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from components.production_monitoring.baseline import Baseline
from components.production_monitoring.blocks import Block
from driftloop.reporting.plots import MUTED, PALETTE, axes

BINS = 30
TICKS = 5


def latency_chart(points: list[Block], baseline: Baseline) -> Figure:
    """p50 and p95 latency over time, with the benchmark."""
    figure, (chart,) = axes(6.4, 2.8)
    order = _order(points)
    chart.plot(order, [point.p95_ms for point in points], color=PALETTE[3], marker="o", markersize=3, label="p95")
    chart.plot(order, [point.p50_ms for point in points], color=PALETTE[0], marker="o", markersize=3, label="p50")
    if baseline.p95_ms:
        chart.axhline(baseline.p95_ms, color=MUTED, linestyle="--", linewidth=1, label="benchmark p95")
    chart.set_ylabel("latency, ms")
    chart.set_ylim(bottom=0)
    chart.legend(ncols=3, fontsize=8, frameon=False)
    _by_request(chart, points)
    return figure


def volume_chart(rows: pd.DataFrame) -> Figure:
    """Requests over time, answered and failed, of all versions."""
    figure, (chart,) = axes(6.4, 2.4)
    times = mdates.date2num(rows["time"].dt.tz_localize(None).to_numpy())
    edges = np.linspace(times.min(), max(times.max(), times.min() + 1e-7), BINS + 1)
    failed = (rows["status"] != "ok").to_numpy()
    parts, colors = [times[~failed], times[failed]], [PALETTE[0], PALETTE[3]]
    chart.hist(parts, bins=list(edges), stacked=True, color=colors, label=["answered", "failed"])
    chart.set_ylabel("requests")
    if failed.any():
        chart.legend(fontsize=8, frameon=False)
    _over_time(chart)
    return figure


def shares_chart(points: list[Block], baseline: Baseline) -> Figure:
    """The share of each predicted class over time; dashed: the reference's."""
    figure, (chart,) = axes(6.4, 2.8)
    order = _order(points)
    names = sorted(baseline.reference.class_shares, key=lambda name: -baseline.reference.class_shares[name])
    for index, name in enumerate(names[: len(PALETTE)]):
        color = PALETTE[index]
        chart.plot(order, [point.class_shares[name] for point in points], color=color, marker="o", markersize=3, label=name)
        chart.axhline(baseline.reference.class_shares[name], color=color, linestyle="--", linewidth=1)
    chart.set_ylabel("share of predictions")
    chart.set_ylim(0, 1)
    chart.legend(ncols=3, fontsize=8, frameon=False)
    _by_request(chart, points)
    return figure


def confidence_chart(points: list[Block], baseline: Baseline) -> Figure:
    """Mean confidence and, where labels have come, accuracy over time; dashed: the reference's confidence."""
    figure, (chart,) = axes(6.4, 2.8)
    order = _order(points)
    chart.plot(order, [point.mean_confidence for point in points], color=PALETTE[0], marker="o", markersize=3, label="mean confidence")
    chart.axhline(baseline.reference.mean_confidence, color=PALETTE[0], linestyle="--", linewidth=1)
    accuracy = np.array([np.nan if point.accuracy is None else point.accuracy for point in points])
    known = np.isfinite(accuracy)
    if known.any():
        chart.plot(order[known], accuracy[known], color=PALETTE[1], linestyle="", marker="o", markersize=4, label="accuracy of labelled")
    chart.set_ylabel("share")
    chart.set_ylim(top=1.02)
    chart.legend(ncols=2, fontsize=8, frameon=False)
    _by_request(chart, points)
    return figure


def statistics_chart(points: list[Block], baseline: Baseline, names: list[str]) -> Figure:
    """Each image statistic over time, in standard deviations of the reference's images from the reference's mean."""
    figure, (chart,) = axes(6.4, 3.2)
    spread = np.where(baseline.reference.statistics_std > 0, baseline.reference.statistics_std, 1.0)
    moved = (np.stack([point.statistics for point in points]) - baseline.reference.statistics_mean) / spread
    order = _order(points)
    for index, name in enumerate(names):
        color, style = PALETTE[index % len(PALETTE)], "-" if index < len(PALETTE) else "--"
        chart.plot(order, moved[:, index], color=color, linestyle=style, marker="o", markersize=2.5, label=name)
    chart.axhline(0, color=MUTED, linewidth=1)
    chart.set_ylabel("SD from the reference")
    figure.legend(loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    _by_request(chart, points)
    return figure


def _order(points: list[Block]) -> np.ndarray:
    """The number of each block's middle request: traffic comes in bursts, which a time axis would press into a line."""
    sizes = np.array([point.requests for point in points])
    return np.cumsum(sizes) - sizes / 2


def _by_request(chart: Axes, points: list[Block]) -> None:
    """Requests in their order along the axis, with the time of day under some of them."""
    order = _order(points)
    shown = np.unique(np.linspace(0, len(points) - 1, TICKS).round().astype(int))
    labels = [f"{order[index]:,.0f}\n{points[index].time:%d %b %H:%M:%S}" for index in shown]
    chart.set_xticks(order[shown], labels)
    chart.set_xlabel("request, and its time in UTC")


def _over_time(chart: Axes) -> None:
    locator = mdates.AutoDateLocator(minticks=3, maxticks=7)
    chart.xaxis.set_major_locator(locator)
    chart.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))
    chart.set_xlabel("time, UTC")
