"""`driftloop prune`: show, or delete, what nothing in a store names any more and the artifacts of finished local runs."""

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
from driftloop.cli.arguments import DEFAULT_STORE, JsonOption, open_existing, print_json
from driftloop.durations import parse_duration
from driftloop.store import Store, open_store

# The housekeeping is loaded by `Pruning` only: it brings pandas along, for which other commands need not wait.
if TYPE_CHECKING:
    from driftloop.housekeeping.pruning import PruneItem
    from driftloop.housekeeping.run_artifacts import RunArtifacts
    from driftloop.prune_marks import Mark

#: What --pipeline-root takes where no cluster uses the store.
NO_CLUSTER = "none"
#: No run takes a day: what is older was not written by a run that is still going on.
LEAST_AGE = timedelta(days=1)
#: Between mark and deletion: the clocks of two machines may be an hour apart, and a promotion may hang for a while.
LEAST_WAIT = timedelta(hours=2)


@dataclass(frozen=True)
class Line:
    """Something that goes, as it is shown."""

    kind: str
    """A kind of the housekeeping's."""
    name: str
    """Of its kind."""
    size: int
    """In bytes."""
    why: str
    """Why it may go."""
    goes_from: datetime | None = None
    """When it may be deleted, where that is not yet; None where it goes now, or is gone."""


class Pruning:
    """What could go from a store and from the local runs.

    Args:
        home: the store.
        age: what was written or named since then stays.
        wait: between mark and deletion.
        keep_versions: versions before the champion that stay; None: all that anything names.
        pipeline_root: where Kubeflow's artifacts lie; "none" where no cluster uses the store, None where nobody said.
        runs: the folder of the local runs.

    Raises:
        StoreError: store or pipeline root cannot be read.
    """

    def __init__(
        self, home: Store, age: timedelta, wait: timedelta, keep_versions: int | None, pipeline_root: str | None, runs: Path
    ) -> None:
        from driftloop.housekeeping.pruning import HOME_KINDS
        from driftloop.housekeeping.run_artifacts import finished_run_artifacts, tensorboard_root

        self._home, self._runs, self._keep_versions = home, runs, keep_versions
        self._now = datetime.now(UTC)
        self._cutoff, self._wait = self._now - age, wait
        self._artifacts = finished_run_artifacts(runs, self._cutoff)
        self._roots: dict[str, Store] = dict.fromkeys(HOME_KINDS, home)
        if pipeline_root is not None and pipeline_root != NO_CLUSTER:
            self._roots["artifacts"] = open_store(pipeline_root)
            self._roots["artifacts"].check()
        if copies := tensorboard_root(home):
            self._roots["tensorboard"] = copies
        #: Whether datasets are looked at: without knowing what Kubeflow's cache names, all stay.
        self.datasets_known = pipeline_root is not None or "://" not in home.uri

    def shown(self) -> Iterator[Line]:
        """What would be marked or go."""
        from driftloop.housekeeping.pruning import preview_prune

        for item, mark in preview_prune(self._home, self._plan, self._roots, self._now, wait_s=self._wait.total_seconds()):
            yield self._line(item, mark)
        yield from (_run_line(artifacts) for artifacts in self._artifacts)

    def carried_out(self) -> Iterator[Line]:
        """Mark and delete, and say what went."""
        from driftloop.housekeeping.pruning import carry_out_prune
        from driftloop.housekeeping.run_artifacts import remove_run_artifacts

        for item, mark in carry_out_prune(self._home, self._plan, self._roots, self._now, wait_s=self._wait.total_seconds()):
            yield self._line(item, mark)
        for artifacts in self._artifacts:
            remove_run_artifacts(artifacts)
            yield _run_line(artifacts)

    def _plan(self) -> "list[PruneItem]":
        """All that could go, looked up anew."""
        from driftloop.housekeeping.pruning import PrunePolicy, plan_prune
        from driftloop.housekeeping.run_artifacts import datasets_named_by_runs, old_tensorboard_copies, own_runs, read_pipeline_root

        named = datasets_named_by_runs(self._runs, self._artifacts)
        elsewhere: list[PruneItem] = []
        ours = own_runs(self._home) if "://" in self._home.uri else set()
        if "artifacts" in self._roots:
            cached, elsewhere = read_pipeline_root(self._roots["artifacts"], self._cutoff, ours)
            named |= cached
        if "tensorboard" in self._roots:
            elsewhere += old_tensorboard_copies(self._roots["tensorboard"], self._cutoff, ours)
        policy = PrunePolicy(self._cutoff, self._keep_versions, frozenset(named) if self.datasets_known else None)
        return plan_prune(self._home, policy) + elsewhere

    def _line(self, item: "PruneItem", mark: "Mark | None") -> Line:
        goes_from = None if mark is None else mark.marked_at + self._wait
        return Line(item.kind, item.name, item.objects.size, item.why, goes_from)


def _run_line(artifacts: "RunArtifacts") -> Line:
    return Line("run", artifacts.run, artifacts.size, f"the run ended {artifacts.finished:%Y-%m-%d}; reports and deliverables stay")


def prune(
    store: Annotated[str, typer.Option(help="The model's home: a folder or s3://bucket/prefix.")] = DEFAULT_STORE,
    apply: Annotated[
        bool, typer.Option("--apply", help="Mark what could go, and delete what an earlier prune marked. Without it: only show.")
    ] = False,
    older_than: Annotated[str, typer.Option(help="Spare everything younger; at least 1d, so that no run in progress is touched.")] = "7d",
    wait: Annotated[str, typer.Option(help="What was marked so long ago is deleted, if still not needed; at least 2h.")] = "1d",
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
    as_json: JsonOption = False,
) -> None:
    """Show, or with --apply mark and at the next call delete, versions, datasets and run artifacts that nothing needs any more.

    The champion, what serves as its past, logs, labels and watch records always stay.
    """
    age = parse_duration(older_than, option="--older-than", least=LEAST_AGE)
    waiting = parse_duration(wait, option="--wait", least=LEAST_WAIT)
    home = open_existing(store)
    pruning = Pruning(home, age, waiting, keep_versions, pipeline_root, runs)
    lines = list(pruning.carried_out() if apply else pruning.shown())
    note = None if pruning.datasets_known else "datasets stay: name Kubeflow's --pipeline-root (or `none`), whose cache may still name them"
    if as_json:
        print_json(_as_dict(home, lines, note, applied=apply))
    else:
        _print(lines, note, applied=apply)


def _as_dict(home: Store, lines: list[Line], note: str | None, *, applied: bool) -> dict[str, Any]:
    return {
        "store": home.uri,
        "applied": applied,
        "bytes": sum(line.size for line in lines if line.goes_from is None),
        "bytes_later": sum(line.size for line in lines if line.goes_from is not None),
        "items": [
            {
                "kind": line.kind,
                "name": line.name,
                "bytes": line.size,
                "why": line.why,
                "goes_from": line.goes_from.isoformat(timespec="seconds") if line.goes_from else None,
            }
            for line in lines
        ],
        "note": note,
    }


def _print(lines: list[Line], note: str | None, *, applied: bool) -> None:
    console = Console(highlight=False, soft_wrap=True)
    if lines:
        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 3, 0, 0))
        table.add_column("what")
        table.add_column("")
        table.add_column("MB", justify="right")
        table.add_column("deleted" if applied else "goes", no_wrap=True)
        table.add_column("why", overflow="fold")
        for line in lines:
            name = line.name[:12] if line.kind in ("dataset", "checkpoint") else line.name
            when = ("yes" if applied else "now") if line.goes_from is None else f"from {line.goes_from:%Y-%m-%d %H:%M}"
            table.add_row(line.kind, escape(name), f"{line.size / 1e6:,.1f}", when, escape(line.why))
        Console(highlight=False, width=max(Console().width, 120)).print(table)
    now, later = (sum(line.size for line in lines if (line.goes_from is None) is gone) / 1e6 for gone in (True, False))
    if not lines:
        console.print("nothing to prune")
    elif applied:
        rest = "; a prune after these times deletes what is marked, where it still is not needed" if later else ""
        console.print(f"{now:,.1f} MB deleted, {later:,.1f} MB marked{rest}")
    else:
        console.print(f"{now:,.1f} MB would go now, {later:,.1f} MB later; nothing was marked or deleted, --apply does")
    if note:
        console.print(f"[dim]{escape(note)}[/]")
