"""The generators: deterministic, different where they must be, and not so easy that a mean grey level gives the class away."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from driftloop.inference.image_statistics import image_statistics
from driftloop.synthetic import HOME_SITE, OTHER_SITE, SYNTHETIC_KINDS, UNSEEN, draw


@pytest.mark.parametrize("kind", SYNTHETIC_KINDS)
def test_the_same_numbers_give_the_same_image(kind: str) -> None:
    assert np.array_equal(draw(kind, seed=3, index=5, label=1), draw(kind, seed=3, index=5, label=1))


@pytest.mark.parametrize("kind", SYNTHETIC_KINDS)
def test_other_seed_index_label_or_site_give_another_image(kind: str) -> None:
    image = draw(kind, seed=3, index=5, label=1)
    others = [
        draw(kind, seed=4, index=5, label=1),
        draw(kind, seed=3, index=6, label=1),
        draw(kind, seed=3, index=5, label=0),
        draw(kind, seed=3, index=5, label=1, site=OTHER_SITE),
        draw(kind, seed=3, index=5, label=UNSEEN),
    ]
    assert not any(image.shape == other.shape and np.array_equal(image, other) for other in others)


def test_xrays_are_grey_and_roofs_are_in_colour_at_a_native_size_above_the_networks() -> None:
    chest, roof = draw("xray", seed=1, index=0, label=0), draw("roof", seed=1, index=0, label=0)
    assert chest.dtype == roof.dtype == np.uint8
    assert chest.ndim == 2
    assert roof.ndim == 3
    assert min(chest.shape) > 135
    assert max(chest.shape) < 210
    assert 150 <= roof.shape[0] <= 190


def test_images_of_one_patient_are_more_alike_than_those_of_two() -> None:
    def small(index: int, subject: int) -> np.ndarray:
        image = draw("xray", seed=1, index=index, label=0, subject=subject)
        part = image[: image.shape[0] // 8 * 8, : image.shape[1] // 8 * 8].astype(float)
        blocks = part.reshape(8, part.shape[0] // 8, 8, part.shape[1] // 8).mean((1, 3))
        return (blocks - blocks.mean()) / blocks.std()

    same = [np.abs(small(2 * n, n) - small(2 * n + 1, n)).mean() for n in range(20)]
    different = [np.abs(small(2 * n, n) - small(2 * n + 1, n + 100)).mean() for n in range(20)]
    assert np.mean(same) < 0.8 * np.mean(different)


def test_the_other_site_is_noisier() -> None:
    def noise(site: object) -> float:
        images = [draw("xray", seed=1, index=n, label=0, site=site)[:128, :128, None] for n in range(8)]  # type: ignore[arg-type]
        return float(image_statistics(np.stack(images))[:, 3].mean())

    assert noise(OTHER_SITE) > 1.3 * noise(HOME_SITE)


@pytest.mark.parametrize("kind", SYNTHETIC_KINDS)
def test_global_statistics_do_not_give_the_class_away(kind: str) -> None:
    labels = np.arange(300) % 2
    images = [draw(kind, seed=1, index=n, label=int(label)) for n, label in enumerate(labels)]
    features = np.concatenate([image_statistics(image[None, :140, :140].reshape(1, 140, 140, -1)) for image in images])
    features = (features - features.mean(0)) / features.std(0)
    model = LogisticRegression().fit(features[:200], labels[:200])
    assert model.score(features[200:], labels[200:]) < 0.75


def test_an_unknown_label_is_refused() -> None:
    with pytest.raises(ValueError, match="label is 0, 1 or -1"):
        draw("xray", seed=1, index=0, label=2)
