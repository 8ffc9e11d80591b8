"""The Open Inference Protocol, version 2: what it says of the model and how it asks it, and its paths over HTTP.

One model, `champion`, whose version is the registry's. Input `images`: UINT8 (N, side, side, channels), as the graph takes them. Outputs
`probabilities`: FP32 (N, classes), `label`: INT64 (N,), the number of the class that is named, and `embedding`: FP16 (N, D), which JSON
cannot say and binary can; without a wish, probabilities.
Over HTTP in JSON, with tensors as binary data behind it; over gRPC in messages (`open_inference_grpc.py`).

https://github.com/kserve/open-inference-protocol and Triton's extension for binary tensors.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from driftloop import __version__
from driftloop.contracts import MODEL_NAME
from driftloop.inference.served_model import EMBEDDING, INPUT, PROBABILITIES
from driftloop.serving.batching import NotReady
from driftloop.serving.live_model import LiveModel
from driftloop.serving.middleware import check_key
from driftloop.serving.requests import REQUEST_ID_OR_NONE, TAG_FIELD, about, ids_of_images, request_id, unprocessable
from driftloop.serving.service import Service

BINARY_HEADER = "inference-header-content-length"
#: Bytes that a request needs beside its numbers, and for each of them as JSON, with blanks and in a line of its own.
MOST_BESIDE_NUMBERS, MOST_DIGITS = 64 << 10, 16
#: Bytes of JSON, whatever the model takes: while it is read nobody else is answered, for up to a second, and it takes many times its size.
MOST_JSON_BYTES = 8 << 20
EXTENSIONS = ["binary_tensor_data"]
#: An output of the service, not of the graph: where classes count alike it need not be the most probable one.
LABEL = "label"
DATATYPES = {PROBABILITIES: "FP32", LABEL: "INT64", EMBEDDING: "FP16"}


def open_inference_router(service: Service) -> APIRouter:
    """The protocol's paths. Health and descriptions need no key; inference does."""
    router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

    failing: dict[int | str, dict[str, Any]] = {
        status: {"description": "in one sentence", "content": {"application/json": {"schema": PROBLEM}}} for status in (404, 408, 422, 503)
    }
    closed: dict[int | str, dict[str, Any]] = {**failing, 401: failing[404], 413: failing[404]}

    @router.get("")
    async def server() -> dict[str, Any]:
        """What this server is."""
        return {"name": "driftloop", "version": __version__, "extensions": EXTENSIONS}

    @router.get("/health/live")
    async def live() -> dict[str, bool]:
        """Whether the process answers."""
        return {"live": True}

    @router.get("/health/ready", responses={503: {"description": "not ready"}})
    async def ready() -> Response:
        """Whether there is a model, and the service is not about to end."""
        return JSONResponse({"ready": service.ready}, 200 if service.ready else 503)

    def model_ready(version: str | None) -> dict[str, Any]:
        return {"name": MODEL_NAME, "ready": named(service, version) is not None}

    async def infer(request: Request, version: str | None) -> Response:
        check_key(service.settings.api_keys, request.headers)
        live = named(service, version)
        most = min(most_numbers(live, service) * MOST_DIGITS + MOST_BESIDE_NUMBERS, MOST_JSON_BYTES)
        content, binary = _parts(await request.body(), request.headers.get(BINARY_HEADER, ""), most)
        return _answer(*await inferred(service, live, content, binary, request.headers, request.state.began))

    extra = {"requestBody": {"required": True, "content": {"application/json": {"schema": INFER_SCHEMA}}}}
    whole, of_version = f"/models/{MODEL_NAME}", f"/models/{MODEL_NAME}/versions/{{version}}"

    @router.get(f"{whole}/ready", responses=failing)
    async def champion_ready() -> dict[str, Any]:
        """Whether the model answers."""
        return model_ready(None)

    @router.get(f"{of_version}/ready", responses=failing)
    async def version_ready(version: str) -> dict[str, Any]:
        """Whether this version of it answers."""
        return model_ready(version)

    @router.get(whole, responses=failing)
    async def champion_metadata() -> dict[str, Any]:
        """What the model takes and gives."""
        return metadata(named(service, None))

    @router.get(of_version, responses=failing)
    async def version_metadata(version: str) -> dict[str, Any]:
        """What this version of it takes and gives."""
        return metadata(named(service, version))

    @router.post(f"{whole}/infer", responses=closed, openapi_extra=extra)
    async def infer_by_champion(request: Request) -> Response:
        """Classify tensors."""
        return await infer(request, None)

    @router.post(f"{of_version}/infer", responses=closed, openapi_extra=extra)
    async def infer_by_version(request: Request, version: str) -> Response:
        """Classify tensors with this version, where it is the one that answers."""
        return await infer(request, version)

    return router


def named(service: Service, version: str | None) -> LiveModel:
    """The model that answers, where it is this version of it.

    Raises:
        NotReady: none does yet.
        HTTPException: 404.
    """
    live = service.live
    if live is None:
        raise NotReady
    if version not in (None, live.version):
        raise HTTPException(404, f"version {version[:20] if version else ''!r} does not answer here")
    return live


def metadata(live: LiveModel) -> dict[str, Any]:
    """What a model takes and gives."""
    model = live.model
    side, channels = model.description.image_size, model.description.channels
    return {
        "name": MODEL_NAME,
        "versions": [live.version],
        "platform": "onnxruntime",
        "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, side, side, channels]}],
        "outputs": [
            {"name": PROBABILITIES, "datatype": "FP32", "shape": [-1, len(model.description.classes)]},
            {"name": LABEL, "datatype": "INT64", "shape": [-1]},
            {"name": EMBEDDING, "datatype": "FP16", "shape": [-1, model.embedding_size]},
        ],
    }


async def inferred(
    service: Service, live: LiveModel, content: dict[str, Any], binary: bytes, headers: Mapping[str, str], began: float
) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, bool]]:
    """Answer a request of the protocol.

    Args:
        live: what answers at the moment, by which the request is judged and answered.
        content: the request as JSON has it.
        binary: the input as binary data, where `binary_data_size` among its parameters says that it comes so.
        headers: of the request.
        began: monotonic seconds at which it had come in.

    Returns:
        The answer's head, all outputs by name, and of those that are wanted whether each is to come as binary data.

    Raises:
        HTTPException: 422.
        Overloaded, NotReady, UnreadableImage: as `Service.predict`.
    """
    images, is_binary = _images(content, binary, live, service.settings.most_images)
    wanted = _wanted(content, is_binary)
    # A client of the protocol sets parameters more easily than headers; others there are not ours.
    fields = [(key, value) for key, value in _parameters(content).items() if key.startswith(TAG_FIELD)]
    if not all(isinstance(value, str) for _, value in fields):
        raise unprocessable(f"parameters: {TAG_FIELD}<name> is text")
    group, tags, name = about(headers, fields)
    if content.get("id") not in (None, ""):
        name = request_id(content["id"])
    ids = ids_of_images(name, len(images))
    answers = await service.predict(list(images), group=group, tags=tags, request_ids=ids, began=began, live=live)
    outputs = {
        PROBABILITIES: np.stack([answer.predictions.probabilities[index] for _, answer, index in answers]),
        LABEL: np.array([answer.predictions.labels[index] for _, answer, index in answers], np.int64),
        EMBEDDING: np.stack([answer.predictions.embedding[index] for _, answer, index in answers]),
    }
    head = {"model_name": MODEL_NAME, "model_version": answers[0][1].version, "id": name or answers[0][0].request_id}
    return head, outputs, wanted


PROBLEM = {"type": "object", "required": ["error", "detail"], "properties": {"error": {"type": "string"}, "detail": {"type": "string"}}}
INFER_SCHEMA = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string", "pattern": REQUEST_ID_OR_NONE},
        "inputs": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1,
            "items": {
                "type": "object",
                "required": ["name", "shape", "datatype"],
                "properties": {
                    "name": {"const": INPUT},
                    "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 4, "maxItems": 4},
                    "datatype": {"const": "UINT8"},
                    "data": {"type": "array"},
                },
            },
        },
        "outputs": {"type": "array", "items": {"type": "object", "required": ["name"], "properties": {"name": {"enum": [*DATATYPES]}}}},
    },
}


def most_numbers(live: LiveModel, service: Service) -> int:
    """Of the largest input that a model takes."""
    description = live.model.description
    return service.settings.most_images * description.image_size**2 * description.channels


def _parts(body: bytes, length: str, most: int) -> tuple[dict[str, Any], bytes]:
    """The JSON of a request, of `most` bytes, and the binary data behind it."""
    # Not more than 19 digits: Python refuses to read numbers of thousands of them.
    if length and not (length.isascii() and length.isdigit() and len(length) < 20 and int(length) <= len(body)):
        raise unprocessable(f"{BINARY_HEADER}: the length of the JSON in bytes, at most that of the body")
    end = int(length) if length else len(body)
    if end > most:
        cure = "; send so many numbers as binary data" if most == MOST_JSON_BYTES else ", which this model's largest input needs at most"
        raise HTTPException(413, f"the JSON is larger than {most >> 10} KiB{cure}")
    try:
        content = json.loads(body[:end])
    except (ValueError, RecursionError):
        raise unprocessable("the body is not JSON") from None
    if not isinstance(content, dict):
        raise unprocessable("the body is not a JSON object")
    return content, body[end:]


def _images(content: dict[str, Any], binary: bytes, live: LiveModel, most: int) -> tuple[np.ndarray, bool]:
    """The input tensor, and whether it came as binary data."""
    side, channels = live.model.description.image_size, live.model.description.channels
    expected = f"one input: {INPUT}, UINT8, shape [n, {side}, {side}, {channels}], n from 1 to {most}"
    inputs = content.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise unprocessable(f"inputs: {expected}")
    (given,) = inputs
    shape = given.get("shape")
    if given.get("name") != INPUT or given.get("datatype") != "UINT8" or not isinstance(shape, list):
        raise unprocessable(f"inputs: {expected}")
    # By their types as well: to Python 32.0 is 32, and true is 1.
    if [*map(type, shape)] != [int] * 4 or shape[1:] != [side, side, channels] or not 1 <= shape[0] <= most:
        raise unprocessable(f"shape {str(shape)[:60]}: {expected}")
    count = shape[0] * side * side * channels
    parameters = _parameters(given)
    size = parameters.get("binary_data_size")
    if size is not None:
        if size != count or len(binary) != count:
            raise unprocessable(f"{count} bytes of binary data are expected for this shape; {len(binary)} came")
        return np.frombuffer(binary, np.uint8).reshape(shape), True
    try:
        values = np.asarray(given.get("data"))
    except ValueError:
        raise unprocessable("data: lists of different lengths, or nested more deeply than the shape says") from None
    if values.size != count or values.dtype.kind not in "iu" or values.min() < 0 or values.max() > 255:
        raise unprocessable(f"data: {count} whole numbers from 0 to 255 are expected for this shape")
    return values.astype(np.uint8).reshape(shape), False


def _wanted(content: dict[str, Any], is_binary: bool) -> dict[str, bool]:
    """The names of the outputs that are wanted, and whether each as binary data."""
    outputs = content.get("outputs")
    general = _parameters(content)
    default = bool(general.get("binary_data_output", is_binary))
    if not outputs:
        return {PROBABILITIES: default}
    wanted = {}
    for output in outputs if isinstance(outputs, list) else [None]:
        if not isinstance(output, dict) or output.get("name") not in list(DATATYPES):  # a list: any JSON can be looked for in it
            raise unprocessable(f"outputs: {', '.join(DATATYPES)} are known")
        parameters = _parameters(output)
        wanted[str(output["name"])] = bool(parameters.get("binary_data", default))
    return wanted


def _parameters(holder: dict[str, Any]) -> dict[str, Any]:
    parameters = holder.get("parameters")
    return parameters if isinstance(parameters, dict) else {}


def _answer(head: dict[str, Any], given: dict[str, np.ndarray], wanted: dict[str, bool]) -> Response:
    outputs, binary = [], b""
    for name, as_binary in wanted.items():
        values = given[name]
        output: dict[str, Any] = {"name": name, "datatype": DATATYPES[name], "shape": list(values.shape)}
        if as_binary:
            data = np.ascontiguousarray(values).tobytes()
            output["parameters"] = {"binary_data_size": len(data)}
            binary += data
        elif DATATYPES[name] == "FP16":
            raise unprocessable(f"{name} is FP16, which JSON cannot hold; ask for it as binary data")
        else:
            output["data"] = values.ravel().tolist()
        outputs.append(output)
    text = json.dumps({**head, "outputs": outputs}).encode()
    if not binary:
        return Response(text, media_type="application/json")
    return Response(text + binary, media_type="application/octet-stream", headers={BINARY_HEADER: str(len(text))})
