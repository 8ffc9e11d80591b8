"""Resolution: a coarser sensor, or thumbnails instead of originals."""

import numpy as np
from PIL import Image

#: What severity 1 takes of the side: a quarter is left, the strongest pixelation of ImageNet-C (Hendrycks & Dietterich 2019).
LOSS_AT_FULL = 0.75


def resolution(images: np.ndarray, severity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shrink each image to 1 - 0.75 * severity of its sides (box average) and enlarge it again (bilinear).

    Args:
        images: uint8 (N, H, W, C) with C 1 or 3.
        severity: (N,) in [0, 1].
        rng: not used.
    """
    result = images.copy()
    for row in np.flatnonzero(severity > 0):
        result[row] = coarser(images[row], 1 - LOSS_AT_FULL * float(severity[row]))
    return result


def coarser(image: np.ndarray, share: float) -> np.ndarray:
    """One uint8 (H, W, C) image seen by a sensor with `share` of its pixels per side."""
    height, width, channels = image.shape
    picture = Image.fromarray(image.squeeze(-1) if channels == 1 else image)
    small = picture.resize((max(1, round(width * share)), max(1, round(height * share))), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BILINEAR)).reshape(image.shape)
