"""`driftloop run`: check what is asked, run the pipeline, leave a summary whatever happens."""

import time
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from driftloop.backends.base import Backend, BackendName, Failure, RunRequest
from driftloop.backends.compiled_pipeline import default_arguments
from driftloop.backends.delivered_models import deliver_models
from driftloop.backends.open import open_backend
from driftloop.backends.run_folder import REPORTS, RunFolder
from driftloop.backends.run_summary import build_summary, print_summary, unmet_goals
from driftloop.cli.arguments import JsonOption, owners, print_json, read_arguments
from driftloop.cli.track import track_afterwards, want_tracking
from driftloop.contracts import SUMMARY, SYNTHESIS_REPORT
from driftloop.errors import DriftloopError, InputError, NotMet, RunFailed
from driftloop.settings import PARAMETERS
from driftloop.store import open_store
from driftloop.summary import Summary
from driftloop.watch_store import fail_watch
from pipelines import PIPELINES


class PipelineName(StrEnum):
    """What can be run."""

    training = "training"
    drift_watch = "drift-watch"
    full_loop = "full-loop"
    ingest = "ingest"


def run(
    pipeline: Annotated[PipelineName, typer.Argument(help="Which pipeline.")],
    source: Annotated[str | None, typer.Option(help=PARAMETERS["data_source"].description)] = None,
    drift: Annotated[str | None, typer.Option(help=PARAMETERS["traffic_drift"].description)] = None,
    store: Annotated[
        str | None,
        typer.Option(
            help=f"{PARAMETERS['store'].description}. Default: the run's own folder; in Docker, MinIO; on a cluster, s3://driftloop/default."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help=PARAMETERS["seed"].description)] = None,
    gpus: Annotated[str | None, typer.Option(help=f"{PARAMETERS['gpus'].description}. Default in Docker: 0; on a cluster: 1.")] = None,
    on: Annotated[
        BackendName, typer.Option(help="Where to run: in processes of this machine, in containers, or on the Kubeflow of KFP_ENDPOINT.")
    ] = BackendName.local,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="On a cluster: follow the run to its end, or only start it.")] = True,
    experiment: Annotated[
        str | None, typer.Option(help="On a cluster: the experiment that the run belongs to. Default: driftloop.", show_default=False)
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Any parameter or setting: data_image_size=96, train_config.label_smoothing=0.05; on a cluster what a step asks for, too: "
            "placement.automated_retraining.memory=4Gi. Repeatable.",
        ),
    ] = None,
    config: Annotated[list[Path] | None, typer.Option(help="YAML file of parameters and settings. Repeatable.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the pipeline's log, too.")] = False,
    as_json: JsonOption = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 where a target was missed or the gate did not promote.")] = False,
) -> None:
    """Run a pipeline and leave its summary, reports and files in runs/<id>."""
    compiled = PIPELINES[pipeline.value]
    options = {"data_source": source, "traffic_drift": drift, "store": store, "seed": seed, "gpus": gpus}
    given = _known_to(pipeline.value, options, default_arguments(compiled))
    parameters, placement = read_arguments(compiled, config or [], given, assignments or [])
    request = RunRequest(pipeline.value, parameters, wait, experiment, placement)
    console = Console(stderr=as_json, highlight=False)
    backend = open_backend(on, request, lambda line: console.print(f"[dim]{escape(line)}[/]", soft_wrap=True))
    if not wait:
        started = backend.start(backend.arguments)
        console.print(f"[bold]{pipeline.value}[/] started: {started}", soft_wrap=True)
        if as_json:
            print_json({"pipeline": pipeline.value, "run": started})
        return
    folder = RunFolder.create(pipeline.value)
    arguments = backend.arguments | {"store": backend.store_for(folder)}
    folder.point_latest()
    want_tracking(arguments["store"], backend.environment)
    unmet = unmet_goals(_execute(pipeline.value, backend, arguments, folder, console, verbose=verbose, as_json=as_json))
    if strict and unmet:
        raise NotMet(f"--strict: {'; '.join(unmet)}")


def _execute(
    name: str, backend: Backend, arguments: Mapping[str, Any], folder: RunFolder, console: Console, *, verbose: bool, as_json: bool
) -> Summary:
    """Run, summarise, and fail with one line where a step failed; an interrupted run leaves a summary too."""
    console.print(f"[bold]{name}[/] in {folder.path}", soft_wrap=True)
    display = backend.display(console)
    echo = (lambda line: console.print(line, markup=False, soft_wrap=True)) if verbose else None
    began = time.monotonic()
    failure: Failure | None = Failure("interrupted", ours=False)
    try:
        with display:
            failure = backend.execute(arguments, folder, display.show, echo)
    finally:
        error = failure.text if failure else None
        summary = build_summary(folder, name, arguments, time.monotonic() - began, display.seconds, error)
        missing = deliver_models(folder, lambda: open_store(arguments["store"], backend.environment), summary.champion.after)
        ended = backend.ended_run(folder)
        if ended and failure is not None:
            _fail_watch(arguments, backend, ended, failure.text)
        if ended and folder.find("synthesis-report*/summary") is None:  # else that step has left its record
            _leave_report(arguments, backend, folder, ended, summary)
        track_afterwards(arguments["store"], console, backend.environment)
    if missing:
        console.print(f"[dim]{escape(missing)}[/]", soft_wrap=True)
    if failure is None:
        print_summary(console, summary, folder)
    backend.afterwards(console, failed=failure is not None)
    if as_json:
        typer.echo(summary.model_dump_json(indent=1))
    if failure is not None:
        where = f"{display.titles.get(display.failed, display.failed)}: " if display.failed else ""
        raise (InputError if failure.ours else RunFailed)(f"{where}{failure.text} (log: {folder.log})")
    return summary


def _leave_report(arguments: Mapping[str, Any], backend: Backend, folder: RunFolder, run: str, summary: Summary) -> None:
    """Leave the report of a run that has no step for it, a training's or a failed run's, to the trackers."""
    from driftloop.tracking import leave_record

    with suppress(DriftloopError):
        home = open_store(arguments["store"], backend.environment)
        home.check()  # gives up soon where the store is out of reach
        leave_record(home, SYNTHESIS_REPORT, summary.model_dump(), {name: folder.path / name for name in (*REPORTS, SUMMARY)}, run=run)


def _fail_watch(arguments: Mapping[str, Any], backend: Backend, run: str, reason: str) -> None:
    """Say in the record of the run's watch why it has failed; what cannot be said now, the next watch says without the reason."""
    with suppress(DriftloopError):
        home = open_store(arguments["store"], backend.environment)
        home.check()  # gives up soon where the store is out of reach
        fail_watch(home, run, reason)


def _known_to(pipeline: str, options: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """The options given, after checking that this pipeline has them."""
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in known:
            flag = {"data_source": "--source", "traffic_drift": "--drift"}.get(name, f"--{name}")
            raise InputError(f"{flag}: the {pipeline} pipeline has no {name}; it belongs to {owners(name)}")
    return given
