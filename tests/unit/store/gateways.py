"""Gateways that stand between a client and a real MinIO server and are not what one would wish for."""

import contextlib
import hashlib
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

import pytest
import urllib3
from minio.credentials import Credentials
from minio.signer import sign_v4_s3
from minio.time import to_amz_date, utcnow

from tests.minio_server import MinioServer

CONDITIONS = ("if-match", "if-none-match")


@dataclass
class Request:
    """A request on its way to the server."""

    method: str
    path: str
    headers: dict[str, str]
    """By names in small letters."""
    body: bytes


@dataclass
class Reply:
    """A server's answer."""

    status: int
    headers: dict[str, str]
    """By names in small letters."""
    body: bytes


class CutOff(Exception):
    """Thrown where the client's connection is to be broken, after so many bytes of the answer's body."""

    def __init__(self, reply: Reply | None = None, sent: int = 0) -> None:
        self.reply, self.sent = reply, sent


class Gateway:
    """Passes every request on, and its answer back; what each of the others is made for overrides `serve`."""

    def __init__(self, server: MinioServer) -> None:
        self._server = server
        #: Method and path of every request.
        self.requests: list[tuple[str, str]] = []
        self._pool = urllib3.PoolManager(maxsize=16, retries=False, timeout=30)
        self._http = _Server(("127.0.0.1", 0), self.serve)
        self.endpoint = f"http://127.0.0.1:{self._http.server_port}"
        # A test that fails before it closes the gateway must still end.
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def in_between(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Self]:
        """Stores that are opened from here on are reached through it, until the context ends."""
        monkeypatch.setenv("AWS_ENDPOINT_URL", self.endpoint)
        try:
            yield self
        finally:
            self.close()

    def serve(self, request: Request) -> Reply:
        """The answer to a request."""
        return self.forward(request)

    def forward(self, request: Request) -> Reply:
        """The server's own answer."""
        self.requests.append((request.method, request.path))
        url = f"{self._server.endpoint}{request.path}"
        answer = self._pool.urlopen(request.method, url, body=request.body, headers=request.headers)
        return Reply(answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.data)

    def close(self) -> None:
        """Stop, and break every connection."""
        self._http.shutdown()
        self._http.end_connections()
        self._http.server_close()
        self._thread.join()
        self._pool.clear()


class TamperingGateway(Gateway):
    """Does something to each request that has a condition, and passes the signature on as it came."""

    def __init__(self, server: MinioServer, tamper: Callable[[Request], None]) -> None:
        self._tamper = tamper
        super().__init__(server)

    def serve(self, request: Request) -> Reply:
        if request.headers.keys() & set(CONDITIONS):
            self._tamper(request)
        return self.forward(request)


class CarelessGateway(Gateway):
    """An S3 server that ignores the conditions of conditional writes, as some do: it signs what it passes on itself."""

    def serve(self, request: Request) -> Reply:
        for name in (*CONDITIONS, "authorization"):
            request.headers.pop(name, None)
        url, content, now = urlsplit(f"{self._server.endpoint}{request.path}"), hashlib.sha256(request.body).hexdigest(), utcnow()
        request.headers |= {"host": url.netloc, "x-amz-content-sha256": content, "x-amz-date": to_amz_date(now)}
        credentials = Credentials(self._server.access_key, self._server.secret_key)
        sign_v4_s3(
            method=request.method,
            url=url,
            region="us-east-1",
            headers=request.headers,
            credentials=credentials,
            content_sha256=content,
            date=now,
        )
        return self.forward(request)


class TaglessGateway(Gateway):
    """Refuses every object with a tag."""

    def __init__(self, server: MinioServer, code: str) -> None:
        self._code = code
        super().__init__(server)

    def serve(self, request: Request) -> Reply:
        if "x-amz-tagging" not in request.headers:
            return self.forward(request)
        self.requests.append((request.method, "tagged"))
        return Reply(501, {"content-type": "application/xml"}, f"<Error><Code>{self._code}</Code></Error>".encode())


class LateErrorGateway(Gateway):
    """Says once, in an answer that began well, that the parts of an upload could not be put together, as S3 may."""

    def serve(self, request: Request) -> Reply:
        if request.method != "POST" or "uploadId=" not in request.path or ("POST", "late error") in self.requests:
            return self.forward(request)
        self.requests.append(("POST", "late error"))
        return Reply(200, {"content-type": "application/xml"}, b"<Error><Code>InternalError</Code></Error>")


class FaultyGateway(Gateway):
    """Answers a share of the requests with a fault, before or after the server has done what was asked."""

    FAULTS = ("500", "503", "reset", "truncated", "slow", "wrong ETag")

    def __init__(self, server: MinioServer, *, share: float, seed: int) -> None:
        self._rng, self._lock, self._share = random.Random(seed), threading.Lock(), share
        self.counts: dict[str, int] = {"good": 0}
        super().__init__(server)

    def serve(self, request: Request) -> Reply:
        with self._lock:
            fault = self._rng.choice(self.FAULTS) if self._rng.random() < self._share else "good"
            after, part = self._rng.random() < 0.5, self._rng.random()
            self.counts[fault] = self.counts.get(fault, 0) + 1
        if fault == "slow":
            time.sleep(0.05 * part)
        reply = self.forward(request) if after or fault not in ("500", "503", "reset") else None
        if fault in ("500", "503"):
            return Reply(int(fault), {"content-type": "text/plain"}, b"no\n")
        if reply is None or fault == "reset":
            raise CutOff
        if fault == "truncated":
            raise CutOff(reply, int(part * len(reply.body)))
        if fault == "wrong ETag" and "etag" in reply.headers:
            reply.headers["etag"] = f'"{hashlib.md5(b"%f" % part, usedforsecurity=False).hexdigest()}"'
        return reply


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], serve: Callable[[Request], Reply]) -> None:
        self.serve = serve
        self._open: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def answer(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        try:
            reply = self.server.serve(Request(self.command, self.path, headers, body))
            self._send(reply, len(reply.body))
        except CutOff as cut:
            self.close_connection = True
            if cut.reply is not None:
                self._send(cut.reply, cut.sent)
        except OSError:
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer  # noqa: N815 - the names that http.server looks for

    def _send(self, reply: Reply, sent: int) -> None:
        self.send_response_only(reply.status)
        for name, value in reply.headers.items():
            if name not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        length = reply.headers.get("content-length", "0") if self.command == "HEAD" else str(len(reply.body))
        if reply.status != 204:
            self.send_header("content-length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body[:sent])

    def log_message(self, *_: object) -> None:
        """Say nothing."""
