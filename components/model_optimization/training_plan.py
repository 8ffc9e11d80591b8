"""What is trained and how: the plan from which the ablation takes ingredients away and whose values the sweep varies."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from driftloop.contracts import TRAIN, VAL
from driftloop.settings import TrainSettings
from driftloop.training.architectures import build_network
from driftloop.training.augmentation import Augmentation
from driftloop.training.batches import TrainingBatches, steps_per_epoch
from driftloop.training.choice import choose_network
from driftloop.training.classifier import Classifier
from driftloop.training.device import mixed_precision
from driftloop.training.loop import Checkpoint, EpochRecord, TrainingHistory, fit, measure_fitted
from driftloop.training.pretrained import Pretrained, embed_all, start_from
from driftloop.training.privacy import PrivacyBudget, plan_privacy
from driftloop.training.private_head import train_head
from driftloop.training.recipe import Recipe
from driftloop.training.recipes import FROM_SCRATCH, HEAD_ONLY, PRETRAINED, RecipeForm
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
    cutmix: float = 0.0
    """Strength of CutMix, likewise."""
    pretrained: Pretrained | None = None
    """Weights that the network starts from; None for fresh ones."""
    head_only: bool = False
    """Whether these weights stay as they are, and only the head is fitted to them, or, with a budget of privacy, trained on them."""
    why: str = ""
    """The network, its weights and why these, in one sentence."""

    @property
    def form(self) -> RecipeForm:
        """Of the kind of network."""
        return form_of(self.pretrained, head_only=self.head_only)

    @property
    def mixes(self) -> bool:
        """Whether images learn as blends or patchworks of two."""
        return self.mixup > 0 or self.cutmix > 0

    def described(self) -> dict[str, Any]:
        """The plan but its network, as `model.json` and the card have it."""
        views = asdict(self.augmentation) if self.augmentation else {}
        weights = self.pretrained.described() if self.pretrained else ""
        return self.recipe.described() | {"augmentation": views, "mixup": self.mixup, "cutmix": self.cutmix, "weights": weights}

    def network(self, task: Task, seed: int) -> Classifier:
        """The network before its first step: fresh weights by the seed, or pretrained ones under a head that is fitted to them, or 0."""
        set_seed(seed)
        dataset = task.description
        network = build_network(
            self.architecture, channels=dataset.channels, classes=len(dataset.classes), image_size=dataset.image_size
        ).to(task.device)
        start_from(network, self.pretrained, task)
        return network

    def batches(self, task: Task) -> TrainingBatches:
        """The training split as this plan shows it."""
        return task.training_batches(self.augmentation, self.mixup, self.cutmix, self.recipe.privacy)

    def train(
        self, task: Task, seed: int, *, checkpoint: Checkpoint | None = None, on_epoch: Callable[[EpochRecord], None] | None = None
    ) -> tuple[Classifier, TrainingHistory]:
        """Train by the plan from its start."""
        began = time.perf_counter()
        network = self.network(task, seed)
        if self.head_only and self.recipe.privacy:
            learnt, held_out = ((embed_all(network, batches), batches.labels) for batches in map(task.images_in_order, (TRAIN, VAL)))
            return network, train_head(network, learnt, held_out, self.recipe, seed=seed, checkpoint=checkpoint, on_epoch=on_epoch)
        if self.head_only:
            history = measure_fitted(network, task.images_in_order(TRAIN), task.validation_batches(), began=began)
            if on_epoch:
                on_epoch(history.best)
            return network, history
        history = fit(
            network,
            self.batches(task),
            task.validation_batches(),
            self.recipe,
            seed=seed,
            patience=task.settings.patience,
            checkpoint=checkpoint,
            on_epoch=on_epoch,
        )
        return network, history


def full_plan(settings: TrainSettings, epochs: int, task: Task) -> TrainingPlan:
    """All ingredients together; the learning rate is still to be found where the settings give none."""
    choice = choose_network(settings, task.description, epochs=epochs, device=task.device)
    form = form_of(choice.pretrained, head_only=choice.head_only)
    budget = _budget(settings, epochs, task, head_only=choice.head_only)
    if choice.head_only and budget is None:
        fitted = Recipe(
            1,
            form.suggested_rates[0],
            class_weights=task.weights(),
            layer_decay=form.layer_decay,
            keep_statistics=form.keep_statistics,
            clip=settings.clip,
        )
        return TrainingPlan(choice.architecture, fitted, None, pretrained=choice.pretrained, head_only=True, why=choice.reason)
    recipe = Recipe(
        epochs=epochs,
        learning_rate=settings.learning_rate or (form.private_rate if budget else None) or form.suggested_rates[0],
        weight_decay=settings.weight_decay,
        one_cycle=True,
        precision=precision(settings, task.device, choice.architecture),
        label_smoothing=settings.label_smoothing,
        average=settings.weight_average,
        class_weights=task.weights(),
        layer_decay=0.0 if choice.head_only else settings.layer_decay or form.layer_decay,
        keep_statistics=form.keep_statistics,
        clip=0.0 if settings.epsilon else settings.clip,
        privacy=budget,
    )
    views = None if choice.head_only else task.augmentation()
    mixing = settings.mixup, settings.cutmix
    return TrainingPlan(choice.architecture, recipe, views, *mixing, choice.pretrained, choice.head_only, choice.reason)


def _budget(settings: TrainSettings, epochs: int, task: Task, *, head_only: bool) -> PrivacyBudget | None:
    """For all steps of the training; None where no epsilon is asked for."""
    if settings.epsilon is None:
        return None
    images = len(task.train)
    taken = min(settings.private_batch_size, images)
    return plan_privacy(
        settings.epsilon,
        images=images,
        sample_rate=taken / images,
        batch_size=taken,
        steps=epochs * steps_per_epoch(images, taken, settings.min_steps),
        clip=settings.image_clip,
        head_only=head_only,
    )


def form_of(pretrained: Pretrained | None, *, head_only: bool) -> RecipeForm:
    """The form of recipe for a network that starts from these weights."""
    if pretrained is None:
        return FROM_SCRATCH
    return HEAD_ONLY if head_only else PRETRAINED


def precision(settings: TrainSettings, device: torch.device, architecture: str) -> str:
    """The number type by name: the one that was asked for, or the fastest that the hardware has."""
    if settings.epsilon:  # gradients of single images are taken in it
        return "float32"
    if settings.precision != "auto":
        return settings.precision
    dtype = mixed_precision(device, architecture)
    return "float32" if dtype is None else str(dtype).removeprefix("torch.")
