import numpy as np
import pytest
import torch

from driftloop.training.augmentation import Augmentation
from driftloop.training.batches import class_weights
from tests.factories.datasets import squares_on_noise
from tests.factories.training_batches import CPU, ordered_batches, training_batches


def test_ordered_batches_hold_every_image_once_and_in_order() -> None:
    images, labels = squares_on_noise(50, seed=1)
    batches = list(ordered_batches(images, labels))
    assert [len(batch) for batch, _ in batches] == [24, 24, 2]
    assert torch.equal(torch.cat([targets for _, targets in batches]), torch.from_numpy(labels))
    expected = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - 0.45) / 0.15
    torch.testing.assert_close(torch.cat([batch for batch, _ in batches]), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "shown",
    [
        {"augmentation": Augmentation()},
        {"augmentation": Augmentation(crop=0.5, randaugment=9), "mixup_alpha": 0.4, "cutmix_alpha": 1.0},
        {"cutmix_alpha": 1.0},
    ],
)
def test_an_epoch_is_determined_by_its_seed(shown: dict[str, object]) -> None:
    train = training_batches(*squares_on_noise(64, seed=1), **shown)
    # What else was drawn meanwhile plays no part: a resumed training has drawn less.
    first, _, again, other = list(train.epoch(5)), torch.rand(3), list(train.epoch(5)), list(train.epoch(6))
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0][0], other[0][0])


def test_an_epoch_goes_through_the_images_without_repeating_one() -> None:
    images = np.arange(64, dtype=np.uint8).repeat(32 * 32).reshape(64, 32, 32, 1)
    train = training_batches(images, np.zeros(64, np.int64), mean=[0.0], std=[1 / 255])
    seen = torch.cat([batch[:, 0, 0, 0] for batch, _ in train.epoch(1)]).round().int().tolist()
    assert sorted(seen) == list(range(64))
    assert seen != sorted(seen)


def test_a_tiny_split_is_gone_through_until_the_epoch_has_its_steps() -> None:
    train = training_batches(*squares_on_noise(5, seed=1), min_steps=7)
    batches = list(train.epoch(1))
    assert train.steps == 7
    assert [len(batch) for batch, _ in batches] == [16] * 7


def test_another_order_than_shuffling_can_be_given() -> None:
    images, labels = squares_on_noise(64, seed=1)
    train = training_batches(images, labels, order=lambda rng, steps, size: np.full((steps, size), 3))
    assert all((targets == labels[3]).all() for _, targets in train.epoch(1))


@pytest.mark.parametrize("mixing", [{"mixup_alpha": 0.4}, {"cutmix_alpha": 1.0}])
def test_mixing_turns_labels_into_probabilities(mixing: dict[str, float]) -> None:
    _, targets = next(training_batches(*squares_on_noise(64, seed=1), **mixing).epoch(1))
    assert targets.shape == (16, 2)
    torch.testing.assert_close(targets.sum(1), torch.ones(16))


def test_memory_mapped_images_are_taken_as_they_are(tmp_path) -> None:  # type: ignore[no-untyped-def]
    images, labels = squares_on_noise(20, seed=1)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert torch.equal(next(iter(ordered_batches(mapped, labels)))[0], next(iter(ordered_batches(images, labels)))[0])


def test_class_weights_make_classes_count_alike() -> None:
    labels = np.array([0] * 30 + [1] * 10)
    weights = class_weights(labels, 3)
    torch.testing.assert_close(weights[0] * 30, weights[1] * 10)
    assert weights[2] == 0
    torch.testing.assert_close(class_weights(np.array([0, 1, 0, 1]), 2), torch.ones(2))


def test_images_without_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="needs images and as many labels"):
        training_batches(squares_on_noise(4, seed=1)[0], np.zeros(3, np.int64))
    assert CPU.type == "cpu"


def test_labels_that_must_not_be_written_are_taken() -> None:
    images, labels = squares_on_noise(16, seed=1)
    labels.flags.writeable = False
    _, targets = next(iter(ordered_batches(images, labels)))
    assert torch.equal(targets, torch.tensor(labels))
