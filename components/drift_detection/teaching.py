"""The course's two detectors, under their names, for teaching only: nothing here decides anything.

Both are what is found in many tutorials, and both fail in an instructive way. Measured by `python -m bench.drift_teaching`.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from components.drift_detection.mmd import centred, check_samples, mean_kernel, median_gamma


@dataclass(frozen=True)
class PixelDrift:
    """`statistic` is the Kolmogorov-Smirnov distance of the pooled grey levels, in [0, 1]."""

    statistic: float
    p_value: float
    drifted: bool


@dataclass(frozen=True)
class EmbeddingDrift:
    """`mmd` is the distance itself (not squared), at least 0."""

    mmd: float
    threshold: float
    drifted: bool


def detect_pixel_drift(reference: np.ndarray, window: np.ndarray, *, alpha: float = 0.05) -> PixelDrift:
    """Kolmogorov-Smirnov over all pixels of all images, thrown into one pot.

    The pixels of one image are not independent, but the test counts each as an observation of its own: its p-values are far too
    small. On clean synthetic X-rays against a reference of 800 it alarmed on every one of 300 windows at alpha = 0.05, for windows of
    20, 50, 200 and 300 images alike: a false-alarm rate of 100 % (95 % interval from 98.7 %).

    Args:
        reference: uint8 images (N, H, W, C).
        window: uint8 images (M, H, W, C).
        alpha: level that the test claims to have.

    Raises:
        ValueError: no images on a side, or none of type uint8.
    """
    for name, images in (("reference", reference), ("window", window)):
        if images.dtype != np.uint8 or images.size == 0:
            raise ValueError(f"{name}: expected uint8 images, got {images.dtype} of shape {images.shape}")
    counts = [np.bincount(images.ravel(), minlength=256) for images in (reference, window)]
    n, m = (int(count.sum()) for count in counts)
    statistic = float(np.abs(np.cumsum(counts[0]) / n - np.cumsum(counts[1]) / m).max())
    # The asymptotic distribution: there are millions of pixels.
    p_value = float(stats.kstwobign.sf(statistic * np.sqrt(n * m / (n + m))))
    return PixelDrift(statistic, p_value, p_value <= alpha)


def detect_embedding_drift(reference: np.ndarray, window: np.ndarray, *, threshold: float = 0.3) -> EmbeddingDrift:
    """MMD between embeddings, compared with a fixed threshold.

    The distance depends on the kernel, on the network and on the number of images (two small clean samples are far apart by chance
    alone), so no fixed number separates drift from none. On clean synthetic X-rays against a reference of 800 it alarmed on 1.7 %
    of 300 windows of 20 images (95 % interval 0.7-3.8 %) and on none of 300 of 50, 200 or 300: a rate that nobody chose, and a threshold
    that lies so high for larger windows that milder drifts pass below it too.

    Args:
        reference: embeddings (N, D).
        window: embeddings (M, D).
        threshold: of the MMD, with the median heuristic and a Gaussian kernel; all pairs count, those of a row with itself too.

    Raises:
        ValueError: fewer than 2 rows on a side, different D, or a value that is not finite (the message says where).
    """
    check_samples(reference, window)
    pooled = centred(reference, window)
    gamma = median_gamma(pooled, np.random.default_rng(0))
    x, y = pooled[: len(reference)], pooled[len(reference) :]
    squared = mean_kernel(x, x, gamma).mean() + mean_kernel(y, y, gamma).mean() - 2 * mean_kernel(x, y, gamma).mean()
    mmd = float(np.sqrt(max(squared, 0.0)))
    return EmbeddingDrift(mmd, threshold, mmd > threshold)
