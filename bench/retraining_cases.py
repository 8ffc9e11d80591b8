"""What the retraining benchmark works on: a synthetic dataset like the default run's, grown by a drift, and a champion for it.

Images are drawn, saved as JPEG and decoded to 64 x 64 like any source: train 1,200 (1 % of the labels wrong, as in the source), val 300,
clean test 1,500; drifted 300 to train on, 60 to stop by, 300 as the gate has them, and 1,500 more, which no real run has labels for,
so that recovery is measured on more than the gate's few.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from bench.drift_images import clean_images
from driftloop.bundle import ModelDescription
from driftloop.contracts import DRIFTED_GATE, DRIFTED_TRAIN, DRIFTED_VAL, TEST, TRAIN, VAL
from driftloop.dataset import Description, open_split, write_dataset
from driftloop.scenarios import parse
from driftloop.store import open_store
from driftloop.training import architectures
from driftloop.training.augmentation import Augmentation
from driftloop.training.batches import OrderedBatches, TrainingBatches
from driftloop.training.classifier import Classifier
from driftloop.training.device import mixed_precision
from driftloop.training.epoch import predict
from driftloop.training.loop import fit
from driftloop.training.recipe import Recipe
from driftloop.training.seeding import set_seed

SIZES = {TRAIN: 1200, VAL: 300, TEST: 1500, DRIFTED_TRAIN: 300, DRIFTED_VAL: 60, DRIFTED_GATE: 300, "drifted_more": 1500}
WRONG_LABELS = 0.01
RATE = 3e-3
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """A seed's dataset and the champion trained on its clean part."""

    dataset: Description
    champion: ModelDescription
    weights: dict[str, torch.Tensor]

    def network(self) -> Classifier:
        """The champion, afresh."""
        network = architectures.build_network(self.champion.architecture, channels=self.champion.channels, classes=2)
        network.load_state_dict(self.weights)
        return network.eval()

    def right(self, network: torch.nn.Module, split: str) -> np.ndarray:
        """Which images of a split are classified as labelled, bool (N,)."""
        return self.probabilities(network, split).argmax(1) == ordered(self.dataset, split).labels

    def probabilities(self, network: torch.nn.Module, split: str) -> np.ndarray:
        """What the network says of a split, (N, 2)."""
        return predict(network, ordered(self.dataset, split)).numpy()


@contextmanager
def make_case(seed: int, drift: str, epochs: int) -> Iterator[Case]:
    """Draw the images, let the last four splits drift, and train a champion; the store goes with the context."""
    with tempfile.TemporaryDirectory(prefix="driftloop-bench-") as folder:
        dataset = write_dataset(open_store(folder), _parts(seed, drift), classes=["NORMAL", "PNEUMONIA"], source=f"synthetic, seed {seed}")
        network = _train(dataset, seed, epochs)
        champion = ModelDescription(
            architecture=architectures.RESIDUAL,
            classes=dataset.classes,
            image_size=dataset.image_size,
            channels=dataset.channels,
            mean=dataset.mean,
            std=dataset.std,
            dataset=dataset.manifest_hash,
            seed=seed,
            training={"learning_rate": RATE},
            metrics={},
            libraries={},
        )
        yield Case(dataset, champion, {name: tensor.clone() for name, tensor in network.state_dict().items()})


def ordered(dataset: Description, split: str) -> OrderedBatches:
    """A split, in order."""
    part = open_split(dataset, split)
    return OrderedBatches(part.images, part.labels, mean=dataset.mean, std=dataset.std, device=CPU)


def _parts(seed: int, drift: str) -> dict[str, tuple[np.ndarray, np.ndarray, pd.DataFrame]]:
    scenario, parts, first = parse(drift), {}, 0
    rng = np.random.default_rng([seed, 9])
    for split, count in SIZES.items():
        images, labels = clean_images(count, seed=seed, first=first)
        if split == TRAIN:
            labels = np.where(rng.random(count) < WRONG_LABELS, 1 - labels, labels)
        if split.startswith("drifted"):
            images = scenario.apply(images, rng, None)
        names = [f"{number:06d}" for number in range(first, first + count)]
        parts[split] = (images, labels, pd.DataFrame({"path": names, "group": names, "sha256": names, "width": 64, "height": 64}))
        first += count
    return parts


def _train(dataset: Description, seed: int, epochs: int) -> Classifier:
    """The optimised training's recipe, without its range test."""
    set_seed(seed)
    network = architectures.build_network(architectures.RESIDUAL, channels=dataset.channels, classes=2)
    train = open_split(dataset, TRAIN)
    batches = TrainingBatches(train.images, train.labels, mean=dataset.mean, std=dataset.std, device=CPU, augmentation=Augmentation())
    precision = "bfloat16" if mixed_precision(CPU, "residual") else "float32"
    recipe = Recipe(epochs, RATE, weight_decay=0.05, one_cycle=True, precision=precision, label_smoothing=0.05)
    fit(network, batches, ordered(dataset, VAL), recipe, seed=seed)
    return network
