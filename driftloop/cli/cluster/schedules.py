"""Recurring runs in KFP: each of a pinned pipeline version, never two at a time, and none made up for after a pause."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from driftloop.cli.cluster.connection import API, ClusterConnection
from driftloop.cli.cluster.runs import start_run
from driftloop.cli.cluster.trigger import Trigger
from driftloop.cli.cluster.uploads import PipelineVersion
from driftloop.errors import InputError

PAGE = 200
#: Of the newest runs, in which each schedule's last one is looked for.
RUNS_LOOKED_AT = 200


@dataclass(frozen=True)
class Schedule:
    """A recurring run; `parameters` are those of every run."""

    id: str
    name: str
    reference: dict[str, str]
    trigger: Trigger
    enabled: bool
    parameters: dict[str, Any]
    experiment_id: str
    created_at: str

    @classmethod
    def from_api(cls, one: dict[str, Any]) -> "Schedule":
        """As KFP's API gives it."""
        return cls(
            one["recurring_run_id"],
            one.get("display_name", ""),
            one.get("pipeline_version_reference") or {},
            Trigger.from_api(one.get("trigger") or {}),
            one.get("status") == "ENABLED",
            (one.get("runtime_config") or {}).get("parameters") or {},
            one.get("experiment_id", ""),
            one.get("created_at", ""),
        )


def schedules(connection: ClusterConnection) -> list[Schedule]:
    """All of the namespace, by name."""
    query = {"page_size": PAGE} | connection.scope
    found = [Schedule.from_api(one) for one in connection.listed(f"{API}/recurringruns", "recurringRuns", query)]
    return sorted(found, key=lambda one: (one.name, one.created_at))


def named(connection: ClusterConnection, name: str) -> Schedule:
    """The schedule of that name; the newest, where an interrupted update has left two.

    Raises:
        InputError: there is none.
    """
    there = schedules(connection)
    found = [one for one in there if one.name == name]
    if not found:
        known = ", ".join(sorted({one.name for one in there})) or "none; make one with `driftloop schedule create`"
        raise InputError(f"{name}: no such schedule in namespace {connection.namespace} (there: {known})")
    return found[-1]


def create(
    connection: ClusterConnection,
    name: str,
    version: PipelineVersion,
    trigger: Trigger,
    parameters: Mapping[str, Any],
    experiment_id: str,
    *,
    enabled: bool = True,
) -> str:
    """Make a recurring run; its id."""
    body = {
        "display_name": name,
        "pipeline_version_reference": version.reference,
        "runtime_config": {"parameters": dict(parameters)},
        "trigger": trigger.to_api(),
        "experiment_id": experiment_id,
        "mode": "ENABLE" if enabled else "DISABLE",
        "max_concurrency": "1",
        "no_catchup": True,
    } | connection.scope
    return connection.call("POST", f"{API}/recurringruns", body=body)["recurring_run_id"]


def run_now(connection: ClusterConnection, schedule: Schedule, name: str) -> str:
    """Start a run as the schedule would, beside its own; the run's id."""
    return start_run(connection, name, schedule.experiment_id, schedule.reference, schedule.parameters)


def enable(connection: ClusterConnection, schedule: Schedule, *, on: bool) -> None:
    """Resume or pause."""
    connection.call("POST", f"{API}/recurringruns/{schedule.id}:{'enable' if on else 'disable'}")


def delete(connection: ClusterConnection, schedule: Schedule) -> None:
    """Remove the schedule; runs that it has started stay."""
    connection.call("DELETE", f"{API}/recurringruns/{schedule.id}")


def last_runs(connection: ClusterConnection) -> dict[str, dict[str, Any]]:
    """Schedule's id -> the newest run that it has started, as far as that is among the namespace's newest runs."""
    query = {"page_size": RUNS_LOOKED_AT, "sort_by": "created_at desc"} | connection.scope
    newest: dict[str, dict[str, Any]] = {}
    for run in connection.call("GET", f"{API}/runs", query).get("runs", []):
        if run.get("recurring_run_id"):
            newest.setdefault(run["recurring_run_id"], run)
    return newest
