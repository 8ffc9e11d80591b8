"""The served graphs on onnxruntime's CUDA provider, where it is installed."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from components.onnx_deployment.half import write_half
from driftloop.inference.provider import CPU, CUDA
from driftloop.inference.served_model import ServedModel, open_session
from driftloop.serving.gpu_metrics import GpuMetrics
from driftloop.training.architectures import RESIDUAL, build_network
from driftloop.training.onnx_export import ServingGraph, export_onnx
from tests.factories.onnx_graphs import brightness_description

SIDE = 64
LARGE = np.random.default_rng(1).integers(0, 256, (100, SIDE, SIDE, 1), dtype=np.uint8)
IMAGES = np.random.default_rng(0).integers(0, 256, (16, SIDE, SIDE, 1), dtype=np.uint8)


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """FP32 and FP16 of a fresh network."""
    if CUDA not in ort.get_available_providers():
        pytest.skip("onnxruntime was built without CUDA here")
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("graphs")
    network = build_network(RESIDUAL, channels=1, classes=2)
    export_onnx(ServingGraph(network, mean=[0.5], std=[0.2], temperature=1.5), folder / "fp32.onnx", image_size=SIDE, channels=1)
    write_half(folder / "fp32.onnx", folder / "fp16.onnx")
    return {name: folder / f"{name}.onnx" for name in ("fp32", "fp16")}


@pytest.mark.parametrize(("name", "tolerance"), [("fp32", 2e-3), ("fp16", 5e-3)])
def test_cuda_answers_as_the_cpu_does(graphs: dict[str, Path], name: str, tolerance: float) -> None:
    expected = open_session(graphs["fp32"], threads=2, provider=CPU).run(None, {"images": IMAGES})
    session = open_session(graphs[name], threads=2, provider=CUDA)
    assert session.get_providers()[0] == CUDA
    for answer, right in zip(session.run(None, {"images": IMAGES}), expected, strict=True):
        np.testing.assert_allclose(answer, right, atol=tolerance)


def test_batches_of_any_size_are_answered_as_the_cpu_does(graphs: dict[str, Path]) -> None:
    description = brightness_description().model_copy(update={"image_size": SIDE})
    folder = graphs["fp32"].parent
    expected = ServedModel(folder, description, "fp32.onnx", provider=CPU).predict(LARGE)
    model = ServedModel(folder, description, "fp32.onnx", provider=CUDA)
    assert model.provider == CUDA
    for size in (1, 3, 8, 33, 100):
        np.testing.assert_allclose(model.predict(LARGE[:size], size).probabilities, expected.probabilities[:size], atol=2e-3)


def test_the_service_tells_what_the_driver_says_of_each_gpu() -> None:
    families = {family.name: family.samples for family in GpuMetrics().collect()}
    used, memory = families["driftloop_gpu_memory_used_bytes"], families["driftloop_gpu_memory_bytes"]
    assert len(memory) == torch.cuda.device_count()
    assert all(0 < taken.value < whole.value for taken, whole in zip(used, memory, strict=True))
    assert all(0 <= sample.value <= 1 for sample in families["driftloop_gpu_busy_ratio"])
    assert memory[0].labels == {"gpu": "0", "name": torch.cuda.get_device_name(0)}
