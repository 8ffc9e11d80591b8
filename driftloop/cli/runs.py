"""`driftloop runs`: the runs of this folder, or of a cluster: how they ended, what they found, and how two of them differ."""

import json
import webbrowser
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from driftloop.backends.run_folder import LATEST, RUNS, RunFolder
from driftloop.backends.run_summary import print_summary
from driftloop.cli.arguments import JsonOption, answer, print_json
from driftloop.cli.models import flattened
from driftloop.errors import InputError
from driftloop.evaluation.intervals import Proportion
from driftloop.summary import Summary

runs = typer.Typer(name="runs", help="The runs of this folder, or of a cluster: list, show, compare, open.", no_args_is_help=True)
Run = Annotated[str, typer.Argument(help="Name or folder of a run; the newest where it is left out.", show_default=False)]
#: Runs of a cluster that are listed, the newest first.
MOST_LISTED = 50


@dataclass(frozen=True)
class RunLine:
    """A run in one line."""

    run: str
    """Its folder's name, or its name on the cluster."""
    pipeline: str
    """Which one ran; empty where nothing says so."""
    state: str
    """succeeded, failed, or unfinished: without a summary, since it runs still or was killed."""
    seconds: float | None
    """Wall time."""
    verdict: str
    """Of its watch; empty without one."""
    decision: str
    """Of its gate; empty without one."""
    champion: str
    """The version that served at its end."""
    page: str
    """Its report, or its page on the cluster; empty without one."""


@runs.command(name="list")
def list_runs(
    on_cluster: Annotated[bool, typer.Option("--cluster", help="Those of the Kubeflow of KFP_ENDPOINT.")] = False,
    as_json: JsonOption = False,
) -> None:
    """All runs, the newest first, and how they ended."""
    lines = list(_cluster_runs() if on_cluster else map(_line, _folders()))
    if as_json:
        print_json([asdict(line) for line in lines])
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("run", "state", "s", "verdict", "decision", "champion"):
        table.add_column(column, overflow="fold", justify="right" if column == "s" else "left")
    for line in lines:
        seconds = "-" if line.seconds is None else f"{line.seconds:.0f}"
        cells = line.run, line.state, seconds, line.verdict or "-", line.decision or "-", line.champion or "-"
        table.add_row(*map(escape, cells))
    Console().print(table)


@runs.command()
def show(run: Run = "", as_json: JsonOption = False) -> None:
    """The table of results that the run ended with."""
    folder = find_run(run)
    summary = read_summary(folder)
    if as_json:
        typer.echo(summary.model_dump_json(indent=1))
        return
    console = Console(highlight=False)
    console.print(f"[bold]{escape(folder.id)}[/]: {escape(summary.pipeline)}, source {escape(str(summary.source))}, seed {summary.seed}")
    print_summary(console, summary, folder)
    if summary.error:
        console.print(f"failed     {escape(summary.error)}", soft_wrap=True)


@runs.command()
def compare(
    left: Annotated[str, typer.Argument(help="Name or folder of a run.")],
    right: Annotated[str, typer.Argument(help="Name or folder of another one.")],
    as_json: JsonOption = False,
) -> None:
    """What two runs were given, and what they reached, side by side; only what differs."""
    folders = find_run(left), find_run(right)
    entries = [_given(folder) | _reached(read_summary(folder)) for folder in folders]
    names = [*entries[0], *(name for name in entries[1] if name not in entries[0])]
    differing = {name: [entry.get(name) for entry in entries] for name in names if entries[0].get(name) != entries[1].get(name)}
    if as_json:
        print_json({"runs": [folder.id for folder in folders], "differences": differing})
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", *(folder.id for folder in folders)):
        table.add_column(escape(column), overflow="fold")
    for name, pair in differing.items():
        table.add_row(*map(escape, (name, *("-" if value is None else str(value) for value in pair))))
    Console().print(table)


@runs.command(name="open")
def open_report(
    run: Run = "",
    print_only: Annotated[bool, typer.Option("--print", help="Print the path, open nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Open the run's report in the browser; where there is none, or with --print or --json, print its path."""
    folder = find_run(run)
    report = read_summary(folder).report.html
    if report is None:
        raise InputError(f"{folder.path}: the run left no report; see `driftloop runs show {folder.id}` and {folder.log}")
    path = (folder.path / report).resolve()
    if print_only or as_json or not webbrowser.open(path.as_uri()):
        answer(str(path), {"report": str(path)}, as_json=as_json)


def find_run(name: str) -> RunFolder:
    """The folder of a run, given by its name or its path; the newest where `name` is empty.

    Raises:
        InputError: there is no such run.
    """
    for path in (LATEST,) if not name else (RUNS / name, Path(name)):
        if path.is_dir():
            return RunFolder(path.resolve())
    what = f"{name}: no run of that name below {RUNS}/" if name else f"{RUNS}/: no run yet"
    raise InputError(f"{what}; see `driftloop runs list`, or start one with `driftloop run full-loop`")


def read_summary(folder: RunFolder) -> Summary:
    """What the run says of itself.

    Raises:
        InputError: it has not ended, or its summary cannot be read.
    """
    try:
        return Summary.model_validate_json(folder.summary.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{folder.path}: no summary yet: the run goes on still, or was killed; see {folder.log}") from None
    except ValidationError:
        raise InputError(f"{folder.summary}: not a summary that this release can read; run the pipeline again") from None


def _folders() -> Iterator[RunFolder]:
    """Of the runs of this folder, the newest first."""
    if RUNS.is_dir():
        for path in sorted(RUNS.iterdir(), reverse=True):
            if path.is_dir() and not path.is_symlink():
                yield RunFolder(path)


def _line(folder: RunFolder) -> RunLine:
    try:
        summary = read_summary(folder)
    except InputError:
        # Of the folder's name: time, dash, time, dash, pipeline.
        return RunLine(folder.id, "-".join(folder.id.split("-")[2:]), "unfinished", None, "", "", "", "")
    return RunLine(
        run=folder.id,
        pipeline=summary.pipeline,
        state="failed" if summary.error else "succeeded",
        seconds=summary.seconds,
        verdict=summary.drift.verdict if summary.drift else "",
        decision=summary.gate.decision if summary.gate else "",
        champion=summary.champion.after or "",
        page=str(folder.path / summary.report.html) if summary.report.html else "",
    )


def _cluster_runs() -> Iterator[RunLine]:
    """The newest runs of the namespace; their verdicts stand in their reports and in `driftloop status`."""
    from driftloop.backends.cluster.connection import API, ClusterConnection

    connection = ClusterConnection.from_environment()
    query = {"sort_by": "created_at desc", "page_size": MOST_LISTED} | connection.scope
    for run in islice(connection.listed(f"{API}/runs", "runs", query), MOST_LISTED):
        page = connection.address(f"runs/details/{run.get('run_id', '')}")
        yield RunLine(str(run.get("display_name", "")), "", str(run.get("state", "unknown")).lower(), _seconds(run), "", "", "", page)


def _seconds(run: dict[str, Any]) -> float | None:
    """Between a cluster run's start and its end; None while it goes on."""
    try:
        began, ended = (datetime.fromisoformat(run[name]) for name in ("created_at", "finished_at"))
    except (KeyError, TypeError, ValueError):
        return None
    return (ended - began).total_seconds() if ended > began else None


def _given(folder: RunFolder) -> dict[str, Any]:
    """What the run was started with, flat; a run on a cluster keeps no such file here."""
    if not folder.parameters.is_file():
        return {}
    given: dict[str, Any] = {}
    for name, value in json.loads(folder.parameters.read_text()).items():
        given |= flattened(name, value)
    return given


def _reached(summary: Summary) -> dict[str, Any]:
    """The figures of a summary as a person reads them."""
    reached: dict[str, Any] = {"seconds": summary.seconds}
    for name in type(summary.accuracy).model_fields:
        accuracy: Proportion | None = getattr(summary.accuracy, name)
        reached[f"accuracy, {name}"] = None if accuracy is None else str(accuracy)
    reached |= {f"speed-up, {name}": None if ratio is None else f"{ratio:.1f}x" for name, ratio in summary.speedup.model_dump().items()}
    reached["verdict"] = summary.drift.verdict if summary.drift else None
    reached["decision"] = summary.gate.decision if summary.gate else None
    return reached | {"champion": summary.champion.after, "error": summary.error}
