"""A real MLflow server for the tests, from an environment of its own: DRIFTLOOP_MLFLOW names its `mlflow` command."""

import os
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

from tests.minio_server import free_port

START_TIMEOUT_S = 120


class MlflowServer:
    """A server with its database and artifacts in a folder; `kill` and `start` again keep its port and its data."""

    def __init__(self, folder: Path) -> None:
        command = os.environ.get("DRIFTLOOP_MLFLOW")
        if not command:
            pytest.skip("no MLflow server: DRIFTLOOP_MLFLOW does not name the mlflow command of an environment with the package mlflow")
        folder.mkdir(parents=True)
        self._command, self._folder, self._port = command, folder, free_port()
        self.uri = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = ["--host", "127.0.0.1", "--port", str(self._port), "--workers", "1"]
        data = ["--backend-store-uri", f"sqlite:///{self._folder}/mlflow.db", "--artifacts-destination", f"{self._folder}/artifacts"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MLFLOW_"))}
        with open(self._folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                [self._command, "server", *options, *data],
                env=environment | {"MLFLOW_DISABLE_TELEMETRY": "true"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                return
            time.sleep(0.2)
        self.kill()
        raise RuntimeError(f"MLflow did not start: {(self._folder / 'log').read_text()[-500:]}")

    def kill(self) -> None:
        """End the server with its workers."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, 9)
            self._process.wait()
            self._process = None
