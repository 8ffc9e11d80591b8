"""The dashboard: one page on what production did since the last watch, and its charts."""

import matplotlib.dates as mdates
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from components.production_monitoring.alerts import AlertRule
from components.production_monitoring.metrics import CurvePoint, ExpectedMetrics, ModelMetrics, ServiceMetrics
from driftloop.evaluation.intervals import wilson
from driftloop.inference.log import STATUS_OK
from driftloop.inference.traffic import TrafficInfo
from driftloop.plurals import counted
from driftloop.reporting import Page
from driftloop.reporting.chapter import Tone
from driftloop.reporting.page import readable_cell
from driftloop.reporting.plot_style import MUTED, PALETTE, axes
from driftloop.reporting.wording import interval, percent
from driftloop.reporting.wording import points as _points
from driftloop.watch_record import WatchRecord

#: Bars of the chart of requests over time.
VOLUME_BINS = 30
#: Times written under the charts by request.
AXIS_TICKS = 5
#: Values so many times the usual ones, or so many standard deviations from the reference, get a symmetric logarithmic axis.
WIDE = 10.0


def build_dashboard(
    info: TrafficInfo,
    all_fresh: pd.DataFrame,
    service: ServiceMetrics,
    model: ModelMetrics,
    expected: ExpectedMetrics,
    rules: list[AlertRule],
    points: list[CurvePoint],
    notes: list[str],
    before: WatchRecord | None,
) -> Page:
    """The page; a watch without requests gets one that says so. `before`: the record of the watch before, whose verdict is the last one."""
    since = f"from {_readable(info.since)} " if info.since else ""
    page = Page(
        "Production monitoring",
        lead=state_sentence(rules, before),
        question="Is the service up, fast and used, and does the model answer as it did on its reference?",
    )
    tiles, tones = _tiles(service, model, rules)
    page.tiles(tiles, tones)
    page.text(f"Watch {info.sequence}: version {info.champion_version}, {since}to {_readable(info.until)}.")
    _rules(page, rules)
    page.table(
        [{"figure": name, "value": readable_cell(value)} for name, value in _figures(service, model).items()],
        "All figures of this watch.",
        key="monitor-figures",
    )
    for note in notes:
        page.notice(note)
    fired = [rule.rule for rule in rules if rule.fired]
    page.conclude(
        f"{counted(service.requests, 'request')}, {percent(service.error_share)} of them failed; "
        + (f"{len(fired)} of {len(rules)} rules fired: {', '.join(fired)}." if fired else f"none of {len(rules)} rules fired."),
        limits=[
            "Rules compare single values with fixed limits: they say what somebody should look at and decide nothing about drift.",
            "Accuracy is known only where labels have come, and only random labels speak for all requests.",
            "What the hardware of the service does (processor, memory, GPU) is in the service's own metrics, not in this log.",
        ],
        decision="Whether the images have changed by more than chance is the next chapter's question.",
    )
    if not points:
        page.text("There is nothing to draw: this version answered no request since the last watch.")
        return page
    page.section("Service")
    page.figure(
        latency_chart(points, expected),
        "Latency over time. Each point covers equally many requests; logarithmic above the median where one is ten times that.",
        key="monitor-latency",
        essential=True,
    )
    page.text(f"[[monitor-latency]]: {latency_sentence(points, expected)}", essential=True)
    page.figure(volume_chart(all_fresh), "Requests over time, all versions.", key="monitor-volume")
    page.text(f"[[monitor-volume]]: {volume_sentence(all_fresh)}")
    page.section("Answers")
    page.figure(
        shares_chart(points, expected),
        "Share of each predicted class with its 95 % interval; dashed: in the champion's reference.",
        key="monitor-shares",
    )
    page.table(_class_rows(model, expected), "Shares of the predictions, and accuracy where labels have come.", key="monitor-classes")
    page.text(f"[[monitor-shares]] and [[monitor-classes]]: {shares_sentence(model, expected)}")
    page.figure(
        confidence_chart(points, expected),
        "Mean confidence, and accuracy of random labels with its 95 % interval; dashed: confidence in the champion's reference.",
        key="monitor-confidence",
    )
    page.text(f"[[monitor-confidence]]: {confidence_sentence(points, model, expected)}")
    page.section("Images", "Whether these differ from the reference by more than chance is decided by drift_detection.")
    page.figure(
        statistics_chart(points, expected, info.statistic_names),
        "Means of the image statistics, in SD of the reference's images; logarithmic beyond 1 SD where one is beyond 10.",
        key="monitor-statistics",
    )
    page.text(f"[[monitor-statistics]]: {statistics_sentence(points, expected, info.statistic_names)}")
    return page


def latency_sentence(points: list[CurvePoint], expected: ExpectedMetrics) -> str:
    """How the tail of the latency moved, and how it compares with the benchmark."""
    tails = [point.p95_ms for point in points]
    text = (
        f"Over {len(points)} points of about {points[0].requests:,} requests the 95th percentile lies between {min(tails):.1f} and "
        f"{max(tails):.1f} ms; "
        f"it begins at {tails[0]:.1f} and ends at {tails[-1]:.1f} ms."
    )
    if expected.p95_ms:
        ratio = float(np.median(tails)) / expected.p95_ms
        text += f" Its median is {ratio:.1f} times the {expected.p95_ms:.1f} ms that the benchmark measured for one image alone" + (
            ": the service adds waiting to the model's own time." if ratio > 1.2 else ": the service adds next to nothing."
        )
    return text


def volume_sentence(rows: pd.DataFrame) -> str:
    """How many requests came over which time, and how many failed."""
    seconds = (rows["time"].max() - rows["time"].min()).total_seconds()
    failed = int((rows["status"] != STATUS_OK).sum())
    span = f"{seconds / 3600:.1f} hours" if seconds >= 5400 else f"{seconds:.0f} seconds" if seconds >= 1 else "less than a second"
    came = counted(len(rows), "request is", "requests are")
    return f"{came} in the log over {span}, {failed:,} of them failed ({percent(failed / max(1, len(rows)))})."


def shares_sentence(model: ModelMetrics, expected: ExpectedMetrics) -> str:
    """Which class's share has moved most from the reference."""
    moved = {name: share - expected.reference.class_shares[name] for name, share in model.class_shares.items()}
    if not moved:
        return "There are no answers."
    largest = max(moved, key=lambda name: abs(moved[name]))
    return (
        f"The share that moved most is that of {largest}: from {percent(expected.reference.class_shares[largest])} in the reference to "
        f"{percent(model.class_shares[largest])} ({_points(moved[largest])}). A share may move because the world has changed or "
        "because the model "
        "answers differently to the same world; labels alone tell the two apart."
    )


def confidence_sentence(points: list[CurvePoint], model: ModelMetrics, expected: ExpectedMetrics) -> str:
    """Whether confidence has moved, and whether it says what accuracy says."""
    before, now = expected.reference.mean_confidence, model.mean_confidence
    if now is None:
        return "There are no answers."
    text = f"The mean confidence is {percent(now)}, against {percent(before)} in the reference ({_points(now - before)})."
    if model.accuracy is None:
        return text + " No random label has come, so nobody knows whether the model is as right as it is sure."
    gap = now - model.accuracy.value
    inside = model.accuracy.low <= now <= model.accuracy.high
    text += (
        f" Of {model.accuracy.n:,} random labels {percent(model.accuracy.value)} are answered correctly "
        f"({interval(model.accuracy.low, model.accuracy.high)}): "
    )
    return text + (
        "confidence lies within that interval."
        if inside
        else f"confidence is {100 * abs(gap):.1f} points {'above' if gap > 0 else 'below'} it, outside of the interval, and is not "
        "to be believed here."
    )


def statistics_sentence(points: list[CurvePoint], expected: ExpectedMetrics, names: list[str]) -> str:
    """Which statistic is furthest from the reference at the end, and how far it was at the beginning."""
    moved = _moved_statistics(points, expected)
    last = int(np.abs(moved[-1]).argmax())
    return (
        f"At the end {names[last]} is furthest from the reference, {moved[-1, last]:+.2f} standard deviations; at the beginning it "
        f"was {moved[0, last]:+.2f}. "
        + (
            "A mean that moves by more than a whole standard deviation is a change that a person can see."
            if abs(moved[-1, last]) > 1
            else "That is less than what single images differ by, and may still be more than chance, since many images are averaged."
        )
    )


def _moved_statistics(points: list[CurvePoint], expected: ExpectedMetrics) -> np.ndarray:
    """Means of the statistics at each point, in standard deviations of the reference's images from its mean, (points, F)."""
    spread = np.where(expected.reference.statistics_std > 0, expected.reference.statistics_std, 1.0)
    return (np.stack([point.statistics for point in points]) - expected.reference.statistics_mean) / spread


def state_sentence(rules: list[AlertRule], before: WatchRecord | None) -> str:
    """What monitoring itself has found, and the newest verdict there is: that on these requests comes after this page."""
    fired = [rule.rule for rule in rules if rule.fired]
    found = f"{len(fired)} of {len(rules)} rules fired: {', '.join(fired)}." if fired else f"None of {len(rules)} rules fired."
    if before is None:
        return f"{found} There is no verdict yet: this is the first watch, and drift_detection gives its verdict after this page."
    return (
        f"{found} The last verdict is that of watch {before.sequence}, up to {_readable(before.until)}, on version "
        f"{before.champion_version}: {before.verdict}. That on these requests comes from drift_detection, after this page."
    )


def _tiles(service: ServiceMetrics, model: ModelMetrics, rules: list[AlertRule]) -> tuple[dict[str, object], dict[str, Tone]]:
    """Five numbers, each in the state of the rule that looks at it; no rule looks at accuracy."""
    fired = {rule.rule for rule in rules if rule.fired}
    of_rule: dict[str, tuple[object, str]] = {
        "requests": (service.requests, "no traffic"),
        "failed": (percent(service.error_share), "error share"),
        "p95 latency": (None if service.p95_ms is None else f"{service.p95_ms:.1f} ms", "p95 latency"),
        "mean confidence": (model.mean_confidence, "confidence"),
    }
    tiles = {name: value for name, (value, _) in of_rule.items()}
    tones: dict[str, Tone] = {name: "bad" if rule in fired else "good" for name, (value, rule) in of_rule.items() if value is not None}
    known = model.accuracy
    bounds = f" ({interval(known.low, known.high)})" if known else ""
    return tiles | {f"accuracy of random labels{bounds}": percent(known.value) if known else None}, tones


def _figures(service: ServiceMetrics, model: ModelMetrics) -> dict[str, object]:
    known = model.accuracy
    return {
        "failed requests": service.failed,
        "p50, ms": service.p50_ms,
        "p95, ms": service.p95_ms,
        "p99, ms": service.p99_ms,
        "requests a second": service.per_second,
        "labels": model.labelled,
        "accuracy of random ones": None if known is None else percent(known.value),
        "95 % interval": None if known is None else interval(known.low, known.high),
        "calibration error": model.calibration_error,
    }


def _rules(page: Page, rules: list[AlertRule]) -> None:
    page.section("Rules")
    for rule in rules:
        if rule.fired:
            page.notice(f"{rule.rule}: {rule.message}", "bad")
    page.table(
        [{"rule": rule.rule, "fired": rule.fired, "value": rule.value, "limit": rule.limit, "as measured": rule.message} for rule in rules],
        "All rules, in the order of their urgency; those that fired are set off.",
        essential=True,
        breached=[index for index, rule in enumerate(rules) if rule.fired],
    )


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
    tails = np.array([point.p95_ms for point in points])
    if tails.max() > WIDE * max(np.median(tails), 1e-9):
        # One slow stretch would press all the others onto the axis.
        chart.set_yscale("symlog", linthresh=float(np.median(tails)))
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
        counts = [(round(point.class_shares[name] * point.requests), point.requests) for point in points]
        _with_intervals(chart, order, counts, color, name)
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
    known = [index for index, point in enumerate(points) if point.accuracy is not None]
    if known:
        counts = [(round((points[index].accuracy or 0) * points[index].labelled), points[index].labelled) for index in known]
        _with_intervals(chart, order[known], counts, PALETTE[1], "accuracy of random labels", line="")
    chart.set_ylabel("share")
    chart.set_ylim(top=1.02)
    chart.legend(ncols=2, fontsize=8, frameon=False)
    _request_axis(chart, points)
    return figure


def statistics_chart(points: list[CurvePoint], expected: ExpectedMetrics, names: list[str]) -> Figure:
    """Each image statistic over time, in standard deviations of the reference's images from the reference's mean."""
    figure, (chart,) = axes(6.4, 3.2)
    moved = _moved_statistics(points, expected)
    order = _middle_requests(points)
    for index, name in enumerate(names):
        color, style = PALETTE[index % len(PALETTE)], "-" if index < len(PALETTE) else "--"
        chart.plot(order, moved[:, index], color=color, linestyle=style, marker="o", markersize=2.5, label=name)
    chart.axhline(0, color=MUTED, linewidth=1)
    if np.abs(moved).max() > WIDE:
        chart.set_yscale("symlog", linthresh=1.0)
    chart.set_ylabel("SD from the reference")
    figure.legend(loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    _request_axis(chart, points)
    return figure


def _with_intervals(chart: Axes, order: np.ndarray, counts: list[tuple[int, int]], color: str, label: str, line: str = "-") -> None:
    """Shares as a curve, each with its 95 % interval as a bar; `counts` are cases and of how many."""
    shares = [wilson(*count) for count in counts]
    values = np.array([share.value for share in shares])
    bars = [values - [share.low for share in shares], np.array([share.high for share in shares]) - values]
    chart.errorbar(
        order, values, np.maximum(bars, 0), color=color, linestyle=line, marker="o", markersize=3, elinewidth=0.8, alpha=0.9, label=label
    )


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
