"""The history as one picture: true accuracy by window, and what happened when."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from driftloop.rehearsal.accepted import NONE, kind
from driftloop.rehearsal.result import WindowRecord
from driftloop.reporting.plots import INK, MUTED, PALETTE, axes

BLUE, ORANGE, GREEN, RED, VIOLET, _ = PALETTE


def plot_history(windows: Sequence[WindowRecord]) -> Figure:
    """True accuracy of each window above; drift, alarms, labels and retrainings marked in a band below."""
    figure, (axis,) = axes(max(7.5, 0.2 * len(windows)), 4.0)
    numbers = np.array([one.window for one in windows])
    accuracy = np.array([one.accuracy for one in windows])
    low, high = accuracy.min(), accuracy.max()
    room = max(0.05, high - low)
    axis.set_ylim(low - 0.55 * room, min(1.0, high) + 0.22 * room)
    axis.set_xlim(0.4, numbers[-1] + 0.6)
    _shade_drifts(axis, windows)
    _draw_versions(axis, windows)
    _mark(axis, windows, low - 0.2 * room, 0.11 * room)
    axis.set_xlabel("window (one day each)")
    axis.set_ylabel("true accuracy")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4, handletextpad=0.3, columnspacing=1.2)
    return figure


def _shade_drifts(axis: Axes, windows: Sequence[WindowRecord]) -> None:
    """A band behind the windows of each drift, with its name; a drift that changes from window to window is named by its kind."""
    for name, group in groupby(windows, key=lambda one: kind(one.drift)):
        members = list(group)
        if name == NONE:
            continue
        first, last = members[0], members[-1]
        name = first.drift if first.drift == last.drift else f"{first.drift} to {last.drift.rpartition(':')[2]}"
        axis.axvspan(first.window - 0.5, last.window + 0.5, color=ORANGE, alpha=0.12, linewidth=0)
        axis.axvline(first.window - 0.5, color=ORANGE, linewidth=1)
        axis.annotate(
            name, (first.window - 0.4, 0.985), xycoords=("data", "axes fraction"), fontsize=8, color=INK, va="top", annotation_clip=False
        )


def _draw_versions(axis: Axes, windows: Sequence[WindowRecord]) -> None:
    """One line for all, in a colour for each version that served; a promotion is where the colour changes."""
    colours = (BLUE, GREEN, VIOLET, RED)
    axis.plot([one.window for one in windows], [one.accuracy for one in windows], color=MUTED, linewidth=0.8)
    for index, (version, group) in enumerate(groupby(windows, key=lambda one: one.version)):
        members = list(group)
        where, height = [one.window for one in members], [one.accuracy for one in members]
        axis.plot(where, height, "o-", color=colours[index % len(colours)], markersize=4.5, linewidth=1.6, label=f"version {version}")
    for one in windows:
        if one.promoted:
            axis.axvline(one.window + 0.5, ymax=0.92, color=GREEN, linewidth=1, linestyle="--")


def _mark(axis: Axes, windows: Sequence[WindowRecord], top: float, step: float) -> None:
    """Rows of marks below the line: alarms, labels, decisions of the gate."""
    marks = (
        ("drifted, not confirmed", "^", "none", ORANGE, top, [one for one in windows if one.drifted and not one.confirmed]),
        ("drift confirmed", "^", ORANGE, ORANGE, top, [one for one in windows if one.confirmed]),
        ("labels arrive", "s", BLUE, BLUE, top - step, [one for one in windows if one.labels]),
        ("retrained, promoted", "*", GREEN, GREEN, top - 2 * step, [one for one in windows if one.promoted]),
        ("retrained, refused", "X", RED, RED, top - 2 * step, [one for one in windows if one.decision and not one.promoted]),
    )
    for name, marker, face, edge, height, chosen in marks:
        if chosen:
            at = [one.window for one in chosen]
            size = 70 if marker == "*" else 26
            axis.scatter(at, [height] * len(at), s=size, marker=marker, facecolors=face, edgecolors=edge, label=name, zorder=3)
