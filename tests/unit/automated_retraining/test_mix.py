"""The make-up of each batch."""

import numpy as np
import pytest
import torch

from components.automated_retraining.mix import Mix, cycled, drifted_per_batch, replayed
from driftloop.training.batches import Pixels

CPU = torch.device("cpu")


def pixels(labels: list[int], level: int) -> Pixels:
    images = np.full((len(labels), 32, 32, 1), level, np.uint8)
    return Pixels(images, np.array(labels), [0.0], [1.0], CPU)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.25, 0.5])
@pytest.mark.parametrize("batch_size", [20, 32, 64])
def test_the_share_of_drifted_images_holds_in_every_batch_and_exactly_over_many(share: float, batch_size: int) -> None:
    counts = drifted_per_batch(1000, batch_size, share)
    assert abs(counts - share * batch_size).max() < 1
    assert counts.sum() == pytest.approx(1000 * share * batch_size, abs=1)


def test_a_batch_always_has_both_kinds() -> None:
    assert set(drifted_per_batch(50, 4, 0.01)) == {1}
    assert set(drifted_per_batch(50, 4, 0.99)) == {3}


def test_the_ratio_does_not_depend_on_how_many_drifted_images_there_are() -> None:
    for drifted in (3, 500):
        mix = Mix(pixels([0, 1] * 100, 10), pixels([0] * drifted, 200), batch_size=20, share=0.1)
        levels = torch.cat([images.mean((1, 2, 3)) for images, _ in mix.epoch(seed=1)])
        assert float((levels > 0.5).float().mean()) == pytest.approx(0.1)


def test_old_images_are_replayed_by_class_however_rare_a_class_is() -> None:
    labels = np.array([0] * 95 + [1] * 5)
    rows = replayed(labels, 1000, np.random.default_rng(0))
    assert np.bincount(labels[rows]).tolist() == [500, 500]
    frequent = np.bincount(rows, minlength=100)[:95]
    assert frequent.max() - frequent.min() <= 1


def test_every_image_comes_before_any_comes_again() -> None:
    rows = cycled(np.arange(7), 17, np.random.default_rng(0))
    assert sorted(rows[:7]) == sorted(rows[7:14]) == list(range(7))


def test_all_drifted_labels_are_used_within_an_epoch_that_is_long_enough() -> None:
    mix = Mix(pixels([0, 1] * 450, 10), pixels([0, 1] * 45, 200), batch_size=20, share=0.1)
    rows = np.concatenate([drifted for _, drifted in mix.rows(np.random.default_rng(3))])
    assert mix.steps == 50
    assert set(rows) == set(range(90))


def test_an_epoch_is_determined_by_its_seed() -> None:
    mix = Mix(pixels([0, 1] * 50, 10), pixels([0, 1] * 10, 200), batch_size=20, share=0.1)
    labels = [torch.cat([targets for _, targets in mix.epoch(seed)]).tolist() for seed in (1, 1, 2)]
    assert labels[0] == labels[1] != labels[2]
