"""A rehearsal for people: what happened in each window in words, the whole as one picture, and both on one page."""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from driftloop.plurals import counted
from driftloop.rehearsal.production import Job
from driftloop.rehearsal.result import NONE, Rehearsal, WindowRecord, kind
from driftloop.reporting.page import Page
from driftloop.reporting.plot_style import INK, MUTED, PALETTE, axes

BLUE, ORANGE, GREEN, RED, VIOLET, _ = PALETTE

HISTORY_CAPTION = "True accuracy by window. Shaded: drift. Dashed: the next version serves from here on."
#: Heads the lines of `table_line`.
HEADER = f"{'drift':<18} {'verdict':<12} {'decision':<12} {'model':<5} {'true acc.':>9}  events"


def table_line(record: WindowRecord) -> str:
    """A window as one line of a table, in the columns of `HEADER`."""
    decision, model = record.decision or "–", f"v{record.version}"
    events = "; ".join(record.events)
    return f"{record.drift:<18} {record.verdict:<12} {decision:<12} {model:<5} {record.accuracy:>9.3f}  {events}".rstrip()


def describe_events(
    record: WindowRecord, before: WindowRecord | None, *, handed_in: int, job: Job | None, failure: str | None
) -> list[str]:
    """The events of a window, in the order in which they happened.

    Args:
        record: of the window.
        before: of the one before; None for the first.
        handed_in: labels that the team handed in.
        job: the list that it took.
        failure: why a retraining ended without a decision.
    """
    last = before.drift if before else NONE
    events = []
    if kind(record.drift) != kind(last):
        events.append("the drift is gone" if record.drift == NONE else f"{record.drift} sets in")
    if handed_in:
        events.append(counted(handed_in, "label arrives", "labels arrive"))
    if record.accepted and record.drifted:
        events.append("single alarm" if record.verdict == "stable" else "false alarm")
    elif record.confirmed and not (before and before.confirmed):
        events.append("drift confirmed")
    if failure:
        events.append(f"retraining failed: {failure}")
    if record.decision:
        events.append(f"retrained: version {record.promoted} from now on" if record.promoted else f"retrained: {record.decision}")
    if job:
        images = counted(len(job.origins), "image goes", "images go")
        events.append(f"{images} to be labelled, due in window {job.due}")
    return events


class Days:
    """Where windows lie on an axis of days: window 1 of one a day in the middle of day 1, at 1."""

    def __init__(self, windows: Sequence[WindowRecord], per_day: int) -> None:
        self.per_day = per_day
        self.last = self.at(windows[-1].window)
        #: Marks of many windows are smaller: they would cover each other.
        self.scale = min(1.0, (60 / len(windows)) ** 0.5)

    def at(self, window: float) -> float:
        """The day of a window's middle; of half a window more or less, where it ends or begins."""
        return 0.5 + (window - 0.5) / self.per_day

    def label(self, axis: Axes) -> None:
        """Name the axis, and let it end with the last window."""
        axis.set_xlim(self.at(0.4), self.last + 0.6 / self.per_day)
        axis.set_xlabel("day" if self.per_day == 1 else f"day ({self.per_day} windows each)")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def plot_history(windows: Sequence[WindowRecord], per_day: int = 1) -> Figure:
    """True accuracy of each window above; drift, alarms, labels and retrainings marked in a band below."""
    days = Days(windows, per_day)
    figure, (axis,) = axes(min(16.0, max(7.5, 0.2 * days.last)), 4.0)
    accuracy = np.array([window.accuracy for window in windows])
    low, high = accuracy.min(), accuracy.max()
    room = max(0.05, high - low)
    axis.set_ylim(low - 0.55 * room, min(1.0, high) + 0.22 * room)
    _shade_drifts(axis, windows, days)
    _draw_versions(axis, windows, days)
    _mark(axis, windows, days, low - 0.2 * room, 0.11 * room)
    days.label(axis)
    axis.set_ylabel("true accuracy")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4, handletextpad=0.3, columnspacing=1.2)
    return figure


def _shade_drifts(axis: Axes, windows: Sequence[WindowRecord], days: Days) -> None:
    """A band behind the windows of each drift, with its name; a drift that changes from window to window is named by its kind."""
    for name, group in groupby(windows, key=lambda window: kind(window.drift)):
        members = list(group)
        if name == NONE:
            continue
        first, last = members[0], members[-1]
        name = first.drift if first.drift == last.drift else f"{first.drift} to {last.drift.rpartition(':')[2]}"
        begin = days.at(first.window - 0.5)
        axis.axvspan(begin, days.at(last.window + 0.5), color=ORANGE, alpha=0.12, linewidth=0)
        axis.axvline(begin, color=ORANGE, linewidth=1)
        axis.annotate(
            name, (begin + 0.1, 0.985), xycoords=("data", "axes fraction"), fontsize=8, color=INK, va="top", annotation_clip=False
        )


def _draw_versions(axis: Axes, windows: Sequence[WindowRecord], days: Days) -> None:
    """One line for all, in a colour for each version that served; a promotion is where the colour changes."""
    colours = (BLUE, GREEN, VIOLET, RED)
    axis.plot([days.at(window.window) for window in windows], [window.accuracy for window in windows], color=MUTED, linewidth=0.8)
    for index, (version, group) in enumerate(groupby(windows, key=lambda window: window.version)):
        members = list(group)
        where, height = [days.at(window.window) for window in members], [window.accuracy for window in members]
        colour, size = colours[index % len(colours)], 4.5 * days.scale
        axis.plot(where, height, "o-", color=colour, markersize=size, linewidth=1.6 * days.scale, label=f"version {version}")
    for window in windows:
        if window.promoted:
            axis.axvline(days.at(window.window + 0.5), ymax=0.92, color=GREEN, linewidth=1, linestyle="--")


def _mark(axis: Axes, windows: Sequence[WindowRecord], days: Days, top: float, step: float) -> None:
    """Rows of marks below the line: alarms, labels, decisions of the gate."""
    marks = (
        ("drifted, not confirmed", "^", "none", ORANGE, top, [window for window in windows if window.drifted and not window.confirmed]),
        ("drift confirmed", "^", ORANGE, ORANGE, top, [window for window in windows if window.confirmed]),
        ("labels arrive", "s", BLUE, BLUE, top - step, [window for window in windows if window.labels]),
        ("retrained, promoted", "*", GREEN, GREEN, top - 2 * step, [window for window in windows if window.promoted]),
        ("retrained, refused", "X", RED, RED, top - 2 * step, [window for window in windows if window.decision and not window.promoted]),
    )
    for name, marker, face, edge, height, chosen in marks:
        if chosen:
            at = [days.at(window.window) for window in chosen]
            size = 70 if marker == "*" else 26 * days.scale**2
            axis.scatter(at, [height] * len(at), s=size, marker=marker, facecolors=face, edgecolors=edge, label=name, zorder=3)


def build_page(result: Rehearsal) -> Page:
    """Figures, picture and table; for a rehearsal with at least one window."""
    page = Page(f"Rehearsal: {result.drift}", lead=lead(result))
    page.text(circumstances(result))
    if result.error:
        page.notice(f"The rehearsal ended early: {result.error}", "bad")
    for note in result.notes:
        page.notice(note, "warning")
    page.tiles(
        {
            "accuracy before": result.accuracy_before,
            "in the drift, old champion": result.accuracy_in_drift,
            "after the last promotion": result.accuracy_after,
            "windows to confirmation": result.detection_delay,
            "retrainings": result.retrainings,
            "promotions": result.promotions,
            "false alarms": result.false_alarms,
            "labels": result.labels,
        }
    )
    page.section("What happened", "True accuracy comes from the known classes of the images played; in production nobody knows it.")
    page.figure(plot_history(result.windows, result.windows_per_day), HISTORY_CAPTION)
    page.section("Window by window")
    page.table(table(result.windows))
    return page


def circumstances(result: Rehearsal) -> str:
    """How the world was that was played, in sentences."""
    whose = "uniformly random and the most shifted ones" if result.ranked_labels else "uniformly random ones"
    besides = f" Labels of {result.labels_per_window:,} random images of every window arrive at once." if result.labels_per_window else ""
    part = f" The drift touches {100 * result.subgroup:g} % of the traffic." if result.subgroup is not None else ""
    days = f"{result.labels_after:g} day{'' if result.labels_after == 1 else 's'}"
    return f"Labellers work on one list at a time, {whose}, and hand it in after {days}.{besides}{part}"


def lead(result: Rehearsal) -> str:
    """The result in two sentences."""
    count = len(result.windows)
    rate = "a day each" if result.windows_per_day == 1 else f"{result.windows_per_day} a day"
    summary = f"{counted(count, 'window')} of {result.windows[0].requests} images from {result.source}, seed {result.seed}, {rate}."
    if result.first_drift is None:
        return f"{summary} Nothing drifted; {counted(result.false_alarms, 'false alarm')}."
    if result.detection_delay is None:
        return f"{summary} The drift set in at window {result.first_drift} and was not confirmed."
    onset = f"The drift set in at window {result.first_drift} and was confirmed with its window {result.detection_delay}"
    counts = [(result.retrainings, "retraining"), (result.promotions, "promotion"), (result.false_alarms, "false alarm")]
    return f"{summary} {onset}; {', '.join(counted(number, name) for number, name in counts)}."


def table(windows: Sequence[WindowRecord]) -> list[dict[str, object]]:
    """A row a window."""
    return [
        {
            "window": window.window,
            "time (UTC)": f"{datetime.fromisoformat(window.until):%d %b %H:%M}",
            "drift": window.drift,
            "p": window.p_value,
            "verdict": window.verdict,
            "decision": window.decision,
            "version": f"v{window.version}",
            "true accuracy": window.accuracy,
            "events": "; ".join(window.events),
        }
        for window in windows
    ]
