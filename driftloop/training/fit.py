"""Training from scratch: the loop, judged by accuracy on the validation split."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from driftloop.training.batches import OrderedBatches, TrainingBatches
from driftloop.training.epoch import validate
from driftloop.training.loop import Checkpoint, Judge, Pass, train
from driftloop.training.recipe import Recipe


@dataclass(frozen=True)
class EpochRecord:
    """One line of a training's history; losses are per image, the validation loss is plain cross-entropy."""

    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    seconds: float
    images_per_second: float


@dataclass(frozen=True)
class History:
    """All epochs, and the number (from 1) of the one whose weights were kept."""

    epochs: list[EpochRecord]
    best_epoch: int

    @property
    def best(self) -> EpochRecord:
        return self.epochs[self.best_epoch - 1]

    @property
    def seconds(self) -> float:
        """Training and validation, over all epochs."""
        return sum(record.seconds for record in self.epochs)


def fit(
    model: nn.Module,
    training: TrainingBatches,
    val: OrderedBatches,
    recipe: Recipe,
    *,
    seed: int,
    checkpoint: Checkpoint | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> History:
    """Train `model` by `recipe` and leave it with the weights of the epoch that was best on the validation split.

    Best is the highest accuracy, then the lowest loss. Arguments are those of `driftloop.training.loop.train`.

    Args:
        model: on the device of the batches.
        training, val: batches of the two splits.
        recipe: how to train.
        seed: of everything random.
        checkpoint: where to leave and look for the last finished epoch, or None.
        on_epoch: called after each epoch.
    """
    judge = Judge(EpochRecord, lambda network, done: _record(network, done, val), lambda record: (record.val_accuracy, -record.val_loss))
    trained = train(model, training, judge, recipe, seed=seed, checkpoint=checkpoint, on_epoch=on_epoch)
    return History(trained.records, trained.best_epoch)


def _record(network: nn.Module, done: Pass, val: OrderedBatches) -> EpochRecord:
    checked = validate(network, val)
    return EpochRecord(
        epoch=done.epoch,
        loss=done.learned.loss,
        accuracy=done.learned.accuracy,
        val_loss=checked.loss,
        val_accuracy=checked.accuracy,
        learning_rate=done.learning_rate,
        seconds=round(time.perf_counter() - done.began, 3),
        images_per_second=round(done.learned.images / done.seconds, 1),
    )
