"""The training loop: pass after pass, each judged, and the best weights kept; killed and resumed, it ends with the same weights.

Training from scratch: the loop, judged by accuracy on the validation split.
"""

import copy
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from driftloop.training.batches import OrderedBatches, TrainingBatches
from driftloop.training.epoch import Batch, EpochResult, train_epoch, train_epoch_amp, validate
from driftloop.training.recipe import Recipe
from driftloop.training.seeding import derive


class Batches(Protocol):
    """What is trained on; an epoch is determined by its seed alone."""

    @property
    def steps(self) -> int:
        """Batches in an epoch."""

    def epoch(self, seed: int) -> Iterable[Batch]:
        """The batches of the epoch that `seed` stands for."""


class Checkpoint(Protocol):
    """Where the last finished epoch is left for the next process: tensors and plain values only."""

    def save(self, state: dict[str, Any]) -> None:
        """Replace what is there as a whole."""

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """What was saved last, or None."""


@dataclass(frozen=True)
class TrainingPass:
    """One pass over the training split: its number from 1, what was learned, the rate it began with, when it began and its seconds."""

    epoch: int
    learned: EpochResult
    learning_rate: float
    began: float
    seconds: float


class Dataclass(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


Record = TypeVar("Record", bound=Dataclass)


@dataclass(frozen=True)
class EpochSelection(Generic[Record]):
    """How an epoch is judged.

    Args:
        record: class of an epoch's record, a dataclass of plain values.
        look: the record of the network after a pass.
        merit: of a record, the greater the better.
    """

    record: type[Record]
    look: Callable[[nn.Module, TrainingPass], Record]
    merit: Callable[[Record], Any]


@dataclass(frozen=True)
class TrainedEpochs(Generic[Record]):
    """The records of all epochs, the number of the one that was kept, and of the one after which the training was resumed (or 0)."""

    records: list[Record]
    best_epoch: int
    resumed_after: int


def train(
    model: nn.Module,
    batches: Batches,
    judge: EpochSelection[Record],
    recipe: Recipe,
    *,
    seed: int,
    patience: int | None = None,
    checkpoint: Checkpoint | None = None,
    on_epoch: Callable[[Record], None] | None = None,
) -> TrainedEpochs[Record]:
    """Train `model` by `recipe` and leave it, in evaluation mode, with the weights of the epoch that the judge liked best.

    Each epoch draws from a seed of its own, so a run that is killed and resumed from its checkpoint ends with the weights of one that
    was not.

    Args:
        model: on the device of the batches.
        batches: of the training split.
        judge: of each epoch; where the recipe averages weights, the average is judged and kept.
        recipe: how to train; its schedule spans all of its epochs, whether or not the training is stopped before.
        seed: of everything random.
        patience: epochs without a better one after which it stops; None for never.
        checkpoint: where to leave and look for the last finished epoch, or None.
        on_epoch: called after each epoch (progress, TensorBoard); for a resumed run, first with the epochs already done.
    """
    run = _Run(model, batches, judge, recipe)
    run.resume(checkpoint)
    resumed_after = len(run.records)
    for record in run.records:
        _report(on_epoch, record)
    while len(run.records) < recipe.epochs and (patience is None or len(run.records) - run.best_epoch < patience):
        run.train_one(seed)
        if checkpoint:
            checkpoint.save(run.state())
        _report(on_epoch, run.records[-1])
    model.load_state_dict(run.best)
    model.eval()
    return TrainedEpochs(run.records, run.best_epoch, resumed_after)


class _Run(Generic[Record]):
    """A training between two epochs."""

    def __init__(self, model: nn.Module, batches: Batches, judge: EpochSelection[Record], recipe: Recipe) -> None:
        self.model, self.batches, self.judge, self.recipe = model, batches, judge, recipe
        self.device = next(model.parameters()).device
        self.loss = recipe.loss(self.device)
        self.optimizer = recipe.optimizer(model)
        self.scheduler = recipe.scheduler(self.optimizer, batches.steps * recipe.epochs)
        self.scaler = GradScaler(self.device.type) if recipe.precision == "float16" else None
        averaging = get_ema_multi_avg_fn(recipe.average)
        self.average = AveragedModel(model, multi_avg_fn=averaging, use_buffers=True) if recipe.average else None
        self.records: list[Record] = []
        self.best_epoch = 0
        self.best: dict[str, Tensor] = {}

    def train_one(self, seed: int) -> None:
        epoch, began = len(self.records) + 1, time.perf_counter()
        torch.manual_seed(derive(seed, epoch))  # dropout draws from the global generator
        rate = self.optimizer.param_groups[0]["lr"]
        learned = self._pass(derive(seed, epoch, 2))
        judged: nn.Module = self.average.module if self.average else self.model
        record = self.judge.look(judged, TrainingPass(epoch, learned, rate, began, time.perf_counter() - began))
        self.records.append(record)
        if not self.best_epoch or self.judge.merit(record) > self.judge.merit(self.records[self.best_epoch - 1]):
            self.best_epoch, self.best = epoch, copy.deepcopy(judged.state_dict())

    def _pass(self, seed: int) -> EpochResult:
        batches = self.batches.epoch(seed)
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

    def _parts(self) -> dict[str, Any]:
        """Everything with a state of its own that the next epoch depends on."""
        parts = {
            "model": self.model,
            "optimizer": self.optimizer,
            "scheduler": self.scheduler,
            "scaler": self.scaler,
            "average": self.average,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def state(self) -> dict[str, Any]:
        """Everything the next epoch depends on: tensors and plain values only."""
        return {
            "records": [asdict(record) for record in self.records],
            "best_epoch": self.best_epoch,
            "best": self.best,
            **{name: part.state_dict() for name, part in self._parts().items()},
        }

    def resume(self, checkpoint: Checkpoint | None) -> None:
        """Go back to the checkpoint's epoch where there is one."""
        state = checkpoint.load(self.device) if checkpoint else None
        if state is None:
            return
        self.records = [self.judge.record(**record) for record in state["records"]]
        self.best_epoch, self.best = state["best_epoch"], state["best"]
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        print(f"resumed after epoch {len(self.records)} of {self.recipe.epochs}", flush=True)


def _report(on_epoch: Callable[[Record], None] | None, record: Record) -> None:
    if on_epoch:
        on_epoch(record)


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
class TrainingHistory:
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
) -> TrainingHistory:
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
    judge = EpochSelection(
        EpochRecord, lambda network, done: _record(network, done, val), lambda record: (record.val_accuracy, -record.val_loss)
    )
    trained = train(model, training, judge, recipe, seed=seed, checkpoint=checkpoint, on_epoch=on_epoch)
    return TrainingHistory(trained.records, trained.best_epoch)


def _record(network: nn.Module, done: TrainingPass, val: OrderedBatches) -> EpochRecord:
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
