"""The Open Inference Protocol over gRPC: HTTP's answers, limits, keys and log, by real calls to a real service."""

import asyncio
import importlib.util
import io
import json
import re
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from driftloop import __version__
from driftloop.cli.main import app
from driftloop.dataset import Description
from driftloop.errors import InputError
from driftloop.inference.log_files import LOGS_PREFIX, SUFFIX
from driftloop.serving.grpc_messages import MESSAGES
from driftloop.serving.metrics import Metrics
from driftloop.serving.open_inference_grpc import PATH, Arrivals, _handler
from driftloop.serving.unanswered import Unanswered
from driftloop.store import Store
from tests.factories.onnx_graphs import SIDE
from tests.factories.serving_store import build_serving_store, register_and_promote, textured_squares
from tests.serving.service_process import ServiceProcess, free_port, get, post, wait_for

IMAGES = textured_squares(3, seed=4)[0]
OUTPUTS = ("probabilities", "label", "embedding")
KINDS = {"FP32": np.float32, "INT64": np.int64, "FP16": np.float16}


class GrpcService(ServiceProcess):
    """A service that listens for gRPC as well."""

    def __init__(self, store: str, folder: Path, *options: str, **given: Any) -> None:
        self.grpc_port = free_port()
        super().__init__(store, folder, "--grpc-port", str(self.grpc_port), *options, **given)

    @contextmanager
    def channel(self) -> Iterator[grpc.Channel]:
        """A connection of its own."""
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}", options=options) as channel:
            yield channel

    def call(self, name: str, request: Any = None, **given: Any) -> Any:
        """One call; errors raise."""
        with self.channel() as channel:
            return method(channel, name)(request or MESSAGES[f"{name}Request"](), timeout=60, **given)

    def refused(self, name: str, request: Any = None, **given: Any) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as error:
            self.call(name, request, **given)
        return error.value.code(), error.value.details()


def method(channel: grpc.Channel, name: str) -> Any:
    return channel.unary_unary(
        f"/{PATH}/{name}",
        request_serializer=lambda request: request.SerializeToString(),
        response_deserializer=MESSAGES[f"{name}Response"].FromString,
    )


def described(images: np.ndarray) -> dict[str, Any]:
    return {"name": "images", "datatype": "UINT8", "shape": list(images.shape)}


def infer_request(images: np.ndarray = IMAGES, **given: Any) -> Any:
    raw = {"inputs": [described(images)], "raw_input_contents": [images.tobytes()]}
    return MESSAGES["ModelInferRequest"](**{"model_name": "champion", **raw, **given})


def arrays(answer: Any) -> dict[str, np.ndarray]:
    pairs = zip(answer.outputs, answer.raw_output_contents, strict=True)
    return {output.name: np.frombuffer(raw, KINDS[output.datatype]).reshape(output.shape) for output, raw in pairs}


def over_http(service: ServiceProcess, images: np.ndarray) -> dict[str, np.ndarray]:
    """All outputs of the same tensor, as binary data."""
    wanted = [{"name": name, "parameters": {"binary_data": True}} for name in OUTPUTS]
    tensor = described(images) | {"parameters": {"binary_data_size": images.size}}
    head = json.dumps({"inputs": [tensor], "outputs": wanted}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    answer = post(f"{service.url}/v2/models/champion/infer", content=head + images.tobytes(), headers=headers)
    length = int(answer.headers["inference-header-content-length"])
    outputs, data = json.loads(answer.content[:length])["outputs"], answer.content[length:]
    ends = np.cumsum([output["parameters"]["binary_data_size"] for output in outputs])
    parts = [data[end - output["parameters"]["binary_data_size"] : end] for output, end in zip(outputs, ends, strict=True)]
    return {
        output["name"]: np.frombuffer(part, KINDS[output["datatype"]]).reshape(output["shape"])
        for output, part in zip(outputs, parts, strict=True)
    }


def rows(store: Store) -> list[dict[str, Any]]:
    """Every row of the log, also of requests that are there twice."""
    files = [entry.key for entry in store.list(LOGS_PREFIX) if entry.key.endswith(SUFFIX)]
    columns = ["request_id", "model_version", "group", "tags"]
    return [row for key in files for row in pq.read_table(io.BytesIO(store.read(key)), columns=columns).to_pylist()]


def counted(service: ServiceProcess, name: str) -> dict[str, float]:
    """Calls of a method by their status."""
    text = get(f"{service.url}/metrics").text
    found = re.findall(rf'^driftloop_requests_total\{{path="/{PATH}/{name}",status="(\d+)"\}} (\S+)', text, re.MULTILINE)
    return {status: float(count) for status, count in found}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrpcService]:
    folder = tmp_path_factory.mktemp("grpc")
    store, _ = build_serving_store(folder / "model")
    # With one worker the images of a request are one batch, over either.
    with GrpcService(store.uri, folder, "--workers", "1") as process:
        yield process


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrpcService]:
    folder = tmp_path_factory.mktemp("locked")
    store, _ = build_serving_store(folder / "model")
    with GrpcService(store.uri, folder, "--queue", "2", environment={"DRIFTLOOP_API_KEY": "caller-1, caller-2"}) as process:
        yield process


def test_server_and_model_describe_themselves_as_over_http(service: GrpcService) -> None:
    assert service.call("ServerLive").live
    assert service.call("ServerReady").ready
    server = service.call("ServerMetadata")
    assert (server.name, server.version, list(server.extensions)) == ("driftloop", __version__, [])
    over_http = get(f"{service.url}/v2/models/champion").json()
    for version in ("", "1"):
        assert service.call("ModelReady", MESSAGES["ModelReadyRequest"](name="champion", version=version)).ready
        told = service.call("ModelMetadata", MESSAGES["ModelMetadataRequest"](name="champion", version=version))
        assert told == MESSAGES["ModelMetadataResponse"](**over_http)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_raw_and_typed_tensors_get_http_s_answer_bit_for_bit(service: GrpcService, count: int) -> None:
    images = IMAGES[:count]
    outputs = [{"name": name} for name in OUTPUTS]
    expected = over_http(service, images)
    raw = service.call("ModelInfer", infer_request(images, outputs=outputs, id="mine"))
    assert (raw.model_name, raw.model_version, raw.id) == ("champion", "1", "mine")
    typed = [described(images) | {"contents": {"uint_contents": images.ravel().tolist()}}]
    by_value = service.call("ModelInfer", infer_request(images, outputs=outputs, inputs=typed, raw_input_contents=[], model_version="1"))
    for answer in (raw, by_value):
        given = arrays(answer)
        assert list(given) == list(OUTPUTS)
        for name, values in given.items():
            assert values.dtype == expected[name].dtype
            np.testing.assert_array_equal(values, expected[name])
    without_wish = service.call("ModelInfer", infer_request(images))
    assert list(arrays(without_wish)) == ["probabilities"]
    assert without_wish.id


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"inputs": [], "raw_input_contents": []}, "one input: images"),
        ({"inputs": [described(IMAGES)] * 2, "raw_input_contents": [b"", b""]}, "one input: images"),
        ({"inputs": [described(IMAGES) | {"name": "x"}]}, "one input: images"),
        ({"inputs": [described(IMAGES) | {"datatype": "FP32"}]}, "one input: images"),
        ({"inputs": [described(IMAGES) | {"shape": [3, 1, 1, 1]}]}, "shape [3, 1, 1, 1]"),
        ({"inputs": [described(IMAGES) | {"shape": []}]}, "shape []"),
        ({"inputs": [described(IMAGES) | {"shape": [-1, SIDE, SIDE, 1]}]}, "n from 1 to 64"),
        ({"inputs": [described(IMAGES) | {"shape": [2**62, SIDE, SIDE, 1]}]}, "n from 1 to 64"),
        ({"raw_input_contents": [b"123"]}, "bytes of binary data are expected for this shape; 3 came"),
        ({"raw_input_contents": [b"", b""]}, "raw_input_contents: one for each input"),
        ({"inputs": [described(IMAGES) | {"contents": {"uint_contents": [1]}}]}, "raw_input_contents: one for each input"),
        ({"raw_input_contents": []}, "whole numbers from 0 to 255"),
        (
            {"inputs": [described(IMAGES) | {"contents": {"uint_contents": [256] * IMAGES.size}}], "raw_input_contents": []},
            "whole numbers from 0 to 255",
        ),
        (
            {"inputs": [described(IMAGES) | {"contents": {"int_contents": [1] * IMAGES.size}}], "raw_input_contents": []},
            "whole numbers from 0 to 255",
        ),
        ({"outputs": [{"name": "x"}]}, "probabilities, label, embedding are known"),
        ({"id": "a b"}, "a request id has"),
        ({"parameters": {"tag.site": {"int64_param": 5}}}, "parameters: tag.<name> is text"),
        ({"parameters": {"tag.Site": {"string_param": "B"}}}, "tag 'Site'"),
        ({"parameters": {"tag.site": {}}}, "parameters: tag.<name> is text"),
    ],
)
def test_what_is_not_the_protocol_is_refused_in_http_s_sentence(service: GrpcService, given: dict[str, Any], said: str) -> None:
    parameters = {name: MESSAGES["InferParameter"](**value) for name, value in given.get("parameters", {}).items()}
    code, sentence = service.refused("ModelInfer", infer_request(**given | {"parameters": parameters}))
    assert (code, said in sentence) == (grpc.StatusCode.INVALID_ARGUMENT, True), sentence


def test_what_comes_with_a_call_has_limits_and_bytes_that_are_no_message_are_refused(service: GrpcService) -> None:
    for metadata, said in (
        ([("x-request-id", "a b")], "a request id has"),
        ([("x-group", "g" * 201)], "group is longer"),
        ([(f"x-tag-t{at}", "x") for at in range(11)], "11 tags"),
        ([("x-group", "a"), ("x-group", "b")], "x-group is given twice"),
        ([("x-tag-site", "a"), ("x-tag-site", "b")], "x-tag-site is given twice"),
    ):
        code, sentence = service.refused("ModelInfer", infer_request(), metadata=metadata)
        assert (code, said in sentence) == (grpc.StatusCode.INVALID_ARGUMENT, True), sentence
    with service.channel() as channel, pytest.raises(grpc.RpcError) as error:
        channel.unary_unary(f"/{PATH}/ModelInfer")(b"\xff\xff", timeout=60)
    assert (error.value.code(), error.value.details()) == (grpc.StatusCode.INVALID_ARGUMENT, "the message is no ModelInferRequest")


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (b"\x2a\x00" * 101, "a message of more than 100 fields"),
        (b"\x0a\x01x" * 101, "a message of more than 100 fields"),
        (b"\x08\x96\x01" * 101, "a message of more than 100 fields"),
        (b"\x2a\x00" * 100, "model '' does not answer here"),
        (b"\x2a", "the message is no ModelInferRequest"),
        (b"\x2a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "the message is no ModelInferRequest"),
        (b"\xff" * 1000, "the message is no ModelInferRequest"),
    ],
)
def test_a_message_of_many_small_parts_is_not_taken_apart(service: GrpcService, message: bytes, said: str) -> None:
    with service.channel() as channel, pytest.raises(grpc.RpcError) as error:
        channel.unary_unary(f"/{PATH}/ModelInfer")(message, timeout=60)
    assert said in error.value.details()


def test_another_model_or_version_does_not_answer(service: GrpcService) -> None:
    expected = (grpc.StatusCode.NOT_FOUND, "version '7' does not answer here")
    assert service.refused("ModelInfer", infer_request(model_version="7")) == expected
    for name in ("ModelReady", "ModelMetadata"):
        assert service.refused(name, MESSAGES[f"{name}Request"](name="champion", version="7")) == expected
        code, sentence = service.refused(name, MESSAGES[f"{name}Request"](name="other"))
        assert (code, sentence) == (grpc.StatusCode.NOT_FOUND, "model 'other' does not answer here; champion does")
    assert service.refused("ModelInfer", infer_request(model_name="other"))[0] == grpc.StatusCode.NOT_FOUND
    assert service.refused("ModelInfer", infer_request(model_name=""))[0] == grpc.StatusCode.NOT_FOUND


def test_a_message_that_is_too_large_or_compressed_is_turned_away(service: GrpcService) -> None:
    code, sentence = service.refused("ModelInfer", infer_request(raw_input_contents=[bytes(64 << 20)]))
    assert (code, "larger than max" in sentence) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True), sentence
    wait_for(lambda: counted(service, "ModelInfer").get("413") == 1)
    # Just below the limit it comes in, and is not taken apart where the model could not take it.
    code, sentence = service.refused("ModelInfer", infer_request(raw_input_contents=[bytes((64 << 20) - 200)]))
    expected = "the request is larger than 192 KiB, which this model's largest input needs at most"
    assert (code, sentence) == (grpc.StatusCode.RESOURCE_EXHAUSTED, expected)
    largest = np.full((64, SIDE, SIDE, 1), 255, np.uint8)
    typed = [described(largest) | {"contents": {"uint_contents": largest.ravel().tolist()}}]
    assert arrays(service.call("ModelInfer", infer_request(inputs=typed, raw_input_contents=[])))["probabilities"].shape == (64, 2)
    small = infer_request(raw_input_contents=[bytes(1 << 20)])
    code, sentence = service.refused("ModelInfer", small, compression=grpc.Compression.Gzip)
    assert (code, sentence) == (grpc.StatusCode.UNIMPLEMENTED, "Compression algorithm 'gzip' is disabled.")
    assert "gzip" not in service.errors.read_text()


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        ([], "UNAUTHENTICATED"),
        ([("authorization", "Bearer wrong")], "UNAUTHENTICATED"),
        ([("authorization", "Basic caller-1")], "UNAUTHENTICATED"),
        ([("authorization-bin", b"Bearer caller-1")], "UNAUTHENTICATED"),
        ([("authorization", "Bearer caller-1")], "OK"),
        ([("x-api-key", "caller-2")], "OK"),
    ],
)
def test_a_key_lets_callers_in_and_health_needs_none(locked: GrpcService, metadata: list[tuple[str, Any]], code: str) -> None:
    assert locked.call("ServerReady").ready
    assert locked.call("ModelMetadata", MESSAGES["ModelMetadataRequest"](name="champion")).versions == ["1"]
    if code == "OK":
        assert arrays(locked.call("ModelInfer", infer_request(IMAGES[:1]), metadata=metadata))["probabilities"].shape == (1, 2)
        return
    # Said before the message is looked at.
    wrong = MESSAGES["ModelInferRequest"](model_name="other")
    said = (grpc.StatusCode[code], "this service wants a key: Authorization: Bearer <key>")
    assert locked.refused("ModelInfer", wrong, metadata=metadata) == said


def test_beyond_the_queue_a_call_is_told_to_come_again(locked: GrpcService) -> None:
    with pytest.raises(grpc.RpcError) as error:
        locked.call("ModelInfer", infer_request(), metadata=[("x-api-key", "caller-1")])
    said = "more requests than this replica can answer; try again in a moment"
    assert (error.value.code(), error.value.details()) == (grpc.StatusCode.UNAVAILABLE, said)
    assert ("grpc-retry-pushback-ms", "1000") in error.value.trailing_metadata()
    assert counted(locked, "ModelInfer")["503"] >= 1


def test_before_the_first_champion_it_is_live_and_not_ready(production: tuple[Store, Description], tmp_path: Path) -> None:
    store, _ = production
    pointer = store.read("champion.json")
    store.delete("champion.json")
    with GrpcService(store.uri, tmp_path) as service:
        assert service.call("ServerLive").live
        assert not service.call("ServerReady").ready
        ready = MESSAGES["ModelReadyRequest"](name="champion")
        assert not service.call("ModelReady", ready).ready
        code, sentence = service.refused("ModelInfer", infer_request())
        assert (code, sentence.startswith("no model answers yet")) == (grpc.StatusCode.UNAVAILABLE, True)
        store.create("champion.json", pointer)
        wait_for(lambda: service.call("ModelReady", ready).ready)
        assert service.call("ModelInfer", infer_request()).model_version == "1"


def test_group_tags_and_id_come_as_metadata_or_in_the_request_and_each_image_is_logged_once(
    production: tuple[Store, Description], tmp_path: Path
) -> None:
    store, _ = production
    with GrpcService(store.uri, tmp_path) as service:
        metadata = [("x-group", "patient-17"), ("x-tag-site", "north"), ("x-request-id", "by-metadata")]
        assert service.call("ModelInfer", infer_request(), metadata=metadata).id == "by-metadata"
        parameters = {"tag.site": MESSAGES["InferParameter"](string_param="south"), "priority": MESSAGES["InferParameter"](int64_param=1)}
        service.call("ModelInfer", infer_request(IMAGES[:1], id="by-field", parameters=parameters), metadata=metadata)
        service.predict(IMAGES[0], "over-http", **{"X-Group": "patient-17", "X-Tag-site": "north"})
        wait_for(lambda: counted(service, "ModelInfer") == {"200": 2})
    logged = {row.pop("request_id"): row for row in rows(store)}
    assert sorted(logged) == ["by-field", "by-metadata-1", "by-metadata-2", "by-metadata-3", "over-http"]
    assert len(rows(store)) == 5
    assert logged["by-metadata-2"] == logged["over-http"]
    assert logged["over-http"]["group"]
    assert {json.loads(row["tags"])["site"] for name, row in logged.items() if name != "by-field"} == {"north"}
    assert json.loads(logged["by-field"]["tags"]) == {"site": "south"}


@contextmanager
def callers(service: GrpcService, images: np.ndarray) -> Iterator[tuple[dict[str, str], Counter[grpc.StatusCode]]]:
    """Four callers, each on a connection of its own until it is refused: the versions that answered by request id, and the refusals."""
    said: dict[str, str] = {}
    refused: Counter[grpc.StatusCode] = Counter()
    stop = threading.Event()

    def ask(worker: int) -> None:
        number = 0
        with service.channel() as channel:
            infer = method(channel, "ModelInfer")
            while not stop.is_set():
                name = f"{worker}-{number}"
                at = number % len(images)
                try:
                    said[name] = infer(infer_request(images[at : at + 1], id=name), timeout=60).model_version
                except grpc.RpcError as error:
                    refused[error.code()] += 1
                    return
                number += 1

    threads = [threading.Thread(target=ask, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield said, refused
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def listeners(port: int) -> int:
    """Sockets that listen on the port."""
    tables = [Path("/proc/net", name).read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    fields = [line.split() for table in tables for line in table]
    return sum(int(of[1].rpartition(":")[2], 16) == port and of[3] == "0A" for of in fields)


def test_two_processes_share_the_port_and_a_swap_costs_no_call(
    production: tuple[Store, Description], images: np.ndarray, tmp_path: Path
) -> None:
    store, dataset = production
    with GrpcService(store.uri, tmp_path, processes=2) as service:
        wait_for(lambda: listeners(service.grpc_port) == 2)
        with callers(service, images) as (said, refused):
            wait_for(lambda: len(said) > 60)
            register_and_promote(store, tmp_path / "model", dataset, expected="1", seed=1)
            wait_for(lambda: list(said.values())[-12:] == ["2"] * 12)
        assert not refused
        assert counted(service, "ModelInfer") == {"200": len(said)}
        assert service.end() == 128 + signal.SIGTERM
    assert sorted((row["request_id"], row["model_version"]) for row in rows(store)) == sorted(said.items())


@pytest.mark.parametrize("processes", [1, 2])
def test_told_to_end_it_answers_and_logs_what_it_accepted(
    production: tuple[Store, Description], images: np.ndarray, tmp_path: Path, processes: int
) -> None:
    store, _ = production
    with GrpcService(store.uri, tmp_path, processes=processes) as service:
        with callers(service, images) as (said, refused):
            wait_for(lambda: len(said) > 60)
            service.process.terminate()
            assert service.process.wait(60) == 128 + signal.SIGTERM
        # CANCELLED says gRPC of a call that comes while it ends (grpc/grpc#41785). No refused one is logged, so that asking again is safe.
        assert refused.keys() <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
        assert refused.total() == 4
    assert sorted(row["request_id"] for row in rows(store)) == sorted(said)
    assert len(service.errors.read_text().splitlines()) == 1, service.errors.read_text()


def test_an_error_of_the_service_tells_nothing_of_the_inside() -> None:
    async def broken(request: Any, headers: Any, began: float) -> Any:
        raise RuntimeError("/srv/secret/model.onnx")

    async def ask() -> grpc.aio.AioRpcError:
        server = grpc.aio.server()
        arrivals = Arrivals(Unanswered(1 << 20), turns=1, upload_seconds=60)
        handler = _handler(SimpleNamespace(metrics=metrics), "ServerLive", broken, (), arrivals)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(PATH, {"ServerLive": handler}),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await channel.unary_unary(f"/{PATH}/ServerLive")(b"")
        await server.stop(None)
        return error.value

    metrics = Metrics()
    error = asyncio.run(ask())
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "an error of the service; it is in its log")
    assert f'driftloop_requests_total{{path="/{PATH}/ServerLive",status="500"}} 1.0' in metrics.text().decode()


def test_a_port_that_is_taken_is_one_line_and_exit_2(service: GrpcService, production: tuple[Store, Description], tmp_path: Path) -> None:
    store, _ = production
    second = ServiceProcess(store.uri, tmp_path, "--grpc-port", str(service.grpc_port))
    assert second.process.wait(60) == 2
    said = " ".join(second.errors.read_text().split())
    assert said.startswith(f"driftloop: cannot listen on 127.0.0.1:{service.grpc_port}: Address already in use")
    assert said.endswith("; name another with --host or --grpc-port")
    with socket.create_connection(("127.0.0.1", service.grpc_port)):
        pass  # the first goes on


def test_without_grpcio_only_the_port_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    ended = CliRunner().invoke(app, ["serve", "--grpc-port", "8001"])
    assert isinstance(ended.exception, InputError)
    assert str(ended.exception) == "driftloop serve needs grpc: install driftloop with its extra: pip install 'driftloop[serve]'"
    # Without it the command goes on to the next check.
    ended = CliRunner().invoke(app, ["serve", "--host", "0.0.0.0"])
    assert "is reached from other machines" in str(ended.exception)


def test_triton_s_client_is_answered(service: GrpcService) -> None:
    if importlib.util.find_spec("tritonclient") is None:
        pytest.skip("tritonclient is not installed")
    from tritonclient import grpc as triton
    from tritonclient.utils import InferenceServerException

    client = triton.InferenceServerClient(f"127.0.0.1:{service.grpc_port}")
    assert client.is_server_ready()
    assert client.is_model_ready("champion")
    tensor = triton.InferInput("images", list(IMAGES.shape), "UINT8").set_data_from_numpy(IMAGES)
    wanted = [triton.InferRequestedOutput(name) for name in OUTPUTS]
    answer = client.infer("champion", [tensor], outputs=wanted, request_id="triton", headers={"x-tag-site": "north"})
    assert answer.get_response().id == "triton"
    for name, values in over_http(service, IMAGES).items():
        np.testing.assert_array_equal(answer.as_numpy(name), values)
    with pytest.raises(InferenceServerException, match="does not answer here"):
        client.infer("other", [tensor])
    client.close()
