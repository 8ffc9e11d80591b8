"""Exact mean and deviation of any number of images, by counting grey levels."""

import numpy as np

_STEP = 64


class PixelCounts:
    """How often each grey level occurs in each channel: (channels, 256) integers, the same whatever the order of the images."""

    def __init__(self, channels: int) -> None:
        self.counts = np.zeros((channels, 256), np.int64)

    def add(self, images: np.ndarray) -> None:
        """Count uint8 images (N, H, W, C)."""
        for start in range(0, len(images), _STEP):
            part = images[start : start + _STEP]
            for channel in range(len(self.counts)):
                self.counts[channel] += np.bincount(part[..., channel].ravel(), minlength=256)

    def mean_and_std(self) -> tuple[list[float], list[float]]:
        """By channel, on the scale 0-1. A constant channel gets the deviation of one grey level, so that dividing by it is harmless."""
        levels = np.arange(256) / 255
        total = np.maximum(self.counts.sum(1), 1)
        mean = (self.counts * levels).sum(1) / total
        variance = (self.counts * (levels[None] - mean[:, None]) ** 2).sum(1) / total
        std = np.maximum(np.sqrt(variance), 1 / 255)
        return [round(float(value), 8) for value in mean], [round(float(value), 8) for value in std]
