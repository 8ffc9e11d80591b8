"""The `driftloop` command: its sub-commands, and how errors reach a person."""

import signal
import sys
from types import FrameType

import typer
from rich.console import Console

from driftloop import __version__
from driftloop.cli.compile import compile_pipelines
from driftloop.cli.doctor.command import doctor
from driftloop.cli.export import export
from driftloop.cli.labels import labels
from driftloop.cli.models import models
from driftloop.cli.prune import prune
from driftloop.cli.rehearse import rehearse
from driftloop.cli.replay import replay
from driftloop.cli.run import run
from driftloop.cli.schedule import schedule
from driftloop.cli.serve import serve
from driftloop.cli.status import status
from driftloop.cli.store import store
from driftloop.cli.write_source import write_source_images
from driftloop.errors import DriftloopError

app = typer.Typer(
    name="driftloop",
    help="Train an image classifier, serve it, watch production, and replace it only by what a statistical gate lets through.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command()(run)
app.command()(serve)
app.command()(replay)
app.command()(rehearse)
app.command()(status)
app.command()(doctor)
app.command()(prune)
app.command()(export)
app.add_typer(schedule, name="schedule")
app.add_typer(models, name="models")
app.add_typer(labels, name="labels")
app.add_typer(store, name="store")
app.command(name="write-source")(write_source_images)
app.command(name="compile")(compile_pipelines)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"driftloop {__version__}")
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
