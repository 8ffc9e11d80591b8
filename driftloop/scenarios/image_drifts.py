"""Applying a transformation whose strength may differ from image to image.

Blur: an optic out of focus, or a patient who moved.

Brightness: longer exposure, another display curve, brighter light.

Contrast: fog, scatter, a flat display curve.

JPEG: an archive that saves space.

A new site: other equipment, another field of view, another display curve.

A site's pictures differ in several ways at once and alike for all of its patients, so every image gets the same transformation.
It needs nothing but the image, and so works on every source. (The synthetic sources can draw the same anatomy under another scanner as
well: `driftloop replay --source "synthetic:xray?site=other&seed=7"`.)

Noise: a shorter exposure, a lower dose, a warmer sensor.

Occlusion: a marker, a cable, a hand in the picture.

Resolution: a coarser sensor, or thumbnails instead of originals.

Rotation: a patient badly positioned, a camera held askew.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage


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


#: What severity 1 takes away: 0.05 of the contrast is left, the strongest level of ImageNet-C (Hendrycks & Dietterich 2019).
CONTRAST_LOSS_AT_FULL = 0.95


def contrast(images: np.ndarray, severity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pull every pixel towards the mean of its image and channel: factor 1 - 0.95 * severity.

    Args:
        images: uint8 (N, H, W, C).
        severity: (N,) in [0, 1].
        rng: not used.
    """
    mean = images.mean(axis=(1, 2), keepdims=True, dtype=np.float32)
    return to_uint8(mean + (images - mean) * (1 - CONTRAST_LOSS_AT_FULL * broadcast(severity)))


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


#: What severity 1 takes of the side: a quarter is left, the strongest pixelation of ImageNet-C (Hendrycks & Dietterich 2019).
RESOLUTION_LOSS_AT_FULL = 0.75


def resolution(images: np.ndarray, severity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shrink each image to 1 - 0.75 * severity of its sides (box average) and enlarge it again (bilinear).

    Args:
        images: uint8 (N, H, W, C) with C 1 or 3.
        severity: (N,) in [0, 1].
        rng: not used.
    """
    result = images.copy()
    for row in np.flatnonzero(severity > 0):
        result[row] = coarser(images[row], 1 - RESOLUTION_LOSS_AT_FULL * float(severity[row]))
    return result


def coarser(image: np.ndarray, share: float) -> np.ndarray:
    """One uint8 (H, W, C) image seen by a sensor with `share` of its pixels per side."""
    height, width, channels = image.shape
    picture = Image.fromarray(image.squeeze(-1) if channels == 1 else image)
    small = picture.resize((max(1, round(width * share)), max(1, round(height * share))), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BILINEAR)).reshape(image.shape)


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
