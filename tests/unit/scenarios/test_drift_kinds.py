"""Each kind of drift does what its definition says, checked against brute force."""

import io

import numpy as np
import pytest
from PIL import Image

from driftloop.scenarios import DRIFT_KINDS, UNSEEN, parse
from driftloop.scenarios.image_drifts import blur_sigma_px, jpeg_quality

SIDE = 64
CHANGE_IMAGES = [name for name, kind in DRIFT_KINDS.items() if not kind.shares]
CHANGE_LOOKS = sorted(name for name, kind in DRIFT_KINDS.items() if kind.images)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def photographs(n: int = 12, *, channels: int = 1, side: int = SIDE) -> np.ndarray:
    """Smooth random scenes with some grain, uint8 (n, side, side, channels)."""
    coarse = rng(3).integers(40, 216, (n, 6, 6, channels), dtype=np.uint8)
    scenes = [
        np.stack([np.asarray(Image.fromarray(image[..., c]).resize((side, side), Image.Resampling.BICUBIC)) for c in range(channels)], -1)
        for image in coarse
    ]
    return np.clip(np.stack(scenes) + rng(4).normal(0, 3, (n, side, side, channels)), 0, 255).astype(np.uint8)


def gaussian_by_hand(image: np.ndarray, sigma: float) -> np.ndarray:
    """A (H, W) image convolved with a sampled Gaussian, the edge pixels mirrored, one pixel at a time."""
    radius = int(4 * sigma + 0.5)
    x = np.arange(-radius, radius + 1)
    kernel = np.exp(-x * x / (2 * sigma * sigma))
    kernel /= kernel.sum()
    padded = np.pad(image.astype(float), radius, mode="symmetric")
    result = np.zeros(image.shape)
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            result[row, column] = kernel @ padded[row : row + 2 * radius + 1, column : column + 2 * radius + 1] @ kernel
    return result


@pytest.mark.parametrize(("side", "severity"), [(64, 0.6), (64, 1.0), (32, 1.0), (128, 0.5)])
def test_blur_is_a_gaussian_of_severity_times_side_over_64_pixels(side: int, severity: float):
    image = photographs(1, side=side)
    expected = gaussian_by_hand(image[0, ..., 0], severity * side / 64)
    blurred = parse(f"blur:{severity}").apply(image, rng())[0, ..., 0]
    assert blur_sigma_px(severity, side) == severity * side / 64
    assert np.abs(blurred - expected).max() <= 0.51


@pytest.mark.parametrize("severity", [0.2, 0.6, 1.0])
def test_noise_has_a_standard_deviation_of_ten_times_severity_grey_levels(severity: float):
    flat = np.full((20, SIDE, SIDE, 3), 128, np.uint8)
    grain = parse(f"noise:{severity}").apply(flat, rng()).astype(float) - 128
    rounding = 1 / 12
    assert grain.std() == pytest.approx(np.sqrt((10 * severity) ** 2 + rounding), rel=0.01)
    assert abs(grain.mean()) < 0.05
    assert abs(np.corrcoef(grain[..., 0].ravel(), grain[..., 1].ravel())[0, 1]) < 0.02


def test_brightness_adds_half_the_range_at_full_severity_and_clips():
    images = photographs()
    expected = np.clip(np.rint(images + 127.5 * 0.4), 0, 255)
    assert np.array_equal(parse("brightness:0.4").apply(images, rng()), expected)


def test_contrast_shrinks_the_spread_about_each_images_own_mean():
    images = photographs(channels=3)
    result = parse("contrast:0.5").apply(images, rng()).astype(float)
    assert result.std(axis=(1, 2)) == pytest.approx(images.std(axis=(1, 2)) * (1 - 0.95 * 0.5), rel=0.02)
    assert result.mean(axis=(1, 2)) == pytest.approx(images.mean(axis=(1, 2)), abs=0.5)


def test_jpeg_is_a_round_trip_at_the_stated_quality():
    images = photographs(3)
    assert (jpeg_quality(1.0), jpeg_quality(0.5)) == (7, 48)
    for before, after in zip(images, parse("jpeg:0.5").apply(images, rng()), strict=True):
        stream = io.BytesIO()
        Image.fromarray(before[..., 0]).save(stream, "JPEG", quality=48)
        assert np.array_equal(after[..., 0], np.asarray(Image.open(stream)))


def test_resolution_loses_what_lies_beyond_the_coarser_sensor():
    checkerboard = np.indices((SIDE, SIDE)).sum(axis=0) % 2 * 255
    images = checkerboard.astype(np.uint8)[None, :, :, None]
    assert parse("resolution:0.6666666667").apply(images, rng()).std() < 5
    smooth = photographs(1)
    assert np.abs(parse("resolution:0.2").apply(smooth, rng()).astype(float) - smooth).mean() < 6


def test_rotation_angles_are_uniform_up_to_45_degrees_times_severity():
    """A bright arm from the centre shows each image's angle."""
    y, x = np.indices((SIDE, SIDE)) - (SIDE - 1) / 2
    arm = np.where((np.abs(y) < 2) & (x > 5), 255, 0).astype(np.uint8)
    turned = parse("rotation:0.5").apply(np.repeat(arm[None, :, :, None], 3000, axis=0), rng()).astype(float)[..., 0]
    angles = np.degrees(np.arctan2((turned * y).sum(axis=(1, 2)), (turned * x).sum(axis=(1, 2))))
    assert np.abs(angles).max() <= 22.5 + 1
    assert np.quantile(angles, [0.25, 0.5, 0.75]) == pytest.approx([-11.25, 0, 11.25], abs=1.5)


@pytest.mark.parametrize("severity", [0.1, 0.5, 1.0])
def test_occlusion_covers_half_of_severity_of_the_area_with_one_square(severity: float):
    white = np.full((50, SIDE, SIDE, 1), 255, np.uint8)
    covered = parse(f"occlusion:{severity}").apply(white, rng())[..., 0] == 0
    assert covered.mean() == pytest.approx(0.5 * severity, abs=0.02)
    rows, columns = covered.any(axis=2).sum(axis=1), covered.any(axis=1).sum(axis=1)
    assert np.array_equal(rows * columns, covered.sum(axis=(1, 2)))
    assert len({image.tobytes() for image in covered}) > 20


def test_a_new_site_treats_all_images_alike_and_needs_no_draws():
    images = photographs()
    scenario = parse("new_site:0.7")
    together = scenario.apply(images, rng(1))
    alone = np.concatenate([scenario.apply(images[i : i + 1], rng(2)) for i in range(len(images))])
    assert np.array_equal(together, alone)


def test_a_new_site_bends_tones_and_darkens_corners_as_stated():
    flat = np.full((1, SIDE, SIDE, 1), 128, np.uint8)
    result = parse("new_site:1").apply(flat, rng())[0, ..., 0].astype(float)
    assert result[SIDE // 2, SIDE // 2] == pytest.approx(255 * (128 / 255) ** 1.8, abs=1)
    assert result[0, 0] == pytest.approx(0.6 * 255 * (128 / 255) ** 1.8, abs=1)


def test_a_new_site_enlarges_the_centre():
    """A step at a quarter of the side from the edge moves outwards when the outer parts leave the picture."""
    x = np.arange(SIDE)
    image = np.broadcast_to(np.where(np.abs(x - 31.5) < 16, 255, 0), (SIDE, SIDE)).astype(np.uint8)[None, :, :, None]
    bright = (parse("new_site:1").apply(image, rng())[0, SIDE // 2, :, 0] > 60).sum()
    assert bright == pytest.approx(32 / 0.75, abs=2)


def test_the_unseen_class_takes_its_share_keeps_the_texture_and_loses_its_label():
    images = photographs(400)
    labels = np.arange(400) % 2
    result, truth = parse("unseen_class:0.3").transform(images, labels, rng())
    gone = truth == UNSEEN
    assert gone.mean() == pytest.approx(0.3, abs=0.07)
    assert np.array_equal(result[~gone], images[~gone])
    assert np.array_equal(truth[~gone], labels[~gone])
    for before, after in zip(images[gone][:20], result[gone][:20], strict=True):
        assert np.array_equal(np.sort(255 - before.ravel()), np.sort(after.ravel()))
        assert not np.array_equal(255 - before, after)


@pytest.mark.parametrize("kind", CHANGE_IMAGES)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_keeps_shape_type_and_input_and_repeats_with_its_seed(kind: str, channels: int):
    images = photographs(channels=channels, side=30)
    before = images.copy()
    scenario = parse(f"{kind}:0.8")
    result = scenario.apply(images, rng(1))
    assert (result.shape, result.dtype) == (images.shape, np.uint8)
    assert np.array_equal(images, before)
    assert not np.array_equal(result, images)
    assert np.array_equal(result, scenario.apply(images, rng(1)))


@pytest.mark.parametrize("kind", CHANGE_IMAGES)
def test_severity_zero_changes_nothing(kind: str):
    images = photographs()
    assert np.array_equal(parse(f"{kind}:0").apply(images, rng()), images)


@pytest.mark.parametrize("kind", CHANGE_LOOKS)
def test_more_severity_changes_more(kind: str):
    images = photographs()
    distances = [np.abs(parse(f"{kind}:{s}").apply(images, rng()).astype(float) - images).mean() for s in (0.1, 0.5, 1.0)]
    assert distances == sorted(distances)


@pytest.mark.parametrize("kind", CHANGE_LOOKS)
def test_no_images_is_no_error(kind: str):
    assert parse(f"{kind}:0.5").apply(photographs()[:0], rng()).shape == (0, SIDE, SIDE, 1)
