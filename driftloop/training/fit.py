"""The training loop: epochs, validated one by one, and the best weights kept."""

import copy
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from driftloop.training.batches import OrderedBatches, TrainingBatches
from driftloop.training.checkpoint import Checkpoint
from driftloop.training.epoch import EpochResult, train_epoch, train_epoch_amp, validate
from driftloop.training.recipe import Recipe
from driftloop.training.seeding import derive


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
    train: TrainingBatches,
    val: OrderedBatches,
    recipe: Recipe,
    *,
    seed: int,
    checkpoint: Checkpoint | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> History:
    """Train `model` by `recipe` and leave it with the weights of the epoch that was best on the validation split.

    Best is the highest accuracy, then the lowest loss. Each epoch draws from a seed of its own, so a run that is killed and resumed
    from its checkpoint ends with the weights of one that was not.

    Args:
        model: on the device of the batches.
        train, val: batches of the two splits.
        recipe: how to train.
        seed: of everything random.
        checkpoint: where to leave and look for the last finished epoch, or None.
        on_epoch: called after each epoch (progress, TensorBoard); for a resumed run, first with the epochs already done.
    """
    run = _Run(model, train, val, recipe)
    start = run.resume(checkpoint)
    for record in run.history:
        _report(on_epoch, record)
    for epoch in range(start, recipe.epochs + 1):
        torch.manual_seed(derive(seed, epoch))  # dropout draws from the global generator
        run.train_one(epoch, derive(seed, epoch, 2))
        if checkpoint:
            checkpoint.save(run.state())
        _report(on_epoch, run.history[-1])
    model.load_state_dict(run.best)
    model.eval()
    return History(run.history, run.best_epoch)


class _Run:
    """A training between two epochs."""

    def __init__(self, model: nn.Module, train: TrainingBatches, val: OrderedBatches, recipe: Recipe) -> None:
        self.model, self.train, self.val, self.recipe = model, train, val, recipe
        device = next(model.parameters()).device
        self.loss = recipe.loss(device)
        self.optimizer = recipe.optimizer(model)
        self.scheduler = recipe.scheduler(self.optimizer, train.steps * recipe.epochs)
        self.scaler = GradScaler(device.type) if recipe.precision == "float16" else None
        averaging = get_ema_multi_avg_fn(recipe.average)
        self.average = AveragedModel(model, multi_avg_fn=averaging, use_buffers=True) if recipe.average else None
        self.history: list[EpochRecord] = []
        self.best_epoch = 0
        self.best: dict[str, Tensor] = {}

    def train_one(self, epoch: int, seed: int) -> None:
        began = time.perf_counter()
        rate = self.optimizer.param_groups[0]["lr"]
        learned = self._pass(seed)
        took = time.perf_counter() - began
        judged = self.average.module if self.average else self.model
        checked = validate(judged, self.val)
        seconds = time.perf_counter() - began
        speed = learned.images / took
        self.history.append(
            EpochRecord(epoch, learned.loss, learned.accuracy, checked.loss, checked.accuracy, rate, round(seconds, 3), round(speed, 1))
        )
        if not self.best_epoch or _merit(self.history[-1]) > _merit(self.history[self.best_epoch - 1]):
            self.best_epoch = epoch
            self.best = copy.deepcopy(judged.state_dict())

    def _pass(self, seed: int) -> EpochResult:
        batches = self.train.epoch(seed)
        if self.recipe.precision == "float32":
            return train_epoch(self.model, batches, self.optimizer, loss=self.loss, after_step=self._after_step)
        dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}[self.recipe.precision]
        return train_epoch_amp(
            self.model, batches, self.optimizer, loss=self.loss, after_step=self._after_step, dtype=dtype, scaler=self.scaler
        )

    def _after_step(self) -> None:
        if self.scheduler:
            self.scheduler.step()
        if self.average:
            self.average.update_parameters(self.model)

    def state(self) -> dict[str, Any]:
        """Everything the next epoch depends on: tensors and plain values only."""
        return {
            "history": [asdict(record) for record in self.history],
            "best_epoch": self.best_epoch,
            "best": self.best,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict() if self.scheduler else {},
            "scaler": self.scaler.state_dict() if self.scaler else {},
            "average": self.average.state_dict() if self.average else {},
        }

    def resume(self, checkpoint: Checkpoint | None) -> int:
        """Go back to the checkpoint's epoch where there is one; the number of the first epoch to train."""
        state = checkpoint.load(next(self.model.parameters()).device) if checkpoint else None
        if state is None:
            return 1
        self.history = [EpochRecord(**record) for record in state["history"]]
        self.best_epoch, self.best = state["best_epoch"], state["best"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        for part, name in ((self.scheduler, "scheduler"), (self.scaler, "scaler"), (self.average, "average")):
            if part is not None:
                part.load_state_dict(state[name])
        print(f"resumed after epoch {len(self.history)} of {self.recipe.epochs}", flush=True)
        return len(self.history) + 1


def _merit(record: EpochRecord) -> tuple[float, float]:
    return record.val_accuracy, -record.val_loss


def _report(on_epoch: Callable[[EpochRecord], None] | None, record: EpochRecord) -> None:
    if on_epoch:
        on_epoch(record)
