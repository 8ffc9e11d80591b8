"""The artifacts that runs left outside the store: which of them could go, and which datasets they name.

Local runs keep theirs in `runs/<id>/artifacts`, Kubeflow in its pipeline root. Kubeflow deletes none of them, and its cache hands a
step's artifacts on to new runs whether they are still there or not. So nothing of a pipeline with cached steps is ever deleted. A drift
watch begins with a step that is never cached, and no step after it can be.
"""

import json
import re
import shutil
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from driftloop.contracts import SUMMARY
from driftloop.dataset.description import DATASET_FILE as DATASET
from driftloop.errors import InputError
from driftloop.housekeeping.pruning import PruneItem
from driftloop.store import ObjectInfo, Store

ARTIFACTS, LATEST = "artifacts", "latest"
#: The artifacts of a drift watch: <root>/drift-watch/<run id>/<step>/...
WATCH_RUN = re.compile(r"(?:.*/)?drift-watch/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/")


@dataclass(frozen=True)
class RunArtifacts:
    """The artifacts of a local run that has ended."""

    path: Path
    """`runs/<id>/artifacts`."""
    finished: datetime
    """When the run ended."""
    size: int
    """Bytes."""

    @property
    def run(self) -> str:
        """The run's id."""
        return self.path.parent.name


def finished_run_artifacts(runs: Path, cutoff: datetime) -> list[RunArtifacts]:
    """The artifacts of the runs that ended before `cutoff`, but the latest: reports, summary, deliverables and store lie beside them.

    A run writes its summary when it ends, however it ends. One without a summary may still be running.
    """
    latest = (runs / LATEST).resolve()
    finished_artifacts = []
    for folder in sorted(runs.iterdir()) if runs.is_dir() else []:
        artifacts, summary = folder / ARTIFACTS, folder / SUMMARY
        if folder.is_symlink() or folder.resolve() == latest or artifacts.is_symlink() or not artifacts.is_dir() or not summary.is_file():
            continue
        finished = datetime.fromtimestamp(summary.stat().st_mtime, UTC)
        if finished < cutoff:
            size = sum(path.lstat().st_size for path in artifacts.rglob("*") if not path.is_dir())
            finished_artifacts.append(RunArtifacts(artifacts, finished, size))
    return finished_artifacts


def remove_run_artifacts(artifacts: RunArtifacts) -> None:
    """Delete the artifacts of a local run; what a kill leaves of them goes next time."""
    shutil.rmtree(artifacts.path)


def datasets_named_by_runs(runs: Path, going: list[RunArtifacts]) -> set[str]:
    """The datasets that the artifacts of local runs name, without those of the artifacts that go."""
    gone = {artifacts.path for artifacts in going}
    folders = [folder / ARTIFACTS for folder in runs.iterdir() if not folder.is_symlink()] if runs.is_dir() else []
    hashes = {dataset_hash(path.read_bytes()) for folder in folders if folder not in gone for path in folder.rglob(DATASET)}
    return hashes - {""}


def dataset_hash(data: bytes) -> str:
    """The hash that a `dataset.json` names; "" where it is another program's file of that name."""
    try:
        return str(json.loads(data)["manifest_hash"])
    except (ValueError, KeyError, TypeError):
        return ""


def read_pipeline_root(root: Store, cutoff: datetime) -> tuple[set[str], list[PruneItem]]:
    """The datasets that artifacts name, and the artifacts of watches that were last written to before `cutoff`.

    Raises:
        InputError: nothing lies there, so it is not a pipeline root, and what artifacts name is not known.
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
        PruneItem("artifacts", run, f"a watch of {objects[0].modified:%Y-%m-%d} in Kubeflow", tuple(objects))
        for run, objects in old.items()
    ]
    return named - {""}, items


def remove_watch_artifacts(root: Store, item: PruneItem) -> None:
    """Delete the artifacts of a watch; what a kill leaves of them goes next time."""
    for entry in item.objects:
        root.delete(entry.key)
