"""A store with a champion of any image size, for benchmarks of the service: a residual network with drawn weights, quantised to INT8."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from components.onnx_deployment.quantisation import quantise
from driftloop import bundle, registry
from driftloop.contracts import GATE_EVIDENCE, PROMOTE
from driftloop.inference.image_statistics import statistic_names
from driftloop.inference.reference import CLEAN_REGIME, measure_regime, write_reference
from driftloop.inference.served_model import ServedModel
from driftloop.step_facts import write_facts, write_json
from driftloop.store import Store
from driftloop.training.architectures import RESIDUAL, build_network
from driftloop.training.onnx_export import ServingGraph, export_onnx

CLASSES = ["NORMAL", "PNEUMONIA"]
REFERENCE_IMAGES = 1000


def smooth_noise(count: int, side: int, seed: int) -> np.ndarray:
    """Images that a JPEG compresses about as well as a photograph: uint8 (N, side, side, 1)."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (count, side // 8, side // 8), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)) for image in small])[..., None]


def promote_new_version(store: Store, side: int, *, expected: str | None, seed: int = 0) -> str:
    """Export, quantise, register and promote a network with weights of its own; its version."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, evidence = Path(temporary, "candidate"), Path(temporary, "evidence")
        folder.mkdir()
        evidence.mkdir()
        torch.manual_seed(seed)
        network = build_network(RESIDUAL, channels=1, classes=2).eval()
        export_onnx(ServingGraph(network, mean=[0.5], std=[0.25], temperature=1.0), folder / bundle.ONNX_FP32, image_size=side, channels=1)
        images = smooth_noise(64, side, seed=1)
        quantise(folder / bundle.ONNX_FP32, folder / bundle.ONNX_INT8, images[:32], images[32:], "minmax")
        model = bundle.ModelDescription(
            architecture=RESIDUAL, classes=CLASSES, image_size=side, channels=1, mean=[0.5], std=[0.25], dataset="0" * 64, seed=seed,
            training={}, metrics={}, libraries={}, served=bundle.ONNX_INT8,
        )  # fmt: skip
        bundle.write_model(folder, model)
        seen = smooth_noise(REFERENCE_IMAGES, side, seed=2)
        regime = measure_regime(CLEAN_REGIME, ServedModel(folder, model, bundle.ONNX_INT8), seen, [str(at) for at in range(len(seen))])
        write_reference(folder / bundle.REFERENCE, [regime], statistic_names(1))
        write_facts(folder, "onnx_deployment", {})
        bundle.seal(folder)
        judged = {"candidate": bundle.digest_of(folder), "champion_version": expected, "decision": PROMOTE, "reasons": [], "criteria": []}
        write_json(evidence / GATE_EVIDENCE, judged | {"dataset": model.dataset, "test_uses": 1})
        version = registry.register(store, folder, evidence)
    registry.promote(store, version, expected=expected, reason="benchmark")
    return version
