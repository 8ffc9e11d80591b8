"""The course of a drift: how its severity runs from the first request (position 0) to the last (position 1)."""

import numpy as np


def constant(position: np.ndarray) -> np.ndarray:
    """Full severity from the first request on."""
    return np.ones_like(position)


def gradual(position: np.ndarray) -> np.ndarray:
    """A ramp from nothing to full severity."""
    return np.clip(position, 0, 1)


def recurring(position: np.ndarray) -> np.ndarray:
    """A drift that comes and goes: full severity in the first and third quarter, none in the second and fourth."""
    quarter = np.minimum((np.clip(position, 0, 1) * 4).astype(int), 3)
    return np.where(quarter % 2 == 0, 1.0, 0.0)


COURSES = {"constant": constant, "gradual": gradual, "recurring": recurring}
