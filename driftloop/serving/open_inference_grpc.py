"""The Open Inference Protocol over gRPC: the same answers, limits, keys and sentences as over HTTP, from the same process.

Tensors come as raw bytes or in the field of their type, and go as raw bytes. Group, tags and request id are metadata under the names that
they have as headers.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Self

import grpc
import numpy as np
from google.protobuf.message import DecodeError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from driftloop import __version__
from driftloop.contracts import MODEL_NAME
from driftloop.serving.batching import NotReady
from driftloop.serving.grpc_messages import MESSAGES, METHODS, PACKAGE, SERVICE
from driftloop.serving.live_model import LiveModel
from driftloop.serving.middleware import check_key
from driftloop.serving.open_inference import DATATYPES, MOST_BESIDE_NUMBERS, inferred, metadata, most_numbers, named
from driftloop.serving.refusals import CALLER_GONE, refusal
from driftloop.serving.requests import unprocessable
from driftloop.serving.service import Service
from driftloop.serving.unanswered import NoRoom, Unanswered

LOG = logging.getLogger("driftloop.serving")
PATH = f"{PACKAGE}.{SERVICE}"
#: What was refused is counted under its status over HTTP, and so is a call whose caller did not wait.
CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    500: grpc.StatusCode.INTERNAL,
    # Not RESOURCE_EXHAUSTED, though a queue is full: clients try again after UNAVAILABLE.
    503: grpc.StatusCode.UNAVAILABLE,
}

#: Messages that a process takes in at once. How much of one has come gRPC does not say before it is whole, so that until then each may be
#: of any size up to the limit.
MOST_COMING = 4
#: What a call that waits for its turn may have sent of its message: the window of its stream, which gRPC would widen by itself.
WINDOW = 64 << 10
#: For which a call waits for its turn, before the one that takes longest to come in, and as long as this, has to make room.
TURN_SECONDS = 1.0
#: Of a message: tensors, outputs and parameters each are some.
MOST_FIELDS = 100
#: Bytes of calls at once that ask for a description: a name and a version.
MOST_DESCRIPTIONS = 1 << 20

#: Answers one request, given as a message, with its metadata and the monotonic seconds at which it had come in.
Method = Callable[[Any, Mapping[str, str], float], Awaitable[Any]]


class GrpcServer:
    """The protocol on a port, in this process's event loop."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server
        self._ending: asyncio.Future[None] | None = None

    @classmethod
    async def start(cls, service: Service, address: str) -> Self:
        """Answer for a service.

        Args:
            address: host:port. Other processes may listen there too; connections are spread over them.
        """
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", service.settings.most_request_mib << 20),
                # As over HTTP, bodies that are small on their way only are not read: just the first algorithm, which is none.
                ("grpc.compression_enabled_algorithms_bitset", 1),
                ("grpc.so_reuseport", 1),
                ("grpc.http2.lookahead_bytes", WINDOW),
                ("grpc.http2.bdp_probe", 0),
            ]
        )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(PATH, _handlers(service)),))
        server.add_insecure_port(address)
        await server.start()
        return cls(server)

    def begin_to_end(self, grace: float | None) -> None:
        """Take no more calls; those under way have `grace` seconds."""
        if self._ending is None:
            self._ending = asyncio.ensure_future(self._server.stop(grace))

    async def ended(self) -> None:
        """When none is under way any more."""
        self.begin_to_end(None)
        assert self._ending is not None
        await self._ending


class Arrivals:
    """Messages on their way in, few at a time; the calls that wait for their turn are held by the flow control of HTTP/2."""

    def __init__(self, unanswered: Unanswered, *, turns: int, upload_seconds: float) -> None:
        """Args:
        unanswered: bytes of what is not answered yet, with those of calls that wait.
        turns: messages at once.
        upload_seconds: for which one may come in.
        """
        self.unanswered, self._seconds = unanswered, upload_seconds
        self._turns = asyncio.Semaphore(turns)
        #: What ends each of them, and since when it comes in, the one first that began first.
        self._coming: dict[asyncio.Timeout, float] = {}

    async def message(self, context: grpc.aio.ServicerContext[bytes, bytes]) -> Any:
        """The message of a call, or what gRPC gives where it is too large or there is none.

        Raises:
            NoRoom: too many wait for their turn, or this one had to make room for them.
            HTTPException: 408.
        """
        await self._turn()
        began = asyncio.get_running_loop().time()
        until = began + self._seconds
        limit = asyncio.timeout_at(until)
        try:
            async with limit:
                self._coming[limit] = began
                return await context.read()
        except TimeoutError:
            if limit.when() != until:
                raise NoRoom from None
            raise HTTPException(408, f"the request did not come in within {self._seconds:g} s") from None
        finally:
            self._coming.pop(limit, None)
            self._turns.release()

    async def _turn(self) -> None:
        if not self._turns.locked():
            await self._turns.acquire()
            return
        with self.unanswered.held(WINDOW):
            while True:
                try:
                    async with asyncio.timeout(TURN_SECONDS):
                        await self._turns.acquire()
                        return
                except TimeoutError:
                    now = asyncio.get_running_loop().time()
                    # One that has just got the turn of another that was ended has had no time yet.
                    slowest = next((limit for limit, began in self._coming.items() if began <= now - TURN_SECONDS), None)
                    if slowest:
                        del self._coming[slowest]
                        slowest.reschedule(now)


def _handlers(service: Service) -> dict[str, grpc.RpcMethodHandler]:
    def of(name: str, version: str) -> LiveModel:
        if name != MODEL_NAME:
            raise HTTPException(404, f"model {name[:40]!r} does not answer here; {MODEL_NAME} does")
        return named(service, version or None)

    async def server_live(request: Any, headers: Mapping[str, str], began: float) -> Any:
        return MESSAGES["ServerLiveResponse"](live=True)

    async def server_ready(request: Any, headers: Mapping[str, str], began: float) -> Any:
        return MESSAGES["ServerReadyResponse"](ready=service.ready)

    async def model_ready(request: Any, headers: Mapping[str, str], began: float) -> Any:
        with suppress(NotReady):
            return MESSAGES["ModelReadyResponse"](ready=of(request.name, request.version) is not None)
        return MESSAGES["ModelReadyResponse"](ready=False)

    async def server_metadata(request: Any, headers: Mapping[str, str], began: float) -> Any:
        return MESSAGES["ServerMetadataResponse"](name="driftloop", version=__version__)

    async def model_metadata(request: Any, headers: Mapping[str, str], began: float) -> Any:
        return MESSAGES["ModelMetadataResponse"](**metadata(of(request.name, request.version)))

    async def model_infer(request: Any, headers: Mapping[str, str], began: float) -> Any:
        live = of(request.model_name, request.model_version)
        head, outputs, wanted = await inferred(service, live, *_as_over_http(request), headers, began)
        described = [{"name": name, "datatype": DATATYPES[name], "shape": outputs[name].shape} for name in wanted]
        raw = [np.ascontiguousarray(outputs[name]).tobytes() for name in wanted]
        return MESSAGES["ModelInferResponse"](**head, outputs=described, raw_output_contents=raw)

    methods: list[Method] = [server_live, server_ready, model_ready, server_metadata, model_metadata, model_infer]
    seconds = service.settings.upload_seconds
    # As over HTTP, health and descriptions need no key; inference does. What comes without one must not take the others' turns and room.
    keyed = service.settings.api_keys, Arrivals(service.unanswered, turns=MOST_COMING, upload_seconds=seconds)
    free: tuple[tuple[str, ...], Arrivals] = (), Arrivals(Unanswered(MOST_DESCRIPTIONS), turns=1, upload_seconds=seconds)
    return {
        name: _handler(service, name, method, *(keyed if name == "ModelInfer" else free))
        for name, method in zip(METHODS, methods, strict=True)
    }


def _handler(service: Service, name: str, answer: Method, keys: tuple[str, ...], arrivals: Arrivals) -> grpc.RpcMethodHandler:
    """A method with its key, its time and status counted, and every error as a sentence."""

    async def handle(_: AsyncIterable[bytes], context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        began, status = time.monotonic(), CALLER_GONE
        try:
            # As over HTTP with each that came: what comes twice is refused where that matters.
            given = context.invocation_metadata() or ()
            headers = Headers(raw=[(key.encode(), value.encode()) for key, value in given if isinstance(value, str)])
            check_key(keys, headers)
            # What has no fields need not come in.
            data = await arrivals.message(context) if MESSAGES[f"{name}Request"].DESCRIPTOR.fields else b""
            if not isinstance(data, bytes):
                raise HTTPException(413, f"the request is larger than {service.settings.most_request_mib} MiB, or there is none")
            _check_fields(data, service)
            with arrivals.unanswered.held(len(data)):
                answered = await answer(_message(f"{name}Request", data), headers, time.monotonic())
            status = 200
            return answered.SerializeToString()
        except Exception as error:
            refused = refusal(error)
            # Said apart from a full queue, as what it is.
            code = grpc.StatusCode.RESOURCE_EXHAUSTED if isinstance(error, NoRoom) else CODES[refused.status_code]
            status = refused.status_code
            if status == 500:
                LOG.exception("%s failed", name)
        finally:
            service.metrics.request(f"/{PATH}/{name}", status, time.monotonic() - began)
        wait = (("grpc-retry-pushback-ms", f"{refused.headers['retry-after']}000"),) if status == 503 and refused.headers else ()
        return await context.abort(code, refused.detail, wait)

    # To a caller no other than a unary method; here its message is read after its key, and only where that fits.
    return grpc.stream_unary_rpc_method_handler(handle)


def _check_fields(data: bytes, service: Service) -> None:
    """Refuse what would take far more memory than it has bytes: an empty input is two bytes of a message and two hundred of memory.

    Raises:
        HTTPException: 413 or 422.
    """
    # A number takes a byte or two; raw ones one.
    if service.live and len(data) > (most := 2 * most_numbers(service.live, service) + MOST_BESIDE_NUMBERS):
        raise HTTPException(413, f"the request is larger than {most >> 10} KiB, which this model's largest input needs at most")
    at, fields = 0, 0
    while at < len(data):
        kind, at = _varint(data, at)
        size = 0
        if kind & 7 in (0, 2):
            size, at = _varint(data, at)
        at += {0: 0, 1: 8, 2: size, 5: 4}.get(kind & 7, len(data))
        fields += 1
        if fields > MOST_FIELDS:
            raise unprocessable(f"a message of more than {MOST_FIELDS} fields")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of a message, and where it ends."""
    value = shift = 0
    while at < len(data) and shift < 70:
        value |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 128:
            break
    return value, at


def _message(name: str, data: bytes) -> Any:
    """A message of a call.

    Raises:
        HTTPException: 422.
    """
    try:
        return MESSAGES[name].FromString(data)
    except DecodeError:
        raise unprocessable(f"the message is no {name}") from None


def _as_over_http(request: Any) -> tuple[dict[str, Any], bytes]:
    """A request as JSON would have it, and its binary data.

    Raises:
        HTTPException: 422.
    """
    inputs: list[dict[str, Any]] = [
        {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(tensor.shape),
            "data": np.fromiter(tensor.contents.uint_contents, np.uint32),
        }
        for tensor in request.inputs
    ]
    raw = list(request.raw_input_contents)
    if raw:
        if len(raw) != len(inputs) or any(tensor.HasField("contents") for tensor in request.inputs):
            raise unprocessable("raw_input_contents: one for each input, and then no contents")
        inputs[0]["parameters"] = {"binary_data_size": len(raw[0])}
    content = {
        "id": request.id,
        "inputs": inputs,
        "outputs": [{"name": output.name} for output in request.outputs],
        # All come as binary data.
        "parameters": {name: _value(parameter) for name, parameter in request.parameters.items()} | {"binary_data_output": True},
    }
    return content, raw[0] if raw else b""


def _value(parameter: Any) -> Any:
    chosen = parameter.WhichOneof("parameter_choice")
    return getattr(parameter, chosen) if chosen else None
