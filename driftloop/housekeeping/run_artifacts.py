"""The artifacts of local runs: which could go, and which datasets they name.

Kubeflow's pipeline root: which datasets its artifacts name, and which of its artifacts may go.

Kubeflow deletes none of them, and its cache hands a step's artifacts on to new runs whether they are still there or not. So nothing of a
pipeline with cached steps is ever deleted. A drift watch begins with a step that is never cached, and no step after it can be.
"""

import json
import re
import shutil
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from driftloop.dataset.description import DATASET_FILE as DATASET
from driftloop.errors import InputError
from driftloop.housekeeping.pruning import Item
from driftloop.store import ObjectInfo, Store

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


#: <root>/drift-watch/<run id>/<step>/...
WATCH_RUN = re.compile(r"(?:.*/)?drift-watch/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/")


def read_root(root: Store, cutoff: datetime) -> tuple[set[str], list[Item]]:
    """The datasets that artifacts name, and the artifacts of watches that were last written to before `cutoff`.

    Raises:
        InputError: nothing lies there, so it is no pipeline root, and nobody knows what artifacts name.
    """
    named: set[str] = set()
    watches: dict[str, list[ObjectInfo]] = defaultdict(list)
    entries = list(root.list())
    if not entries:
        raise InputError(
            f"{root.uri}: nothing lies there, so it is not Kubeflow's pipeline root; check --pipeline-root, usually s3://mlpipeline"
        )
    for entry in entries:
        if entry.key.endswith(f"/{DATASET}"):
            named.add(dataset_hash(root.read(entry.key)))
        if run := WATCH_RUN.match(entry.key):
            watches[run[1]].append(entry)
    old = {run: objects for run, objects in watches.items() if max(entry.modified for entry in objects) < cutoff}
    items = [
        Item("artifacts", run, f"a watch of {objects[0].modified:%Y-%m-%d} in Kubeflow", tuple(objects)) for run, objects in old.items()
    ]
    return named - {""}, items


def remove_artifacts(root: Store, item: Item) -> None:
    """Delete the artifacts of a watch; what a kill leaves of them goes next time."""
    for entry in item.objects:
        root.delete(entry.key)
