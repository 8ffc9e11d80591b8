"""Per-image statistics: what the drift tests compare, computed the same way for references and for the log.

Everything is summed in integers or exact doubles, so an image has the same statistics bit for bit in whatever batch it comes.
"""

import numpy as np

from driftloop.errors import InputError

GREY_COLUMNS = ("brightness", "contrast", "sharpness", "noise", "entropy", "edge_density")
COLOUR_COLUMNS = ("saturation", "red_ratio", "blue_ratio")
#: Sobel |gx| + |gy| beyond which a pixel lies on an edge: a slope of 16 grey levels a pixel.
EDGE_GRADIENT = 128
#: Pixels computed together: the intermediate arrays then stay in the processor's second-level cache.
CHUNK_PIXELS = 1 << 16


def statistic_names(channels: int) -> tuple[str, ...]:
    """The names of the columns of `image_statistics`, in order: six for grey images, nine for colour."""
    if channels not in (1, 3):
        raise ValueError(f"statistic_names: images have 1 or 3 channels, not {channels}")
    return GREY_COLUMNS if channels == 1 else GREY_COLUMNS + COLOUR_COLUMNS


def image_statistics(images: np.ndarray) -> np.ndarray:
    """The statistics of each image, float32 (N, F), columns as in `statistic_names`.

    On the grey image (luma in whole levels, ITU-R BT.601, for colour):
        brightness    mean grey level, 0-255
        contrast      standard deviation of the grey levels
        sharpness     variance of the 4-neighbour Laplacian over the inner pixels
        noise         standard deviation of the noise by Immerkaer's fast method (1996), in grey levels
        entropy       Shannon entropy of the grey levels, 0-8 bits
        edge_density  share of inner pixels whose Sobel gradient |gx| + |gy| is above 128
    On the colours:
        saturation    mean over pixels of (max - min) / max of the channels, 0-1
        red_ratio, blue_ratio   share of the channel in the sum of the three; 1/3 for grey or black images

    Args:
        images: uint8 (N, H, W, C), C 1 or 3, sides of at least 3; N may be 0.

    Raises:
        InputError: another type or shape.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3) or min(images.shape[1:3]) < 3:
        raise InputError(f"statistics need uint8 images (N, H, W, 1 or 3) of at least 3 x 3, got {images.dtype} {images.shape}")
    count, height, width, channels = images.shape
    result = np.empty((count, len(statistic_names(channels))), np.float32)
    step = max(1, CHUNK_PIXELS // (height * width))
    for start in range(0, count, step):
        chunk = images[start : start + step]
        rows = result[start : start + step]
        rows[:, :6] = _grey_statistics(_luma(chunk))
        if channels == 3:
            rows[:, 6:] = _colour_statistics(chunk)
    return result


def _luma(images: np.ndarray) -> np.ndarray:
    """Grey levels, uint8 (N, H, W): (77 R + 150 G + 29 B + 128) // 256, which stays within 16 bits."""
    if images.shape[-1] == 1:
        return np.ascontiguousarray(images[..., 0])
    weighted = images[..., 0] * np.uint16(77)
    weighted += images[..., 1] * np.uint16(150)
    weighted += images[..., 2] * np.uint16(29)
    weighted += np.uint16(128)
    return (weighted >> 8).astype(np.uint8)


def _grey_statistics(grey: np.ndarray) -> np.ndarray:
    """The six statistics of grey images (N, H, W), float64 (N, 6)."""
    width = grey.shape[2]
    # All pixels in one row: each step below is one pass over it, which is faster than one over rows. What it makes of pixels that are
    # no neighbours stands in the last two rows and columns of an image, and is left out. The last image's has room behind it.
    levels = np.zeros(grey.size + 2 * width + 2, np.int16)
    levels[: grey.size] = grey.ravel()
    horizontal, vertical = _second_difference(levels, 1), _second_difference(levels, width)
    laplacian = _inner(horizontal[width:-width] + vertical[1:-1], grey)
    # Immerkaer's mask is the second difference both ways, [1, -2, 1] by [1, -2, 1].
    mask = _inner(np.abs(_second_difference(horizontal, width)), grey)
    # Sobel's are a difference one way, smoothed by [1, 2, 1] the other way.
    across, down = _smoothed(_difference(levels, 2), width), _smoothed(_difference(levels, 2 * width), 1)
    edges = _inner(np.abs(across) + np.abs(down) > EDGE_GRADIENT, grey)
    pixels = _pixels(edges)
    brightness, contrast, entropy = _histogram_statistics(grey)
    flat = laplacian.astype(np.float64).reshape(len(grey), pixels)
    sharpness = _variance(flat.sum(axis=1), np.vecdot(flat, flat), pixels)
    noise = np.sqrt(np.pi / 2) / 6 * (_sum(mask) / pixels)
    edge_density = np.count_nonzero(edges, axis=(1, 2)) / pixels
    return np.stack([brightness, contrast, sharpness, noise, entropy, edge_density], axis=1)


def _difference(values: np.ndarray, step: int) -> np.ndarray:
    return values[step:] - values[:-step]


def _second_difference(values: np.ndarray, step: int) -> np.ndarray:
    return _difference(_difference(values, step), step)


def _smoothed(values: np.ndarray, step: int) -> np.ndarray:
    """By [1, 2, 1]."""
    pairs = values[step:] + values[:-step]
    return pairs[step:] + pairs[:-step]


def _inner(values: np.ndarray, images: np.ndarray) -> np.ndarray:
    """What is in such a row of the inner pixels of each image: (N, H - 2, W - 2)."""
    return values.reshape(images.shape)[:, :-2, :-2]


def _histogram_statistics(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, standard deviation and entropy, from the histograms of grey levels."""
    count, pixels = len(grey), grey[0].size
    index = grey.reshape(count, pixels) + (np.arange(count, dtype=np.int64) * 256)[:, None]
    counts = np.bincount(index.ravel(), minlength=256 * count).reshape(count, 256)
    level = np.arange(256.0)
    total = counts @ level
    share = counts / pixels
    entropy = -(share * np.log2(np.where(share > 0, share, 1.0))).sum(axis=1)
    return total / pixels, np.sqrt(_variance(total, counts @ level**2, pixels)), np.maximum(entropy, 0.0)


def _colour_statistics(images: np.ndarray) -> np.ndarray:
    """Saturation, red and blue ratio of colour images (N, H, W, 3), float64 (N, 3)."""
    red, green, blue = (np.ascontiguousarray(images[..., channel]) for channel in range(3))
    high = np.maximum(np.maximum(red, green), blue)
    chroma = high - np.minimum(np.minimum(red, green), blue)
    saturation = _sum(chroma / np.maximum(high, 1).astype(np.float64)) / _pixels(high)
    sums = np.stack([_sum(red), _sum(green), _sum(blue)])
    total = sums.sum(axis=0)
    ratios = np.where(total > 0, sums / np.maximum(total, 1), 1 / 3)
    return np.stack([saturation, ratios[0], ratios[2]], axis=1)


def _pixels(images: np.ndarray) -> int:
    return images.shape[1] * images.shape[2]


def _sum(values: np.ndarray) -> np.ndarray:
    """The sum over each image; whole numbers in double precision, hence exact."""
    return values.reshape(len(values), -1).sum(axis=1, dtype=np.float64)


def _variance(total: np.ndarray, squares: np.ndarray, count: int) -> np.ndarray:
    """The variance from sums of whole numbers and of their squares; the difference is taken before any division, so it stays exact."""
    return np.maximum(count * squares - total**2, 0.0) / count**2
