"""Whether a process that a test did not start itself is gone."""

from pathlib import Path


def runs(process: int) -> bool:
    """A zombie does not: on a machine whose first process reaps nobody it stays for good."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
