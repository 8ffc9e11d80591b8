"""What two processes learn that share a training, by gloo on the CPU: what one would have learnt.

In double precision, where rounding cannot hide a difference; float32 starts from it, and Adam enlarges it step by step.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from components.automated_retraining.fine_tuning import FineTuningResult, Validation, fine_tune
from components.automated_retraining.mix import Mix
from driftloop.training import architectures, followers
from driftloop.training.augmentation import Augmentation
from driftloop.training.batches import OrderedBatches, Pixels, TrainingBatches
from driftloop.training.distributed import ALONE, current
from driftloop.training.epoch import Batch, predict
from driftloop.training.loop import TrainingHistory, fit
from driftloop.training.recipe import Recipe
from driftloop.training.seeding import set_seed
from tests.factories.datasets import squares_on_noise
from tests.factories.training_batches import CPU, ordered_batches, training_batches

PLAIN = Recipe(2, 1e-3, class_weights=(0.7, 1.6))
ALL_IN_ONE = Recipe(2, 3e-3, weight_decay=0.05, one_cycle=True, label_smoothing=0.05, average=0.8, class_weights=(0.7, 1.6), clip=1.0)


class Doubled:
    """Batches in double precision, and a process that computes in it from the moment that it gets them."""

    def __init__(self, batches: TrainingBatches | OrderedBatches | Mix) -> None:
        self.__setstate__({"batches": batches})

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        torch.set_default_dtype(torch.float64)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["batches"], name)

    def epoch(self, seed: int) -> Iterator[Batch]:
        return self._doubled(iter(self.batches.epoch(seed)))

    def __iter__(self) -> Iterator[Batch]:
        return self._doubled(iter(self.batches))

    def _doubled(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        while True:
            torch.set_default_dtype(torch.float32)  # views are drawn and made in it
            batch = next(batches, None)
            torch.set_default_dtype(torch.float64)
            if batch is None:
                return
            images, targets = batch
            yield images.double(), targets.double() if targets.is_floating_point() else targets


@pytest.fixture(scope="module")
def two() -> Iterator[None]:
    """Two processes share the trainings of these tests."""
    followers.start(2, "cpu")
    yield
    followers.stop()
    torch.set_default_dtype(torch.float32)


def train(architecture: str, recipe: Recipe, mixing: dict[str, float]) -> tuple[torch.nn.Module, TrainingHistory]:
    set_seed(1)
    views = Augmentation(crop=0.3, randaugment=9) if recipe.one_cycle else None
    batches = Doubled(training_batches(*squares_on_noise(96, seed=1), augmentation=views, **mixing))
    model = architectures.build_network(architecture, channels=1, classes=2)
    return model, fit(model, batches, judged(), recipe, seed=1)


def judged() -> Doubled:
    return Doubled(ordered_batches(*squares_on_noise(70, seed=2)))


def alone(*training: Any) -> tuple[torch.nn.Module, TrainingHistory]:
    """The same in this process, which shares else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(followers, "_followers", None)
        return train(*training)


@pytest.mark.parametrize(
    ("architecture", "recipe", "mixing"),
    [
        (architectures.PLAIN_CNN, PLAIN, {}),
        (architectures.PLAIN_CNN, ALL_IN_ONE, {"mixup_alpha": 0.2}),
        (architectures.RESIDUAL, PLAIN, {"cutmix_alpha": 1.0}),
        (architectures.RESIDUAL, ALL_IN_ONE, {}),
    ],
)
def test_two_processes_learn_what_one_does(two: None, architecture: str, recipe: Recipe, mixing: dict[str, float]) -> None:
    assert followers.started()
    (one, single), (both, shared) = (how(architecture, recipe, mixing) for how in (alone, train))
    for before, after in zip(single.epochs, shared.epochs, strict=True):
        assert (after.loss, after.val_loss) == pytest.approx((before.loss, before.val_loss), abs=1e-9)
        assert (after.accuracy, after.val_accuracy, after.val_balanced) == (before.accuracy, before.val_accuracy, before.val_balanced)
    torch.testing.assert_close(predict(both, judged()), predict(one, judged()), atol=1e-9, rtol=0)
    assert current() == ALONE


def fine_tune_both() -> FineTuningResult:
    set_seed(1)
    (old, labels), (new, kinds) = squares_on_noise(60, seed=1), squares_on_noise(20, seed=3)
    mix = Mix(Pixels(old, labels, [0.45], [0.15], CPU), Pixels(255 - new, kinds, [0.45], [0.15], CPU), 16, 0.2, Augmentation(), min_steps=3)
    validation = Validation(judged(), Doubled(ordered_batches(*squares_on_noise(10, seed=4))))
    model = architectures.build_network(architectures.RESIDUAL, channels=1, classes=2)
    return fine_tune(model, Doubled(mix), validation, replace(ALL_IN_ONE, class_weights=()), seed=1, patience=2)


def test_two_processes_fine_tune_as_one_does(two: None, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = fine_tune_both()
    monkeypatch.setattr(followers, "_followers", None)
    single = fine_tune_both()
    for before, after in zip(single.epochs, shared.epochs, strict=True):
        wanted = before.loss, before.clean_loss, before.drifted_loss
        assert (after.loss, after.clean_loss, after.drifted_loss) == pytest.approx(wanted, abs=1e-9)
