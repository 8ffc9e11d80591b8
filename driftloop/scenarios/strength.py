"""Applying a transformation whose strength may differ from image to image."""

from collections.abc import Callable

import numpy as np


def by_strength(images: np.ndarray, severity: np.ndarray, transform: Callable[[np.ndarray, float], np.ndarray]) -> np.ndarray:
    """`transform(images, severity)` once for all images of equal severity; images of severity 0 stay as they are.

    Args:
        images: uint8 (N, H, W, C).
        severity: (N,) in [0, 1].
        transform: maps uint8 (n, H, W, C) and one severity to uint8 of the same shape.
    """
    result = images.copy()
    for value in np.unique(severity[severity > 0]):
        chosen = severity == value
        result[chosen] = transform(images[chosen], float(value))
    return result


def broadcast(severity: np.ndarray) -> np.ndarray:
    """Severities (N,) as (N, 1, 1, 1) float32, to be multiplied with images."""
    return severity.astype(np.float32)[:, None, None, None]


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Grey levels rounded to the nearest integer and clipped to 0-255."""
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)
