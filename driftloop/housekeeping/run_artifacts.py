"""The artifacts that runs left outside the store: which of them could go, and which datasets they name.

Local runs keep theirs in `runs/<id>/artifacts`, Kubeflow in its pipeline root. Kubeflow deletes none of them, and its cache hands a
step's artifacts on to new runs whether they are still there or not. So nothing of a pipeline with cached steps is ever deleted. A drift
watch begins with a step that is never cached, and no step after it can be.
"""

import json
import re
import shutil
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from driftloop.contracts import SUMMARY
from driftloop.dataset.description import DATASET_FILE as DATASET
from driftloop.errors import InputError
from driftloop.housekeeping.pruning import PruneItem
from driftloop.housekeeping.store_contents import Tally
from driftloop.registry.versions import CLAIM, PREFIX, claimed_versions
from driftloop.schema import parse_json
from driftloop.store import Store, open_store
from driftloop.watch_store import read_every_record

ARTIFACTS, LATEST = "artifacts", "latest"
#: The artifacts of a drift watch: <root>/drift-watch/<run id>/<step>/...
WATCH_RUN = re.compile(r"((?:.*/)?drift-watch/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}))/")


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


def own_runs(store: Store) -> set[str]:
    """The runs that wrote to this store, as far as it knows them: those that registered a version or left a watch record."""
    claims = [f"{PREFIX}{number}/{CLAIM}" for number in claimed_versions(store)]
    registered = {str(parse_json(store.read(key), f"{store.uri}/{key}").get("run", "")) for key in claims}
    return (registered | {record.run_id for record in read_every_record(store)}) - {""}


def read_pipeline_root(root: Store, cutoff: datetime, runs: set[str]) -> tuple[set[str], list[PruneItem]]:
    """The datasets that artifacts name, and the artifacts of watches that were last written to before `cutoff`.

    Args:
        root: Kubeflow's pipeline root, which other teams may share.
        cutoff: what was written to since stays.
        runs: the ids of our own runs; what others wrote is left alone.

    Raises:
        InputError: nothing lies there, so it is not a pipeline root, and what artifacts name is not known.
    """
    named: set[str] = set()
    watches: dict[str, Tally] = defaultdict(Tally)
    empty = True
    for entry in root.list():
        empty = False
        if entry.key.endswith(f"/{DATASET}"):
            named.add(dataset_hash(root.read(entry.key)))
        if (run := WATCH_RUN.match(entry.key)) and run[2] in runs:
            watches[run[1]].add(entry)
    if empty:
        raise InputError(
            f"{root.uri}: nothing lies there, so it is not Kubeflow's pipeline root; check --pipeline-root, usually s3://mlpipeline"
        )
    return named - {""}, _old("artifacts", "a watch of {:%Y-%m-%d} in Kubeflow", watches, cutoff)


def tensorboard_root(store: Store) -> Store | None:
    """Where the runs of a store in S3 leave their copies for TensorBoard (`driftloop.reporting.tensorboard`); None for a folder."""
    return open_store(f"s3://{urlsplit(store.uri).hostname}/tensorboard") if store.uri.startswith("s3://") else None


def old_tensorboard_copies(root: Store, cutoff: datetime, runs: set[str]) -> list[PruneItem]:
    """The copies of our own runs that were last written to before `cutoff`; the bucket may be home to other models."""
    copies: dict[str, Tally] = defaultdict(Tally)
    for entry in root.list():
        run = entry.key.partition("/")[0]
        if run in runs:
            copies[run].add(entry)
    return _old("tensorboard", "curves of a run of {:%Y-%m-%d}", copies, cutoff)


def _old(kind: str, why: str, folders: Mapping[str, Tally], cutoff: datetime) -> list[PruneItem]:
    return [PruneItem(kind, name, why.format(tally.touched), tally) for name, tally in folders.items() if tally.touched < cutoff]
