"""Occlusion: a marker, a cable, a hand in the picture."""

import numpy as np

#: The share of the picture that is covered at severity 1.
AREA_AT_FULL = 0.5


def occlusion(images: np.ndarray, severity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cover a square of 0.5 * severity of each image's area, at a uniformly random place inside it, with black.

    Args:
        images: uint8 (N, H, W, C).
        severity: (N,) in [0, 1].
        rng: draws the places.
    """
    result = images.copy()
    height, width = images.shape[1:3]
    places = rng.random((len(images), 2))
    scale = np.sqrt(AREA_AT_FULL * severity)
    for row in np.flatnonzero(severity > 0):
        tall, wide = round(height * scale[row]), round(width * scale[row])
        top, left = (places[row] * (height - tall + 1, width - wide + 1)).astype(int)
        result[row, top : top + tall, left : left + wide] = 0
    return result
