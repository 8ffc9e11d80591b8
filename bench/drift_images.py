"""What the drift benchmarks compare: synthetic chest X-rays as a user's folder would hold them, and their vectors.

The images are drawn, saved as JPEG (quality 90) and decoded to 64 x 64 like any source. Statistics are those of the log. Embedding
and probabilities come from the served graph of `--champion <bundle>`, or, without one, from a quick stand-in: a small convolutional
network trained for half a minute on 2,400 images, whose globally averaged features are the embedding.
"""

import io
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from driftloop.dataset.decoding import decode_image
from driftloop.inference.image_statistics import image_statistics
from driftloop.inference.served_model import ServedModel
from driftloop.synthetic import draw

SIDE, QUALITY = 64, 90
TRAINING, HELD_OUT, EPOCHS, BATCH = 2_400, 600, 20, 64


@dataclass(frozen=True)
class Vectors:
    """N images: statistics (N, 6), embedding (N, D), probabilities (N, K), labels (N,) and counts of grey levels (N, 256)."""

    statistics: np.ndarray
    embedding: np.ndarray
    probabilities: np.ndarray
    labels: np.ndarray
    grey: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> "Vectors":
        return Vectors(*(getattr(self, name)[rows] for name in ("statistics", "embedding", "probabilities", "labels", "grey")))


def clean_images(count: int, *, seed: int, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images number first..first + count of the series: uint8 (N, 64, 64, 1), and labels (N,), half of them 1."""
    labels = np.random.default_rng([seed, first]).integers(0, 2, count)
    images = np.empty((count, SIDE, SIDE, 1), np.uint8)
    for position, label in enumerate(labels):
        stream = io.BytesIO()
        Image.fromarray(draw("xray", seed=seed, index=first + position, label=int(label))).save(stream, "JPEG", quality=QUALITY)
        images[position, ..., 0] = decode_image(stream.getvalue(), SIDE).pixels
    return images, labels


class StandIn:
    """The quick network; `accuracy` is measured on images it was not trained on."""

    name = "stand-in: four convolutions and a global mean (64 features)"

    def __init__(self, seed: int) -> None:
        import torch
        from torch import nn

        torch.manual_seed(seed)
        widths = (1, 16, 32, 64, 64)
        layers = [
            nn.Sequential(nn.Conv2d(i, o, 3, stride=2 if o < 64 or i < 64 else 1, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU())
            for i, o in pairwise(widths)
        ]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(widths[-1], 2)
        images, labels = clean_images(TRAINING + HELD_OUT, seed=seed, first=1_000_000)
        self._train(images[:TRAINING], labels[:TRAINING])
        self.accuracy = float((self(images[TRAINING:])[0].argmax(axis=1) == labels[TRAINING:]).mean())

    def _train(self, images: np.ndarray, labels: np.ndarray) -> None:
        import torch
        from torch.nn.functional import cross_entropy

        x, y = self._tensor(images), torch.from_numpy(labels)
        parameters = [*self.body.parameters(), *self.head.parameters()]
        steps = EPOCHS * (TRAINING // BATCH)
        optimiser = torch.optim.AdamW(parameters, lr=3e-3, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
        for _ in range(EPOCHS):
            for rows in torch.randperm(TRAINING)[: TRAINING // BATCH * BATCH].split(BATCH):
                batch = x[rows].flip(3) if torch.rand(()) < 0.5 else x[rows]
                optimiser.zero_grad()
                cross_entropy(self.head(self.body(batch)), y[rows]).backward()
                optimiser.step()
                schedule.step()
        self.body.eval()

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        import torch

        with torch.inference_mode():
            parts = [self.body(part) for part in self._tensor(images).split(500)]
            embedding = torch.cat(parts)
            return self.head(embedding).softmax(1).numpy(), embedding.numpy().astype(np.float16)

    @staticmethod
    def _tensor(images: np.ndarray) -> Any:
        import torch

        return (torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() - 128) / 64


class Champion:
    """The served graph of a bundle."""

    def __init__(self, directory: Path) -> None:
        self.model = ServedModel.open(directory)
        self.name = f"{self.model.description.architecture}, {self.model.variant}"
        self.accuracy = self.model.description.metrics["served_accuracy"].value

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        predictions = self.model.predict(images)
        return predictions.probabilities, predictions.embedding


def measure(network: StandIn | Champion, images: np.ndarray, labels: np.ndarray) -> Vectors:
    """The vectors of images, as the log would hold them."""
    probabilities, embedding = network(images)
    grey = np.stack([np.bincount(image.ravel(), minlength=256) for image in images])
    return Vectors(image_statistics(images), embedding.astype(np.float32), probabilities, labels, grey)
