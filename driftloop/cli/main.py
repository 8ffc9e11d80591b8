"""The `driftloop` command: its sub-commands, and how errors reach a person."""

import json
import signal
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from types import FrameType

import typer
from rich.console import Console

from driftloop import __version__
from driftloop.cli.alerts import alerts
from driftloop.cli.compile import compile_pipelines
from driftloop.cli.config import config
from driftloop.cli.data import data
from driftloop.cli.demo import demo
from driftloop.cli.doctor.command import doctor
from driftloop.cli.drift import drift
from driftloop.cli.examples import add_examples
from driftloop.cli.export import export
from driftloop.cli.init import init
from driftloop.cli.labels import labels
from driftloop.cli.models import models
from driftloop.cli.prune import prune
from driftloop.cli.rehearse import rehearse
from driftloop.cli.replay import replay
from driftloop.cli.report import report
from driftloop.cli.run import run
from driftloop.cli.runs import runs
from driftloop.cli.schedule import schedule
from driftloop.cli.serve import serve
from driftloop.cli.status import status
from driftloop.cli.store import store
from driftloop.cli.track import track
from driftloop.cli.write_source import write_source_images
from driftloop.errors import DriftloopError

#: What a script may rely on; `driftloop serve`, `status` and `doctor` say in their own help what else they return.
EXIT_CODES = (
    "Exit status: 0 done; 1 a step failed; 2 something to mend in what was given; 3 `run --strict` missed a target or the gate. "
    "One line on standard error says what, where and the cure."
)

app = typer.Typer(
    name="driftloop",
    help="Train an image classifier, serve it, watch production, and replace it only by what a statistical gate lets through.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
RUNNING, SERVING, KEEPING, SETTING_UP = "Run", "Serve and watch", "Models, labels, store", "Set up"
app.command(rich_help_panel=RUNNING, short_help="Run a pipeline: training, drift-watch, full-loop or ingest.")(run)
app.command(rich_help_panel=RUNNING, short_help="A run's report again, or a model's life.")(report)
app.add_typer(runs, name="runs", rich_help_panel=RUNNING, short_help="List, show, compare and open runs.")
app.command(rich_help_panel=RUNNING, short_help="The whole loop on a page, by itself or under your hands.")(demo)
app.command(rich_help_panel=RUNNING, short_help="Play days of traffic with a drift: what would be decided?")(rehearse)
app.command(rich_help_panel=RUNNING, short_help="Hand runs and models to MLflow or Weights & Biases.")(track)
app.add_typer(schedule, name="schedule", rich_help_panel=RUNNING, short_help="Let a cluster repeat a pipeline.")
app.command(rich_help_panel=SERVING, short_help="Answer requests with the champion, and log each answer.")(serve)
app.command(rich_help_panel=SERVING, short_help="Send images as production does, to the log or a service.")(replay)
app.command(rich_help_panel=SERVING, short_help="Who serves, and up to when production was watched.")(status)
app.add_typer(alerts, name="alerts", rich_help_panel=SERVING, short_help="What fires, silences, files of alert rules.")
app.command(rich_help_panel=SERVING, short_help="Write a version for KServe, Triton or BentoML.")(export)
app.add_typer(models, name="models", rich_help_panel=KEEPING, short_help="List, compare, verify, promote, roll back versions.")
app.add_typer(labels, name="labels", rich_help_panel=KEEPING, short_help="Labels for logged requests.")
app.add_typer(data, name="data", rich_help_panel=KEEPING, short_help="A dataset as files, for you or for DVC.")
app.add_typer(drift, name="drift", rich_help_panel=KEEPING, short_help="Accept a harmless drift; list what was accepted.")
app.add_typer(store, name="store", rich_help_panel=KEEPING, short_help="A store of an earlier release: upgrade.")
app.command(rich_help_panel=KEEPING, short_help="Show, or delete in two steps, what nothing needs.")(prune)
app.command(rich_help_panel=SETTING_UP, short_help="Look at a folder of images, write its configuration.")(init)
app.add_typer(config, name="config", rich_help_panel=SETTING_UP, short_help="List and explain what can be set.")
app.command(rich_help_panel=SETTING_UP, short_help="What is missing here, each with its cure.")(doctor)
app.command(name="write-source", rich_help_panel=SETTING_UP, short_help="Write a built-in source's images as files.")(write_source_images)
app.command(name="compile", rich_help_panel=SETTING_UP, short_help="Write the pipelines as YAML.")(compile_pipelines)
add_examples(app)


def commit() -> str:
    """The commit that this driftloop was installed from; empty where nothing says so."""
    origin = json.loads(distribution("driftloop").read_text("direct_url.json") or "{}")
    if "vcs_info" in origin:
        return str(origin["vcs_info"].get("commit_id", ""))[:12]
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():
        return ""
    try:
        named = subprocess.run(["git", "-C", checkout, "describe", "--always", "--dirty", "--exclude=*"], capture_output=True, text=True)
    except OSError:  # no git here
        return ""
    return named.stdout.strip()


def _print_version(wanted: bool) -> None:
    if wanted:
        of = commit()
        typer.echo(f"driftloop {__version__}{f' ({of})' if of else ''}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(False, "--version", help="Print the version and stop.", callback=_print_version, is_eager=True),
) -> None:
    """Options of driftloop itself."""


def main() -> None:
    """Run the command line; a person's own mistakes become one line on standard error and exit status 2, not a traceback."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        app()
    except DriftloopError as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"[bold red]driftloop:[/] {_plain(error)}")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(1)


def _stop(number: int, frame: FrameType | None) -> None:
    """End like an interrupt, through every clean-up: a run that is told to stop takes its children along and leaves a summary."""
    sys.exit(128 + number)


def _plain(error: DriftloopError) -> str:
    """The error's text, safe to print: brackets are not taken for markup."""
    return str(error).replace("[", r"\[")


if __name__ == "__main__":
    main()
