"""Rotation: a patient badly positioned, a camera held askew."""

import numpy as np
from scipy import ndimage

#: The largest angle at severity 1, in degrees, either way.
DEGREES_AT_FULL = 45.0


def rotation(images: np.ndarray, severity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn each image about its centre by an angle uniform in +-45 * severity degrees; bilinear, edges repeated.

    Args:
        images: uint8 (N, H, W, C).
        severity: (N,) in [0, 1].
        rng: draws the angles.
    """
    angles = rng.uniform(-1, 1, len(images)) * DEGREES_AT_FULL * severity
    turned = [ndimage.rotate(image, angle, reshape=False, order=1, mode="nearest") for image, angle in zip(images, angles, strict=True)]
    return np.stack(turned) if turned else images.copy()
