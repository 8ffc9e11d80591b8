"""What a training step works on: a dataset's splits as batches on a device. The test split is opened only to score a final model."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import nn

from driftloop.contracts import TRAIN, VAL
from driftloop.dataset import Description, Split, open_split, read_description
from driftloop.dataset.description import TAGS
from driftloop.errors import InputError
from driftloop.evaluation.classification import named_classes, probability_of
from driftloop.settings import TrainSettings
from driftloop.training.augmentation import Augmentation
from driftloop.training.batches import OrderedBatches, TrainingBatches, class_weights
from driftloop.training.domains import views_of
from driftloop.training.epoch import predict
from driftloop.training.privacy import PrivacyBudget

#: What images are normalised by where theirs must not be told, on the scale 0-1.
PRIVATE_MEAN, PRIVATE_STD = 0.5, 0.25


@dataclass(frozen=True)
class SplitPredictions:
    """A model's answers to all images of a split."""

    probabilities: np.ndarray
    """By class, float32 (N, K)."""
    labels: np.ndarray
    """What is right, int64 (N,)."""
    shares: Sequence[float] = ()
    """The task's class shares."""

    @cached_property
    def named(self) -> np.ndarray:
        """The class that each image is called, int64 (N,)."""
        return named_classes(self.probabilities, self.shares)

    @cached_property
    def confidences(self) -> np.ndarray:
        """The probability of that class, float32 (N,)."""
        return probability_of(self.named, self.probabilities)

    @property
    def right(self) -> np.ndarray:
        """Whether each image was classified as labelled, bool (N,)."""
        return self.named == self.labels

    def surest_errors(self, limit: int) -> np.ndarray:
        """Rows of the errors with the highest confidence, the surest first, int64 (at most `limit`,)."""
        wrong = np.flatnonzero(~self.right)
        return wrong[np.argsort(-self.confidences[wrong], kind="stable")][:limit]

    def described_error(self, row: int, classes: Sequence[str]) -> str:
        """What an image is, what it was taken for, and how surely."""
        return f"{classes[self.labels[row]]} taken for {classes[self.named[row]]}, {self.confidences[row]:.2f}"


@dataclass(frozen=True)
class Task:
    """A dataset to learn, on the device to learn it on."""

    description: Description
    """The dataset's."""
    train: Split
    """What is learnt from."""
    val: Split
    """What chooses the epoch."""
    device: torch.device
    """Where to compute."""
    settings: TrainSettings
    """Batch size, class weights and augmentation come from here."""

    @classmethod
    def open(cls, dataset: str | Path, device: torch.device, settings: TrainSettings) -> Self:
        """Open the training and validation splits of the dataset artifact in `dataset`.

        Raises:
            InputError: no dataset there, or one without training or validation images.
        """
        description = read_description(dataset)
        for split in (TRAIN, VAL):
            if not description.counts.get(split):
                raise InputError(
                    f"dataset {description.manifest_hash[:12]} has no images in split '{split}'; "
                    f"raise data_config.{split}_share or give the source a {split}/ folder"
                )
        if settings.epsilon:  # what is taken from all training images would tell of each
            description = description.model_copy(
                update={"mean": [PRIVATE_MEAN] * description.channels, "std": [PRIVATE_STD] * description.channels}
            )
        train, val = open_split(description, TRAIN), open_split(description, VAL)
        return cls(description, train, val, device, settings)

    def augmentation(self) -> Augmentation:
        """The views that the settings ask for, or that suit the kind of images."""
        return views_of(self.settings, self.description)

    def training_batches(
        self, augmentation: Augmentation | None = None, mixup: float = 0.0, cutmix: float = 0.0, privacy: PrivacyBudget | None = None
    ) -> TrainingBatches:
        """Shuffled batches of the training split, or such as `privacy` draws."""
        return TrainingBatches(
            self.train.images,
            self.train.labels,
            mean=self.description.mean,
            std=self.description.std,
            device=self.device,
            batch_size=privacy.batch_size if privacy else self.settings.batch_size,
            augmentation=augmentation,
            mixup_alpha=mixup,
            cutmix_alpha=cutmix,
            classes=len(self.description.classes),
            min_steps=self.settings.min_steps,
            order=privacy.order(len(self.train)) if privacy else None,
        )

    def validation_batches(self) -> OrderedBatches:
        """The validation split, in order."""
        return self.images_in_order(VAL)

    def weights(self) -> tuple[float, ...]:
        """Class weights for the loss, empty where the settings want none, and in a private training: they come from all of its labels."""
        if not self.settings.class_weights or self.settings.epsilon:
            return ()
        weights = class_weights(self.train.labels, len(self.description.classes))
        return tuple(round(weight, 4) for weight in weights.tolist())

    @cached_property
    def class_shares(self) -> tuple[float, ...]:
        """As in `ModelDescription`: of the training images where the loss lets every class count alike, else empty."""
        if not self.weights():
            return ()
        # A class without images is given one: its share is small, and not 0.
        counts = np.bincount(self.train.labels, minlength=len(self.description.classes)).clip(1)
        return tuple((counts / counts.sum()).tolist())

    @property
    def largest_group(self) -> int:
        """Most training images of one patient or site."""
        return int(np.unique(self.groups(TRAIN), return_counts=True)[1].max())

    def predict(self, model: nn.Module, split: str) -> SplitPredictions:
        """The predictions of `model` on a whole split. On the test split only once the model is final."""
        batches = self.images_in_order(split)
        return SplitPredictions(predict(model, batches, self.class_shares).numpy(), batches.labels, self.class_shares)

    def groups(self, split: str) -> np.ndarray:
        """The patient or site of each image of a split, (N,)."""
        return open_split(self.description, split).samples["group"].to_numpy()

    def tags(self, split: str) -> np.ndarray:
        """The tags of each image of a split as they are stored, (N,)."""
        return open_split(self.description, split).samples[TAGS].to_numpy(dtype=np.str_)

    def images_in_order(self, name: str) -> OrderedBatches:
        """The images of a split, each once and unchanged."""
        split = {TRAIN: self.train, VAL: self.val}.get(name) or open_split(self.description, name)
        return OrderedBatches(split.images, split.labels, mean=self.description.mean, std=self.description.std, device=self.device)
