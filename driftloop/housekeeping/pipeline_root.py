"""Kubeflow's pipeline root: which datasets its artifacts name, and which of its artifacts may go.

Kubeflow deletes none of them, and its cache hands a step's artifacts on to new runs whether they are still there or not. So nothing of a
pipeline with cached steps is ever deleted. A drift watch begins with a step that is never cached, and no step after it can be.
"""

import re
from collections import defaultdict
from datetime import datetime

from driftloop.dataset.description import NAME as DATASET
from driftloop.errors import InputError
from driftloop.housekeeping.plan import Item
from driftloop.housekeeping.run_artifacts import dataset_hash
from driftloop.store import ObjectInfo, Store

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
