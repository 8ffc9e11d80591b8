"""Image statistics against loops over pixels and scipy's filters."""

import colorsys
import math

import numpy as np
import pytest
from scipy import ndimage

from driftloop.errors import InputError
from driftloop.inference.image_statistics import image_statistics, statistic_names


def by_name(images: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(statistic_names(images.shape[-1]), image_statistics(images).T, strict=True))


def random_images(count: int = 5, side: tuple[int, int] = (13, 11), channels: int = 1) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, *side, channels), dtype=np.uint8)


def luma(image: np.ndarray) -> np.ndarray:
    if image.shape[-1] == 1:
        return image[..., 0].astype(int)
    red, green, blue = (image[..., channel].astype(int) for channel in range(3))
    return (77 * red + 150 * green + 29 * blue + 128) // 256


def by_loops(image: np.ndarray) -> list[float]:
    """The six grey statistics of one image, written down from their definitions."""
    grey = luma(image)
    height, width = grey.shape
    mean = sum(int(v) for v in grey.ravel()) / grey.size
    contrast = math.sqrt(sum((int(v) - mean) ** 2 for v in grey.ravel()) / grey.size)
    laplacian, edges, second = [], 0, 0.0
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            n = grey[y - 1 : y + 2, x - 1 : x + 2]
            laplacian.append(n[0, 1] + n[2, 1] + n[1, 0] + n[1, 2] - 4 * n[1, 1])
            gx = n[0, 2] + 2 * n[1, 2] + n[2, 2] - n[0, 0] - 2 * n[1, 0] - n[2, 0]
            gy = n[2, 0] + 2 * n[2, 1] + n[2, 2] - n[0, 0] - 2 * n[0, 1] - n[0, 2]
            edges += abs(gx) + abs(gy) > 128
            second += abs(n[0, 0] - 2 * n[0, 1] + n[0, 2] - 2 * n[1, 0] + 4 * n[1, 1] - 2 * n[1, 2] + n[2, 0] - 2 * n[2, 1] + n[2, 2])
    inner = (height - 2) * (width - 2)
    middle = sum(laplacian) / inner
    sharpness = sum((v - middle) ** 2 for v in laplacian) / inner
    noise = math.sqrt(math.pi / 2) * second / (6 * inner)
    entropy = -sum(p * math.log2(p) for p in np.bincount(grey.ravel()) / grey.size if p > 0)
    return [mean, contrast, sharpness, noise, entropy, edges / inner]


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_statistics_equal_loops_over_pixels(channels: int) -> None:
    images = random_images(channels=channels)
    expected = np.array([by_loops(image) for image in images])
    np.testing.assert_allclose(image_statistics(images)[:, :6], expected, rtol=1e-6)


def test_filters_equal_scipy() -> None:
    images = random_images(count=2, side=(40, 30))
    statistics = by_name(images)
    for index, image in enumerate(images[..., 0].astype(float)):
        inner = (slice(1, -1), slice(1, -1))
        assert statistics["sharpness"][index] == pytest.approx(ndimage.laplace(image)[inner].var(), rel=1e-6)
        sobel = np.abs(ndimage.sobel(image, 0)) + np.abs(ndimage.sobel(image, 1))
        assert statistics["edge_density"][index] == pytest.approx((sobel[inner] > 128).mean(), rel=1e-6)


def test_colour_statistics_equal_colorsys_and_channel_sums() -> None:
    images = random_images(channels=3)
    images[0, :3] = 0
    statistics = by_name(images)
    for index, image in enumerate(images.astype(float)):
        saturation = np.mean([colorsys.rgb_to_hsv(*pixel)[1] for pixel in image.reshape(-1, 3) / 255])
        assert statistics["saturation"][index] == pytest.approx(saturation, rel=1e-6)
        assert statistics["red_ratio"][index] == pytest.approx(image[..., 0].sum() / image.sum(), rel=1e-6)
        assert statistics["blue_ratio"][index] == pytest.approx(image[..., 2].sum() / image.sum(), rel=1e-6)


@pytest.mark.parametrize("level", [0, 7, 255])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_flat_image_has_a_brightness_and_nothing_else(level: int, channels: int) -> None:
    statistics = by_name(np.full((1, 16, 16, channels), level, np.uint8))
    assert statistics.pop("brightness")[0] == level
    if channels == 3:
        assert statistics.pop("red_ratio")[0] == pytest.approx(1 / 3)
        assert statistics.pop("blue_ratio")[0] == pytest.approx(1 / 3)
    assert all(value[0] == 0 for value in statistics.values())


@pytest.mark.parametrize("sigma", [2.0, 5.0, 10.0])
def test_noise_is_estimated_in_grey_levels(sigma: float) -> None:
    rng = np.random.default_rng(0)
    ramp = np.linspace(80, 170, 64)[None, :, None] + np.linspace(-20, 20, 64)[:, None, None]
    noisy = np.clip(np.rint(ramp + rng.normal(0, sigma, (20, 64, 64, 1))), 0, 255).astype(np.uint8)
    assert by_name(noisy)["noise"].mean() == pytest.approx(sigma, rel=0.05)


def test_blur_lowers_sharpness_and_noise_raises_it() -> None:
    rng = np.random.default_rng(1)
    clean = ndimage.gaussian_filter(rng.normal(0, 60, (64, 64)), 1.5) * 3 + 128
    blurred = ndimage.gaussian_filter(clean, 1.0)
    noisy = clean + rng.normal(0, 8, clean.shape)
    images = np.clip(np.stack([clean, blurred, noisy]), 0, 255).astype(np.uint8)[..., None]
    sharpness = by_name(images)["sharpness"]
    assert sharpness[1] < sharpness[0] < sharpness[2]


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_has_the_same_statistics_in_any_batch(channels: int) -> None:
    images = random_images(count=150, side=(64, 64), channels=channels)
    together = image_statistics(images)
    np.testing.assert_array_equal(together, np.concatenate([image_statistics(image[None]) for image in images]))
    np.testing.assert_array_equal(together[::-1], image_statistics(np.ascontiguousarray(images[::-1])))
    np.testing.assert_array_equal(together[::3], image_statistics(images[::3]))


def test_large_images_do_not_overflow() -> None:
    checkers = ((np.indices((400, 300)).sum(axis=0) % 2) * 255).astype(np.uint8)[None, ..., None]
    statistics = by_name(checkers)
    assert statistics["sharpness"][0] == pytest.approx(1020**2, rel=1e-6)
    assert statistics["entropy"][0] == pytest.approx(1.0)
    assert statistics["contrast"][0] == pytest.approx(127.5)


def test_no_images_give_no_rows() -> None:
    assert image_statistics(np.zeros((0, 8, 8, 3), np.uint8)).shape == (0, 9)


@pytest.mark.parametrize(
    "images", [np.zeros((1, 8, 8, 1)), np.zeros((1, 8, 8), np.uint8), np.zeros((1, 8, 8, 2), np.uint8), np.zeros((1, 2, 8, 1), np.uint8)]
)
def test_other_types_and_shapes_are_refused(images: np.ndarray) -> None:
    with pytest.raises(InputError, match="statistics need uint8 images"):
        image_statistics(images)


def test_names_match_columns() -> None:
    assert len(statistic_names(1)) == 6
    assert len(statistic_names(3)) == 9
    with pytest.raises(ValueError, match="1 or 3 channels"):
        statistic_names(4)
