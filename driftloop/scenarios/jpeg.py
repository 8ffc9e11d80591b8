"""JPEG: an archive that saves space."""

import io

import numpy as np
from PIL import Image

#: The quality at severity just above 0, and at severity 1 (the strongest level of ImageNet-C, Hendrycks & Dietterich 2019).
QUALITY_AT_NONE, QUALITY_AT_FULL = 90, 7


def quality(severity: float) -> int:
    """The JPEG quality: 90 - 83 * severity, rounded."""
    return round(QUALITY_AT_NONE + (QUALITY_AT_FULL - QUALITY_AT_NONE) * severity)


def jpeg(images: np.ndarray, severity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Compress each image and read it back.

    Args:
        images: uint8 (N, H, W, C) with C 1 or 3.
        severity: (N,) in [0, 1]; 0 leaves the image alone.
        rng: not used.
    """
    result = images.copy()
    for row in np.flatnonzero(severity > 0):
        result[row] = compressed(images[row], quality(float(severity[row])))
    return result


def compressed(image: np.ndarray, level: int) -> np.ndarray:
    """One uint8 (H, W, C) image after a round trip through JPEG at quality `level`."""
    stream = io.BytesIO()
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(stream, "JPEG", quality=level)
    return np.asarray(Image.open(stream)).reshape(image.shape)
