"""Noise: a shorter exposure, a lower dose, a warmer sensor."""

import numpy as np

from driftloop.scenarios.strength import broadcast, to_uint8

#: Standard deviation in grey levels (of 255) at severity 1.
SIGMA_AT_FULL = 10.0


def noise(images: np.ndarray, severity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Independent Gaussian noise on every pixel and channel, sigma = 10 * severity grey levels.

    Args:
        images: uint8 (N, H, W, C).
        severity: (N,) in [0, 1].
        rng: draws the noise.
    """
    grain = rng.standard_normal(images.shape, dtype=np.float32)
    return to_uint8(images + grain * (SIGMA_AT_FULL * broadcast(severity)))
