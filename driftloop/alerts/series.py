"""What alert rules compare: numbers of a store's watches, as series of points, oldest first."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import takewhile

from driftloop.contracts import UNFINISHED_WATCH
from driftloop.durations import say_duration
from driftloop.housekeeping.watch_age import WatchAge
from driftloop.watch_record import FAILED, WATCH_METRICS, WatchRecord
from driftloop.watch_store import requests_key

#: Metrics that the champion has a number of its own for.
WITH_BASELINE = ("p95_ms", "mean_confidence")
#: Metrics of the store, whichever champion serves.
OF_THE_STORE = ("failed", "late", "age_hours")
#: Metric -> what it is; one point a watch, but for those said to be of windows or of now.
METRICS = WATCH_METRICS | {
    "accuracy_drop": "points of accuracy below what was accepted (0-1), by random labels; watches that could judge it",
    "accuracy_drop_low": "its lower bound",
    "alerts": "1 for each limit of monitor_config that the watch passed; one alert a limit",
    "drift_confirmed": "1 where the watch confirmed a drift",
    "needs_labels": "1 where its verdict was needs_labels; the list goes along, again when a later watch asks for another one",
    "p_value": "of a window, by detector; one alert a detector",
    "window_drifted": "of a window: 1 where it drifted",
    "window_accuracy": "of a window, over the random labels that it had when it was tested",
    "label_free_drop": "of a window: the accuracy drop estimated without labels",
    "failed": "1 where the watch failed, whichever champion it watched",
    "late": "now: 1 where what the last watch covered ended two intervals ago, or the champion was never watched so long",
    "age_hours": "now: hours since what the last watch covered ended",
}


@dataclass(frozen=True)
class Point:
    """One value of a metric."""

    value: float
    watch: int
    """Number of the watch; 0: of none."""
    detail: str = ""
    """A sentence of the watch that explains the value."""
    baseline: float | None = None
    """The champion's own number; None where it has none."""
    revision: str = ""
    """Changes where a new value has to be told again though the alert still fires."""
    attachment: str = ""
    """Key of an object of the store that goes along."""


#: Metric -> instance ("" where it has one only) -> its points, oldest first.
Series = dict[str, dict[str, list[Point]]]


def measured(records: Sequence[WatchRecord], age: WatchAge, *, champion: str | None) -> Series:
    """The series of a store.

    Args:
        records: all that are kept, oldest first: some metrics have a point at few watches only.
        age: of the last one.
        champion: its version. Only watches of it count, since it serves, but for OF_THE_STORE: another model has another baseline.
    """
    series: Series = {}

    def add(metric: str, point: Point, instance: str = "") -> None:
        series.setdefault(metric, {}).setdefault(instance, []).append(point)

    for record in records:
        add("failed", Point(float(record.state == FAILED), record.sequence, f"watch {record.sequence} failed: {record.failure}"))
    if age.late is not None:
        add("late", Point(float(age.late), 0, _said(age)))
    if age.age is not None:
        add("age_hours", Point(age.age / timedelta(hours=1), 0, _said(age)))
    # A version that serves again has served before: what was said of it then is long past.
    own = list(takewhile(lambda record: record.champion_version == champion, reversed(records)))[::-1]
    passed = {name for record in own for name in record.alerts if name != UNFINISHED_WATCH}
    for record in own:
        for name in sorted(passed):
            add("alerts", Point(float(name in record.alerts), record.sequence, record.alerts.get(name, "")), name)
        for metric, point in _of_watch(record):
            add(metric, point)
        for window in record.windows:
            for detector, p_value in window.p_values.items():
                add("p_value", Point(p_value, record.sequence, record.reason), detector)
            add("window_drifted", Point(float(window.drifted), record.sequence, record.reason))
            for metric, value in (("window_accuracy", window.accuracy), ("label_free_drop", window.label_free_drop)):
                if value is not None:
                    add(metric, Point(value, record.sequence, record.reason))
    return series


def _of_watch(record: WatchRecord) -> Iterator[tuple[str, Point]]:
    for name, value in record.metrics.items():
        yield name, Point(value, record.sequence, record.reason, record.baseline.get(name))
    if record.drop is not None:
        yield "accuracy_drop", Point(record.drop["value"], record.sequence, record.reason)
        yield "accuracy_drop_low", Point(record.drop["low"], record.sequence, record.reason)
    yield "drift_confirmed", Point(float(record.confirmed), record.sequence, record.reason)
    wanted = record.verdict == "needs_labels"
    asked = requests_key(record.sequence) if wanted and record.labels_requested else ""
    yield (
        "needs_labels",
        Point(float(wanted), record.sequence, record.reason, revision=str(record.sequence) if asked else "", attachment=asked),
    )


def _said(age: WatchAge) -> str:
    covered = "the champion was never watched" if age.age is None else f"the last watch covers up to {say_duration(age.age)} ago"
    return covered + (f", and one should come every {say_duration(age.interval)}" if age.interval else "")
