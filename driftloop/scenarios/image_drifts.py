"""Drifts of how images look: the nine transforms, and how strong each is at severity 1.

Every transform has the form of `scenario.ImageDrift`: it takes uint8 images (N, H, W, C), a severity in [0, 1] for each of them, (N,),
and a random generator, and returns new images of the same shape; an image of severity 0 stays as it is. What a drift stands for is said
where it is registered, in `scenario.DRIFT_KINDS`.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage

#: Brightness: grey levels added, half the range (the strongest level of ImageNet-C, Hendrycks & Dietterich 2019).
BRIGHTNESS_LEVELS = 127.5
#: Contrast: the share of it that is lost; 0.05 is left, ImageNet-C's strongest level.
CONTRAST_LOSS = 0.95
#: JPEG: the quality at severity just above 0, and at severity 1 (ImageNet-C's strongest level).
JPEG_QUALITY_WEAKEST, JPEG_QUALITY_STRONGEST = 90, 7
#: New site: the exponent of the tone curve, the share of the sides that stays in view, and the light lost in the corners.
SITE_GAMMA, SITE_VIEW, SITE_VIGNETTE = 1.8, 0.75, 0.4
#: Noise: the standard deviation in grey levels of 255.
NOISE_SIGMA = 10.0
#: Occlusion: the share of the picture that is covered.
OCCLUDED_AREA = 0.5
#: Resolution: the share of the side's pixels that is lost; a quarter is left, ImageNet-C's strongest pixelation.
RESOLUTION_LOSS = 0.75
#: Rotation: the largest angle either way, in degrees.
ROTATION_DEGREES = 45.0


def blur(images: np.ndarray, severity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gaussian blur, edges reflected; `rng` is not used."""

    def smoothed(part: np.ndarray, strength: float) -> np.ndarray:
        sigma = blur_sigma_px(strength, images.shape[1])
        return _to_uint8(ndimage.gaussian_filter(part.astype(np.float32), sigma=(0, sigma, sigma, 0)))

    return _by_severity(images, severity, smoothed)


def blur_sigma_px(severity: float, side: int) -> float:
    """The Gaussian's standard deviation in pixels: severity * side / 64, so that a severity looks alike at every size."""
    return severity * side / 64


def noise(images: np.ndarray, severity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Independent Gaussian noise on every pixel and channel, sigma = 10 * severity grey levels."""
    grain = rng.standard_normal(images.shape, dtype=np.float32)
    return _to_uint8(images + grain * (NOISE_SIGMA * _broadcast(severity)))


def brightness(images: np.ndarray, severity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add 127.5 * severity grey levels to every pixel, clipped at white; `rng` is not used."""
    return _to_uint8(images + BRIGHTNESS_LEVELS * _broadcast(severity))


def contrast(images: np.ndarray, severity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pull every pixel towards the mean of its image and channel, by the factor 1 - 0.95 * severity; `rng` is not used."""
    mean = images.mean(axis=(1, 2), keepdims=True, dtype=np.float32)
    return _to_uint8(mean + (images - mean) * (1 - CONTRAST_LOSS * _broadcast(severity)))


def jpeg(images: np.ndarray, severity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Compress each image and read it back; `rng` is not used."""
    result = images.copy()
    for row in np.flatnonzero(severity > 0):
        stream = io.BytesIO()
        _to_pillow(images[row]).save(stream, "JPEG", quality=jpeg_quality(float(severity[row])))
        result[row] = np.asarray(Image.open(stream)).reshape(images[row].shape)
    return result


def jpeg_quality(severity: float) -> int:
    """90 - 83 * severity, rounded."""
    return round(JPEG_QUALITY_WEAKEST + (JPEG_QUALITY_STRONGEST - JPEG_QUALITY_WEAKEST) * severity)


def resolution(images: np.ndarray, severity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shrink each image to 1 - 0.75 * severity of its sides (box average) and enlarge it again (bilinear); `rng` is not used."""
    result = images.copy()
    height, width = images.shape[1:3]
    for row in np.flatnonzero(severity > 0):
        share = 1 - RESOLUTION_LOSS * float(severity[row])
        fewer = (max(1, round(width * share)), max(1, round(height * share)))
        coarse = _to_pillow(images[row]).resize(fewer, Image.Resampling.BOX)
        result[row] = np.asarray(coarse.resize((width, height), Image.Resampling.BILINEAR)).reshape(images[row].shape)
    return result


def rotation(images: np.ndarray, severity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn each image about its centre by an angle uniform in +-45 * severity degrees; bilinear, edges repeated."""
    angles = rng.uniform(-1, 1, len(images)) * ROTATION_DEGREES * severity
    turned = [ndimage.rotate(image, angle, reshape=False, order=1, mode="nearest") for image, angle in zip(images, angles, strict=True)]
    return np.stack(turned) if turned else images.copy()


def occlusion(images: np.ndarray, severity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cover a square of 0.5 * severity of each image's area, at a uniformly random place inside it, with black."""
    result = images.copy()
    height, width = images.shape[1:3]
    places = rng.random((len(images), 2))
    scale = np.sqrt(OCCLUDED_AREA * severity)
    for row in np.flatnonzero(severity > 0):
        tall, wide = round(height * scale[row]), round(width * scale[row])
        top, left = (places[row] * (height - tall + 1, width - wide + 1)).astype(int)
        result[row, top : top + tall, left : left + wide] = 0
    return result


def new_site(images: np.ndarray, severity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Narrow the field of view, bend the tone curve, darken the corners; `rng` is not used.

    A site's pictures differ in several ways at once and alike for all of its patients, so every image gets the same transformation:
    with s the severity, the central 1 - 0.25 s of the sides fills the picture (bilinear), grey level g in [0, 1] becomes
    g ** (1 + 0.8 s), and light falls off with the squared distance from the centre to 1 - 0.4 s in the corners. It needs nothing but
    the image, and so works on every source. (The synthetic sources can draw the same anatomy under another scanner as well:
    `driftloop replay --source "synthetic:xray?site=other&seed=7"`.)
    """
    return _by_severity(images, severity, _taken_at_site)


def _taken_at_site(images: np.ndarray, severity: float) -> np.ndarray:
    """uint8 (n, H, W, C) as the site of this severity would have taken them."""
    height, width = images.shape[1:3]
    view = 1 + (SITE_VIEW - 1) * severity
    offset = [0, (height - 1) * (1 - view) / 2, (width - 1) * (1 - view) / 2, 0]
    # order 1 along the batch and channel axes is exact: their matrix entries are 1 and their offsets 0.
    seen = ndimage.affine_transform(images.astype(np.float32), np.array([1, view, view, 1]), offset=offset, order=1, mode="nearest")
    toned = (seen / 255) ** (1 + (SITE_GAMMA - 1) * severity)
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    light = 1 - SITE_VIGNETTE * severity * (x * x + y * y) / 2
    return _to_uint8(toned * light[None, :, :, None] * 255)


def _by_severity(images: np.ndarray, severity: np.ndarray, transform: Callable[[np.ndarray, float], np.ndarray]) -> np.ndarray:
    """`transform(images, severity)` once for all images of equal severity; images of severity 0 stay as they are."""
    result = images.copy()
    for value in np.unique(severity[severity > 0]):
        chosen = severity == value
        result[chosen] = transform(images[chosen], float(value))
    return result


def _broadcast(severity: np.ndarray) -> np.ndarray:
    """Severities (N,) as (N, 1, 1, 1) float32, to be multiplied with images."""
    return severity.astype(np.float32)[:, None, None, None]


def _to_uint8(images: np.ndarray) -> np.ndarray:
    """Grey levels rounded to the nearest integer and clipped to 0-255."""
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)


def _to_pillow(image: np.ndarray) -> Image.Image:
    """One uint8 (H, W, C) image, C 1 or 3."""
    return Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
