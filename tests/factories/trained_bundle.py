"""Small real inputs of the ONNX step: a dataset in a local store, and a network trained on it for a few seconds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from driftloop import bundle
from driftloop.dataset import Description, write_dataset, write_description
from driftloop.step_facts import write_facts
from driftloop.store import open_store
from driftloop.training import architectures
from driftloop.training.batches import normalise, to_tensor
from driftloop.training.weights import save_weights
from tests.factories.datasets import SIDE, sample_table
from tests.factories.records import model_description

MEAN, STD = 0.5, 0.25
NAMES = [f"class {index}" for index in range(12)]


@dataclass(frozen=True)
class DeploymentInputs:
    """Directories of a dataset artifact and of a trained bundle."""

    dataset: Path
    model: Path
    description: Description


def draw_stripes(count: int, *, channels: int, classes: int, seed: int, first: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Images with stripes: the class sets how many; noisy enough that not every one is classified right. `first` more are of the first."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    labels[: round(first * count)] = 0
    phase = rng.uniform(0, 2 * np.pi, (count, 1, 1, 1))
    wave = np.sin(np.arange(SIDE)[None, None, :, None] * (0.3 + 0.35 * labels[:, None, None, None]) + phase)
    noise = rng.normal(0, 45, (count, SIDE, SIDE, channels))
    return np.clip(128 + 40 * wave + noise, 0, 255).astype(np.uint8), labels.astype(np.int64)


def write_deployment_inputs(
    root: Path,
    counts: dict[str, int],
    *,
    architecture: str = architectures.RESIDUAL,
    channels: int = 1,
    classes: int = 2,
    steps: int = 25,
    seed: int = 0,
    first: float = 0.0,
    class_weights: tuple[float, ...] = (),
) -> DeploymentInputs:
    """Write a dataset with `counts` images by split (regime-* without labels; three of four of site AB) and a bundle, trained."""
    parts = {}
    for number, (split, count) in enumerate(counts.items()):
        images, labels = draw_stripes(count, channels=channels, classes=classes, seed=100 * seed + number, first=first)
        samples = sample_table(split, count).assign(tags=['{"site": "AB"}' if row % 4 else "" for row in range(count)])
        parts[split] = (images, np.full(count, -1) if split.startswith("regime") else labels, samples)
    description = write_dataset(open_store(str(root / "store")), parts, classes=NAMES[:classes], source="stripes")
    write_description(root / "dataset", description)
    write_facts(root / "dataset", "data_analysis", {"source": "stripes"})
    training = {"steps": steps, "class_weights": class_weights}
    train(root / "model", parts["train"][:2], architecture, channels, classes, training, description.manifest_hash)
    return DeploymentInputs(root / "dataset", root / "model", description)


def train(
    directory: Path,
    cases: tuple[np.ndarray, np.ndarray],
    architecture: str,
    channels: int,
    classes: int,
    training: dict[str, Any],
    dataset: str,
) -> None:
    torch.manual_seed(0)
    network = architectures.build_network(architecture, channels=channels, classes=classes)
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    inputs = normalise(to_tensor(cases[0]), torch.full((channels,), MEAN), torch.full((channels,), STD))
    targets = torch.from_numpy(cases[1])
    weights = torch.tensor(training["class_weights"]) if training["class_weights"] else None
    for step in range(training["steps"]):
        rows = torch.arange(32).add(32 * step) % len(targets)
        loss = torch.nn.functional.cross_entropy(network(inputs[rows]), targets[rows], weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    save_weights(network, directory)
    (directory / bundle.CARD).write_text(
        "# Model card\n\n## Intended use\n\nStripes.\n\n## Deployment\n\nof the parent\n\n## Limits\n\nMany.\n"
    )
    write_facts(directory, "model_optimization", {"accuracy": None})
    bundle.write_model(
        directory,
        model_description(
            architecture=architecture,
            classes=NAMES[:classes],
            channels=channels,
            mean=[MEAN] * channels,
            std=[STD] * channels,
            dataset=dataset,
            training=training,
            class_shares=(np.bincount(cases[1], minlength=classes) / len(cases[1])).tolist() if training["class_weights"] else [],
            libraries={"numpy": np.__version__},
        ),
    )
    bundle.seal(directory)
