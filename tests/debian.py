"""Programs of Debian's packages for the tests: a real Prometheus, its promtool, a real Alertmanager; on free ports, ended with the test."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import urllib3

START_TIMEOUT_S = 60


def must_be_there(package: str) -> bool:
    """Whether `.ci/run` could install it: without it a test fails there, and elsewhere is skipped."""
    return package in os.environ.get("DRIFTLOOP_DEBIAN", "").split()


def debian_program(name: str, package: str) -> str:
    """A program's path; skips the test where it is missing, or fails it."""
    found = shutil.which(name)
    if found is None:
        missing = f"no {name} here: apt-get install {package}"
        if must_be_there(package):
            pytest.fail(f"{missing} (.ci/run tried it)", pytrace=False)
        pytest.skip(missing)
    return found


@contextmanager
def running(*command: str, folder: Path, port: int) -> Iterator[str]:
    """The address of a server of Prometheus' family while it runs in `folder`, once it is ready."""
    log = folder / "server.log"
    with open(log, "wb") as stream, subprocess.Popen(command, cwd=folder, stdout=stream, stderr=stream) as process:
        try:
            _await_ready(process, port, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_ready(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    with urllib3.PoolManager(retries=False, timeout=2) as http:
        while time.monotonic() < until:
            assert process.poll() is None, log.read_text()[-2000:]
            try:
                if http.request("GET", f"http://127.0.0.1:{port}/-/ready").status == 200:
                    return
            except urllib3.exceptions.HTTPError:
                pass
            time.sleep(0.05)
    raise AssertionError(f"not ready after {START_TIMEOUT_S} s: {log.read_text()[-2000:]}")
