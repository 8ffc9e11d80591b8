"""What `driftloop prune` shows: a store's plan and the artifacts of local runs, line by line, while it is carried out or before."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from driftloop.housekeeping.pipeline_root import read_root, remove_artifacts
from driftloop.housekeeping.plan import Item, Policy, plan
from driftloop.housekeeping.pruning import carry_out
from driftloop.housekeeping.run_artifacts import RunArtifacts, finished_artifacts, named_by_runs, remove
from driftloop.store import Store, open_store

NO_CLUSTER = "none"


@dataclass(frozen=True)
class Line:
    """One thing that goes, as it is shown. `spared` says why it stayed after all."""

    kind: str
    name: str
    size: int
    why: str
    spared: str = ""


class Pruning:
    """One prune: what could go from a store and from the local runs.

    Args:
        home: the store.
        cutoff: what was written or named since stays.
        keep_versions: versions before the champion that stay; None: all that anything names.
        pipeline_root: where Kubeflow's artifacts lie; "none" where no cluster uses the store, None where nobody said.
        runs: the folder of the local runs.

    Raises:
        StoreError: store or pipeline root cannot be read.
    """

    def __init__(self, home: Store, cutoff: datetime, keep_versions: int | None, pipeline_root: str | None, runs: Path) -> None:
        self._home = home
        self._artifacts = finished_artifacts(runs, cutoff)
        named = named_by_runs(runs, self._artifacts)
        self._watches: list[tuple[Store, Item]] = []
        if pipeline_root is not None and pipeline_root != NO_CLUSTER:
            root = open_store(pipeline_root)
            root.check()
            cached, watches = read_root(root, cutoff)
            named |= cached
            self._watches = [(root, item) for item in watches]
        known = pipeline_root is not None or "://" not in home.uri
        self._policy = Policy(cutoff, keep_versions, frozenset(named) if known else None)
        self._items = plan(home, self._policy)

    @property
    def datasets_known(self) -> bool:
        """Whether datasets were looked at: without knowing what Kubeflow's cache names, all stay."""
        return self._policy.in_use is not None

    def shown(self) -> Iterator[Line]:
        """What would go."""
        yield from (_line(item) for item in (*self._items, *(item for _, item in self._watches)))
        yield from (_run_line(one) for one in self._artifacts)

    def carried_out(self) -> Iterator[Line]:
        """Delete, and say what went."""
        for item, spared in carry_out(self._home, self._items, self._policy):
            yield _line(item, spared)
        for root, item in self._watches:
            remove_artifacts(root, item)
            yield _line(item)
        for one in self._artifacts:
            remove(one)
            yield _run_line(one)


def _line(item: Item, spared: str = "") -> Line:
    return Line(item.kind, item.name, item.size, item.why, spared)


def _run_line(artifacts: RunArtifacts) -> Line:
    return Line("artifacts", artifacts.run, artifacts.size, f"the run ended {artifacts.finished:%Y-%m-%d}; reports and deliverables stay")
