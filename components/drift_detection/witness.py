"""The MMD witness function: where drifted images are many and reference images few."""

import numpy as np

from components.drift_detection.mmd import around, location, mean_kernel, median_gamma

#: Rows of either side that the densities are estimated from.
MOST_ROWS = 5_000


def shift_scores(reference: np.ndarray, drifted: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How much each drifted row belongs to the drift: its mean kernel with the drifted rows minus that with the reference.

    Args:
        reference: embeddings (N, D).
        drifted: embeddings (M, D).

    Returns:
        (M,) in (-1, 1); the largest are the most shifted. A row's kernel with itself is left out, unless the rows were thinned.
    """
    centre = location(np.concatenate([reference, drifted]))
    gamma = median_gamma(around(centre, np.concatenate([reference, drifted])), rng)
    near, far = around(centre, reference), around(centre, drifted)
    inner = mean_kernel(far, _thin(far, rng), gamma)
    if 1 < len(far) <= MOST_ROWS:
        inner = (inner * len(far) - 1) / (len(far) - 1)
    return inner - mean_kernel(far, _thin(near, rng), gamma)


def nearest(reference: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """For each of some rows (M, D) the index of the nearest reference row (N, D): (M,) int64."""
    centre = location(reference)
    near, far = around(centre, reference), around(centre, rows)
    distances = (far**2).sum(axis=1)[:, None] - 2 * far @ near.T + (near**2).sum(axis=1)
    return distances.argmin(axis=1)


def _thin(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rows if len(rows) <= MOST_ROWS else rows[rng.choice(len(rows), MOST_ROWS, replace=False)]
