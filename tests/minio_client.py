"""MinIO's client `mc` for the tests: found, or built from its sources as the documentation says."""

import subprocess
from pathlib import Path

from tests.minio_server import find_or_build, give_up


def find_client() -> Path:
    """The program; skips the test where it is not to be had, but not in CI."""
    return find_or_build("mc", _is_minios) or give_up("no MinIO client: put MinIO's `mc` on the PATH, or install Go")


def _is_minios(program: Path) -> bool:
    """Midnight Commander has the same name."""
    return "MinIO" in subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
