"""Contrast: fog, scatter, a flat display curve."""

import numpy as np

from driftloop.scenarios.strength import broadcast, to_uint8

#: What severity 1 takes away: 0.05 of the contrast is left, the strongest level of ImageNet-C (Hendrycks & Dietterich 2019).
LOSS_AT_FULL = 0.95


def contrast(images: np.ndarray, severity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pull every pixel towards the mean of its image and channel: factor 1 - 0.95 * severity.

    Args:
        images: uint8 (N, H, W, C).
        severity: (N,) in [0, 1].
        rng: not used.
    """
    mean = images.mean(axis=(1, 2), keepdims=True, dtype=np.float32)
    return to_uint8(mean + (images - mean) * (1 - LOSS_AT_FULL * broadcast(severity)))
