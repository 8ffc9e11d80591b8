"""The real `driftloop` command in a folder of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

DRIFTLOOP = Path(sys.executable).parent / "driftloop"


class Command:
    """Runs `driftloop` in `folder`; every call is a process of its own, as for a person."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str, status: int = 0, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"COLUMNS": "160", "NO_COLOR": "1"} | (env or {})
        done = subprocess.run([DRIFTLOOP, *arguments], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=900)
        assert done.returncode == status, (
            f"driftloop {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}{self.log_tail()}"
        )
        return done

    def log_tail(self) -> str:
        log = self.folder / "runs" / "latest" / "run.log"
        return "\n--- run.log ---\n" + log.read_text(errors="replace")[-4000:] if log.exists() else ""

    def summary(self) -> dict[str, Any]:
        """`summary.json` of the latest run."""
        return json.loads((self.folder / "runs" / "latest" / "summary.json").read_text())
