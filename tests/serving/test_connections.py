"""What a connection may do that is no matter of a request: stay silent, come in drop by drop, never read, ask for another protocol."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import pytest
import uvicorn

from driftloop.serving.http_protocol import LimitedHttp
from tests.serving.service_process import wait_for

#: Seconds for which a connection may be idle.
IDLE = 0.4
#: For an answer; a loaded machine is no reason to fail.
SOON = 60.0
UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
LARGE = 4 << 20


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Says the body that it was sent; on /large much, on /slow after a while, on /unread nothing of it."""
    body, more = b"", scope["path"] not in ("/unread", "/large")
    while more:
        message = await receive()
        body, more = body + message["body"], message.get("more_body", False)
    if scope["path"] == "/slow":
        await asyncio.sleep(4 * IDLE)
    said = bytes(LARGE) if scope["path"] == "/large" else b"%b: %b" % (scope["method"].encode(), body)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(said))]})
    await send({"type": "http.response.body", "body": said})


@contextmanager
def serving(idle: float) -> Iterator[int]:
    """The port of a server that closes connections after so many seconds."""
    bare: dict[str, Any] = {
        "timeout_keep_alive": idle,
        "server_header": False,
        "date_header": False,
        "lifespan": "off",
        "log_level": "error",
    }
    config = uvicorn.Config(application, http=LimitedHttp, ws="none", **bare)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of a server with short times."""
    with serving(IDLE) as port:
        yield port


@pytest.fixture(scope="module")
def patient() -> Iterator[int]:
    """Of one that waits for a test that is slow between two requests."""
    with serving(SOON) as port:
        yield port


def said(answers: BinaryIO) -> bytes:
    """The body of the next answer."""
    assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
    length = int(answers.readline().removeprefix(b"content-length: "))
    assert answers.readline() == b"\r\n"
    return answers.read(length)


def is_closed(line: socket.socket, drop: bytes, *, read: bool = True) -> bool:
    """Whether the other side has closed the connection; where not, it is sent something."""
    try:
        line.settimeout(IDLE / 8)
        if read and not line.recv(4096):
            return True
    except TimeoutError:
        pass
    except ConnectionError:
        return True
    try:
        line.sendall(drop)
    except ConnectionError:
        return True
    return False


@pytest.mark.parametrize("gap", [False, True])
@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"Content-Length: 35", b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"),
        (b"Content-Length: 5", b"\x89PNG\r"),
        (b"Transfer-Encoding: chunked", b"5\r\n\x89PNG\r\r\n0\r\n\r\n"),
    ],
)
def test_who_asks_for_another_protocol_is_answered_as_if_he_had_not(patient: int, head: bytes, body: bytes, gap: bool) -> None:
    """As Java's client does with its first request on a connection."""
    sent = b"\x89PNG\r" if b"chunked" in head else body
    with socket.create_connection(("127.0.0.1", patient), timeout=SOON) as line, line.makefile("rb") as answers:
        begin = b"POST / HTTP/1.1\r\nHost: x\r\n" + UPGRADE + head + b"\r\n\r\n"
        if gap:
            line.sendall(begin)
            line.sendall(body)
        else:
            line.sendall(begin + body)
        assert said(answers) == b"POST: " + sent
        line.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert said(answers) == b"GET: "
        line.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n" + UPGRADE + b"\r\nPUT / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert [said(answers), said(answers)] == [b"GET: ", b"PUT: "]


@pytest.mark.parametrize(
    ("begin", "drop"),
    [
        (b"", b""),
        (b"", b"\r\n"),
        (b"GET / HTTP/1.1\r\n", b"X-A: b\r\n"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\n"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n", b"X-A: b\r\n"),
        (b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n", b"a"),
        (b"POST /unread HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    ],
)
def test_who_sends_drop_by_drop_does_not_keep_a_connection(port: int, begin: bytes, drop: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(begin)
        wait_for(lambda: is_closed(line, drop))


def test_an_answer_that_takes_longer_than_that_comes(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=SOON) as line, line.makefile("rb") as answers:
        line.sendall(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody")
        assert said(answers) == b"POST: body"


def test_who_does_not_read_does_not_keep_a_connection(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n" * 4)
        wait_for(lambda: is_closed(line, b"\r\n", read=False))
