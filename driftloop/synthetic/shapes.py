"""Shapes and textures that the generators draw with: float32 fields over a plane."""

import math

import numpy as np
from PIL import Image


def ellipse(x: np.ndarray, y: np.ndarray, centre: tuple[float, float], radii: tuple[float, float], turn: float = 0.0) -> np.ndarray:
    """Squared elliptic distance from `centre`: 1 on the ellipse, less inside. `turn` in radians; x and y broadcast to (H, W)."""
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    if turn:
        cos, sin = np.float32(math.cos(turn)), np.float32(math.sin(turn))
        dx, dy = dx * cos + dy * sin, dy * cos - dx * sin
    dx, dy = dx * np.float32(1 / radii[0]), dy * np.float32(1 / radii[1])
    return dx * dx + dy * dy


def inside(distance: np.ndarray, softness: float) -> np.ndarray:
    """Soft membership in an ellipse, 1 inside to 0 outside; `softness` is the edge's width in squared distance."""
    # tanh is the logistic function in one pass over the array, and it cannot overflow.
    return np.float32(0.5) - np.float32(0.5) * np.tanh((distance - np.float32(1)) * np.float32(0.5 / softness))


def bump(distance: np.ndarray) -> np.ndarray:
    """A Gaussian hill of height 1 over an elliptic distance."""
    return np.exp(-distance)


def cloud(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> np.ndarray:
    """Smooth noise (H, W) with about unit variance: `cells` x `cells` random values, interpolated."""
    coarse = Image.fromarray(rng.standard_normal((cells, cells), dtype=np.float32))
    return np.asarray(coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC))
