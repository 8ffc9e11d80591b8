"""`driftloop rehearse`: play a simulated history of production through the real watch, to see what a policy would do."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from driftloop.backends.compiled_pipeline import default_arguments
from driftloop.backends.log_events import LogEvent, LogStream
from driftloop.backends.run_folder import RunFolder
from driftloop.backends.step_display import WIDTH, StepDisplay
from driftloop.cli.arguments import collect
from driftloop.errors import InputError
from driftloop.settings import PARAMETERS
from pipelines import PIPELINES

if TYPE_CHECKING:
    from driftloop.rehearsal.result import Rehearsal


def rehearse(
    windows: Annotated[int, typer.Option(help="Windows of traffic to play, each a simulated day.")] = 40,
    drift_at: Annotated[int | None, typer.Option(help="Number of the first drifted window. Default: the middle.")] = None,
    drift: Annotated[
        str | None,
        typer.Option(
            help="none, one drift such as blur+noise:1.0, prior:0.2 or gradual:brightness:0.6, or several with commas between them, "
            "which come one after the other: blur:1,none,blur:1 for one that comes back."
        ),
    ] = None,
    phase: Annotated[int | None, typer.Option(help="Windows that each drift of a list lasts. Default: equal parts.")] = None,
    label_delay: Annotated[int, typer.Option(help="Windows until the labels that a watch asks for arrive.")] = 4,
    labels_per_window: Annotated[int, typer.Option(help="Uniformly random labels that arrive with every window besides.")] = 0,
    source: Annotated[str | None, typer.Option(help=PARAMETERS["data_source"].description)] = None,
    seed: Annotated[int | None, typer.Option(help=PARAMETERS["seed"].description)] = None,
    gpus: Annotated[str | None, typer.Option(help=PARAMETERS["gpus"].description)] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any parameter or setting: drift_config.cooldown_days=7, retrain_config.epochs=8. Repeatable."),
    ] = None,
    config: Annotated[list[Path] | None, typer.Option(help="YAML file of parameters and settings. Repeatable.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else, on standard output.")] = False,
) -> None:
    """Rehearse a policy: train a champion, then play days of traffic with a drift in it, watch each, and show what was decided.

    When a watch asks for labels, a simulated team labels its random list. The rehearsal's models, log and records stay in its own
    folder runs/<id>; no other store is touched, and runs/latest goes on naming the last run.
    """
    # Threads that wait should sleep, as in a run; it must be set before the first library with threads is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from driftloop.rehearsal.timeline import plan_timeline

    options = {"data_source": source, "traffic_drift": drift, "seed": seed, "gpus": gpus}
    arguments = _arguments(config or [], options, assignments or [])
    _check_at_least("--label-delay", label_delay, 1)
    _check_at_least("--labels-per-window", labels_per_window, 0)
    drift = arguments["traffic_drift"]
    timeline = plan_timeline(drift, windows=windows, drift_at=drift_at, phase=phase)
    # Everything that trains is loaded only now: a mistake is reported at once.
    from driftloop.rehearsal.rehearsing import RehearsalPlan
    from driftloop.rehearsal.rehearsing import rehearse as play

    folder = RunFolder.create("rehearsal")
    os.environ["DRIFTLOOP_RUN_ID"] = folder.id
    plan = RehearsalPlan(drift, timeline, arguments | {"store": str(folder.store.absolute())}, label_delay, labels_per_window)
    # A file of its own: the output of the steps is turned away from standard output while they run.
    console = Console(file=sys.stderr if as_json else sys.stdout, highlight=False, soft_wrap=True)
    console.print(f"[bold]rehearsal[/] in {folder.path}")
    with StepDisplay(console, {}) as display, folder.log.open("w") as log:
        stream = LogStream(log, display.show)

        @contextmanager
        def step(name: str) -> Iterator[None]:
            if name == "window 1":
                _print_header(console)
            display.show(LogEvent("started", step=name))
            try:
                with redirect_stdout(stream), redirect_stderr(stream):
                    yield
            except BaseException:
                display.show(LogEvent("failed", step=name))
                raise
            display.show(LogEvent("succeeded", step=name))

        result = play(plan, folder.artifacts, step, lambda rehearsal: _write(rehearsal, folder))
    if as_json:
        typer.echo(result.model_dump_json(indent=1))
    else:
        _print_result(console, result, folder)


def _arguments(config: list[Path], options: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """The parameters of the full-loop pipeline for a rehearsal, checked.

    Raises:
        InputError: anything unknown or out of range, an unusable source, or a store, of which a rehearsal has its own.
    """
    from driftloop.sources import check_source

    pipeline = PIPELINES["full-loop"]
    parameters = collect(pipeline, config, options, assignments)
    if "store" in parameters:
        raise InputError("store: a rehearsal always has a store of its own, so that it cannot touch a real one; leave it out")
    arguments = default_arguments(pipeline) | parameters
    return arguments | {"data_source": check_source(arguments["data_source"])}


def _check_at_least(flag: str, value: int, least: int) -> None:
    if value < least:
        raise InputError(f"{flag} {value}: must be at least {least}")


def _write(result: "Rehearsal", folder: RunFolder) -> None:
    """`rehearsal.json` always; page and picture once a window was played."""
    from driftloop.rehearsal.report import build_page, plot_history
    from driftloop.step_facts import write_json

    write_json(folder.path / "rehearsal.json", result.model_dump())
    if result.windows:
        build_page(result).write(folder.path / "rehearsal.html")
        plot_history(result.windows).savefig(folder.path / "rehearsal.png", dpi=144)


def _print_header(console: Console) -> None:
    from driftloop.rehearsal.report import HEADER

    console.print(f"  [dim]{'window'.ljust(WIDTH)}    time  {HEADER}[/]")


def _print_result(console: Console, result: "Rehearsal", folder: RunFolder) -> None:
    """The history in a few lines."""

    def share(value: float | None) -> str:
        return "–" if value is None else f"{value:.3f}"

    delay = f"confirmed with window {result.detection_delay} of it" if result.detection_delay else "not confirmed"
    onset = f"window {result.first_drift}, {delay}" if result.first_drift else "none"
    before, during, after = share(result.accuracy_before), share(result.accuracy_in_drift), share(result.accuracy_after)
    console.print()
    console.print(f"drift      {onset}; false alarms {result.false_alarms}, single alarms {result.single_alarms}")
    console.print(f"policy     {result.retrainings} retrainings, {result.promotions} promotions, {result.labels:,} labels")
    console.print(f"accuracy   {before} before, {during} in the drift, {after} after the last promotion")
    for note in result.notes:
        console.print(f"note       {escape(note)}")
    console.print(f"report     {folder.path / 'rehearsal.html'}")
