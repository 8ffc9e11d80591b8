"""How much a process holds of what comes over gRPC, by real calls: messages as a whole, and those that come in part."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from driftloop.serving import open_inference_grpc
from driftloop.serving.grpc_messages import MESSAGES
from driftloop.serving.live_model import LiveModel
from driftloop.serving.open_inference_grpc import MOST_COMING, PATH, WINDOW, GrpcServer
from driftloop.serving.service import Service
from driftloop.serving.settings import ServingSettings
from tests.factories.serving_store import build_serving_store, textured_squares
from tests.serving.service_process import free_port

NO_ROOM = (grpc.StatusCode.RESOURCE_EXHAUSTED, "more is being sent than this replica can hold; try again in a moment")
#: Of HTTP/2: kinds of frames.
DATA, HEADERS, SETTINGS, WINDOW_UPDATE = 0, 1, 4, 8


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    made: list[Service] = []
    store, _ = build_serving_store(tmp_path / "model")

    def service(**settings: Any) -> Service:
        room = {"most_request_mib": 1, "most_waiting_mib": 1, "most_images": 1000}
        made.append(Service(store, ServingSettings(spool=tmp_path / "spool", **{**room, **settings})))
        made[-1].follower.live = LiveModel.load(store, "1")
        return made[-1]

    yield service
    for one in made:
        one.close()


def over_grpc(service: Service, ask: Callable[[grpc.aio.Channel, int], Awaitable[Any]]) -> Any:
    """What `ask` gives, which has a connection to the service and the port."""

    async def asked() -> Any:
        port = free_port()
        server = await GrpcServer.start(service, f"127.0.0.1:{port}")
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
                return await ask(channel, port)
        finally:
            server.begin_to_end(0)
            await server.ended()

    return asyncio.run(asked())


def message(size: int = 0) -> bytes:
    """A request for one image that is `size` bytes longer than it has to be, by a field that nobody knows."""
    image = textured_squares(1, seed=4)[0]
    tensor = {"name": "images", "datatype": "UINT8", "shape": list(image.shape)}
    whole = MESSAGES["ModelInferRequest"](model_name="champion", inputs=[tensor], raw_input_contents=[image.tobytes()])
    length, varint = size, bytearray()
    while length > 127:
        varint.append(length & 127 | 128)
        length >>= 7
    return whole.SerializeToString() + bytes([99 << 3 & 127 | 2 | 128, 99 >> 4]) + bytes([*varint, length]) + bytes(size)


async def said(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    """Code and sentence of a call."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""


def test_what_is_not_answered_yet_has_the_room_of_http(make: Callable[..., Service]) -> None:
    service = make()

    async def ask(channel: grpc.aio.Channel, _: int) -> list[tuple[grpc.StatusCode, str]]:
        infer = channel.unary_unary(f"/{PATH}/ModelInfer")
        with service.unanswered.held(800_000):  # by callers over HTTP
            first = await said(infer(message(300_000), timeout=20))
            # Which is not wanted for good, as it is of a queue.
            assert await said(infer(message(), timeout=20)) == (grpc.StatusCode.OK, "")
        with service.log._lock:  # no answer before it is in the log
            three = [asyncio.create_task(said(infer(message(300_000), timeout=20))) for _ in range(3)]
            while service.unanswered._held < 900_000:
                await asyncio.sleep(0.01)
            many = await asyncio.gather(*(said(infer(message(300_000), timeout=20)) for _ in range(20)))
        return [first, *many, *await asyncio.gather(*three)]

    found = over_grpc(service, ask)
    assert found == [NO_ROOM] * 21 + [(grpc.StatusCode.OK, "")] * 3
    assert f'driftloop_requests_total{{path="/{PATH}/ModelInfer",status="503"}} 21.0' in service.metrics_text().decode()
    with service.unanswered.held(1 << 20):  # what is over is no longer held
        pass
    assert service.log.counts.logged == 4


async def never() -> AsyncIterator[bytes]:
    await asyncio.Future()
    yield b""


def test_a_message_that_does_not_come_in_is_ended(make: Callable[..., Service]) -> None:
    async def ask(channel: grpc.aio.Channel, _: int) -> list[tuple[grpc.StatusCode, str]]:
        return [await said(channel.stream_unary(f"/{PATH}/{name}")(never(), timeout=20)) for name in ("ModelInfer", "ModelReady")]

    assert over_grpc(make(upload_seconds=0.2), ask) == [(grpc.StatusCode.DEADLINE_EXCEEDED, "the request did not come in within 0.2 s")] * 2


def test_one_that_does_not_come_in_makes_room_for_others(make: Callable[..., Service]) -> None:
    service = make()

    async def ask(channel: grpc.aio.Channel, port: int) -> list[tuple[grpc.StatusCode, str]]:
        infer = channel.unary_unary(f"/{PATH}/ModelInfer")
        stuck = [asyncio.create_task(said(channel.stream_unary(f"/{PATH}/ModelInfer")(never(), timeout=20))) for _ in range(MOST_COMING)]
        while not await asyncio.to_thread(waits, port, service):  # until those have their turns
            pass
        assert await asyncio.gather(*(said(infer(message(100_000), timeout=20)) for _ in range(8))) == [(grpc.StatusCode.OK, "")] * 8
        done, others = await asyncio.wait(stuck, return_when=asyncio.FIRST_COMPLETED)
        for task in others:
            task.cancel()
        return [task.result() for task in done]

    assert set(over_grpc(service, ask)) == {NO_ROOM}


def test_one_that_has_just_begun_to_come_in_need_not_make_room(make: Callable[..., Service], monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a busy process lets several wait for too long: what gets the turn of the first of them is not ended by the next."""
    service = make()

    async def ask(channel: grpc.aio.Channel, port: int) -> list[tuple[grpc.StatusCode, str]]:
        sent = asyncio.Event()

        async def later() -> AsyncIterator[bytes]:
            await sent.wait()
            yield message()

        slow = [asyncio.create_task(said(channel.stream_unary(f"/{PATH}/ModelInfer")(later(), timeout=20))) for _ in range(MOST_COMING)]
        while not await asyncio.to_thread(waits, port, service):
            pass
        while service.unanswered._held:  # that one has gone
            await asyncio.sleep(0.01)
        monkeypatch.setattr(open_inference_grpc, "TURN_SECONDS", 0.05)
        waiting = asyncio.create_task(said(channel.unary_unary(f"/{PATH}/ModelInfer")(message(), timeout=20)))
        while not service.unanswered._held:
            await asyncio.sleep(0)
        monkeypatch.setattr(open_inference_grpc, "TURN_SECONDS", 60.0)
        await asyncio.sleep(0.1)  # its time is over before this one's, which began later
        sent.set()
        return await asyncio.gather(*slow, waiting)

    assert over_grpc(service, ask) == [(grpc.StatusCode.OK, "")] * (MOST_COMING + 1)


def test_of_what_waits_for_its_turn_a_window_is_held_and_descriptions_are_apart(
    make: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_inference_grpc, "TURN_SECONDS", 60.0)
    service = make()

    async def ask(channel: grpc.aio.Channel, port: int) -> None:
        ready = channel.unary_unary(f"/{PATH}/ModelReady")
        name = MESSAGES["ModelReadyRequest"](name="champion").SerializeToString()
        stuck = [asyncio.create_task(said(channel.stream_unary(f"/{PATH}/ModelInfer")(never(), timeout=20))) for _ in range(MOST_COMING)]
        while not await asyncio.to_thread(waits, port, service):  # until those have their turns
            pass
        assert await said(ready(name, timeout=20)) == (grpc.StatusCode.OK, "")
        # 16 windows are as much as one message.
        waiting = [asyncio.create_task(said(channel.stream_unary(f"/{PATH}/ModelInfer")(never(), timeout=20))) for _ in range(17)]
        done, others = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result() for task in done] == [NO_ROOM]
        for task in [*stuck, *others]:
            task.cancel()

    over_grpc(service, ask)


def waits(port: int, service: Service) -> bool:
    """Whether a call that has sent all it may of a message waits, instead of being let send more."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        headers = {":method": "POST", ":scheme": "http", ":path": f"/{PATH}/ModelInfer", ":authority": "x", "te": "trailers"}
        headers["content-type"] = "application/grpc"
        literal = b"".join(bytes([0, len(name), *name.encode(), len(value), *value.encode()]) for name, value in headers.items())
        part = (struct.pack(">BI", 0, 1_000_000) + bytes(WINDOW))[: WINDOW - 1]
        line.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS) + frame(HEADERS, literal, flags=4, stream=1))
        for at in range(0, len(part), 1 << 14):
            line.sendall(frame(DATA, part[at : at + (1 << 14)], stream=1))
        line.settimeout(0.05)
        answers = b""
        while service.unanswered._held < WINDOW:
            with suppress(TimeoutError):
                answers += line.recv(1 << 16)
            while len(answers) >= 9 and len(answers) >= (end := 9 + int.from_bytes(answers[:3])):
                if answers[3] == WINDOW_UPDATE and int.from_bytes(answers[5:9]) == 1:
                    return False
                answers = answers[end:]
        return True


def frame(kind: int, content: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    """Of HTTP/2."""
    return len(content).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + content
