"""`driftloop rehearse`: play a simulated history of production through the real watch, to see what a policy would do, or several."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from driftloop.backends.compiled_pipeline import default_arguments
from driftloop.backends.log_events import LogEvent, LogStream
from driftloop.backends.run_folder import RunFolder
from driftloop.backends.step_display import WIDTH, StepDisplay
from driftloop.cli.arguments import JsonOption, collect
from driftloop.errors import InputError
from driftloop.plurals import counted
from driftloop.settings import PARAMETERS
from pipelines import PIPELINES

if TYPE_CHECKING:
    from driftloop.rehearsal.result import Comparison, Rehearsal

#: What a policy is made of: what a watch is told, and nothing that the first champion was trained by.
POLICY_PARAMETERS = ("drift_alpha", "monitor_config", "drift_config", "retrain_config", "gate_margin", "gate_config")


def rehearse(
    windows: Annotated[int, typer.Option(help="Windows of traffic to play.")] = 40,
    windows_per_day: Annotated[int, typer.Option(help="Windows on each simulated day.")] = 1,
    drift_at: Annotated[int | None, typer.Option(help="Number of the first drifted window. Default: the middle.")] = None,
    drift: Annotated[
        str | None,
        typer.Option(
            help="none, one drift such as blur+noise:1.0, prior:0.2, gradual:brightness:0.6 or new_site:1@0.1 (a tenth of the traffic), "
            "or several with commas between them, "
            "which come one after the other: blur:1,none,blur:1 for one that comes back."
        ),
    ] = None,
    phase: Annotated[int | None, typer.Option(help="Windows that each drift of a list lasts. Default: equal parts.")] = None,
    subgroup: Annotated[float | None, typer.Option(help="Share of the traffic that drifts. Default: all of it.")] = None,
    labels_after: Annotated[float, typer.Option(help="Days until the labels that a watch asks for arrive.")] = 4,
    ranked_labels: Annotated[
        bool, typer.Option("--ranked-labels", help="Label the most shifted images as well, not only random ones.")
    ] = False,
    labels_per_window: Annotated[int, typer.Option(help="Uniformly random labels that arrive with every window besides.")] = 0,
    policy: Annotated[
        list[Path] | None,
        typer.Option(help="YAML file of what a watch is told, such as those in configs/policies. Repeat it: the same traffic under each."),
    ] = None,
    source: Annotated[str | None, typer.Option(help=PARAMETERS["data_source"].description)] = None,
    seed: Annotated[int | None, typer.Option(help=PARAMETERS["seed"].description)] = None,
    gpus: Annotated[str | None, typer.Option(help=PARAMETERS["gpus"].description)] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any parameter or setting: drift_config.cooldown_days=7, retrain_config.epochs=8. Repeatable."),
    ] = None,
    config: Annotated[list[Path] | None, typer.Option(help="YAML file of parameters and settings. Repeatable.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Rehearse a policy: train a champion, then play days of traffic with a drift in it, watch each, and show what was decided.

    When a watch asks for labels, a simulated team labels its random list. With several --policy files the same traffic is played under
    each, from the same first champion, and they are shown side by side. The rehearsal's models, log and records stay in its own
    folder runs/<id>; no other store is touched, and runs/latest goes on naming the last run.
    """
    # Threads that wait should sleep, as in a run; it must be set before the first library with threads is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from driftloop.rehearsal.timeline import plan_timeline

    options = {"data_source": source, "traffic_drift": drift, "seed": seed, "gpus": gpus}
    arguments = _arguments(config or [], options, assignments or [])
    policies = _policies(policy or [], arguments, config or [], options, assignments or [])
    _check_within("--windows-per-day", windows_per_day, 1, 1000)
    _check_within("--labels-after", labels_after, 0, 365)
    _check_within("--labels-per-window", labels_per_window, 0, 100_000)
    drift = arguments["traffic_drift"]
    timeline = plan_timeline(drift, windows=windows, drift_at=drift_at, phase=phase, subgroup=subgroup)
    # Everything that trains is loaded only now: a mistake is reported at once.
    from driftloop.rehearsal.rehearsing import RehearsalPlan, compare
    from driftloop.rehearsal.rehearsing import rehearse as play

    folder = RunFolder.create("rehearsal")
    os.environ["DRIFTLOOP_RUN_ID"] = folder.id
    plan = RehearsalPlan(
        drift,
        timeline,
        arguments | {"store": str(folder.store.absolute())},
        windows_per_day=windows_per_day,
        labels_after=labels_after,
        ranked_labels=ranked_labels,
        labels_per_window=labels_per_window,
        subgroup=subgroup,
    )
    # A file of its own: the output of the steps is turned away from standard output while they run.
    console = Console(file=sys.stderr if as_json else sys.stdout, highlight=False, soft_wrap=True)
    console.print(f"[bold]rehearsal[/] in {folder.path}")
    with StepDisplay(console, {}) as display, folder.log.open("w") as log:
        stream = LogStream(log, display.show)

        @contextmanager
        def step(name: str, policy: str = "") -> Iterator[None]:
            if name == "window 1":
                _print_header(console, policy)
            display.show(LogEvent("started", step=name))
            try:
                with redirect_stdout(stream), redirect_stderr(stream):
                    yield
            except BaseException:
                display.show(LogEvent("failed", step=name))
                raise
            display.show(LogEvent("succeeded", step=name))

        if policies:
            compared = compare(
                plan,
                policies,
                folder.artifacts,
                lambda policy: lambda name: step(name, policy),
                lambda comparison: _write_comparison(comparison, folder),
            )
        else:
            result = play(plan, folder.artifacts, step, lambda rehearsal: _write(rehearsal, folder))
    if as_json:
        typer.echo((compared if policies else result).model_dump_json(indent=1))
    elif policies:
        _print_comparison(console, compared, folder)
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
    return arguments | {"data_source": check_source(arguments["data_source"], arguments["data_config"].get("classes", ""))}


def _policies(
    files: list[Path], arguments: dict[str, Any], config: list[Path], options: dict[str, Any], assignments: list[str]
) -> dict[str, dict[str, Any]]:
    """The arguments under each policy, by the name of its file; the rest of the command line holds for all of them, and wins.

    Raises:
        InputError: a single policy, two of one name, or one that would change more than what a watch is told.
    """
    if len(files) == 1:
        raise InputError(f"--policy {files[0]}: give two or more to compare them; one alone is tried with --config")
    policies: dict[str, dict[str, Any]] = {}
    for path in files:
        if not path.is_file():
            raise InputError(f"--policy {path}: no such file")
        own = _arguments([*config, path], options, assignments)
        foreign = [name for name, value in own.items() if value != arguments[name] and name not in POLICY_PARAMETERS]
        if foreign:
            raise InputError(
                f"--policy {path}: {foreign[0]} is the same for all policies, set it with --set or --config; a policy sets "
                f"{', '.join(POLICY_PARAMETERS)}"
            )
        if path.stem in policies:
            raise InputError(f"--policy {path}: there are two policies named {path.stem}; rename a file")
        policies[path.stem] = own
    return policies


def _check_within(flag: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise InputError(f"{flag} {value:g}: must lie between {least:g} and {most:g}")


def _write(result: "Rehearsal", folder: RunFolder) -> None:
    """`rehearsal.json` always; page and picture once a window was played."""
    from driftloop.rehearsal.report import build_page, plot_history
    from driftloop.step_facts import write_json

    write_json(folder.path / "rehearsal.json", result.model_dump())
    if result.windows:
        build_page(result).write(folder.path / "rehearsal.html")
        plot_history(result.windows).savefig(folder.path / "rehearsal.png", dpi=144)


def _write_comparison(result: "Comparison", folder: RunFolder) -> None:
    """`rehearsal.json` always; page and picture once every policy so far has played a window."""
    from driftloop.rehearsal.comparison import build_comparison, plot_trade
    from driftloop.step_facts import write_json

    write_json(folder.path / "rehearsal.json", result.model_dump())
    if all(policy.rehearsal.windows for policy in result.policies):
        build_comparison(result).write(folder.path / "rehearsal.html")
        plot_trade(result).savefig(folder.path / "rehearsal.png", dpi=144)


def _print_header(console: Console, policy: str) -> None:
    from driftloop.rehearsal.report import HEADER

    if policy:
        console.print(f"[bold]policy {escape(policy)}[/]")
    console.print(f"  [dim]{'window'.ljust(WIDTH)}    time  {HEADER}[/]")


def _print_comparison(console: Console, result: "Comparison", folder: RunFolder) -> None:
    """A line a policy."""
    from driftloop.rehearsal.comparison import comparison_table
    from driftloop.reporting.page import readable_cell

    rows = [{name: readable_cell(value) for name, value in row.items()} for row in comparison_table(result)]
    table = Table(*rows[0], box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row.values())
    console.print()
    console.print(table)
    console.print(f"report     {folder.path / 'rehearsal.html'}")


def _print_result(console: Console, result: "Rehearsal", folder: RunFolder) -> None:
    """The history in a few lines."""

    def share(value: float | None) -> str:
        return "–" if value is None else f"{value:.3f}"

    delay = f"confirmed with window {result.detection_delay} of it" if result.detection_delay else "not confirmed"
    onset = f"window {result.first_drift}, {delay}" if result.first_drift else "none"
    before, during, after = share(result.accuracy_before), share(result.accuracy_in_drift), share(result.accuracy_after)
    console.print()
    console.print(f"drift      {onset}; false alarms {result.false_alarms}, single alarms {result.single_alarms}")
    spent = (result.retrainings, "retraining"), (result.promotions, "promotion"), (result.labels, "label")
    console.print(f"policy     {', '.join(counted(number, name) for number, name in spent)}")
    console.print(f"accuracy   {before} before, {during} in the drift, {after} after the last promotion")
    for note in result.notes:
        console.print(f"note       {escape(note)}")
    console.print(f"report     {folder.path / 'rehearsal.html'}")
