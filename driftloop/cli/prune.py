"""`driftloop prune`: show, or delete, what nothing in a store names any more and the artifacts of finished local runs."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from driftloop.backends.run_folder import RUNS
from driftloop.cli.arguments import DEFAULT_STORE, open_existing
from driftloop.durations import parse_duration
from driftloop.store import Store, open_store

# The housekeeping is loaded by `Pruning` only: it brings pandas along, for which other commands need not wait.
if TYPE_CHECKING:
    from driftloop.housekeeping.pruning import PruneItem
    from driftloop.housekeeping.run_artifacts import RunArtifacts

#: What --pipeline-root takes where no cluster uses the store.
NO_CLUSTER = "none"
#: No run takes a day: what is older was not written by a run that is still going on.
LEAST_AGE = timedelta(days=1)


@dataclass(frozen=True)
class Line:
    """Something that goes, as it is shown."""

    kind: str
    """A kind of the housekeeping's, or `artifacts` of a run."""
    name: str
    """Of its kind."""
    size: int
    """In bytes."""
    why: str
    """Why it may go."""
    spared: str = ""
    """Why it stayed after all."""


class Pruning:
    """What could go from a store and from the local runs.

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
        from driftloop.housekeeping.pruning import PrunePolicy, plan_prune
        from driftloop.housekeeping.run_artifacts import datasets_named_by_runs, finished_run_artifacts, read_pipeline_root

        self._home = home
        self._artifacts = finished_run_artifacts(runs, cutoff)
        named = datasets_named_by_runs(runs, self._artifacts)
        self._watches: list[tuple[Store, PruneItem]] = []
        if pipeline_root is not None and pipeline_root != NO_CLUSTER:
            root = open_store(pipeline_root)
            root.check()
            cached, watches = read_pipeline_root(root, cutoff)
            named |= cached
            self._watches = [(root, item) for item in watches]
        known = pipeline_root is not None or "://" not in home.uri
        self._policy = PrunePolicy(cutoff, keep_versions, frozenset(named) if known else None)
        self._items = plan_prune(home, self._policy)

    @property
    def datasets_known(self) -> bool:
        """Whether datasets were looked at: without knowing what Kubeflow's cache names, all stay."""
        return self._policy.in_use is not None

    def shown(self) -> Iterator[Line]:
        """What would go."""
        yield from (_line(item) for item in (*self._items, *(item for _, item in self._watches)))
        yield from (_run_line(artifacts) for artifacts in self._artifacts)

    def carried_out(self) -> Iterator[Line]:
        """Delete, and say what went."""
        from driftloop.housekeeping.pruning import carry_out_prune
        from driftloop.housekeeping.run_artifacts import remove_run_artifacts, remove_watch_artifacts

        for item, spared in carry_out_prune(self._home, self._items, self._policy):
            yield _line(item, spared)
        for root, item in self._watches:
            remove_watch_artifacts(root, item)
            yield _line(item)
        for artifacts in self._artifacts:
            remove_run_artifacts(artifacts)
            yield _run_line(artifacts)


def _line(item: "PruneItem", spared: str = "") -> Line:
    return Line(item.kind, item.name, item.size, item.why, spared)


def _run_line(artifacts: "RunArtifacts") -> Line:
    return Line("artifacts", artifacts.run, artifacts.size, f"the run ended {artifacts.finished:%Y-%m-%d}; reports and deliverables stay")


def prune(
    store: Annotated[str, typer.Option(help="The model's home: a folder or s3://bucket/prefix.")] = DEFAULT_STORE,
    apply: Annotated[bool, typer.Option("--apply", help="Delete. Without it nothing is deleted, only shown.")] = False,
    older_than: Annotated[str, typer.Option(help="Spare everything younger; at least 1d, so that no run in progress is touched.")] = "7d",
    keep_versions: Annotated[
        int | None,
        typer.Option(min=1, help="Keep so many versions before the champion, to roll back to. Default: all that served or were watched."),
    ] = None,
    pipeline_root: Annotated[
        str | None,
        typer.Option(
            help="Kubeflow's pipeline root, such as s3://mlpipeline: datasets that its cache may hand out stay. `none`: no cluster."
        ),
    ] = None,
    runs: Annotated[Path, typer.Option(help="The folder of local runs, whose artifacts are pruned too.")] = RUNS,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show, or with --apply delete, the versions, datasets and run artifacts that nothing needs any more.

    The champion, what serves as its past, logs, labels and watch records always stay.
    """
    cutoff = datetime.now(UTC) - parse_duration(older_than, option="--older-than", least=LEAST_AGE)
    home = open_existing(store)
    pruning = Pruning(home, cutoff, keep_versions, pipeline_root, runs)
    lines = list(pruning.carried_out() if apply else pruning.shown())
    note = None if pruning.datasets_known else "datasets stay: name Kubeflow's --pipeline-root (or `none`), whose cache may still name them"
    if as_json:
        typer.echo(json.dumps(_as_dict(home, lines, note, applied=apply), indent=1))
    else:
        _print(lines, note, applied=apply)


def _as_dict(home: Store, lines: list[Line], note: str | None, *, applied: bool) -> dict[str, Any]:
    gone = [line for line in lines if not line.spared]
    return {
        "store": home.uri,
        "applied": applied,
        "bytes": sum(line.size for line in gone),
        "items": [
            {"kind": line.kind, "name": line.name, "bytes": line.size, "why": line.why, "spared": line.spared or None} for line in lines
        ],
        "note": note,
    }


def _print(lines: list[Line], note: str | None, *, applied: bool) -> None:
    console = Console(highlight=False, soft_wrap=True)
    if lines:
        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 3, 0, 0))
        table.add_column("deleted" if applied else "would go")
        table.add_column("")
        table.add_column("MB", justify="right")
        table.add_column("why", overflow="fold")
        for line in lines:
            name = line.name[:12] if line.kind in ("dataset", "checkpoint") else line.name
            why = f"[bold]stays: {escape(line.spared)}[/]" if line.spared else escape(line.why)
            table.add_row(line.kind, escape(name), f"{line.size / 1e6:,.1f}", why)
        Console(highlight=False, width=max(Console().width, 120)).print(table)
    total = sum(line.size for line in lines if not line.spared)
    if not lines:
        console.print("nothing to prune")
    elif applied:
        console.print(f"{total / 1e6:,.1f} MB deleted")
    else:
        console.print(f"{total / 1e6:,.1f} MB would go; nothing was deleted, --apply does")
    if note:
        console.print(f"[dim]{escape(note)}[/]")
