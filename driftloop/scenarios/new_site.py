"""A new site: other equipment, another field of view, another display curve.

A site's pictures differ in several ways at once and alike for all of its patients, so every image gets the same transformation.
It needs nothing but the image, and so works on every source. (The synthetic sources can draw the same anatomy under another scanner as
well: `driftloop replay --source "synthetic:xray?site=other&seed=7"`.)
"""

import numpy as np
from scipy import ndimage

from driftloop.scenarios.strength import by_strength, to_uint8

#: At severity 1: the exponent of the tone curve, the share of the sides that stays in view, and the light lost in the corners.
GAMMA_AT_FULL, VIEW_AT_FULL, VIGNETTE_AT_FULL = 1.8, 0.75, 0.4


def new_site(images: np.ndarray, severity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Narrow the field of view, bend the tone curve, darken the corners.

    With s the severity: the central 1 - 0.25 s of the sides fills the picture (bilinear), grey level g in [0, 1] becomes
    g ** (1 + 0.8 s), and light falls off with the squared distance from the centre to 1 - 0.4 s in the corners.

    Args:
        images: uint8 (N, H, W, C).
        severity: (N,) in [0, 1].
        rng: not used; a site treats all its images alike.
    """
    return by_strength(images, severity, at_site)


def at_site(images: np.ndarray, severity: float) -> np.ndarray:
    """uint8 (n, H, W, C) as the site of this severity would have taken them."""
    height, width = images.shape[1:3]
    view = 1 + (VIEW_AT_FULL - 1) * severity
    offset = [0, (height - 1) * (1 - view) / 2, (width - 1) * (1 - view) / 2, 0]
    # order 1 along the batch and channel axes is exact: their matrix entries are 1 and their offsets 0.
    seen = ndimage.affine_transform(images.astype(np.float32), np.array([1, view, view, 1]), offset=offset, order=1, mode="nearest")
    toned = (seen / 255) ** (1 + (GAMMA_AT_FULL - 1) * severity)
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    light = 1 - VIGNETTE_AT_FULL * severity * (x * x + y * y) / 2
    return to_uint8(toned * light[None, :, :, None] * 255)
