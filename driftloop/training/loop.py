"""The training loop: epoch after epoch, each measured, and the weights of the best kept.

`train` is the loop itself, for any measure of an epoch; `fit` is training from scratch, measured by accuracy on the validation split.
A training that is killed and resumed from its checkpoint ends with the weights of one that was not.
"""

import copy
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from driftloop.errors import InputError
from driftloop.training import followers
from driftloop.training.batches import OrderedBatches
from driftloop.training.cuda_graph import GraphedGradients, train_epoch_graphed
from driftloop.training.distributed import ALONE, Rank, current
from driftloop.training.epoch import Batch, EpochResult, train_epoch, train_epoch_amp, validate
from driftloop.training.privacy import PrivateTraining
from driftloop.training.recipe import Recipe
from driftloop.training.seeding import derive, set_seed

#: What is computed in which number type, by a recipe's precision.
AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Batches(Protocol):
    """Training batches by epoch; an epoch is determined by its seed alone."""

    @property
    def batch_size(self) -> int:
        """Images in a batch."""

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
    """One pass over the training split, before the network is measured."""

    epoch: int
    """Its number, from 1."""
    result: EpochResult
    """Loss and accuracy while learning."""
    learning_rate: float
    """The rate that it began with."""
    began: float
    """When it began, by `time.perf_counter`."""
    seconds: float
    """How long it took."""


class _Dataclass(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


_Record = TypeVar("_Record", bound=_Dataclass)


@dataclass(frozen=True)
class EpochSelection(Generic[_Record]):
    """How the epoch is chosen whose weights are kept."""

    record: type[_Record]
    """Class of an epoch's record: a dataclass of plain values."""
    measure: Callable[[nn.Module, TrainingPass], _Record]
    """Gives the record of the network after a pass."""
    score: Callable[[_Record], Any]
    """Of a record, the greater the better."""
    finished: Callable[[list[_Record]], bool] = lambda _: False
    """Whether nothing is left to learn after these epochs."""


@dataclass(frozen=True)
class TrainedEpochs(Generic[_Record]):
    """What a training leaves beside the weights."""

    records: list[_Record]
    """Of all epochs."""
    best_epoch: int
    """Number of the epoch whose weights were kept, from 1."""
    resumed_after: int
    """Number of the epoch after which the training was resumed from a checkpoint, or 0."""


def train(
    model: nn.Module,
    batches: Batches,
    selection: EpochSelection[_Record],
    recipe: Recipe,
    *,
    seed: int,
    patience: int | None = None,
    checkpoint: Checkpoint | None = None,
    on_epoch: Callable[[_Record], None] | None = None,
) -> TrainedEpochs[_Record]:
    """Train `model` by `recipe` and leave it, in evaluation mode, with the weights of the epoch that scored best.

    Each epoch draws from a seed of its own; that is why a resumed training ends with the same weights.

    Args:
        model: on the device of the batches.
        batches: of the training split.
        selection: how the best epoch is found; where the recipe averages weights, the average is measured and kept.
        recipe: how to train; its schedule spans all of its epochs, whether or not the training is stopped before.
        seed: of everything random.
        patience: epochs without a better one after which it stops; None for never. A private training goes through all of its epochs, for
            which its noise was chosen: what it spends does not depend on the images then.
        checkpoint: where to leave and look for the last finished epoch, or None.
        on_epoch: called after each epoch (progress, TensorBoard); for a resumed run, first with the epochs already done.

    Raises:
        InputError: several GPUs cannot share it evenly, or not at all.
        RuntimeError: the process of another GPU is gone.
    """
    device = next(model.parameters()).device
    saved = checkpoint.load(device) if checkpoint else None
    work = _SharedTraining(model, batches, selection.measure, recipe, seed, saved)
    with work.shared() as (rank, together):
        with together(None):
            trainer = _Trainer(work, rank)
        records, best_epoch, best = _kept(saved, selection)
        resumed_after = len(records)
        if resumed_after:
            print(f"resumed after epoch {resumed_after} of {recipe.epochs}", flush=True)
        for record in records:
            _report(on_epoch, record)
        while len(records) < recipe.epochs:
            waited = len(records) - best_epoch
            if recipe.privacy is None and ((patience is not None and waited >= patience) or selection.finished(records)):
                break
            epoch = len(records) + 1
            with together(epoch):
                records.append(trainer.epoch(epoch))
            if not best_epoch or selection.score(records[-1]) > selection.score(records[best_epoch - 1]):
                best_epoch, best = epoch, copy.deepcopy(trainer.measured.state_dict())
            if checkpoint:
                # Everything the next epoch depends on: tensors and plain values only.
                plain = [asdict(record) for record in records]
                checkpoint.save({"records": plain, "best_epoch": best_epoch, "best": best, **trainer.state()})
            _report(on_epoch, records[-1])
        trainer.close()
    model.load_state_dict(best)
    model.eval()
    return TrainedEpochs(records, best_epoch, resumed_after)


def _kept(saved: dict[str, Any] | None, selection: EpochSelection[_Record]) -> tuple[list[_Record], int, dict[str, Tensor]]:
    """The records of a checkpoint, its best epoch and the weights of that; nothing where there is none."""
    if saved is None:
        return [], 0, {}
    return [selection.record(**record) for record in saved["records"]], saved["best_epoch"], saved["best"]


@dataclass(frozen=True)
class _SharedTraining(Generic[_Record]):
    """What every process of a training has to know."""

    model: nn.Module
    batches: Batches
    measure: Callable[[nn.Module, TrainingPass], _Record]
    recipe: Recipe
    seed: int
    saved: dict[str, Any] | None

    @contextmanager
    def shared(self) -> Iterator[tuple[Rank, Callable[[int | None], AbstractContextManager[None]]]]:
        """Have the other GPUs take part where there are any; gives this process's rank, and what surrounds each epoch and the beginning.

        Raises:
            InputError: the training cannot be shared evenly, or not at all.
        """
        others = followers.started()
        if others is None:
            yield ALONE, lambda _: nullcontext()
            return
        size = others.rank.size
        if self.recipe.privacy:
            raise InputError(f"train_config.epsilon does not go with gpus={size}: the noise is drawn in one process; set gpus=1")
        if self.batches.batch_size % size:
            raise InputError(f"batch_size={self.batches.batch_size} cannot be shared by gpus={size}: choose a multiple of {size}")
        with others.sharing(self):
            yield others.rank, others.together

    def follow(self, epochs: Iterator[int]) -> None:
        """A follower's part: see `driftloop.training.followers`."""
        set_seed(self.seed)
        trainer = _Trainer(self, current())
        for epoch in epochs:
            trainer.epoch(epoch)


class _Trainer(Generic[_Record]):
    """What all processes of a training do alike, each with its share of the batches, from the epoch on that was saved."""

    def __init__(self, work: _SharedTraining[_Record], rank: Rank) -> None:
        self.work, self.rank = work, rank
        model, recipe = work.model, work.recipe
        device = next(model.parameters()).device
        self.loss = rank.whole_batch_loss(recipe.loss(device), recipe.class_weights)
        recipe.prepare(model)
        self.optimizer = recipe.optimizer(model)
        self.scheduler = recipe.scheduler(self.optimizer, work.batches.steps * recipe.epochs)
        self.scaler = GradScaler(device.type) if recipe.precision == "float16" else None
        self.gradients: GraphedGradients | None = None
        if device.type == "cuda" and self.scaler is None and recipe.privacy is None and rank.size == 1:
            self.gradients = GraphedGradients(model, self.loss, AUTOCAST[recipe.precision])
        averaging = get_ema_multi_avg_fn(recipe.average)
        self.average = AveragedModel(model, multi_avg_fn=averaging, use_buffers=True) if recipe.average else None
        # After the average, which copies the network without the hooks.
        self.private = PrivateTraining(model, self.optimizer, recipe.privacy) if recipe.privacy else None
        self.network = rank.parallel(model)
        if work.saved:
            for name, part in self._parts().items():
                part.load_state_dict(work.saved[name])

    @property
    def measured(self) -> nn.Module:
        """The network that is measured and kept."""
        return self.average.module if self.average else self.work.model

    def epoch(self, number: int) -> _Record:
        """Train one epoch more and measure it."""
        began = time.perf_counter()
        torch.manual_seed(derive(self.work.seed, number))  # dropout draws from the global generator
        rate = max(group["lr"] for group in self.optimizer.param_groups)
        with self.rank.whole_batch_layers():
            result = self._pass(derive(self.work.seed, number, 2))
        return self.work.measure(self.measured, TrainingPass(number, result, rate, began, time.perf_counter() - began))

    def _pass(self, seed: int) -> EpochResult:
        batches, dtype = self.work.batches.epoch(seed), AUTOCAST[self.work.recipe.precision]
        if self.private:
            return self.private.train_epoch(batches, loss=self.loss, after_step=self._after_step)
        if self.gradients:
            return train_epoch_graphed(self.gradients, batches, self.optimizer, after_step=self._after_step)
        if dtype is None:
            return train_epoch(self.network, batches, self.optimizer, loss=self.loss, after_step=self._after_step)
        return train_epoch_amp(
            self.network, batches, self.optimizer, loss=self.loss, after_step=self._after_step, dtype=dtype, scaler=self.scaler
        )

    def close(self) -> None:
        """Take off the network what only its training needs."""
        if self.private:
            self.private.close()

    def _after_step(self) -> None:
        if self.scheduler:
            self.scheduler.step()
        if self.average:
            self.average.update_parameters(self.work.model)

    def _parts(self) -> dict[str, Any]:
        """Everything with a state of its own that the next epoch depends on."""
        parts = {
            "model": self.work.model,
            "optimizer": self.optimizer,
            "scheduler": self.scheduler,
            "scaler": self.scaler,
            "average": self.average,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def state(self) -> dict[str, Any]:
        """Everything of this that the next epoch depends on."""
        return {name: part.state_dict() for name, part in self._parts().items()}


def _report(on_epoch: Callable[[_Record], None] | None, record: _Record) -> None:
    if on_epoch:
        on_epoch(record)


@dataclass(frozen=True)
class EpochRecord:
    """An epoch of a training from scratch."""

    epoch: int
    """Its number, from 1."""
    loss: float
    """Mean training loss per image."""
    accuracy: float
    """Share of the training images right while learning."""
    val_loss: float
    """Mean cross-entropy per validation image, without smoothing or class weights."""
    val_accuracy: float
    """Share of the validation images right."""
    val_balanced: float
    """The same by class, and the mean of the classes."""
    learning_rate: float
    """The rate that the epoch began with."""
    seconds: float
    """Of training and validation."""
    images_per_second: float
    """Of training alone."""


@dataclass(frozen=True)
class TrainingHistory:
    """How a training from scratch went."""

    epochs: list[EpochRecord]
    """All epochs in their order."""
    best_epoch: int
    """Number of the epoch whose weights were kept, from 1."""

    @property
    def best(self) -> EpochRecord:
        """The epoch whose weights were kept."""
        return self.epochs[self.best_epoch - 1]

    @property
    def seconds(self) -> float:
        """Training and validation, over all epochs."""
        return sum(record.seconds for record in self.epochs)


def fit(
    model: nn.Module,
    training: Batches,
    val: Iterable[Batch],
    recipe: Recipe,
    *,
    seed: int,
    patience: int | None = None,
    checkpoint: Checkpoint | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> TrainingHistory:
    """Train `model` by `recipe` and leave it with the weights of the epoch that was best on the validation split.

    Best is the highest accuracy, then the lowest loss. Where the loss weighs the classes alike, so does the accuracy: an epoch that
    suits the commonest class would undo what the weights are for.

    Args:
        model: on the device of the batches.
        training, val: batches of the two splits.
        recipe: how to train.
        seed: of everything random.
        patience: the training ends after so many epochs in a row with all validation images right, and, at a constant rate, after so many
            without a higher accuracy: one cycle is best at its end. None for never.
        checkpoint: where to leave and look for the last finished epoch, or None.
        on_epoch: called after each epoch.
    """
    selection = EpochSelection(
        record=EpochRecord,
        measure=partial(_validated, val=val),
        score=lambda record: (deciding_accuracy(record, recipe), -record.val_loss),
        finished=lambda records: patience is not None and is_finished(records, recipe, patience=patience),
    )
    trained = train(model, training, selection, recipe, seed=seed, checkpoint=checkpoint, on_epoch=on_epoch)
    return TrainingHistory(trained.records, trained.best_epoch)


def measure_fitted(model: nn.Module, training: OrderedBatches, val: OrderedBatches, *, began: float) -> TrainingHistory:
    """The history of a network that is ready, since its head was fitted to its weights: one pass over the images, measured as an epoch is.

    Args:
        model: on the device of the batches; not changed.
        training, val: the images of the two splits, each once.
        began: when the fitting did, by `time.perf_counter`.
    """
    result = validate(model, training)
    done = TrainingPass(1, result, learning_rate=0.0, began=began, seconds=time.perf_counter() - began)
    return TrainingHistory([_validated(model, done, val)], best_epoch=1)


def deciding_measure(recipe: Recipe) -> str:
    """Name in `EpochRecord` of the accuracy that chooses the epoch, and a search's trial: classes count in it as they do in the loss."""
    return "val_balanced" if recipe.class_weights else "val_accuracy"


def deciding_accuracy(record: EpochRecord, recipe: Recipe) -> float:
    """The accuracy of that name."""
    accuracy: float = getattr(record, deciding_measure(recipe))
    return accuracy


def is_finished(records: list[EpochRecord], recipe: Recipe, *, patience: int) -> bool:
    """Whether nothing more is to be hoped for; see `fit`."""
    if len(records) < patience:
        return False
    accuracies = [deciding_accuracy(record, recipe) for record in records]
    waited = len(records) - 1 - accuracies.index(max(accuracies))
    return min(accuracies[-patience:]) == 1 or (not recipe.one_cycle and waited >= patience)


def _validated(network: nn.Module, done: TrainingPass, val: Iterable[Batch]) -> EpochRecord:
    validation = validate(network, val)
    return EpochRecord(
        epoch=done.epoch,
        loss=done.result.loss,
        accuracy=done.result.accuracy,
        val_loss=validation.loss,
        val_accuracy=validation.accuracy,
        val_balanced=validation.balanced_accuracy,
        learning_rate=done.learning_rate,
        seconds=round(time.perf_counter() - done.began, 3),
        images_per_second=round(done.result.images / done.seconds, 1),
    )
