"""Old images made to look as if the drifted device had taken them: labels there are plenty of, in the style that there are few of.

What a device does to an image (focus, grain, exposure, gain) shows in the mean and the power spectrum of what it takes, which need no
labels. Replacing a source's amplitude spectrum by the target's is Yang and Soatto's Fourier domain adaptation (2020); here power that
the drift took is filtered out, and power that it brought is added as noise with random phases, because grain has no edges. Power that
was taken and power that was brought can hide each other (a blur under grain); taking grain for white tells them apart.
The spectra come from the drifted images that may train, never from those that judge.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

#: Frequencies (cycles per image, up to a sixteenth of the side) in which grain and blur hardly count: they show the gain.
GAIN_BAND = 1 / 16
#: The gain is kept within this range.
LEAST_GAIN, MOST_GAIN = 0.5, 2.0
#: Images whose spectrum is measured at a time; rounds that tell grain from detail.
_CHUNK, _ROUNDS = 256, 8


@dataclass(frozen=True)
class Restyle:
    """One change of style."""

    shift: Tensor
    """grey levels added to the mean, (C, 1, 1)"""
    filter: Tensor
    """factor on the amplitude of each frequency, (C, H, W // 2 + 1)"""
    grain: Tensor
    """amplitude of the noise that is added, in units of white noise with a standard deviation of 1; the filter's shape"""

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """`images` (N, C, H, W) float, grey levels 0-255, in the new style; random numbers come from a CPU `generator`."""
        device = images.device
        mean = images.mean((2, 3), keepdim=True)
        noise = torch.randn(images.shape, generator=generator).to(device)
        spectrum = torch.fft.rfft2(images - mean) * self.filter.to(device) + torch.fft.rfft2(noise) * self.grain.to(device)
        return (torch.fft.irfft2(spectrum, s=images.shape[-2:]) + mean + self.shift.to(device)).clamp_(0, 255)


def fit_restyle(old: np.ndarray, drifted: np.ndarray) -> Restyle:
    """The change of style from `old` to `drifted` images, both uint8 (N, H, W, C) of one size, 2 images at least on each side."""
    side = old.shape[1]
    rings = _rings(side)
    before, after = (_by_ring(_power(images), rings) for images in (old, drifted))
    band = slice(1, int(max(1, side * GAIN_BAND)) + 1)
    gain = np.sqrt(after[:, band].sum(1) / np.maximum(before[:, band].sum(1), 1e-12))[:, None].clip(LEAST_GAIN, MOST_GAIN)
    before = before * gain**2
    kept, grain = _taken_and_brought(before, after, band, slice(1, side // 2 + 1))
    shift = drifted.mean((0, 1, 2), dtype=np.float64) - old.mean((0, 1, 2), dtype=np.float64)
    return Restyle(_float(shift[:, None, None]), _float((kept * gain)[:, rings]), _float(np.sqrt(grain / side**2)[:, rings]))


def _taken_and_brought(before: np.ndarray, after: np.ndarray, band: slice, whole: slice) -> tuple[np.ndarray, np.ndarray]:
    """The factor on each frequency's amplitude, and the power of the grain, both (C, R), from the powers (C, R) of both sides.

    Grain is white: what was brought where least is left is there at every frequency. What came on top of it elsewhere is grain, too, but
    for the frequencies in `band`, which differ between any two samples. No device loses coarse detail and keeps fine detail; with that, a
    few rounds tell the grain that was brought from the detail that was there before.
    """
    kept = np.ones_like(before)
    for _ in range(_ROUNDS):
        left = (before * kept**2)[:, whole].min(1, keepdims=True)
        white = np.maximum(after[:, whole].min(1, keepdims=True) - left, 0.0)
        grain = np.maximum(white, after - before)
        grain[:, band] = white
        grain[:, 0] = 0.0
        kept[:, 1:] = np.minimum.accumulate(np.sqrt(np.clip((after - grain) / np.maximum(before, 1e-12), 0.0, 1.0))[:, 1:], axis=1)
    return kept, grain


def _power(images: np.ndarray) -> np.ndarray:
    """Mean power (C, H, W // 2 + 1) of the images less their means.

    Under a Hann window (Welch 1967): an image's opposite edges do not meet, and the jump between them would hide a blur.
    """
    window = np.outer(np.hanning(images.shape[1]), np.hanning(images.shape[2])).astype(np.float32)
    window /= np.sqrt(np.mean(window**2))
    total = np.zeros((images.shape[3], images.shape[1], images.shape[2] // 2 + 1))
    for start in range(0, len(images), _CHUNK):
        chunk = images[start : start + _CHUNK].transpose(0, 3, 1, 2).astype(np.float32)
        total += np.square(np.abs(np.fft.rfft2((chunk - chunk.mean((2, 3), keepdims=True)) * window))).sum(0)
    return total / len(images)


def _rings(side: int) -> np.ndarray:
    """The distance of each frequency from zero, in whole cycles per image: (H, W // 2 + 1)."""
    return np.rint(np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :]) * side).astype(np.int64)


def _by_ring(power: np.ndarray, rings: np.ndarray) -> np.ndarray:
    """Mean power (C, R) of each ring: a device has no preferred direction, and few images give a smooth estimate this way."""
    counts = np.bincount(rings.ravel())
    return np.stack([np.bincount(rings.ravel(), channel.ravel()) / counts for channel in power])


def _float(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
