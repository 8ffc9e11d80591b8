"""A real `driftloop serve` in a process of its own."""

import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

STARTED_IN_SECONDS = 60.0
#: httpx itself waits for five, too little where a swap and other tests have the cores.
ANSWERED_IN_SECONDS = 60.0
get, post = (partial(ask, timeout=ANSWERED_IN_SECONDS) for ask in (httpx.get, httpx.post))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def png(image: np.ndarray) -> bytes:
    """A grey image (H, W, 1) as a file."""
    stream = io.BytesIO()
    Image.fromarray(image[..., 0]).save(stream, "PNG")
    return stream.getvalue()


def wait_for(condition: Callable[[], bool], seconds: float = 60.0, missing: Callable[[], object] = lambda: "did not happen") -> None:
    """Until it is true; an AssertionError that says what is missing where it does not become so."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, missing()
        time.sleep(0.05)


class ServiceProcess:
    """Started on a free port, or on `port` again after it has ended."""

    def __init__(
        self, store: str, folder: Path, *options: str, port: int = 0, processes: int = 1, environment: dict[str, str] | None = None
    ) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.errors = folder / f"serve-{time.monotonic_ns()}.log"
        command = [sys.executable, "-m", "driftloop.cli.main", "serve", "--store", store, "--port", str(self.port)]
        command += ["--spool", str(folder / "spool"), "--poll", "0.2", "--flush", "0.5", "--processes", str(processes), *options]
        with open(self.errors, "wb") as stream:
            self.process = subprocess.Popen(command, stderr=stream, env={**os.environ, **(environment or {})})

    def ready(self) -> "ServiceProcess":
        """Wait until it answers."""
        until = time.monotonic() + STARTED_IN_SECONDS
        while time.monotonic() < until:
            assert self.process.poll() is None, self.errors.read_text()
            try:
                if httpx.get(f"{self.url}/v2/health/live").status_code == 200:
                    return self
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError(f"not up after {STARTED_IN_SECONDS} s: {self.errors.read_text()}")

    def predict(self, image: np.ndarray, request_id: str = "", **headers: str | bytes) -> dict:
        """The answer to one image; HTTP errors raise."""
        named = {"X-Request-Id": request_id} if request_id else {}
        answer = post(f"{self.url}/predict", content=png(image), headers={"Content-Type": "image/png", **named, **headers})
        answer.raise_for_status()
        return answer.json()

    def activity(self) -> dict:
        return get(f"{self.url}/activity").json()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self) -> int:
        """SIGTERM, and the exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(60)

    def __enter__(self) -> "ServiceProcess":
        return self.ready()

    def __exit__(self, *_: object) -> None:
        self.end()
