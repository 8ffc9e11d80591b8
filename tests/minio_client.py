"""MinIO's client `mc` for the tests: found, or built from its sources as the documentation says."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.minio_server import BUILT


def find_client() -> Path:
    """The program; skips the test where it is not to be had, but not in CI."""
    for place in (shutil.which("mc"), Path.home() / ".local" / "bin" / "mc", BUILT / "mc"):
        if place and Path(place).exists() and _is_minios(Path(place)):
            return Path(place)
    if shutil.which("go"):
        BUILT.mkdir(parents=True, exist_ok=True)
        built = subprocess.run(["go", "install", "github.com/minio/mc@latest"], env=os.environ | {"GOBIN": str(BUILT)}, check=False)
        if built.returncode == 0:
            return BUILT / "mc"
    reason = "no MinIO client: put MinIO's `mc` on the PATH, or install Go"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _is_minios(program: Path) -> bool:
    """Midnight Commander has the same name."""
    return "MinIO" in subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
