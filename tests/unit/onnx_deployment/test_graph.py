"""The exported graph computes what the network does, for any batch, and carries nothing of the machine that made it."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from components.onnx_deployment.quantisation import METHODS, correct_head, mean_divergence, quantise
from driftloop import bundle
from driftloop.errors import RunFailed
from driftloop.inference.served_model import IN_BLOCKS, ServedModel
from driftloop.training import architectures
from driftloop.training.onnx_export import ServingGraph, check_parity, export_onnx
from tests.factories.records import model_description

MEANS, STDS = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]


class Exported(NamedTuple):
    graph: ServingGraph
    path: Path
    images: np.ndarray


@pytest.fixture(scope="module", params=[("residual", 1, 2), ("plain_cnn", 3, 11)], ids=["residual grey", "plain colour"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    architecture, channels, classes = request.param
    torch.manual_seed(0)
    network = architectures.build_network(architecture, channels=channels, classes=classes)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.running_mean, 0, 0.1)
    graph = ServingGraph(network.eval(), mean=MEANS[:channels], std=STDS[:channels], temperature=1.7)
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    export_onnx(graph, path, image_size=32, channels=channels)
    return Exported(graph, path, np.random.default_rng(0).integers(0, 256, (48, 32, 32, channels), dtype=np.uint8))


def run(path: Path, images: np.ndarray) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(
        ["probabilities", "embedding"], {"images": images}
    )


def test_the_file_gives_the_network_s_own_answers_after_normalisation_and_temperature(exported: Exported) -> None:
    channels = exported.images.shape[-1]
    inputs = (exported.images / 255.0 - np.array(MEANS[:channels])) / np.array(STDS[:channels])
    with torch.inference_mode():
        embedding = exported.graph.network.embed(torch.from_numpy(inputs.transpose(0, 3, 1, 2)).float())
        expected = torch.softmax(exported.graph.network.classify(embedding) / 1.7, dim=1)
    probabilities, vectors = run(exported.path, exported.images)
    np.testing.assert_allclose(probabilities, expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(vectors, embedding.numpy(), atol=1e-4)


@pytest.mark.parametrize("batch", [1, 2, 33])
def test_any_batch_size_gives_the_same_answers(exported: Exported, batch: int) -> None:
    together, _ = run(exported.path, exported.images)
    apart, _ = run(exported.path, exported.images[:batch])
    np.testing.assert_allclose(apart, together[:batch], atol=1e-5)


def test_parity_is_measured_and_a_wrong_file_stops_the_step(exported: Exported) -> None:
    assert check_parity(exported.graph, exported.path, exported.images) < 1e-5
    other = copy.deepcopy(exported.graph)
    other.temperature = 0.5
    with pytest.raises(RunFailed, match="a probability differs from PyTorch's by"):
        check_parity(other, exported.path, exported.images)


def test_the_file_carries_no_path_of_the_machine_and_no_external_data(exported: Exported) -> None:
    content = exported.path.read_bytes()
    for trace in (b"site-packages", b'.py"', b"stack_trace", str(Path.cwd()).encode()):
        assert trace not in content
    assert [path.name for path in exported.path.parent.iterdir() if path.suffix != ".onnx"] == []


def test_int8_quantises_the_convolutions_per_channel_and_leaves_stem_and_head(exported: Exported, tmp_path: Path) -> None:
    int8 = tmp_path / "model.int8.onnx"
    quantisation = quantise(exported.path, int8, exported.images[::2], exported.images[1::2])
    assert quantisation.method == min(quantisation.divergence, key=lambda name: quantisation.divergence[name])
    assert set(quantisation.divergence) == {"minmax", "percentile"}
    nodes = onnx.load(int8).graph.node
    producers = {name: node for node in nodes for name in node.output}
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    assert all(producers[name].op_type != "DequantizeLinear" for name in convolutions[0].input if name in producers)
    for node in nodes:
        if node.op_type == "Conv" and node is not convolutions[0]:
            assert producers[node.input[0]].op_type == "DequantizeLinear"
            weights = producers[node.input[1]]
            assert weights.op_type == "DequantizeLinear"
            scale = next(item for item in onnx.load(int8).graph.initializer if item.name == weights.input[1])
            assert len(scale.dims) == 1
            assert scale.dims[0] > 1
        if node.op_type in ("Gemm", "MatMul"):
            assert all(producers[name].op_type != "DequantizeLinear" for name in node.input if name in producers)
    assert int8.stat().st_size < exported.path.stat().st_size / 2
    assert b'.py"' not in int8.read_bytes()


def test_the_head_takes_a_shift_of_the_embeddings_back(exported: Exported, tmp_path: Path) -> None:
    """Correcting by a shift gives the probabilities of embeddings that were moved by it."""
    corrected = tmp_path / "corrected.onnx"
    corrected.write_bytes(exported.path.read_bytes())
    _, embedding = run(exported.path, exported.images)
    shift = np.random.default_rng(0).normal(0, 0.3, embedding.shape[1]).astype(np.float32)
    correct_head(corrected, shift)
    with torch.inference_mode():
        expected = torch.softmax(exported.graph.network.classify(torch.from_numpy(embedding + shift)) / 1.7, dim=1)
    probabilities, unchanged = run(corrected, exported.images)
    np.testing.assert_allclose(probabilities, expected.numpy(), atol=1e-5)
    np.testing.assert_array_equal(unchanged, embedding)


def test_int8_probabilities_are_not_shifted_on_average(exported: Exported, tmp_path: Path) -> None:
    int8 = tmp_path / "model.int8.onnx"
    quantise(exported.path, int8, exported.images, exported.images, "minmax")
    difference = run(int8, exported.images)[0] - run(exported.path, exported.images)[0]
    assert np.abs(difference.mean(axis=0)).max() < 1e-3


def test_int8_stays_close_to_fp32(exported: Exported, tmp_path: Path) -> None:
    int8 = tmp_path / "model.int8.onnx"
    quantisation = quantise(exported.path, int8, exported.images[:32], exported.images[32:], "minmax")
    expected, (probabilities, _) = run(exported.path, exported.images[32:])[0], run(int8, exported.images[32:])
    assert np.abs(expected - probabilities).max() < 0.05
    assert quantisation.divergence == {"minmax": pytest.approx(mean_divergence(expected, probabilities), abs=1e-6)}


@pytest.mark.parametrize("architecture", ["residual", "timm:resnet18"])
def test_only_our_grey_int8_graphs_are_served_without_blocks_and_answer_the_same(
    exported: Exported, architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantise(exported.path, tmp_path / bundle.ONNX_INT8, exported.images[:16], exported.images[16:20], "minmax")
    expected = run(tmp_path / bundle.ONNX_INT8, exported.images)
    left_out = []

    class Watched(ort.InferenceSession):
        def __init__(self, *given: Any, disabled_optimizers: Sequence[str] = (), **named: Any) -> None:
            left_out.extend(disabled_optimizers)
            super().__init__(*given, disabled_optimizers=disabled_optimizers, **named)

    monkeypatch.setattr(ort, "InferenceSession", Watched)
    channels, classes = exported.images.shape[-1], [str(at) for at in range(expected[0].shape[1])]
    description = model_description(architecture=architecture, classes=classes, channels=channels, image_size=32)
    predictions = ServedModel(tmp_path, description, bundle.ONNX_INT8, threads=1).predict(exported.images)
    assert left_out == ([IN_BLOCKS] if channels == 1 and architecture == "residual" else [])
    np.testing.assert_array_equal(predictions.probabilities, expected[0])
    np.testing.assert_array_equal(predictions.embedding, expected[1].astype(np.float16))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_silent(exported: Exported, tmp_path: Path, method: str, capfd: pytest.CaptureFixture[str]) -> None:
    quantise(exported.path, tmp_path / "model.int8.onnx", exported.images[:16], exported.images[16:20], method)
    assert capfd.readouterr() == ("", "")


def test_divergence_is_zero_for_equal_and_positive_for_different_probabilities() -> None:
    p, q = np.array([[0.7, 0.3], [1.0, 0.0]]), np.array([[0.5, 0.5], [0.9, 0.1]])
    assert mean_divergence(p, p) == 0
    by_hand = (0.7 * np.log(0.7 / 0.5) + 0.3 * np.log(0.3 / 0.5) + np.log(1 / 0.9)) / 2
    assert mean_divergence(p, q) == pytest.approx(by_hand, rel=1e-6)
