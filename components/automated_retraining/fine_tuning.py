"""Fine-tuning from the champion: a few epochs at a lower rate than it was trained with, and the best of them kept.

Batch norm goes on learning: its running statistics move to those of the mixed batches, of which most are old images. Frozen statistics
would stay those of clean images alone (the two are compared in bench/retraining_recovery.py).
"""

import copy
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from components.automated_retraining.mix import Mix
from components.automated_retraining.store_checkpoint import StoreCheckpoint
from driftloop.training.batches import OrderedBatches
from driftloop.training.epoch import EpochResult, train_epoch, train_epoch_amp, validate
from driftloop.training.recipe import Recipe
from driftloop.training.seeding import derive


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
    """A whole fine-tuning: the champion before it (as epoch 0), all epochs, the one that was kept, the epoch it was resumed after."""

    before: Epoch
    epochs: list[Epoch]
    best_epoch: int
    resumed_after: int = 0

    @property
    def best(self) -> Epoch:
        return self.epochs[self.best_epoch - 1]


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
    checkpoint: StoreCheckpoint | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Course:
    """Fine-tune `model` and leave it with the weights of its best epoch.

    Each epoch draws from a seed of its own: a run that is killed and resumed ends with the weights of one that was not.

    Args:
        model: the champion, on the device of the batches.
        mix: what it learns from.
        validation: what it is judged by after each epoch.
        recipe: how; its schedule spans all of its epochs, whether or not the training is stopped before.
        seed: of everything random.
        patience: epochs without a better score after which it stops.
        checkpoint: where to leave and look for the last finished epoch, or None.
        on_epoch: called after each epoch.
    """
    run = _Run(model, mix, validation, recipe, seed)
    run.resume(checkpoint)
    resumed_after = len(run.epochs)
    while len(run.epochs) < recipe.epochs and len(run.epochs) - run.best_epoch < patience:
        run.train_one()
        if checkpoint:
            checkpoint.save(run.state())
        if on_epoch:
            on_epoch(run.epochs[-1])
    model.load_state_dict(run.best)
    model.eval()
    return Course(run.before, run.epochs, run.best_epoch, resumed_after)


@dataclass
class _Run:
    """A fine-tuning between two epochs."""

    model: nn.Module
    mix: Mix
    validation: Validation
    recipe: Recipe
    seed: int
    epochs: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.device = next(self.model.parameters()).device
        self.loss = self.recipe.loss(self.device)
        self.optimizer = self.recipe.optimizer(self.model)
        self.scheduler = self.recipe.scheduler(self.optimizer, self.mix.steps * self.recipe.epochs)
        self.scaler = GradScaler(self.device.type) if self.recipe.precision == "float16" else None
        self.before = self.validation.judge(self.model, 0, 0.0, time.perf_counter())

    def train_one(self) -> None:
        number, began = len(self.epochs) + 1, time.perf_counter()
        torch.manual_seed(derive(self.seed, number))  # dropout draws from the global generator
        learned = self._pass(derive(self.seed, number, 2))
        self.epochs.append(self.validation.judge(self.model, number, learned.loss, began))
        if not self.best_epoch or self.epochs[-1].score < self.epochs[self.best_epoch - 1].score:
            self.best_epoch, self.best = number, copy.deepcopy(self.model.state_dict())

    def _pass(self, seed: int) -> EpochResult:
        batches = self.mix.epoch(seed)
        if self.recipe.precision == "float32":
            return train_epoch(self.model, batches, self.optimizer, loss=self.loss, after_step=self._after_step)
        dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}[self.recipe.precision]
        return train_epoch_amp(
            self.model, batches, self.optimizer, loss=self.loss, after_step=self._after_step, dtype=dtype, scaler=self.scaler
        )

    def _after_step(self) -> None:
        if self.scheduler:
            self.scheduler.step()

    def state(self) -> dict[str, Any]:
        """Everything the next epoch depends on: tensors and plain values only."""
        parts = {"optimizer": self.optimizer, "scheduler": self.scheduler, "scaler": self.scaler}
        return {
            "before": asdict(self.before),
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "best_epoch": self.best_epoch,
            "best": self.best,
            "model": self.model.state_dict(),
            **{name: part.state_dict() if part else {} for name, part in parts.items()},
        }

    def resume(self, checkpoint: StoreCheckpoint | None) -> None:
        """Go back to the checkpoint's epoch where there is one."""
        state = checkpoint.load() if checkpoint else None
        if state is None:
            return
        self.before = Epoch(**state["before"])
        self.epochs = [Epoch(**epoch) for epoch in state["epochs"]]
        self.best_epoch, self.best = state["best_epoch"], state["best"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        for part, name in ((self.scheduler, "scheduler"), (self.scaler, "scaler")):
            if part:
                part.load_state_dict(state[name])
        print(f"resumed after epoch {len(self.epochs)} of {self.recipe.epochs}", flush=True)
