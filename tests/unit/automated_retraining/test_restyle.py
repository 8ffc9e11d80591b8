"""Old images in the look of the drifted ones."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from components.automated_retraining.restyle import fit_restyle
from driftloop.scenarios import parse


def scenes(count: int, seed: int, channels: int = 1) -> np.ndarray:
    """Cloudy uint8 images with detail at every scale, (N, 48, 48, C)."""
    rng = np.random.default_rng(seed)
    fields = sum(ndimage.gaussian_filter(rng.standard_normal((count, 48, 48, channels)), (0, s, s, 0)) * 40 * s for s in (0.6, 1.5, 5))
    return np.clip(120 + fields, 0, 255).astype(np.uint8)


def restyled(old: np.ndarray, drifted: np.ndarray) -> np.ndarray:
    images = torch.from_numpy(old).permute(0, 3, 1, 2).float()
    out = fit_restyle(old, drifted)(images, torch.Generator().manual_seed(0))
    return out.permute(0, 2, 3, 1).numpy()


def detail(images: np.ndarray) -> float:
    return float(np.abs(np.diff(images.astype(np.float64), axis=1)).mean())


@pytest.mark.parametrize("drift", ["noise:1.0", "blur:1.0", "blur+noise:0.6", "contrast:0.6", "brightness:0.6"])
def test_old_images_come_to_look_like_the_drifted_ones(drift: str) -> None:
    old, others = scenes(200, 1), scenes(200, 2)
    drifted = parse(drift).apply(others, np.random.default_rng(3), None)
    new = restyled(old, drifted)
    for measure in (detail, np.mean, np.std):
        target, before, after = measure(drifted.astype(float)), measure(old.astype(float)), measure(new)
        assert abs(after - target) <= 0.35 * abs(before - target) + 0.03 * abs(target)


def test_the_style_of_the_same_device_changes_next_to_nothing() -> None:
    old = scenes(300, 1)
    assert np.abs(restyled(old, scenes(300, 2)) - old).mean() < 2.5


def test_colour_channels_have_styles_of_their_own() -> None:
    old = scenes(100, 1, channels=3)
    drifted = scenes(100, 2, channels=3)
    drifted[..., 2] = (drifted[..., 2] * 0.5).astype(np.uint8)
    moved = restyled(old, drifted).mean((0, 1, 2)) - old.mean((0, 1, 2))
    assert abs(moved[0]) < 5
    assert moved[2] < -40


def test_what_is_in_the_picture_stays_in_place() -> None:
    old = scenes(50, 1)
    drifted = parse("blur+noise:0.6").apply(scenes(50, 2), np.random.default_rng(0), None)
    new = restyled(old, drifted)
    assert np.mean([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(old, new, strict=True)]) > 0.95


def test_constant_images_give_finite_results() -> None:
    flat = np.full((10, 48, 48, 1), 100, np.uint8)
    assert np.isfinite(restyled(flat, scenes(10, 1))).all()
    assert np.isfinite(restyled(scenes(10, 1), flat)).all()


def test_a_blur_is_found_under_the_grain_that_hides_it() -> None:
    drifted = parse("blur+noise:1.0").apply(scenes(300, 2), np.random.default_rng(3), None)
    style = fit_restyle(scenes(300, 1), drifted)
    assert style.grain[0, 0, 1:].numpy() == pytest.approx(10, abs=1.5)
    frequency = np.arange(2, 9) / 48
    expected = np.exp(-2 * (np.pi * frequency * 0.75) ** 2)  # sigma is 48 / 64 of a pixel at this side
    assert style.filter[0, 0, 2:9].numpy() == pytest.approx(expected, abs=0.06)
