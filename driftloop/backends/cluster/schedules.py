"""Runs in KFP, and recurring runs: when they start, and each of a pinned pipeline version.

Of a recurring run there are never two runs at a time, and none is made up for after a pause.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

from driftloop.backends.cluster.connection import API, ClusterConnection
from driftloop.backends.cluster.uploads import PipelineVersion, equals_filter
from driftloop.durations import parse_duration, say_duration
from driftloop.errors import InputError

DEFAULT_EXPERIMENT = "driftloop"
#: How many recurring runs KFP lists at a time.
PAGE_SIZE = 200
#: Of the newest runs, in which each schedule's last one is looked for.
RUNS_LOOKED_AT = 200
SHORTEST_INTERVAL = timedelta(minutes=1)
MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
#: The fields of a cron as KFP takes it: name, smallest and largest value, and the names that stand for values from the smallest on.
CRON_FIELDS: tuple[tuple[str, int, int, list[str]], ...] = (
    ("second", 0, 59, []),
    ("minute", 0, 59, []),
    ("hour", 0, 23, []),
    ("day of the month", 1, 31, []),
    ("month", 1, 12, MONTHS),
    ("day of the week", 0, 6, DAYS),
)
CRON_EXAMPLE = "'0 0 */6 * * *' is every six hours"


@dataclass(frozen=True)
class Trigger:
    """When a schedule fires: at an interval, or by a cron."""

    every: timedelta | None = None
    """From one start to the next; None for a cron."""
    cron: str = ""
    """Six fields, the first of them seconds; "" for an interval."""

    @classmethod
    def parse(cls, every: str | None, cron: str | None) -> Self:
        """The trigger that `--every` or `--cron` asks for.

        Raises:
            InputError: both or neither, an interval below a minute, or not a cron of six fields.
        """
        if bool(every) == bool(cron):
            raise InputError("give either --every, such as --every 6h, or --cron, such as --cron '0 0 */6 * * *'")
        if every:
            return cls(every=parse_duration(every, option="--every", least=SHORTEST_INTERVAL))
        return cls(cron=_checked(cron or ""))

    @classmethod
    def from_api(cls, trigger: dict[str, Any]) -> Self:
        """The trigger of a recurring run as KFP gives it."""
        if "periodic_schedule" in trigger:
            return cls(every=timedelta(seconds=int(trigger["periodic_schedule"].get("interval_second", 0))))
        return cls(cron=trigger.get("cron_schedule", {}).get("cron", ""))

    def to_api(self) -> dict[str, Any]:
        """As KFP takes it."""
        if self.every is not None:
            return {"periodic_schedule": {"interval_second": str(int(self.every.total_seconds()))}}
        return {"cron_schedule": {"cron": self.cron}}

    def __str__(self) -> str:
        return f"every {say_duration(self.every)}" if self.every is not None else f"cron {self.cron}"


def _checked(cron: str) -> str:
    fields = cron.split()
    if len(fields) == 5:
        raise InputError(f"--cron {cron!r}: KFP's cron has six fields, the first one seconds; write '0 {cron}'")
    if len(fields) != len(CRON_FIELDS):
        raise InputError(f"--cron {cron!r}: not the six fields second, minute, hour, day, month, weekday; {CRON_EXAMPLE}")
    if not fields[0].isdigit():
        raise InputError(f"--cron {cron!r}: would fire more than once a minute; begin with one number of seconds, such as 0")
    for text, (name, low, high, names) in zip(fields, CRON_FIELDS, strict=True):
        if not all(_is_part(part, low, high, names) for part in text.split(",")):
            raise InputError(f"--cron {cron!r}: {text!r} is not a valid {name} ({low}-{high}, with * , - and /); {CRON_EXAMPLE}")
    return " ".join(fields)


def _is_part(text: str, low: int, high: int, names: list[str]) -> bool:
    """Whether `text` is *, a value, or a range, with or without a step."""
    values, slash, step = text.partition("/")
    if slash and not re.fullmatch(r"[1-9][0-9]*", step):
        return False
    if values in ("*", "?"):
        return True
    numbers = [_number(value, low, names) for value in values.split("-")]
    return len(numbers) <= 2 and all(number is not None and low <= number <= high for number in numbers) and numbers == sorted(numbers)  # type: ignore[type-var]


def _number(text: str, low: int, names: list[str]) -> int | None:
    if text.upper() in names:
        return low + names.index(text.upper())
    return int(text) if re.fullmatch(r"[0-9]+", text) else None


def start_run(
    connection: ClusterConnection, name: str, experiment_id: str, reference: dict[str, str], parameters: Mapping[str, Any]
) -> str:
    """Start a run of the pipeline version that `reference` names; the run's id."""
    body = {
        "display_name": name,
        "experiment_id": experiment_id,
        "pipeline_version_reference": reference,
        "runtime_config": {"parameters": dict(parameters)},
    }
    return connection.call("POST", f"{API}/runs", body=body)["run_id"]


def find_experiment(connection: ClusterConnection, name: str) -> str:
    """The id of the experiment of that name, which is made if it is not there."""
    query = {"filter": equals_filter("display_name", name), "page_size": 10} | connection.scope
    experiments = connection.call("GET", f"{API}/experiments", query).get("experiments", [])
    usable = [experiment for experiment in experiments if experiment.get("storage_state") != "ARCHIVED"]
    if usable:
        return usable[0]["experiment_id"]
    if experiments:
        raise InputError(f"the experiment {name} is archived; restore it in the UI, or name another with --experiment")
    return connection.call("POST", f"{API}/experiments", body={"display_name": name} | connection.scope)["experiment_id"]


@dataclass(frozen=True)
class Schedule:
    """A recurring run."""

    id: str
    """KFP's."""
    name: str
    """The name that people gave it."""
    reference: dict[str, str]
    """The pipeline version of its runs, as KFP's API names it."""
    trigger: Trigger
    """When its runs start."""
    enabled: bool
    """False while it is paused."""
    parameters: dict[str, Any]
    """Those of every run."""
    experiment_id: str
    """Of the experiment that its runs belong to."""
    created_at: str
    """In ISO 8601."""

    @classmethod
    def from_api(cls, recurring: dict[str, Any]) -> "Schedule":
        """As KFP's API gives it."""
        return cls(
            recurring["recurring_run_id"],
            recurring.get("display_name", ""),
            recurring.get("pipeline_version_reference") or {},
            Trigger.from_api(recurring.get("trigger") or {}),
            recurring.get("status") == "ENABLED",
            (recurring.get("runtime_config") or {}).get("parameters") or {},
            recurring.get("experiment_id", ""),
            recurring.get("created_at", ""),
        )


def list_schedules(connection: ClusterConnection) -> list[Schedule]:
    """All of the namespace, by name."""
    query = {"page_size": PAGE_SIZE} | connection.scope
    listed = [Schedule.from_api(recurring) for recurring in connection.listed(f"{API}/recurringruns", "recurringRuns", query)]
    return sorted(listed, key=lambda schedule: (schedule.name, schedule.created_at))


def find_schedule(connection: ClusterConnection, name: str) -> Schedule:
    """The schedule of that name; the newest, where an interrupted update has left two.

    Raises:
        InputError: there is none.
    """
    listed = list_schedules(connection)
    matching = [schedule for schedule in listed if schedule.name == name]
    if not matching:
        known = ", ".join(sorted({schedule.name for schedule in listed})) or "none; make one with `driftloop schedule create`"
        raise InputError(f"{name}: no such schedule in namespace {connection.namespace} (there: {known})")
    return matching[-1]


def create_schedule(
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


def run_schedule_now(connection: ClusterConnection, schedule: Schedule, name: str) -> str:
    """Start a run as the schedule would, beside its own; the run's id."""
    return start_run(connection, name, schedule.experiment_id, schedule.reference, schedule.parameters)


def enable_schedule(connection: ClusterConnection, schedule: Schedule, *, on: bool) -> None:
    """Resume or pause."""
    connection.call("POST", f"{API}/recurringruns/{schedule.id}:{'enable' if on else 'disable'}")


def delete_schedule(connection: ClusterConnection, schedule: Schedule) -> None:
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
