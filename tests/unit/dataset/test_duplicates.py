"""The same picture saved again is found; other pictures, however alike, are not."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from sklearn.datasets import load_digits

from driftloop.dataset.duplicates import near_duplicate_clusters, thumbnail
from driftloop.synthetic import draw


def thumbnails(images: list[Image.Image]) -> np.ndarray:
    return np.stack([thumbnail(np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR))) for image in images])


@pytest.fixture(scope="module")
def radiographs() -> list[Image.Image]:
    return [Image.fromarray(draw("xray", seed=1, index=number, label=number % 2)) for number in range(300)]


def resaved(image: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=50)
    return Image.open(stream)


def halved(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.BILINEAR)


def brightened(image: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(1.08)


@pytest.mark.parametrize("change", [resaved, halved, brightened])
def test_changed_copies_are_found(radiographs: list[Image.Image], change: object) -> None:
    copies = [change(image) for image in radiographs[:60]]  # type: ignore[operator]
    clusters = near_duplicate_clusters(thumbnails(radiographs + copies))
    share_found = np.mean([clusters[number] == clusters[300 + number] for number in range(60)])
    assert share_found >= 0.95


def test_different_radiographs_are_not_taken_for_copies(radiographs: list[Image.Image]) -> None:
    assert len(set(near_duplicate_clusters(thumbnails(radiographs)))) == 300


def test_different_digits_are_not_taken_for_copies() -> None:
    digits = [Image.fromarray((image * 15.9).astype(np.uint8)) for image in load_digits().images]
    assert len(set(near_duplicate_clusters(thumbnails(digits)))) == len(digits)


def test_images_without_contrast_match_nothing() -> None:
    assert len(set(near_duplicate_clusters(np.zeros((5, 16, 16), np.uint8)))) == 5


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_images(count: int) -> None:
    assert len(near_duplicate_clusters(np.random.default_rng(0).integers(0, 256, (count, 16, 16), np.uint8))) == count
