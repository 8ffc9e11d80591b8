"""Replicas of `driftloop serve` as real processes, and a small proxy before them that does what Kubernetes and an ingress do."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import urllib3

START_TIMEOUT_S = 60


class Replica:
    """A process with a port and a spool of its own."""

    def __init__(self, store: str, spool: Path, environment: dict[str, str]) -> None:
        self.spool = spool
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        arguments = [
            "serve",
            "--store",
            store,
            "--port",
            str(self.port),
            "--spool",
            str(spool),
            "--flush",
            "0.5",
            "--processes",
            "1",
            "--threads",
            "1",
        ]
        self._log = spool.with_suffix(".log")
        with open(self._log, "ab") as log:
            command = [sys.executable, "-m", "driftloop.cli.main", *arguments]
            self._process = subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log)

    def await_ready(self) -> None:
        """Wait until it would get requests on a cluster."""
        deadline = time.monotonic() + START_TIMEOUT_S
        with urllib3.PoolManager(retries=False, timeout=2) as http:
            while time.monotonic() < deadline and self._process.poll() is None:
                with contextlib.suppress(urllib3.exceptions.HTTPError):
                    if http.request("GET", f"http://127.0.0.1:{self.port}/v2/health/ready").status == 200:
                        return
                time.sleep(0.05)
        raise RuntimeError(f"the service did not start: {self._log.read_text()[-2000:]}")

    def terminate(self) -> int:
        """End it as Kubernetes does, which gives it a while; its exit status, as a shell tells it."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=60)

    def kill(self) -> None:
        """End it as a lost node does: nothing in it is told."""
        self._process.kill()
        self._process.wait()


class Proxy:
    """Hands each request to the next backend in `ports`; one that a backend leaves without an answer goes to the next one."""

    def __init__(self) -> None:
        self.ports: list[int] = []
        self.repeated = 0
        self.port = 0
        self.stop: Callable[[], object] = lambda: None
        self._turn = 0
        self._open: Counter[int] = Counter()

    async def serve(self, ready: threading.Event) -> None:
        """Run until `stop`; `port` is known once `ready` is set."""
        self.loop, stopped = asyncio.get_running_loop(), asyncio.Event()
        self.stop = lambda: self.loop.call_soon_threadsafe(stopped.set)
        async with await asyncio.start_server(self._answer, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            ready.set()
            await stopped.wait()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            request = await _read_message(reader)
            answer, ports = b"", list(self.ports)
            self._turn += 1
            first = self._turn % len(ports)
            for port in [*ports[first:], *ports[:first]]:
                answer = await self._ask(port, request)
                if answer:
                    break
                self.repeated += 1
            writer.write(answer or b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()

    async def _ask(self, port: int, request: bytes) -> bytes:
        """The whole answer; empty where the connection ended before it did."""
        self._open[port] += 1
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.closing(writer):
                writer.write(request)
                return await _read_message(reader)
        except (OSError, asyncio.IncompleteReadError):
            return b""
        finally:
            self._open[port] -= 1

    async def take_out(self, port: int) -> None:
        """Send nothing more there, and wait until what was sent is answered: what a pod's preStop gives time for."""
        self.ports.remove(port)
        while self._open[port]:
            await asyncio.sleep(0.01)


async def _read_message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    return head + await reader.readexactly(sum(lengths))


@contextmanager
def proxy() -> Iterator[Proxy]:
    """A proxy that runs in a thread of its own as long as the block."""
    made, ready = Proxy(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(made.serve(ready)))
    thread.start()
    ready.wait()
    try:
        yield made
    finally:
        made.stop()
        thread.join()
