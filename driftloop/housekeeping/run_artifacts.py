"""The artifacts of local runs: which could go, and which datasets they name."""

import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from driftloop.dataset.description import NAME as DATASET

ARTIFACTS, SUMMARY, LATEST = "artifacts", "summary.json", "latest"


@dataclass(frozen=True)
class RunArtifacts:
    """`runs/<id>/artifacts` of a run that ended at `finished`; `size` in bytes."""

    path: Path
    finished: datetime
    size: int

    @property
    def run(self) -> str:
        """The run's id."""
        return self.path.parent.name


def finished_artifacts(runs: Path, cutoff: datetime) -> list[RunArtifacts]:
    """The artifacts of the runs that ended before `cutoff`, but the latest: reports, summary, deliverables and store lie beside them.

    A run writes its summary when it ends, however it ends. One without a summary may still be running.
    """
    latest = (runs / LATEST).resolve()
    found = []
    for folder in sorted(runs.iterdir()) if runs.is_dir() else []:
        artifacts, summary = folder / ARTIFACTS, folder / SUMMARY
        if folder.is_symlink() or folder.resolve() == latest or artifacts.is_symlink() or not artifacts.is_dir() or not summary.is_file():
            continue
        finished = datetime.fromtimestamp(summary.stat().st_mtime, UTC)
        if finished < cutoff:
            size = sum(path.lstat().st_size for path in artifacts.rglob("*") if not path.is_dir())
            found.append(RunArtifacts(artifacts, finished, size))
    return found


def remove(artifacts: RunArtifacts) -> None:
    """Delete them; what a kill leaves of them goes next time."""
    shutil.rmtree(artifacts.path)


def named_by_runs(runs: Path, going: list[RunArtifacts]) -> set[str]:
    """The datasets that the artifacts of local runs name, without those of the artifacts that go."""
    gone = {artifacts.path for artifacts in going}
    folders = [folder / ARTIFACTS for folder in runs.iterdir() if not folder.is_symlink()] if runs.is_dir() else []
    found = {dataset_hash(path.read_bytes()) for folder in folders if folder not in gone for path in folder.rglob(DATASET)}
    return found - {""}


def dataset_hash(data: bytes) -> str:
    """The hash that a `dataset.json` names; "" where it is somebody else's file of that name."""
    try:
        return str(json.loads(data)["manifest_hash"])
    except (ValueError, KeyError, TypeError):
        return ""
