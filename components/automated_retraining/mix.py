"""Which images make up each batch: 90 % of what the champion learned, 10 % of the drift, as a ratio of what is sampled.

A ratio, not a cap on labels: every labelled drifted image is used, however few or many there are beside the old ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from components.automated_retraining.restyle import Restyle
from driftloop.training.augmentation import Augmentation
from driftloop.training.batches import Pixels
from driftloop.training.distributed import current
from driftloop.training.epoch import Batch
from driftloop.training.privacy import poisson
from driftloop.training.private_head import Vectors
from driftloop.training.seeding import derive


@dataclass(frozen=True)
class Mix:
    """Batches of old and drifted images; an epoch is one pass's worth of old images, determined by its seed alone."""

    old: Pixels | Vectors
    """what the champion learned from"""
    drifted: Pixels | Vectors
    """the drifted images that train"""
    batch_size: int
    """images in a batch, at least 2"""
    share: float
    """of drifted images in a batch"""
    augmentation: Augmentation | None = None
    """random views of both, or None"""
    restyle: Restyle | None = None
    """makes old images look drifted, or None"""
    restyle_share: float = 0.0
    """of the old images of a batch that are restyled"""
    min_steps: int = 10
    """batches in an epoch at least"""
    private: bool = False
    """whether each image is taken by a coin of its own, whatever its class, as differential privacy counts it"""

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return max(self.min_steps, round(len(self.old.labels) / (self.batch_size * (1 - self.share))))

    @property
    def rates(self) -> tuple[float, float]:
        """With which probability a private batch holds an old image, and a drifted one."""
        old, drifted = self.batch_size * (1 - self.share), self.batch_size * self.share
        return min(1.0, old / len(self.old.labels)), min(1.0, drifted / len(self.drifted.labels))

    def rows(self, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each batch of an epoch, the rows of old images and those of drifted ones."""
        if self.private:
            old_rate, drifted_rate = self.rates
            sizes = len(self.old.labels), len(self.drifted.labels)
            return [(poisson(sizes[0], old_rate), poisson(sizes[1], drifted_rate)) for _ in range(self.steps)]
        counts = drifted_per_batch(self.steps, self.batch_size, self.share)
        old = replayed(self.old.labels, int(self.steps * self.batch_size - counts.sum()), rng)
        drifted = cycled(np.arange(len(self.drifted.labels)), int(counts.sum()), rng)
        ends = np.cumsum(counts)[:-1]
        return list(zip(np.split(old, np.cumsum(self.batch_size - counts)[:-1]), np.split(drifted, ends), strict=True))

    def epoch(self, seed: int) -> Iterator[Batch]:
        """The batches of the epoch that `seed` stands for: images normalised, old ones first, and class numbers."""
        generator = torch.Generator().manual_seed(derive(seed, 1))
        own = current().share
        for old_rows, drifted_rows in self.rows(np.random.default_rng(seed)):
            old, old_labels = self.old.take(old_rows)
            drifted, drifted_labels = self.drifted.take(drifted_rows)
            images = torch.cat([old, drifted]).float()
            if self.augmentation and len(images):
                images = self.augmentation(images, generator)
            if self.restyle and self.restyle_share > 0:
                chosen = (torch.rand(len(old), generator=generator) < self.restyle_share).nonzero().flatten()
                if len(chosen):
                    images[chosen.to(images.device)] = self.restyle(images[chosen.to(images.device)], generator)
            # Only the network's work is shared: this batch, old and drifted, is made whole in each process.
            yield self.old.normalise(images[own]), torch.cat([old_labels, drifted_labels])[own]


def drifted_per_batch(steps: int, batch_size: int, share: float) -> np.ndarray:
    """How many drifted images each batch holds, (steps,) int: whole numbers whose running mean is the share, at least one a batch.

    Args:
        steps: batches.
        batch_size: images in each.
        share: of drifted images, in (0, 1).
    """
    totals = np.floor(np.arange(steps + 1) * batch_size * share + 0.5).astype(np.int64)
    return np.clip(np.diff(totals), 1, batch_size - 1)


def cycled(candidates: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` of the candidates: all of them in random order before any comes again."""
    rounds = -(-count // len(candidates))
    return np.concatenate([candidates[:0], *(rng.permutation(candidates) for _ in range(rounds))])[:count]


def replayed(labels: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` rows of old images, sampled by class: each class equally often, so that a rare one is not forgotten.

    Args:
        labels: int (N,), of the old images.
        count: rows to draw.
        rng: of the draw.
    """
    classes = np.unique(labels)
    wanted = rng.permutation(np.arange(count) % len(classes))
    rows = np.empty(count, dtype=np.int64)
    for number, label in enumerate(classes):
        places = np.flatnonzero(wanted == number)
        rows[places] = cycled(np.flatnonzero(labels == label), len(places), rng)
    return rows
