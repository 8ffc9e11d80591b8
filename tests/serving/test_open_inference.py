"""The Open Inference Protocol as its clients speak it."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from driftloop.serving.app import create_app
from driftloop.serving.live_model import LiveModel
from driftloop.serving.service import Service
from driftloop.serving.settings import ServingSettings
from tests.factories.onnx_graphs import SIDE
from tests.factories.serving_store import build_serving_store, textured_squares
from tests.serving.service_process import ANSWERED_IN_SECONDS, ServiceProcess, get, post

IMAGES = textured_squares(3, seed=4)[0]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    folder = tmp_path_factory.mktemp("protocol")
    store, _ = build_serving_store(folder / "model")
    with ServiceProcess(store.uri, folder) as process:
        yield process


def tensor(images: np.ndarray, **given: object) -> dict:
    return {"name": "images", "datatype": "UINT8", "shape": list(images.shape), **given}


def infer(service: ServiceProcess, content: dict | bytes, binary: bytes = b"", path: str = "/v2/models/champion/infer") -> httpx.Response:
    head = content if isinstance(content, bytes) else json.dumps(content).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))} if binary else {}
    return post(f"{service.url}{path}", content=head + binary, headers=headers)


def test_the_model_describes_itself(service: ServiceProcess) -> None:
    assert get(f"{service.url}/v2").json()["extensions"] == ["binary_tensor_data"]
    described = get(f"{service.url}/v2/models/champion").json()
    assert described == get(f"{service.url}/v2/models/champion/versions/1").json()
    assert described["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, SIDE, SIDE, 1]}]
    assert described["outputs"][0] == {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}
    for path, status in (("/ready", 200), ("/versions/1/ready", 200), ("/versions/2/ready", 404), ("/versions/2", 404)):
        assert get(f"{service.url}/v2/models/champion{path}").status_code == status


def test_json_and_binary_tensors_give_the_same_answers_as_files_do(service: ServiceProcess) -> None:
    by_json = infer(service, {"id": "mine", "inputs": [tensor(IMAGES, data=IMAGES.ravel().tolist())]}).json()
    assert (by_json["id"], by_json["model_name"], by_json["model_version"]) == ("mine", "champion", "1")
    (output,) = by_json["outputs"]
    assert (output["datatype"], output["shape"]) == ("FP32", [3, 2])
    probabilities = np.array(output["data"], np.float32).reshape(3, 2)

    wanted = [{"name": "embedding", "parameters": {"binary_data": True}}, {"name": "probabilities", "parameters": {"binary_data": True}}]
    parameters = {"binary_data_size": IMAGES.size}
    answer = infer(service, {"inputs": [tensor(IMAGES, parameters=parameters)], "outputs": wanted}, IMAGES.tobytes())
    length = int(answer.headers["inference-header-content-length"])
    head, data = json.loads(answer.content[:length]), answer.content[length:]
    sizes = [output["parameters"]["binary_data_size"] for output in head["outputs"]]
    assert sum(sizes) == len(data)
    assert head["outputs"][0]["datatype"] == "FP16"
    np.testing.assert_array_equal(np.frombuffer(data[sizes[0] :], np.float32).reshape(3, 2), probabilities)
    embedding = np.frombuffer(data[: sizes[0]], np.float16).reshape(head["outputs"][0]["shape"])
    assert np.isfinite(embedding).all()

    for image, row in zip(IMAGES, probabilities, strict=True):
        (prediction,) = service.predict(image)["predictions"]
        assert list(prediction["probabilities"].values()) == pytest.approx(row.tolist(), abs=1e-6)
    nested = infer(service, {"inputs": [tensor(IMAGES[:1], data=IMAGES[:1].tolist())]}, path="/v2/models/champion/versions/1/infer").json()
    np.testing.assert_allclose(nested["outputs"][0]["data"], probabilities[0], atol=1e-6)


FLAT = IMAGES.ravel().tolist()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object"),
        ({}, "one input: images"),
        ({"inputs": [tensor(IMAGES)] * 2}, "one input: images"),
        ({"inputs": [tensor(IMAGES, name="x", data=FLAT)]}, "one input: images"),
        ({"inputs": [tensor(IMAGES, datatype="FP32", data=FLAT)]}, "one input: images"),
        ({"inputs": [tensor(IMAGES, shape=[3, 1, 1, 1], data=FLAT)]}, "shape [3, 1, 1, 1]"),
        ({"inputs": [tensor(IMAGES, shape=[10**9, SIDE, SIDE, 1], data=FLAT)]}, "n from 1 to 64"),
        ({"inputs": [tensor(IMAGES, shape=[True, SIDE, SIDE, 1], data=FLAT)]}, "n from 1 to 64"),
        ({"inputs": [tensor(IMAGES, shape=[3, SIDE, SIDE, True], data=FLAT)]}, "n from 1 to 64"),
        ({"inputs": [tensor(IMAGES, shape=[3, SIDE, float(SIDE), 1], data=FLAT)]}, "n from 1 to 64"),
        ({"inputs": [tensor(IMAGES, data=FLAT[1:])]}, "whole numbers from 0 to 255"),
        ({"inputs": [tensor(IMAGES, data=[256, *FLAT[1:]])]}, "whole numbers from 0 to 255"),
        ({"inputs": [tensor(IMAGES, data=[0.5, *FLAT[1:]])]}, "whole numbers from 0 to 255"),
        ({"inputs": [tensor(IMAGES, data=[10**30, *FLAT[1:]])]}, "whole numbers from 0 to 255"),
        ({"inputs": [tensor(IMAGES, data=[[1], [2, 3]])]}, "different lengths"),
        ({"inputs": [tensor(IMAGES)]}, "whole numbers from 0 to 255"),
        ({"inputs": [tensor(IMAGES, parameters={"binary_data_size": 5})]}, "bytes of binary data are expected"),
        ({"inputs": [tensor(IMAGES, data=FLAT)], "outputs": [{"name": "x"}]}, "probabilities, label, embedding are known"),
        ({"inputs": [tensor(IMAGES, data=FLAT)], "outputs": [{"name": []}]}, "probabilities, label, embedding are known"),
        ({"inputs": [tensor(IMAGES, data=FLAT)], "outputs": [{"name": {}}]}, "probabilities, label, embedding are known"),
        ({"inputs": [tensor(IMAGES, data=FLAT)], "id": "\ud800"}, "a request id has"),
        ({"inputs": [tensor(IMAGES, data=FLAT)], "id": "a b"}, "a request id has"),
        ({"inputs": [tensor(IMAGES, data=FLAT)], "id": 5}, "a request id has"),
        ({"inputs": [tensor(IMAGES, data=FLAT)], "parameters": {"tag.site": 5}}, "parameters: tag.<name> is text"),
        ({"inputs": [tensor(IMAGES, data=FLAT)], "parameters": {"tag.Site": "B"}}, "tag 'Site'"),
        ({"inputs": [tensor(IMAGES, data=FLAT)], "outputs": "all"}, "probabilities, label, embedding are known"),
        ({"inputs": [tensor(IMAGES, data=FLAT)], "outputs": [{"name": "embedding"}]}, "ask for it as binary data"),
    ],
)
def test_what_is_not_the_protocol_is_refused_in_a_sentence(service: ServiceProcess, content: dict | bytes, said: str) -> None:
    answer = infer(service, content)
    assert (answer.status_code, said in answer.json()["error"]) == (422, True), answer.text
    assert answer.json() == {"error": answer.json()["error"], "detail": answer.json()["error"]}


@pytest.mark.parametrize("length", ["-1", "x", "99999999", "1" * 5000])
def test_a_length_that_the_body_does_not_have_is_refused(service: ServiceProcess, length: str) -> None:
    content = {"inputs": [tensor(IMAGES, data=FLAT)]}
    answer = post(f"{service.url}/v2/models/champion/infer", json=content, headers={"Inference-Header-Content-Length": length})
    assert (answer.status_code, "length of the JSON in bytes" in answer.json()["detail"]) == (422, True), answer.text


def test_another_version_does_not_answer(service: ServiceProcess) -> None:
    answer = infer(service, {"inputs": [tensor(IMAGES, data=FLAT)]}, path="/v2/models/champion/versions/7/infer")
    assert (answer.status_code, answer.json()["detail"]) == (404, "version '7' does not answer here")
    assert answer.json()["error"] == answer.json()["detail"]


def test_a_compressed_body_is_refused_by_its_name(service: ServiceProcess) -> None:
    answer = post(f"{service.url}/v2/models/champion/infer", content=b"x", headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["detail"]) == (415, "send the body as it is: compressed ones are not read")


def test_json_has_a_limit_whatever_the_model_takes_and_binary_data_has_not(tmp_path: Path) -> None:
    """A model that takes large images would have it hold up everybody else for seconds."""
    store, _ = build_serving_store(tmp_path / "model")
    service = Service(store, ServingSettings(most_images=4096, spool=tmp_path / "spool"))
    service.follower.live = LiveModel.load(store, "1")
    images = np.repeat(IMAGES, 1200, axis=0)
    head = json.dumps({"inputs": [tensor(images, parameters={"binary_data_size": images.size})]}).encode()

    async def ask(content: bytes, **headers: str) -> httpx.Response:
        transport = httpx.ASGITransport(create_app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://x", timeout=ANSWERED_IN_SECONDS) as client:
            return await client.post("/v2/models/champion/infer", content=content, headers=headers)

    refused = asyncio.run(ask(b" " * ((8 << 20) + 1)))
    assert (refused.status_code, refused.json()["error"]) == (413, "the JSON is larger than 8192 KiB; send so many numbers as binary data")
    read = asyncio.run(ask(b" " * (8 << 20)))
    assert (read.status_code, read.json()["error"]) == (422, "the body is not JSON")
    asked = asyncio.run(ask(head + images.tobytes(), **{"Inference-Header-Content-Length": str(len(head))}))
    assert (asked.status_code, "try again in a moment" in asked.text) == (503, True), "beyond the queue, not beyond the limit"
    service.close()


def test_where_classes_count_alike_the_label_is_the_class_that_is_named_and_files_are_told_so(tmp_path: Path) -> None:
    """Grey squares about the level where both classes are as probable: bright has a tenth of the training images."""
    store, _ = build_serving_store(tmp_path / "model", class_shares=(0.1, 0.9))
    images = np.full((9, SIDE, SIDE, 1), 0, np.uint8) + np.arange(100, 145, 5, np.uint8)[:, None, None, None]
    with ServiceProcess(store.uri, tmp_path) as service:
        described = get(f"{service.url}/v2/models/champion").json()
        assert described["outputs"][1] == {"name": "label", "datatype": "INT64", "shape": [-1]}
        wanted = [{"name": "label"}, {"name": "probabilities"}]
        labels, probabilities = infer(service, {"inputs": [tensor(images, data=images.ravel().tolist())], "outputs": wanted}).json()[
            "outputs"
        ]
        said = np.array(probabilities["data"]).reshape(9, 2)
        assert (labels["datatype"], labels["shape"]) == ("INT64", [9])
        assert labels["data"] == (said / [0.1, 0.9]).argmax(axis=1).tolist()
        others = labels["data"] != said.argmax(axis=1)
        assert 0 < others.sum() < 9
        for image, label, other in zip(images, labels["data"], others, strict=True):
            (prediction,) = service.predict(image)["predictions"]
            assert prediction["class"] == ("bright", "dark")[label]
            assert prediction["confidence"] == prediction["probabilities"][prediction["class"]]
            assert prediction["note"].startswith("every class counts alike") == bool(prediction["note"]) == other
