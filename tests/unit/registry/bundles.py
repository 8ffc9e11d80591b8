"""Small candidates with the evidence on them, in the layouts that the steps write."""

import json
from pathlib import Path

import numpy as np

from driftloop import bundle
from driftloop.bundle import ModelDescription
from driftloop.dataset.description import DATASET_FILE as DATASET
from driftloop.dataset.description import Description
from driftloop.evaluation.intervals import wilson
from driftloop.step_facts import write_facts, write_json

MANIFEST = "d" * 64


def write_candidate(directory: Path, *, seed: int, parent: str | None = None) -> Path:
    """A sealed bundle whose weights and accuracy follow from `seed`."""
    directory.mkdir(parents=True)
    model = ModelDescription(
        architecture="residual",
        classes=["NORMAL", "PNEUMONIA"],
        image_size=64,
        channels=1,
        mean=[0.5],
        std=[0.2],
        dataset=MANIFEST,
        seed=seed,
        training={"epochs": 3, "label_smoothing": 0.05},
        metrics={"served_accuracy": wilson(800 + seed, 1000)},
        libraries={"torch": "2.6"},
        parent=parent,
        served=bundle.ONNX_INT8,
    )
    bundle.write_model(directory, model)
    write_facts(directory, "onnx_deployment", {"served": bundle.ONNX_INT8})
    for name in (bundle.WEIGHTS, bundle.ONNX_FP32, bundle.ONNX_INT8, bundle.REFERENCE):
        (directory / name).write_bytes(np.random.default_rng([seed, len(name)]).bytes(5000))
    (directory / "events").mkdir()
    (directory / "events" / "tensorboard.tfevents").write_bytes(b"not part of the bundle")
    bundle.seal(directory)
    return directory


def write_gate_evidence(
    directory: Path, candidate: Path, *, champion: str | None, decision: str = "promote", dataset: str = MANIFEST
) -> Path:
    """What the gate leaves when it judged `candidate` against version `champion`."""
    gate = {
        "decision": decision,
        "reasons": [f"clean accuracy: {decision}"],
        "criteria": [],
        "champion_version": champion,
        "candidate": bundle.sha256_file(candidate / bundle.SUMS),
        "dataset": dataset,
        "test_uses": 1,
    }
    write_json(directory / "gate.json", gate)
    write_facts(directory, "validation_gate", {"decision": decision})
    return directory


def write_dataset_artifact(directory: Path, store: str) -> Path:
    """The dataset artifact on which candidates are judged here."""
    description = Description(
        manifest_hash=MANIFEST,
        store=store,
        source="synthetic:xray",
        classes=["NORMAL", "PNEUMONIA"],
        image_size=64,
        channels=1,
        mean=[0.5],
        std=[0.2],
        counts={"test": 10},
        samples="datasets/d/samples.parquet",
        shards=[],
    )
    write_json(directory / DATASET, json.loads(description.model_dump_json()))
    return directory
