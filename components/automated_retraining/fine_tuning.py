"""Fine-tuning from the champion: a few epochs at a lower rate than it was trained with, and the best average of their weights kept.

Batch norm goes on learning: its running statistics move to those of the mixed batches. Frozen statistics would stay those of clean
images alone. Weights are averaged because at this rate the balance between the classes swings from one epoch to the next, on clean
and on drifted images alike, and sixty drifted images are too few to tell a good epoch from a lucky one (all three choices are compared
in bench/retraining_recovery.py).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from components.automated_retraining.mix import Mix
from components.automated_retraining.operating_point import keep, mean_probabilities
from driftloop.training.batches import OrderedBatches
from driftloop.training.epoch import validate
from driftloop.training.loop import Checkpoint, Judge, Pass, train
from driftloop.training.recipe import Recipe


@dataclass(frozen=True)
class Epoch:
    """One epoch: training loss, and loss and accuracy on both validation splits; losses are per image."""

    epoch: int
    loss: float
    clean_loss: float
    clean_accuracy: float
    drifted_loss: float
    drifted_accuracy: float
    seconds: float

    @property
    def score(self) -> float:
        """What early stopping looks at, lower is better: both losses count alike, however many images are behind them."""
        return (self.clean_loss + self.drifted_loss) / 2


@dataclass(frozen=True)
class Course:
    """A whole fine-tuning: the champion before it (as epoch 0), all epochs, the one that was kept, what came of it in the end.

    `after` is the kept epoch at the champion's operating point, and `offsets` (K,) what was added to the logits for that; where that
    was not asked for they are the kept epoch and empty.
    """

    before: Epoch
    epochs: list[Epoch]
    best_epoch: int
    after: Epoch
    offsets: list[float]
    resumed_after: int = 0


@dataclass(frozen=True)
class Validation:
    """The two splits that stop the training: the champion's own, and the drifted one."""

    clean: OrderedBatches
    drifted: OrderedBatches

    def judge(self, model: nn.Module, epoch: int, loss: float, began: float) -> Epoch:
        """The epoch's record; `loss` is that of the training, `began` when the epoch did."""
        clean, drifted = validate(model, self.clean), validate(model, self.drifted)
        seconds = round(time.perf_counter() - began, 3)
        return Epoch(epoch, loss, clean.loss, clean.accuracy, drifted.loss, drifted.accuracy, seconds)


def fine_tune(
    model: nn.Module,
    mix: Mix,
    validation: Validation,
    recipe: Recipe,
    *,
    seed: int,
    patience: int,
    keep_balance: bool = True,
    checkpoint: Checkpoint | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Course:
    """Fine-tune `model` and leave it with the weights of its best epoch, at the champion's operating point.

    Args:
        model: the champion, on the device of the batches.
        mix: what it learns from.
        validation: what it is judged by after each epoch.
        recipe: how.
        seed: of everything random.
        patience: epochs without a better score after which it stops.
        keep_balance: whether clean validation images shall get each class as often as from the champion.
        checkpoint: where to leave and look for the last finished epoch, or None.
        on_epoch: called after each epoch.
    """

    def look(network: nn.Module, done: Pass) -> Epoch:
        return validation.judge(network, done.epoch, done.learned.loss, done.began)

    before, wanted = validation.judge(model, 0, 0.0, time.perf_counter()), mean_probabilities(model, validation.clean)
    judge = Judge(Epoch, look, lambda epoch: -epoch.score)
    trained = train(model, mix, judge, recipe, seed=seed, patience=patience, checkpoint=checkpoint, on_epoch=on_epoch)
    after, offsets = trained.records[trained.best_epoch - 1], []
    if keep_balance:
        offsets = keep(model, wanted, validation.clean).tolist()
        after = validation.judge(model, after.epoch, after.loss, time.perf_counter())
    return Course(before, trained.records, trained.best_epoch, after, offsets, trained.resumed_after)
