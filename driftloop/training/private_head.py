"""The head of a pretrained network by DP-SGD, on embeddings that are computed once (Tramèr & Boneh 2021).

Noise is added to every weight that learns: a linear layer on what a network knows from other images has a thousandth of those of a network
from scratch, and some hundred images are enough for it. The layers below stay as they are, with the running statistics of their batch
norm, so an image's embedding depends on that image alone.

Each embedding is shifted and scaled by what the validation images give, which privacy does not cover and no step learns from: for the
training images a constant. What was learnt is folded back, so the head that is served takes embeddings as they are.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from driftloop.training.classifier import Classifier
from driftloop.training.epoch import Batch
from driftloop.training.loop import Checkpoint, EpochRecord, TrainingHistory, fit
from driftloop.training.pretrained import Embedded
from driftloop.training.privacy import PrivacyBudget
from driftloop.training.recipe import Recipe


@dataclass(frozen=True)
class Scale:
    """(embedding - centre) / length, which brings embeddings to about 1, where the noise expects them."""

    centre: Tensor
    """(D,)"""
    length: float

    @classmethod
    def of(cls, embeddings: np.ndarray, device: torch.device) -> Self:
        """From the mean of validation embeddings (N, D), and their distance from it (root of the mean square)."""
        centre = embeddings.mean(0)
        length = float(np.sqrt(((embeddings - centre) ** 2).sum(1).mean()))
        return cls(torch.tensor(centre, dtype=torch.float32, device=device), length or 1.0)

    def applied(self, embedded: Embedded) -> "Vectors":
        """Scaled embeddings and their labels, where the scale is."""
        device = self.centre.device
        vectors = (torch.tensor(embedded[0], dtype=torch.float32, device=device) - self.centre) / self.length
        return Vectors(vectors, torch.tensor(embedded[1], device=device))

    def scaled_head(self, network: Classifier) -> nn.Linear:
        """A layer that says of scaled embeddings what the network's head, without dropout, says of them as they are."""
        head = _last(network)
        layer = nn.Linear(head.in_features, head.out_features, device=self.centre.device)
        with torch.no_grad():
            layer.weight.copy_(head.weight * self.length)
            layer.bias.copy_(head.bias + head.weight @ self.centre)
        return layer

    def fold(self, layer: nn.Linear, network: Classifier) -> None:
        """Give the network's head the weights of `layer`, which takes scaled embeddings."""
        head = _last(network)
        with torch.no_grad():
            head.weight.copy_(layer.weight / self.length)
            head.bias.copy_(layer.bias - head.weight @ self.centre)


def _last(network: Classifier) -> nn.Linear:
    head = network.head[-1]
    assert isinstance(head, nn.Linear)
    return head


@dataclass(frozen=True)
class Vectors:
    """Embeddings in place of images: to be drawn from as `Pixels` are."""

    vectors: Tensor
    """(N, D) float32"""
    targets: Tensor
    """(N,) int64"""

    @property
    def labels(self) -> np.ndarray:
        """(N,) int64"""
        return self.targets.cpu().numpy()

    def take(self, rows: np.ndarray) -> Batch:
        """Embeddings and labels of `rows`."""
        on_device = torch.from_numpy(rows).to(self.vectors.device)
        return self.vectors[on_device], self.targets[on_device]

    def normalise(self, vectors: Tensor) -> Tensor:
        """As they are: images were normalised before they were embedded."""
        return vectors

    def whole(self) -> list[Batch]:
        """All in one batch, for validation."""
        return [(self.vectors, self.targets)]


@dataclass(frozen=True)
class _DrawnBatches:
    vectors: Vectors
    budget: PrivacyBudget
    steps: int

    @property
    def batch_size(self) -> int:
        return self.budget.batch_size

    def epoch(self, seed: int) -> Iterator[Batch]:
        draw = self.budget.order(len(self.vectors.targets))
        return map(self.vectors.take, draw(np.random.default_rng(seed), self.steps, self.batch_size))


def train_head(
    network: Classifier,
    learnt: Embedded,
    held_out: Embedded,
    recipe: Recipe,
    *,
    seed: int,
    checkpoint: Checkpoint | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> TrainingHistory:
    """Train the head of `network` with noise, and leave it with the weights of the epoch that was best on the validation split.

    Args:
        network: pretrained; on the device to train on.
        learnt, held_out: what it says of the training and of the validation images below its head.
        recipe: with a budget of privacy.
        seed, checkpoint, on_epoch: as for `fit`.
    """
    assert recipe.privacy
    scale = Scale.of(held_out[0], next(network.parameters()).device)
    batches = _DrawnBatches(scale.applied(learnt), recipe.privacy, recipe.privacy.steps // recipe.epochs)
    layer = scale.scaled_head(network)
    history = fit(layer, batches, scale.applied(held_out).whole(), recipe, seed=seed, checkpoint=checkpoint, on_epoch=on_epoch)
    scale.fold(layer, network)
    return history
