"""The figures of the drift report."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from components.drift_detection.explain import StatisticShift
from driftloop.reporting.plots import MUTED, PALETTE, axes
from driftloop.watch_record import JudgedWindow

#: Windows shown in the history, and points a side in the map.
MOST_WINDOWS, MOST_POINTS = 60, 600


def history_plot(past: Sequence[JudgedWindow], fresh: Sequence[JudgedWindow], alpha: float) -> Figure:
    """Both p-values of the latest windows, against the level; drifted windows are filled, this watch's have a grey ground."""
    windows = [*past, *fresh][-MOST_WINDOWS:]
    at = np.arange(len(windows)) - (len(windows) - min(len(fresh), MOST_WINDOWS))
    figure, (plot,) = axes(8.0, 2.9)
    for name, values, colour in (
        ("image statistics (KS, Holm)", [window.p_statistics for window in windows], PALETTE[0]),
        ("embedding (MMD)", [window.p_embedding for window in windows], PALETTE[1]),
    ):
        clipped = np.maximum(values, 1e-6)
        plot.plot(at, clipped, color=colour, linewidth=1, zorder=2)
        drifted = np.array([window.drifted for window in windows])
        plot.scatter(at, clipped, s=26, facecolor=np.where(drifted, colour, "white"), edgecolor=colour, zorder=3, label=name)
    plot.axhline(alpha / 2, color=PALETTE[3], linestyle="--", linewidth=1)
    plot.annotate(
        "alarm below", (0, alpha / 2), xycoords=("axes fraction", "data"), xytext=(3, -10), textcoords="offset points", fontsize=8
    )
    if fresh:
        plot.axvspan(-0.5, at[-1] + 0.5, color=MUTED, alpha=0.10, linewidth=0)
    plot.set(yscale="log", ylim=(5e-7, 2), xlabel="window (0: first of this watch)", ylabel="p-value")
    plot.xaxis.set_major_locator(MaxNLocator(integer=True))
    plot.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure


def shift_plot(shifts: Sequence[StatisticShift]) -> Figure:
    """By how many reference standard deviations each statistic's mean has moved."""
    figure, (plot,) = axes(6.4, 0.7 + 0.3 * len(shifts))
    at = np.arange(len(shifts))[::-1]
    values = np.clip([one.shift for one in shifts], -6, 6)
    plot.barh(at, values, height=0.6, color=[PALETTE[3] if one.moved else PALETTE[5] for one in shifts])
    plot.axvline(0, color=MUTED, linewidth=0.8)
    plot.set_yticks(at, [one.name for one in shifts])
    plot.set_xlabel("shift of the mean, in standard deviations of the reference (red: alarms by itself; cut at 6)")
    reach = max(1.0, float(np.abs(values).max()) * 1.1)
    plot.set_xlim(-reach, reach)
    return figure


def embedding_map(reference: np.ndarray, window: np.ndarray, rng: np.random.Generator) -> Figure:
    """Reference and window on the two main axes (PCA) of their embeddings (N, D) and (M, D)."""
    sides = [rows if len(rows) <= MOST_POINTS else rows[rng.choice(len(rows), MOST_POINTS, replace=False)] for rows in (reference, window)]
    flat, share = principal_axes(np.concatenate(sides))
    figure, (plot,) = axes(5.6, 4.2)
    split = len(sides[0])
    plot.scatter(flat[:split, 0], flat[:split, 1], s=9, color=PALETTE[0], alpha=0.5, linewidth=0, label=f"reference ({split} shown)")
    plot.scatter(
        flat[split:, 0], flat[split:, 1], s=9, color=PALETTE[3], alpha=0.6, linewidth=0, label=f"window ({len(flat) - split} shown)"
    )
    plot.set(xlabel=f"first axis ({share[0]:.0%} of the variance)", ylabel=f"second axis ({share[1]:.0%})")
    plot.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure


def principal_axes(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows (N, D) on their first two principal axes (N, 2), and the share of the variance on each (2,); one axis is padded."""
    centred = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    variances, directions = np.linalg.eigh(centred.T @ centred)
    order = np.argsort(variances)[::-1][:2]
    flat, share = centred @ directions[:, order], variances[order] / max(float(variances.sum()), 1e-30)
    missing = 2 - len(order)
    return np.pad(flat, ((0, 0), (0, missing))), np.pad(share, (0, missing))
