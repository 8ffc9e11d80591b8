"""`driftloop status`: who serves, and whether the watches still come."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from driftloop import registry
from driftloop.cli.alerts import notify_receivers
from driftloop.cli.arguments import DEFAULT_STORE, JsonOption, open_existing, print_json
from driftloop.contracts import RETRAIN
from driftloop.durations import parse_duration, say_duration
from driftloop.errors import InputError
from driftloop.housekeeping.watch_age import RECENT_RECORDS, WatchAge, watch_age
from driftloop.next_steps import steps_after_watch
from driftloop.plurals import counted
from driftloop.registry import Champion, Hold
from driftloop.store import Store
from driftloop.watch_record import FAILED, STARTED, ClassRecall, WatchRecord
from driftloop.watch_store import WATCH_PREFIX, read_records

if TYPE_CHECKING:
    from driftloop.housekeeping.store_contents import StoreUsage

#: The exit status that says "late", for a cron job or a probe: 2 is a mistake in the call or a store that cannot be read.
EXIT_LATE = 1
LABELS = "labels/"


@dataclass(frozen=True)
class Status:
    """What `driftloop status` shows."""

    store: str
    """The store's URI."""
    champion: Champion | None
    """Who serves; None where nobody does yet."""
    last: WatchRecord | None
    """The newest watch; None where there was none."""
    age: WatchAge
    """How old that is, and how old it may be."""
    label_files: int | None
    """How many label files were imported since the last watch asked for labels; None where it did not."""
    usage: "StoreUsage | None"
    """What the store holds; None where nobody asked."""


def status(
    store: Annotated[str, typer.Option(help="The model's home: a folder or s3://bucket/prefix.")] = DEFAULT_STORE,
    every: Annotated[
        str | None, typer.Option(help="How often a watch should come: 90m, 6h, 1d. Default: the median of the last watches.")
    ] = None,
    size: Annotated[bool, typer.Option("--size", help="Show the sizes of what is stored, too; lists the whole store.")] = False,
    notify: Annotated[
        bool, typer.Option("--notify", help="Tell the receivers that the environment names what fires and what is over.")
    ] = False,
    rules: Annotated[
        Path | None, typer.Option(help="With --notify: a YAML file of alert rules instead of the usual ones; see `driftloop alerts`.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Who serves since when, and up to when production was watched.

    Exit status 0: fine, or not known; 1: what the last watch covered ended longer ago than twice its interval; 2: the store cannot be read.
    With --notify 1 says that a receiver did not take what it was told, which then waits for the next call.
    """
    interval = None if every is None else parse_duration(every, option="--every", least=timedelta(minutes=1))
    if rules is not None and not notify:
        raise InputError("--rules goes with --notify; `driftloop alerts check` looks at a file of rules")
    if notify:
        raise typer.Exit(notify_receivers(open_existing(store, WATCH_PREFIX), rules, interval, as_json=as_json))
    state = read_status(open_existing(store), datetime.now(UTC), every=interval, with_usage=size)
    if as_json:
        print_json(as_dict(state))
    else:
        _print(state)
    if state.age.late:
        raise typer.Exit(EXIT_LATE)


def read_status(store: Store, now: datetime, *, every: timedelta | None, with_usage: bool = False) -> Status:
    """The state of a store at `now`.

    Raises:
        StoreError: it cannot be read; IntegrityError for a damaged pointer or record.
    """
    champion = registry.current(store)
    # The records, not the heartbeat: a watch that died between the two has finished its work.
    records = read_records(store, RECENT_RECORDS)
    waiting = datetime.fromisoformat(champion.promoted_at) if champion else None
    age = watch_age(records, now, every=every, waiting_since=waiting)
    last = records[-1] if records else None
    return Status(store.uri, champion, last, age, _label_files(store, last), _usage(store) if with_usage else None)


def _usage(store: Store) -> "StoreUsage":
    from driftloop.housekeeping.store_contents import store_usage  # loads pandas, for which the other commands need not wait

    return store_usage(store)


def as_dict(state: Status) -> dict[str, Any]:
    """The JSON form: times in ISO 8601, spans in seconds, sizes in bytes; null for what is not known."""
    age = state.age
    return {
        "store": state.store,
        "champion": state.champion.model_dump(include={"version", "previous", "promoted_at", "reason", "hold"}) if state.champion else None,
        "last_watch": state.last.model_dump(exclude={"windows", "tag_windows", "labels_by_window"}) if state.last else None,
        "age_seconds": _seconds(age.age),
        "interval_seconds": _seconds(age.interval),
        "interval_from": age.interval_from,
        "late": age.late,
        "next": next_steps(state),
        "labels_wanted": state.label_files is not None,
        "label_files_since": state.label_files,
        "usage": asdict(state.usage) | {"total": state.usage.total} if state.usage else None,
    }


def next_steps(state: Status) -> list[str]:
    """What a person does now."""
    last = state.last
    if state.champion is None:
        return [f"Train a first champion: `driftloop run training --source FOLDER --store {state.store}`."]
    if last is None:
        return [
            f"Serve it: `driftloop serve --store {state.store}`.",
            f"Watch what it answers: `driftloop run drift-watch --store {state.store}`, once or by `driftloop schedule`.",
        ]
    if last.state == STARTED and last.verdict == RETRAIN:
        return [f"Wait for run {last.run_id}, or see its log: its watch is not closed."]
    if last.promoted_version not in (None, state.champion.version):
        return [
            f"Version {last.promoted_version}, which this watch promoted, serves no more: version {state.champion.version} does.",
            f"Watch what it answers: `driftloop run drift-watch --store {state.store}`.",
        ]
    if last.promoted_version is None and last.state != FAILED and last.champion_version != state.champion.version:
        # A person has rolled it back, or promoted another one: what that watch asked for is not of the version that serves.
        return [
            f"Version {last.champion_version}, which the last watch watched, serves no more: version {state.champion.version} does.",
            f"Watch what it answers: `driftloop run drift-watch --store {state.store}`.",
        ]
    steps = steps_after_watch(
        last.verdict,
        state.store,
        last.asked,
        decision=last.decision,
        promoted=last.promoted_version,
        failure=last.failure if last.state == FAILED else "",
        label_files=state.label_files or 0,
        harmless=last.harmless_drift > 0,
        concept=last.concept,
    )
    return ["Find out why no watch came: `driftloop schedule list`, and the log of its last run.", *steps] if state.age.late else steps


def _label_files(store: Store, last: WatchRecord | None) -> int | None:
    """How many label files came after the last watch, where that asked for labels: their names sort by time."""
    if last is None or last.verdict != "needs_labels":
        return None
    asked_at = datetime.fromisoformat(last.last_write).astimezone(UTC)
    return sum(1 for entry in store.list(LABELS, after=f"{LABELS}{asked_at:%Y%m%dT%H%M%S%f}") if entry.key.endswith(".parquet"))


def _print(state: Status) -> None:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("store", escape(state.store))
    table.add_row("champion", _say_champion(state.champion))
    if state.champion is not None and state.champion.hold is not None:
        table.add_row("promotions", _say_hold(state.champion.hold))
    table.add_row("last watch", _say_watch(state))
    age = state.age
    table.add_row("interval", f"{say_duration(age.interval)} ({age.interval_from})" if age.interval else f"not known ({age.interval_from})")
    table.add_row("watches", _say_lateness(age))
    if state.last is not None and state.last.drop is not None:
        table.add_row("accuracy", _whose(state) + _say_drop(state.last.drop, state.last.tag))
    if state.last is not None and (unseen := [recall for recall in state.last.recalls if not recall.bounded]):
        table.add_row("classes", _whose(state) + _say_recalls(unseen))
    if state.label_files is not None:
        came = "none came since" if state.label_files == 0 else f"{counted(state.label_files, 'label file')} came since"
        table.add_row("labels", f"wanted by the last watch; {came}")
    if state.usage is not None:
        table.add_row("size", _say_bytes(state.usage.areas) + f" in {counted(state.usage.objects, 'object')}")
        grown = state.usage.growth
        table.add_row(
            "growth", "not known (fewer than two watches)" if grown is None else f"{_say_bytes(grown)} between the last two watches"
        )
    for number, step in enumerate(next_steps(state)):
        table.add_row("next" if number == 0 else "", escape(step))
    Console(highlight=False).print(table)


def _say_champion(champion: Champion | None) -> str:
    if champion is None:
        return "none; train one with `driftloop run training`"
    return f"[bold]version {champion.version}[/] since {_minute(champion.promoted_at)}: {escape(champion.reason)}"


def _say_hold(hold: Hold) -> str:
    return f"[bold]on hold[/] since {_minute(hold.since)}: {escape(hold.reason)}; `driftloop models release` ends it"


def _say_watch(state: Status) -> str:
    last = state.last
    if last is None or state.age.age is None:
        return "this store was never watched; `driftloop run drift-watch` does it once"
    verdict = f"{last.verdict} (requests with {escape(last.tag)})" if last.tag else last.verdict
    what = "; ".join(filter(None, (verdict, last.decision, last.promoted_version and f"version {last.promoted_version} promoted")))
    covered = f"covers up to {say_duration(state.age.age)} ago ({_minute(last.until)})"
    text = f"{last.sequence}, {covered}, by {escape(last.run_id)}: [bold]{what}[/]"
    if last.state == FAILED:
        text += f"; [bold red]failed[/]: {escape(last.failure)}"
    elif last.state == STARTED:
        text += "; not finished yet, or its run was killed"
    if last.sampled < 1:
        text += f"; looked at {last.sampled:.1%} of the requests (monitor_config.max_rows)"
    return text


def _say_lateness(age: WatchAge) -> str:
    if age.late is None:
        return "not known whether late"
    if age.late:
        return "[bold red]late[/]: none for twice the interval"
    return "[green]on time[/]"


def _whose(state: Status) -> str:
    """Which version the last watch judged, where another one serves by now: what harm it found is that version's."""
    if state.last is None or state.champion is None or state.last.champion_version == state.champion.version:
        return ""
    return f"of version {state.last.champion_version}: "


def _say_drop(drop: dict[str, float], tag: str) -> str:
    value, low, high = (f"{100 * drop[name]:.1f}" for name in ("value", "low", "high"))
    whose = f" for {escape(tag)}" if tag else ""
    return f"{value} points below what was accepted{whose} ({low} to {high}), on {drop['n']:,.0f} random labels"


def _say_recalls(recalls: list[ClassRecall]) -> str:
    return escape("; ".join(f"{'critical: ' if recall.critical else ''}{recall.sentence()}" for recall in recalls))


def _say_bytes(areas: dict[str, int]) -> str:
    parts = ", ".join(f"{escape(area)} {_mb(size)}" for area, size in areas.items() if size >= 5_000)
    return f"{_mb(sum(areas.values()))} MB" + (f" ({parts})" if parts else "")


def _mb(size: int) -> str:
    return f"{size / 1e6:,.2f}"


def _minute(time: str) -> str:
    return time[:16].replace("T", " ")


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else round(span.total_seconds(), 1)
