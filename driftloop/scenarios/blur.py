"""Blur: an optic out of focus, or a patient who moved."""

import numpy as np
from scipy import ndimage

from driftloop.scenarios.strength import by_strength, to_uint8


def sigma_px(severity: float, side: int) -> float:
    """The Gaussian's standard deviation in pixels: severity * side / 64, so that a severity looks alike at every size."""
    return severity * side / 64


def blur(images: np.ndarray, severity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gaussian blur, edges reflected.

    Args:
        images: uint8 (N, H, W, C); the side that scales sigma is H.
        severity: (N,) in [0, 1].
        rng: not used; blur is deterministic.
    """

    def one(part: np.ndarray, strength: float) -> np.ndarray:
        sigma = sigma_px(strength, images.shape[1])
        smooth = ndimage.gaussian_filter(part.astype(np.float32), sigma=(0, sigma, sigma, 0))
        return to_uint8(smooth)

    return by_strength(images, severity, one)
