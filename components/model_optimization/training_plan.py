"""What is trained and how: the plan from which the ablation takes ingredients away and whose values the sweep varies."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

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
    """A network, a recipe and the views that it learns from."""

    architecture: str
    """A name of `driftloop.training.architectures`."""
    recipe: Recipe
    """How it is trained."""
    augmentation: Augmentation | None
    """Random views of the training images; None for the images as they are."""
    mixup: float = 0.0
    """Strength of mixup (alpha of its Beta distribution); 0 for none."""

    def described(self) -> dict[str, Any]:
        """The plan but its network, as `model.json` and the card have it."""
        views = asdict(self.augmentation) if self.augmentation else {}
        return self.recipe.described() | {"augmentation": views, "mixup": self.mixup}

    def network(self, task: Task, seed: int) -> Classifier:
        """Fresh weights, the same for the same seed."""
        set_seed(seed)
        dataset = task.description
        return build_network(self.architecture, channels=dataset.channels, classes=len(dataset.classes)).to(task.device)

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
