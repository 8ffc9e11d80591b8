"""A small production: a store with a dataset of textured squares and a registered, serving model, all of them real."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from driftloop import bundle, registry
from driftloop.dataset import Description, write_dataset
from driftloop.inference.image_statistics import statistic_names
from driftloop.inference.reference import CLEAN_REGIME, measure_regime, write_reference
from driftloop.inference.served_model import ServedModel
from driftloop.step_facts import write_facts
from driftloop.store import Store, open_store
from tests.factories.candidates import write_gate_evidence
from tests.factories.datasets import image_digests, sample_table
from tests.factories.onnx_graphs import SIDE, brightness_description, save_brightness_graph

CLASSES = ("bright", "dark")


def build_serving_store(
    root: Path,
    store: Store | None = None,
    *,
    stream: int = 300,
    images_per_group: int = 1,
    p95_ms: float = 1000.0,
    class_shares: Sequence[float] = (),
    classes: Sequence[str] = CLASSES,
) -> tuple[Store, Description]:
    """A store, in `root` where none is given, whose champion, version 1, tells bright from dark squares, and the dataset of its making."""
    store = store or open_store(str(root / "store"))
    parts = {
        "train": textured_squares(8, seed=1),
        "reference": textured_squares(200, seed=2),
        "stream": textured_squares(stream, seed=3, images_per_group=images_per_group),
    }
    dataset = write_dataset(store, parts, classes=list(classes), source="squares")
    register_and_promote(store, root, dataset, expected=None, p95_ms=p95_ms, class_shares=class_shares)
    return store, dataset


def register_and_promote(
    store: Store,
    root: Path,
    dataset: Description,
    *,
    expected: str | None,
    p95_ms: float = 1000.0,
    seed: int = 0,
    class_shares: Sequence[float] = (),
) -> str:
    """Register and promote a version; its number."""
    directory = root / f"candidate-{seed}"
    directory.mkdir()
    save_brightness_graph(directory / bundle.ONNX_FP32, classes=2, channels=1)
    of_model = {"dataset": dataset.manifest_hash, "seed": seed, "class_shares": list(class_shares)}
    model = brightness_description(tuple(dataset.classes)).model_copy(update=of_model)
    bundle.write_model(directory, model)
    images, _, samples = textured_squares(200, seed=2)
    served = ServedModel(directory, model, bundle.ONNX_FP32)
    write_reference(
        directory / bundle.REFERENCE, [measure_regime(CLEAN_REGIME, served, images, list(samples["group"]))], statistic_names(1)
    )
    benchmark = [{"variant": bundle.ONNX_FP32, "batch": 1, "p95_ms": p95_ms}]
    write_facts(directory, "onnx_deployment", {"benchmark": benchmark})
    bundle.seal(directory)
    evidence = write_gate_evidence(root / f"evidence-{seed}", directory, champion=expected, dataset=dataset.manifest_hash)
    version = registry.register(store, directory, evidence)
    registry.promote(store, version, expected=expected, reason="test")
    return version


def textured_squares(n: int, *, seed: int, images_per_group: int = 1) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """n textured squares, bright (0) and dark (1) in turn, two of three of site B: images uint8 (n, SIDE, SIDE, 1), labels, samples."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    levels = np.where(labels == 0, 170, 80)[:, None, None, None] + rng.normal(0, 12, (n, 1, 1, 1))
    images = np.clip(levels + rng.normal(0, 20, (n, SIDE, SIDE, 1)), 0, 255).astype(np.uint8)
    groups = [f"{seed}-{index // images_per_group}" for index in range(n)]
    tags = ['{"site": "B"}' if index % 3 else "" for index in range(n)]
    return images, labels, sample_table(seed, n, groups=groups, digests=image_digests(images)).assign(tags=tags)
