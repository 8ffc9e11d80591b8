"""`driftloop schedule`: runs that a cluster repeats by itself, above all the drift watch."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from driftloop.backends.base import RunRequest
from driftloop.backends.compiled_pipeline import default_arguments
from driftloop.cli.arguments import JsonOption, RunArguments, answer, print_json, read_arguments
from driftloop.cli.run import PipelineName
from driftloop.errors import InputError
from driftloop.settings import PARAMETERS
from pipelines import PIPELINES

if TYPE_CHECKING:
    from driftloop.backends.cluster.backend import ClusterBackend
    from driftloop.backends.cluster.connection import ClusterConnection
    from driftloop.backends.cluster.schedules import Schedule, Trigger

schedule = typer.Typer(
    name="schedule", help="Let a cluster repeat a pipeline: the drift watch every few hours, never two at a time.", no_args_is_help=True
)


Name = Annotated[str, typer.Argument(help="The schedule's name.")]
EveryOption = Annotated[str | None, typer.Option("--every", help="The time from one start to the next: 90m, 6h, 1d.")]
CronOption = Annotated[str | None, typer.Option("--cron", help="Six fields, the first one seconds: '0 0 */6 * * *'. In UTC.")]
StoreOption = Annotated[str | None, typer.Option("--store", help=f"{PARAMETERS['store'].description}. Default: s3://driftloop/default.")]
GpusOption = Annotated[str | None, typer.Option("--gpus", help=f"{PARAMETERS['gpus'].description}. Default: 1.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="Any parameter or setting, as for `driftloop run`. Repeatable.")]
ConfigOption = Annotated[list[Path] | None, typer.Option("--config", help="YAML file of parameters and settings. Repeatable.")]
ExperimentOption = Annotated[str | None, typer.Option("--experiment", help="Of its runs. Default: driftloop.", show_default=False)]


@schedule.command()
def create(
    name: Name,
    every: EveryOption = None,
    cron: CronOption = None,
    pipeline: Annotated[PipelineName, typer.Option(help="What to repeat.")] = PipelineName.drift_watch,
    store: StoreOption = None,
    gpus: GpusOption = None,
    assignments: SetOption = None,
    config: ConfigOption = None,
    experiment: ExperimentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Repeat a pipeline, in the version of now: a later driftloop changes the schedule by `update` only."""
    from driftloop.backends.cluster import schedules
    from driftloop.backends.cluster.schedules import DEFAULT_EXPERIMENT, Trigger, find_experiment

    trigger = Trigger.parse(every, cron)
    arguments = read_arguments(PIPELINES[pipeline.value], config or [], {"store": store, "gpus": gpus}, assignments or [])
    cluster = _open_cluster(pipeline.value, arguments, as_json=as_json)
    if any(schedule.name == name for schedule in schedules.list_schedules(cluster.connection)):
        raise InputError(
            f"{name}: there is a schedule of that name; change it with `driftloop schedule update {name}`, or take another name"
        )
    version = cluster.publish()
    experiment_id = find_experiment(cluster.connection, experiment or DEFAULT_EXPERIMENT)
    schedule_id = schedules.create_schedule(cluster.connection, name, version, trigger, cluster.arguments, experiment_id)
    _say_created(name, pipeline.value, trigger, version.name, schedule_id, cluster.connection, as_json=as_json)


@schedule.command(name="list")
def list_schedules(as_json: JsonOption = False) -> None:
    """Every schedule of the namespace, and how its last run went."""
    from driftloop.backends.cluster import schedules
    from driftloop.backends.cluster.connection import ClusterConnection
    from driftloop.backends.cluster.uploads import version_names

    connection = ClusterConnection.from_environment()
    listed = schedules.list_schedules(connection)
    names = version_names(connection, [schedule.reference for schedule in listed])
    runs = schedules.last_runs(connection) if listed else {}
    rows = [
        _row(schedule, names.get(schedule.reference.get("pipeline_version_id", ""), ("", "deleted")), runs.get(schedule.id, {}))
        for schedule in listed
    ]
    if as_json:
        print_json(rows)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = ("name", "pipeline", "version", "trigger", "state", "last run", "its state")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        started = (row["last_run"]["started"] or "")[:16].replace("T", " ") or "-"
        cells = [row[column] for column in columns[:5]] + [started, row["last_run"]["state"] or "-"]
        table.add_row(*(escape(cell) for cell in cells))
    Console(width=max(Console().width, 132)).print(table)


@schedule.command()
def run_now(name: Name, as_json: JsonOption = False) -> None:
    """Start a run as the schedule would, at once and beside its own: a watch that runs twice does its work once."""
    from driftloop.backends.cluster import schedules

    connection, schedule = _find(name)
    run_id = schedules.run_schedule_now(connection, schedule, f"{name}-now-{datetime.now(UTC):%Y%m%d-%H%M%S}")
    page = connection.address(f"runs/details/{run_id}")
    answer(f"{name}: started {page}", {"name": name, "run_id": run_id, "page": page}, as_json=as_json)


@schedule.command()
def pause(name: Name, as_json: JsonOption = False) -> None:
    """Start no more runs; a run that is going on goes on."""
    _enable(name, on=False, as_json=as_json)


@schedule.command()
def resume(name: Name, as_json: JsonOption = False) -> None:
    """Start runs again; those that were missed are not made up for."""
    _enable(name, on=True, as_json=as_json)


@schedule.command()
def update(
    name: Name,
    every: EveryOption = None,
    cron: CronOption = None,
    store: StoreOption = None,
    gpus: GpusOption = None,
    assignments: SetOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take this driftloop's version of the pipeline, and what is given here; the rest stays as it is."""
    from driftloop.backends.cluster import schedules
    from driftloop.backends.cluster.schedules import Trigger
    from driftloop.backends.cluster.uploads import version_names, version_placement

    trigger = Trigger.parse(every, cron) if every or cron else None
    connection, old = _find(name)
    pipeline = version_names(connection, [old.reference]).get(old.reference.get("pipeline_version_id", ""), ("", ""))[0]
    if pipeline not in PIPELINES:
        raise InputError(
            f"{name}: repeats {pipeline or 'a pipeline that is gone'}, which is not one of driftloop's; delete it and create it anew"
        )
    changes, placement = read_arguments(PIPELINES[pipeline], config or [], {"store": store, "gpus": gpus}, assignments or [])
    placement = _merged(version_placement(connection, old.reference), placement)
    known = default_arguments(PIPELINES[pipeline])
    kept = {parameter: value for parameter, value in old.parameters.items() if parameter in known}
    arguments = read_arguments(PIPELINES[pipeline], [], _merged(kept, changes) | {"placement": placement}, [])
    cluster = _open_cluster(pipeline, arguments, as_json=as_json)
    version = cluster.publish()
    trigger = trigger or old.trigger
    # The new one first: a tick that fires twice finds its watch record taken, a tick that is missed is made up by the next watch.
    schedule_id = schedules.create_schedule(connection, name, version, trigger, cluster.arguments, old.experiment_id, enabled=old.enabled)
    for schedule in schedules.list_schedules(connection):
        if schedule.name == name and schedule.id != schedule_id:
            schedules.delete_schedule(connection, schedule)
    _say_created(name, pipeline, trigger, version.name, schedule_id, connection, as_json=as_json)


@schedule.command()
def delete(name: Name, as_json: JsonOption = False) -> None:
    """Remove a schedule; the runs that it has started stay."""
    from driftloop.backends.cluster import schedules

    connection, named = _find(name)
    for schedule in schedules.list_schedules(connection):
        if schedule.name == named.name:
            schedules.delete_schedule(connection, schedule)
    answer(f"{name}: deleted", {"name": name, "state": "deleted"}, as_json=as_json)


def _open_cluster(pipeline: str, arguments: RunArguments, *, as_json: bool) -> "ClusterBackend":
    """The cluster, ready for that pipeline with these arguments; what a run checks is checked here, too."""
    from driftloop.backends.cluster.backend import ClusterBackend

    request = RunRequest(pipeline, arguments.parameters, placement=arguments.placement)
    console = Console(stderr=as_json, soft_wrap=True, highlight=False)
    return ClusterBackend(request, lambda line: console.print(f"[dim]{escape(line)}[/]"))


def _merged(kept: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A schedule's parameters with these changes; groups of settings are merged setting by setting."""
    merged = dict(kept)
    for name, value in changes.items():
        merged[name] = merged[name] | value if isinstance(value, dict) and isinstance(merged.get(name), dict) else value
    return merged


def _find(name: str) -> tuple["ClusterConnection", "Schedule"]:
    from driftloop.backends.cluster import schedules
    from driftloop.backends.cluster.connection import ClusterConnection

    connection = ClusterConnection.from_environment()
    return connection, schedules.find_schedule(connection, name)


def _enable(name: str, *, on: bool, as_json: bool) -> None:
    from driftloop.backends.cluster import schedules

    connection, schedule = _find(name)
    schedules.enable_schedule(connection, schedule, on=on)
    answer(f"{name}: {'resumed' if on else 'paused'}", {"name": name, "state": _state(on)}, as_json=as_json)


def _state(enabled: bool) -> str:
    return "enabled" if enabled else "paused"


def _say_created(
    name: str, pipeline: str, trigger: "Trigger", version: str, schedule_id: str, connection: "ClusterConnection", *, as_json: bool
) -> None:
    page = connection.address(f"recurringrun/details/{schedule_id}")
    record = {"name": name, "pipeline": pipeline, "version": version, "trigger": str(trigger), "schedule_id": schedule_id, "page": page}
    answer(f"{name}: {pipeline} {trigger}, version {version}: {page}", record, as_json=as_json)


def _row(schedule: "Schedule", names: tuple[str, str], run: dict[str, Any]) -> dict[str, Any]:
    last = {"run_id": run.get("run_id"), "started": run.get("created_at"), "state": run.get("state")}
    return {
        "name": schedule.name,
        "pipeline": names[0],
        "version": names[1],
        "trigger": str(schedule.trigger),
        "state": _state(schedule.enabled),
        "last_run": last,
    }
