"""A real MinIO server for the tests: found, or built from its sources, or run in Docker; on a free port, with data of its own."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
import urllib3

BUILT = Path.home() / ".cache" / "driftloop" / "bin"
IMAGE = "minio/minio:RELEASE.2025-09-07T16-13-09Z"
START_TIMEOUT_S = 60


class MinioServer:
    """A server with random credentials; `kill` and `start` again keep its port and its data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.access_key = secrets.token_hex(8)
        self.secret_key = secrets.token_hex(16)
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._container = f"driftloop-test-{secrets.token_hex(4)}"
        self._binary = _binary()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which a client finds the server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
        }

    def start(self) -> None:
        """Start the server and wait until it serves."""
        secret = {"MINIO_ROOT_USER": self.access_key, "MINIO_ROOT_PASSWORD": self.secret_key}
        command = self._container_command() if self._binary is None else self._binary_command()
        with open(self.folder.with_suffix(".log"), "ab") as log:
            self._process = subprocess.Popen(command, env=os.environ | secret, stdout=log, stderr=log)
        self._await_ready(self._process)

    def kill(self) -> None:
        """End the server as a crash does: no request in flight is answered."""
        if self._process is None:
            return
        if self._binary is None:
            subprocess.run(["docker", "kill", self._container], check=False, capture_output=True)
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def _binary_command(self) -> list[str]:
        return [str(self._binary), "server", "--quiet", "--address", f"127.0.0.1:{self.port}", str(self.folder)]

    def _container_command(self) -> list[str]:
        run = ["docker", "run", "--rm", "--name", self._container, "--user", f"{os.getuid()}:{os.getgid()}"]
        seen = ["-p", f"127.0.0.1:{self.port}:9000", "-v", f"{self.folder}:/data", "-e", "MINIO_ROOT_USER", "-e", "MINIO_ROOT_PASSWORD"]
        return [*run, *seen, IMAGE, "server", "/data"]

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        if becomes_ready(self.endpoint, lambda: process.poll() is None):
            return
        self.kill()
        raise RuntimeError(f"MinIO did not start: {self.folder.with_suffix('.log').read_text()[-500:]}")


def becomes_ready(endpoint: str, runs: Callable[[], bool] = lambda: True) -> bool:
    """Wait until a MinIO server answers; False where it does not in time, or does not run any more."""
    deadline = time.monotonic() + START_TIMEOUT_S
    with urllib3.PoolManager(retries=False, timeout=2) as http:
        while runs() and time.monotonic() < deadline:
            try:
                if http.request("GET", f"{endpoint}/minio/health/ready").status == 200:
                    return True
            except urllib3.exceptions.HTTPError:
                pass
            time.sleep(0.05)
    return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _binary() -> Path | None:
    """The server's program; None where Docker has to run it. Skips the test where neither is to be had, but not in CI."""
    found = find_or_build("minio")
    if found:
        return found
    if not shutil.which("docker") or subprocess.run(["docker", "info"], check=False, capture_output=True).returncode != 0:
        give_up("no MinIO server: put `minio` on the PATH, or install Go or Docker")
    return None


def find_or_build(program: str, accept: Callable[[Path], bool] = lambda path: True) -> Path | None:
    """A program of MinIO's: the first that is there and accepted, else built from its released Go module; None without Go."""
    for place in (shutil.which(program), Path.home() / ".local" / "bin" / program, BUILT / program):
        if place and Path(place).exists() and accept(Path(place)):
            return Path(place)
    if shutil.which("go"):
        BUILT.mkdir(parents=True, exist_ok=True)
        module = f"github.com/minio/{program}@latest"
        if subprocess.run(["go", "install", module], env=os.environ | {"GOBIN": str(BUILT)}, check=False).returncode == 0:
            return BUILT / program
    return None


def give_up(reason: str) -> NoReturn:
    """Skip the test; in CI, where the program can be had, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
