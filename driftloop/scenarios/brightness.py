"""Brightness: longer exposure, another display curve, brighter light."""

import numpy as np

from driftloop.scenarios.strength import broadcast, to_uint8

#: Grey levels added at severity 1: half the range, the strongest brightness of ImageNet-C (Hendrycks & Dietterich 2019).
LEVELS_AT_FULL = 127.5


def brightness(images: np.ndarray, severity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add 127.5 * severity grey levels to every pixel, clipped at white.

    Args:
        images: uint8 (N, H, W, C).
        severity: (N,) in [0, 1].
        rng: not used.
    """
    return to_uint8(images + LEVELS_AT_FULL * broadcast(severity))
