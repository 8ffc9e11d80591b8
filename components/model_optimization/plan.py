"""What is trained and how: the plan that the ablation takes apart and the sweep turns the knobs of."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from driftloop.settings import TrainSettings
from driftloop.training.architectures import RESIDUAL, Classifier, build_network
from driftloop.training.augmentation import Augmentation
from driftloop.training.batches import TrainingBatches
from driftloop.training.checkpoint import FileCheckpoint
from driftloop.training.device import mixed_precision
from driftloop.training.loop import EpochRecord, TrainingHistory, fit
from driftloop.training.recipe import Recipe
from driftloop.training.seeding import set_seed
from driftloop.training.task import Task


@dataclass(frozen=True)
class TrainingPlan:
    """A network, a recipe and the views that it is shown."""

    architecture: str
    recipe: Recipe
    augmentation: Augmentation | None
    mixup: float = 0.0

    def network(self, task: Task, seed: int) -> Classifier:
        """Fresh weights, the same for the same seed."""
        set_seed(seed)
        about = task.description
        return build_network(self.architecture, channels=about.channels, classes=len(about.classes)).to(task.device)

    def batches(self, task: Task) -> TrainingBatches:
        """The training split as this plan shows it."""
        return task.training_batches(self.augmentation, self.mixup)

    def train(
        self, task: Task, seed: int, *, checkpoint: FileCheckpoint | None = None, on_epoch: Callable[[EpochRecord], None] | None = None
    ) -> tuple[Classifier, TrainingHistory]:
        """Train by the plan from fresh weights."""
        network = self.network(task, seed)
        history = fit(
            network, self.batches(task), task.validation_batches(), self.recipe, seed=seed, checkpoint=checkpoint, on_epoch=on_epoch
        )
        return network, history


def full_plan(settings: TrainSettings, epochs: int, task: Task) -> TrainingPlan:
    """All ingredients together; the learning rate is still to be found where the settings give none."""
    recipe = Recipe(
        epochs=epochs,
        learning_rate=settings.learning_rate or 1e-3,
        weight_decay=settings.weight_decay,
        one_cycle=True,
        precision=precision(settings, task.device),
        label_smoothing=settings.label_smoothing,
        average=settings.weight_average,
        class_weights=task.weights(),
    )
    return TrainingPlan(RESIDUAL, recipe, task.augmentation(), settings.mixup)


def precision(settings: TrainSettings, device: torch.device) -> str:
    """The number type by name: the one that was asked for, or the fastest that the hardware has."""
    if settings.precision != "auto":
        return settings.precision
    dtype = mixed_precision(device)
    return "float32" if dtype is None else str(dtype).removeprefix("torch.")
