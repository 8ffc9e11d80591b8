"""`driftloop run`: check what is asked, run the pipeline, leave a summary whatever happens."""

import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Protocol, Self

import typer
from rich.console import Console
from rich.markup import escape

from driftloop.backends import local
from driftloop.backends.compiled_pipeline import step_titles
from driftloop.backends.local import Failure
from driftloop.backends.run_folder import RUNS, RunFolder
from driftloop.backends.run_summary import build_summary, print_summary
from driftloop.backends.step_display import StepDisplay
from driftloop.cli.arguments import collect, default_arguments
from driftloop.errors import InputError, RunFailed
from driftloop.registry import current
from driftloop.store import open_store
from pipelines import PIPELINES


class PipelineName(StrEnum):
    """What can be run."""

    training = "training"
    drift_watch = "drift-watch"
    full_loop = "full-loop"


class BackendName(StrEnum):
    """Where a pipeline can be run."""

    local = "local"
    docker = "docker"
    cluster = "cluster"


def run(
    pipeline: Annotated[PipelineName, typer.Argument(help="Which pipeline.")],
    source: Annotated[str | None, typer.Option(help="Images: a folder, a zip, digits, synthetic:xray or synthetic:roof.")] = None,
    drift: Annotated[str | None, typer.Option(help="Drift of the replayed traffic: none, or such as blur+noise:0.6.")] = None,
    store: Annotated[
        str | None,
        typer.Option(
            help="The model's home: a folder or s3://bucket/prefix. Default: the run's own folder; in Docker, MinIO; "
            "on a cluster, s3://driftloop/default."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    gpus: Annotated[str | None, typer.Option(help="GPUs for training; 0 trains on the CPU. Default in Docker: 0; on a cluster: 1.")] = None,
    on: Annotated[
        BackendName, typer.Option(help="Where to run: in processes of this machine, in containers, or on the Kubeflow of KFP_ENDPOINT.")
    ] = BackendName.local,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="On a cluster: follow the run to its end, or only start it.")] = True,
    experiment: Annotated[
        str | None, typer.Option(help="On a cluster: the experiment that the run belongs to. Default: driftloop.", show_default=False)
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any parameter or setting: data_image_size=96, train_config.label_smoothing=0.05. Repeatable."),
    ] = None,
    config: Annotated[list[Path] | None, typer.Option(help="YAML file of parameters and settings. Repeatable.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the pipeline's log, too.")] = False,
) -> None:
    """Run a pipeline and leave its summary, reports and files in runs/<id>."""
    chosen = PIPELINES[pipeline.value]
    options = {"data_source": source, "traffic_drift": drift, "store": store, "seed": seed, "gpus": gpus}
    asked = collect(chosen, config or [], _known_to(pipeline.value, options, default_arguments(chosen)), assignments or [])
    watches = pipeline is PipelineName.drift_watch
    console = Console(highlight=False)
    if on is BackendName.cluster:
        _on_cluster(pipeline, chosen, asked, console, experiment, wait=wait, verbose=verbose)
        return
    if experiment is not None or not wait:
        raise InputError(f"{'--experiment' if wait else '--no-wait'} is for runs on a cluster; add --on cluster")
    arguments = _located(default_arguments(chosen) | asked)
    docker = None
    if on is BackendName.docker:
        from driftloop.backends.docker import DockerBackend, latest_store  # loads KFP, for which other commands need not wait

        store = asked.get("store") or (latest_store() if watches else None)
        docker = DockerBackend(chosen, store, lambda line: console.print(f"[dim]{escape(line)}[/]", soft_wrap=True))
        asked = {"gpus": "0"} | asked | ({"store": store} if store else {})
        arguments |= asked
    if "store" in asked or watches:
        arguments["store"] = _absolute(asked.get("store", str(RUNS / "latest" / "store")))
        _check_store(arguments["store"], needs_champion=watches)
        folder = RunFolder.create(pipeline.value)
        if "://" not in arguments["store"]:
            folder.link_store(Path(arguments["store"]))
    else:
        folder = RunFolder.create(pipeline.value)
        arguments["store"] = docker.new_store(folder) if docker else str(folder.store.absolute())
    folder.point_latest()
    execute = docker.execute if docker else local.execute
    _execute(pipeline.value, arguments, folder, execute, StepDisplay(console, step_titles(chosen)), verbose=verbose)


def _on_cluster(
    pipeline: PipelineName, chosen: Any, asked: dict[str, Any], console: Console, experiment: str | None, *, wait: bool, verbose: bool
) -> None:
    """Check what the cluster lacks, then start the run, and follow it to its end where that is wanted."""
    from driftloop.backends.cluster import backend

    arguments = backend.located(default_arguments(chosen), asked)
    cluster = backend.ClusterBackend(
        pipeline.value, chosen, lambda line: console.print(f"[dim]{escape(line)}[/]", soft_wrap=True), experiment
    )
    cluster.check(arguments, watches=pipeline is PipelineName.drift_watch)
    if not wait:
        cluster.start(f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{pipeline.value}", arguments)
        console.print(f"[bold]{pipeline.value}[/] started: {cluster.address}", soft_wrap=True)
        return
    folder = RunFolder.create(pipeline.value)
    folder.point_latest()
    _execute(pipeline.value, arguments, folder, cluster.execute, cluster.display(console), verbose=verbose, afterwards=cluster.afterwards)


class Display(Protocol):
    """What shows a run while it goes, and knows afterwards how long its steps took and which one failed."""

    console: Console
    seconds: dict[str, float]
    failed: str

    @property
    def titles(self) -> Mapping[str, str]:
        """KFP's name of a step -> the name that people see."""

    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...
    @property
    def show(self) -> Callable[[Any], None]:
        """Takes what the backend tells of the run: each backend has the display that understands it."""


def _execute(
    name: str,
    arguments: dict[str, Any],
    folder: RunFolder,
    execute: Callable[..., Failure | None],
    display: Display,
    *,
    verbose: bool,
    afterwards: Callable[[Console, bool], None] = lambda console, failed: None,
) -> None:
    """Run, summarise, and fail with one line where a step failed; an interrupted run leaves a summary too."""
    console = display.console
    console.print(f"[bold]{name}[/] in {folder.path}", soft_wrap=True)
    began = time.monotonic()
    failure: Failure | None = Failure("interrupted", ours=False)
    try:
        with display:
            echo = (lambda line: console.print(line, markup=False, soft_wrap=True)) if verbose else None
            failure = execute(name, arguments, folder, display.show, echo)
    finally:
        error = failure.text if failure else None
        summary = build_summary(folder, name, arguments, time.monotonic() - began, display.seconds, error)
    if failure is None:
        print_summary(console, summary, folder)
    afterwards(console, failure is not None)
    if failure is not None:
        where = f"{display.titles.get(display.failed, display.failed)}: " if display.failed else ""
        raise (InputError if failure.ours else RunFailed)(f"{where}{failure.text} (log: {folder.log})")


def _known_to(pipeline: str, options: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """The options given, after checking that this pipeline has them."""
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in known:
            flag = {"data_source": "--source", "traffic_drift": "--drift"}[name]
            raise InputError(f"{flag}: the {pipeline} pipeline has no {name}; it belongs to {_owners(name)}")
    return given


def _owners(name: str) -> str:
    return " and ".join(pipeline for pipeline, one in PIPELINES.items() if name in default_arguments(one))


def _located(arguments: dict[str, Any]) -> dict[str, Any]:
    """Check what can be checked at once, and make the source's path absolute: the steps run in other folders."""
    from driftloop.scenarios import parse
    from driftloop.sources import check_source

    if "traffic_drift" in arguments:
        parse(arguments["traffic_drift"])
    return arguments | ({"data_source": check_source(arguments["data_source"])} if "data_source" in arguments else {})


def _absolute(store: str) -> str:
    return store if "://" in store else str(Path(store).resolve())


def _check_store(uri: str, *, needs_champion: bool) -> None:
    """Say now, and in one line, what would stop the run later."""
    if needs_champion and "://" not in uri and not Path(uri).exists():
        raise InputError(f"{os.path.relpath(uri)}: no store there; run `driftloop run full-loop` first, or name one with --store")
    store = open_store(uri)
    store.check()
    if needs_champion and current(store) is None:
        raise InputError(f"{uri}: this store has no champion to watch; train one with `driftloop run training --store {uri}`")
