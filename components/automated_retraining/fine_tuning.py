"""Fine-tuning from the champion: a few epochs at a lower rate than it was trained with, and the best average of their weights kept.

Batch norm goes on learning: its running statistics move to those of the mixed batches. Frozen statistics would stay those of clean
images alone. Weights are averaged because at this rate the balance between the classes swings from one epoch to the next, on clean
and on drifted images alike, and sixty drifted images are too few to tell a good epoch from a lucky one (all three choices are compared
in bench/retraining_recovery.py).

From the grown dataset and the settings to what fine-tuning takes: the mix, the validation splits, the optimiser's recipe.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from components.automated_retraining.mix import Mix
from components.automated_retraining.operating_point import keep, mean_probabilities
from components.automated_retraining.restyle import Restyle, fit_restyle
from components.automated_retraining.roles import TRAIN, VAL
from driftloop.bundle import ModelDescription
from driftloop.dataset import Description, Split, open_split
from driftloop.settings import RetrainSettings
from driftloop.training.augmentation import Augmentation
from driftloop.training.batches import OrderedBatches, Pixels
from driftloop.training.device import mixed_precision
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


#: Old images that the change of style is measured against; a mean spectrum needs no more.
STYLE_IMAGES = 2000


#: The largest rate that was tried: recovery grew with the rate up to it.
HIGHEST_RATE = 2e-3


#: In `model.json`, under `training`.
FIRST_RATE = "first_learning_rate"


PRECISIONS = {torch.bfloat16: "bfloat16", torch.float16: "float16"}


@dataclass(frozen=True)
class Sources:
    """The grown dataset, the mean and std that the champion was trained under, and the device to train on."""

    dataset: Description
    mean: Sequence[float]
    std: Sequence[float]
    device: torch.device

    def pixels(self, split: Split) -> Pixels:
        return Pixels(split.images, split.labels, self.mean, self.std, self.device)

    def ordered(self, name: str) -> OrderedBatches:
        split = open_split(self.dataset, name)
        return OrderedBatches(split.images, split.labels, mean=self.mean, std=self.std, device=self.device)


def build_mix(sources: Sources, settings: RetrainSettings, champion: ModelDescription, *, seed: int) -> Mix:
    """Old and drifted training images, in the views that the champion was trained with; the change of style is measured between the two."""
    old, drifted = open_split(sources.dataset, "train"), open_split(sources.dataset, TRAIN)
    return Mix(
        old=sources.pixels(old),
        drifted=sources.pixels(drifted),
        batch_size=settings.batch_size,
        share=settings.drifted_share,
        augmentation=views(champion) if settings.augment else None,
        restyle=change_of_style(old.images, drifted.images, seed) if settings.restyle_share > 0 else None,
        restyle_share=settings.restyle_share,
    )


def views(champion: ModelDescription) -> Augmentation | None:
    """The random views that the champion was trained with; the default ones where it does not say."""
    told = champion.training.get("augmentation")
    if told is None:
        return Augmentation()
    return Augmentation(**told) if told else None


def change_of_style(old: np.ndarray, drifted: np.ndarray, seed: int) -> Restyle:
    """The change of style from at most `STYLE_IMAGES` of the old images to the drifted ones."""
    chosen = np.sort(np.random.default_rng(seed).permutation(len(old))[:STYLE_IMAGES])
    return fit_restyle(old[chosen], drifted)


def build_validation(sources: Sources) -> Validation:
    """The champion's validation split and the drifted one."""
    return Validation(clean=sources.ordered("val"), drifted=sources.ordered(VAL))


def described(settings: RetrainSettings, recipe: Recipe, mix: Mix, champion: ModelDescription) -> dict[str, Any]:
    """The training configuration for `model.json`: what a later retraining reads from it is part of it."""
    told = settings.model_dump() | {
        "learning_rate": recipe.learning_rate,
        FIRST_RATE: first_rate(champion),
        "precision": recipe.precision,
        "augmentation": asdict(mix.augmentation) if mix.augmentation else {},
    }
    return told | {name: champion.training[name] for name in ("parameters",) if name in champion.training}


def fine_tuning_rate(settings: RetrainSettings, champion: ModelDescription) -> float:
    """The highest rate: the settings', else half the rate of the first training in the champion's line, at most `HIGHEST_RATE`."""
    return settings.learning_rate or min(HIGHEST_RATE, first_rate(champion) / 2)


def first_rate(champion: ModelDescription) -> float:
    """The rate that the champion, or the first of its forebears, was trained with from scratch; a usual one where that is not known.

    Not the champion's own: it would halve with every retraining.
    """
    return float(champion.training.get(FIRST_RATE) or champion.training.get("learning_rate") or 2 * HIGHEST_RATE)


def build_recipe(settings: RetrainSettings, champion: ModelDescription, device: torch.device) -> Recipe:
    """AdamW under one cycle, weights averaged, in 16 bits where that is faster."""
    precision = mixed_precision(device) if settings.mixed_precision else None
    return Recipe(
        epochs=settings.epochs,
        learning_rate=fine_tuning_rate(settings, champion),
        weight_decay=settings.weight_decay,
        one_cycle=True,
        precision=PRECISIONS[precision] if precision else "float32",
        label_smoothing=settings.label_smoothing,
        average=settings.weight_average,
    )
