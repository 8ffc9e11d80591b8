"""The served model: a verified graph, a strict input, the log's number types."""

import logging
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from driftloop import bundle
from driftloop.errors import InputError, IntegrityError
from driftloop.inference import provider
from driftloop.inference.served_model import ServedModel, open_session
from tests.factories.onnx_graphs import SIDE, brightness_description, grey_images, save_brightness_graph, write_brightness_bundle


def test_predictions_are_probabilities_and_float16_embeddings(tmp_path: Path) -> None:
    model = ServedModel.open(write_brightness_bundle(tmp_path))
    predictions = model.predict(grey_images([10, 128, 240]))
    assert predictions.probabilities.dtype == np.float32
    assert predictions.probabilities.shape == (3, 2)
    assert predictions.embedding.dtype == np.float16
    np.testing.assert_array_equal(predictions.embedding[:, 0], [10, 128, 240])
    np.testing.assert_allclose(predictions.probabilities.sum(axis=1), 1, atol=1e-6)
    assert list(predictions.labels) == [1, 0, 0]


@pytest.mark.parametrize("classes", [("a", "b"), tuple("abcdefghijkl")])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_number_of_classes_and_both_kinds_of_images(tmp_path: Path, classes: tuple[str, ...], channels: int) -> None:
    model = ServedModel.open(write_brightness_bundle(tmp_path, classes=classes, channels=channels))
    predictions = model.predict(grey_images([0, 255], channels))
    assert predictions.probabilities.shape == (2, len(classes))
    assert predictions.embedding.shape == (2, channels)


def test_batches_do_not_change_the_answers(tmp_path: Path) -> None:
    model = ServedModel.open(write_brightness_bundle(tmp_path))
    images = np.random.default_rng(0).integers(0, 256, (23, SIDE, SIDE, 1), dtype=np.uint8)
    singly, batched = model.predict(images, batch_size=1), model.predict(images, batch_size=7)
    np.testing.assert_array_equal(singly.embedding, batched.embedding)
    np.testing.assert_allclose(singly.probabilities, batched.probabilities, atol=1e-6)


def test_sessions_that_are_kept_to_a_number_of_images_each_answer_as_one_that_takes_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_brightness_bundle(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (23, SIDE, SIDE, 1), dtype=np.uint8)
    expected = ServedModel.open(folder).predict(images)
    seen: dict[ort.InferenceSession, set[int]] = {}

    class Watched(ort.InferenceSession):
        def run(self, names: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            seen.setdefault(self, set()).add(len(inputs["images"]))
            return super().run(names, inputs)

    monkeypatch.setattr(ort, "InferenceSession", Watched)
    model = ServedModel(folder, bundle.read_model(folder), bundle.ONNX_FP32, batches=(1, 4, 8))
    for size in (1, 2, 3, 4, 5, 8, 23):
        predictions = model.predict(images[:size], batch_size=size)
        np.testing.assert_array_equal(predictions.embedding, expected.embedding[:size])
        np.testing.assert_allclose(predictions.probabilities, expected.probabilities[:size], atol=1e-6)
    assert sorted(map(sorted, seen.values())) == [[1], [4], [8]]
    assert len(model.predict(images[:0])) == 0


def test_no_images_give_empty_predictions(tmp_path: Path) -> None:
    predictions = ServedModel.open(write_brightness_bundle(tmp_path)).predict(grey_images([1])[:0])
    assert predictions.probabilities.shape == (0, 2)
    assert predictions.embedding.shape == (0, 1)
    assert len(predictions.labels) == 0


def test_embeddings_beyond_float16_are_clipped_not_infinite(tmp_path: Path) -> None:
    predictions = ServedModel.open(write_brightness_bundle(tmp_path, scale=1e4)).predict(grey_images([255]))
    assert predictions.embedding[0, 0] == np.finfo(np.float16).max


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, SIDE, SIDE, 1), np.float32),
        np.zeros((1, SIDE, SIDE, 3), np.uint8),
        np.zeros((1, SIDE, SIDE + 1, 1), np.uint8),
        np.zeros((1, 1, SIDE, SIDE), np.uint8),
        np.zeros((SIDE, SIDE, 1), np.uint8),
    ],
)
def test_anything_but_uint8_images_of_the_right_size_is_refused(tmp_path: Path, images: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"expected uint8 images \(N, 32, 32, 1\), got"):
        ServedModel.open(write_brightness_bundle(tmp_path)).predict(images)


def test_lists_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got list"):
        ServedModel.open(write_brightness_bundle(tmp_path)).predict([[1, 2]])  # type: ignore[arg-type]


def test_the_bundle_names_the_served_file_and_a_variant_can_be_asked_for(tmp_path: Path) -> None:
    write_brightness_bundle(tmp_path)
    assert ServedModel.open(tmp_path).variant == bundle.ONNX_FP32
    assert ServedModel.open(tmp_path, variant=bundle.ONNX_INT8).variant == bundle.ONNX_INT8
    with pytest.raises(InputError, match=r"no model\.int4\.onnx"):
        ServedModel.open(tmp_path, variant="model.int4.onnx")


def test_a_model_that_was_never_exported_says_so(tmp_path: Path) -> None:
    write_brightness_bundle(tmp_path)
    bundle.write_model(tmp_path, brightness_description(served=""))
    bundle.seal(tmp_path)
    with pytest.raises(InputError, match="not exported yet; run onnx_deployment"):
        ServedModel.open(tmp_path)


def test_a_changed_graph_is_refused(tmp_path: Path) -> None:
    write_brightness_bundle(tmp_path)
    with open(tmp_path / bundle.ONNX_FP32, "ab") as stream:
        stream.write(b"\0")
    with pytest.raises(IntegrityError, match=r"model\.onnx: does not match its checksum"):
        ServedModel.open(tmp_path)


def test_a_file_that_is_no_graph_is_refused_in_one_line(tmp_path: Path) -> None:
    write_brightness_bundle(tmp_path)
    (tmp_path / bundle.ONNX_FP32).write_bytes(b"not a graph")
    bundle.seal(tmp_path)
    with pytest.raises(IntegrityError, match="cannot load this graph") as refused:
        ServedModel.open(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"input_name": "x"}, r"inputs \['x'\]"),
        ({"side": 8}, r"takes tensor\(uint8\) \(N, 8, 8, 1\)"),
        ({"classes": 5}, "gives 5 probabilities"),
    ],
)
def test_a_graph_with_another_schema_is_refused(tmp_path: Path, changes: dict, complaint: str) -> None:
    write_brightness_bundle(tmp_path)
    save_brightness_graph(tmp_path / bundle.ONNX_FP32, **({"classes": 2, "channels": 1} | changes))
    bundle.seal(tmp_path)
    with pytest.raises(InputError, match=complaint):
        ServedModel.open(tmp_path)


def test_the_provider_is_said_once_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    provider.log_once.cache_clear()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    write_brightness_bundle(tmp_path)
    with caplog.at_level(logging.INFO, logger="driftloop.inference"):
        ServedModel.open(tmp_path, threads=1)
        ServedModel.open(tmp_path, threads=1)
    assert [record.message for record in caplog.records] == ["model.onnx runs on CPUExecutionProvider, 1 thread"]


def test_opening_a_model_writes_nothing_to_the_console(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ServedModel.open(write_brightness_bundle(tmp_path)).predict(grey_images([5]))
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(
    provider.CUDA not in ort.get_available_providers() or provider.cuda_device_visible(), reason="needs a CUDA build and no GPU"
)
def test_cuda_that_cannot_be_had_falls_back_to_the_cpu_and_says_so_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    provider.warn_once.cache_clear()
    path = write_brightness_bundle(tmp_path) / bundle.ONNX_FP32
    sessions = [open_session(path, threads=1, provider=provider.CUDA) for _ in range(2)]
    assert sessions[1].get_providers() == [provider.CPU]
    (said,) = caplog.records
    assert said.levelno == logging.WARNING
    assert said.message.startswith("model.onnx runs on the CPU: CUDAExecutionProvider was asked for, but there is no GPU, or")
    assert capfd.readouterr() == ("", "")


def test_a_hidden_gpu_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert provider.choose_provider(bundle.ONNX_FP32) == provider.CPU


def test_int8_graphs_always_run_on_the_cpu() -> None:
    assert provider.choose_provider(bundle.ONNX_INT8) == provider.CPU


def test_a_gpu_that_int8_leaves_idle_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    provider.warn_once.cache_clear()
    monkeypatch.setattr(provider, "cuda_device_visible", lambda: True)
    assert provider.choose_provider(bundle.ONNX_INT8) == provider.CPU
    assert "beside a GPU: INT8 is for CPUs; set deploy_config.serve_on=cuda" in caplog.text


def test_a_graph_for_gpus_without_one_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    provider.warn_once.cache_clear()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert provider.choose_provider(bundle.ONNX_FP16) == provider.CPU
    assert "it was made for a GPU" in caplog.text


def test_an_onnxruntime_without_cuda_beside_a_gpu_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    provider.warn_once.cache_clear()
    monkeypatch.setattr(provider, "cuda_device_visible", lambda: True)
    monkeypatch.setattr(ort, "get_available_providers", lambda: [provider.CPU])
    assert provider.choose_provider(bundle.ONNX_FP32) == provider.CPU
    assert "built without CUDA" in caplog.text


def test_where_classes_count_alike_the_class_is_the_one_above_its_share_whatever_the_temperature(tmp_path: Path) -> None:
    levels = [100, 120, 127, 140]
    for temperature in (1.0, 2.0):
        folder = write_brightness_bundle(tmp_path / str(temperature))
        description = bundle.read_model(folder).model_copy(update={"class_shares": [0.2, 0.8], "temperature": temperature})
        bundle.write_model(folder, description)
        bundle.seal(folder)
        predictions = ServedModel.open(folder).predict(grey_images(levels), batch_size=3)
        # Of the graph's probabilities, p^T is what they were before the temperature.
        before = predictions.probabilities**temperature / np.array([0.2, 0.8])
        assert predictions.labels.tolist() == before.argmax(1).tolist()
        assert predictions.confidences.tolist() == predictions.probabilities[range(4), predictions.labels].tolist()
        assert predictions.labels.tolist() != predictions.probabilities.argmax(1).tolist()
    assert description.naming_rule == "(probabilities / [0.447214, 0.894427]).argmax(axis=-1)"
    assert brightness_description().naming_rule == "probabilities.argmax(axis=-1)"
