"""The report's map of embeddings: reference and window on two axes."""

import numpy as np
from matplotlib.figure import Figure

from components.drift_detection.reference import Sample
from driftloop.reporting.plot_style import PALETTE, axes

#: Points of either sample.
MOST_POINTS = 600


def embedding_map(reference: Sample, window: Sample) -> Figure:
    """Reference and window on the two main axes (PCA) of their embeddings, of each at most 600 images drawn at random."""
    rng = np.random.default_rng(0)
    before, now = (
        rows if len(rows) <= MOST_POINTS else rows[rng.choice(len(rows), MOST_POINTS, replace=False)]
        for rows in (reference.embedding, window.embedding)
    )
    flat, share = principal_axes(np.concatenate([before, now]))
    figure, (plot,) = axes(5.6, 4.2)
    for points, label, colour, alpha in (
        (flat[: len(before)], f"reference ({len(before)} shown)", PALETTE[0], 0.5),
        (flat[len(before) :], f"window ({len(now)} shown)", PALETTE[3], 0.6),
    ):
        plot.scatter(points[:, 0], points[:, 1], s=9, color=colour, alpha=alpha, linewidth=0, label=label)
    plot.set(xlabel=f"first axis ({share[0]:.0%} of the variance)", ylabel=f"second axis ({share[1]:.0%})")
    plot.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure


def principal_axes(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows (N, D) on their first two principal axes (N, 2), and the share of the variance on each (2,); a lone axis is padded."""
    centred = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    variances, directions = np.linalg.eigh(centred.T @ centred)
    order = np.argsort(variances)[::-1][:2]
    flat, share = centred @ directions[:, order], variances[order] / max(float(variances.sum()), 1e-30)
    missing = 2 - len(order)
    return np.pad(flat, ((0, 0), (0, missing))), np.pad(share, (0, missing))
