"""Splits by group through a stable hash: one patient never sits on two sides, and adding images does not reshuffle."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np


def position(group: str) -> float:
    """Where a group falls in [0, 1): by its name alone, the same on every machine, whatever the seed and the other groups."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") / 2**64


def split_by_group(groups: Sequence[str], shares: Mapping[str, float]) -> np.ndarray:
    """The split of each image, (N,) of names: its group's position among the cumulative shares.

    Args:
        groups: by image.
        shares: by split, in order; they are divided by their sum. Splits with the share 0 get nothing.

    Raises:
        ValueError: shares that are negative or all 0.
    """
    names, sizes = list(shares), np.array(list(shares.values()), np.float64)
    if (sizes < 0).any() or sizes.sum() == 0:
        raise ValueError(f"shares must not be negative, nor all 0: {dict(shares)}")
    edges = np.cumsum(sizes) / sizes.sum()
    where = {group: names[min(int(np.searchsorted(edges, position(group), side="right")), _last(sizes))] for group in set(groups)}
    return np.array([where[group] for group in groups], dtype=object)


def _last(sizes: np.ndarray) -> int:
    """The last split with a share; rounding of the edges must not put a group into one without."""
    return int(np.flatnonzero(sizes)[-1])
