"""`driftloop track`: hand the runs, models and promotions of a store to the trackers that people use, and catch up after an outage."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from driftloop.cli.arguments import DEFAULT_STORE, JsonOption, StoreOption, open_existing, print_json
from driftloop.errors import InputError
from driftloop.plurals import counted

#: Seconds that the end of a run, or a promotion by hand, gives to all trackers together.
PATIENCE_S = 300


def track(
    to: Annotated[
        list[str] | None,
        typer.Option("--to", help="mlflow or wandb. Repeatable. Default: those in DRIFTLOOP_TRACKING.", show_default=False),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Hand what a tracker has not got yet to it: steps, versions, who serves. Repeated, it changes nothing; exit status 1: some wait.

    Steps leave what they found for trackers from the first `driftloop track` of a store on, and in runs with DRIFTLOOP_TRACKING.

    Addresses and keys come from the tracker's own variables: MLFLOW_TRACKING_URI, WANDB_API_KEY, ...
    """
    from driftloop.tracking import want_records
    from driftloop.tracking.delivery import deliver
    from driftloop.tracking.step_record import TRACKING
    from driftloop.tracking.trackers import CHOICE, TrackerUnavailable, chosen, open_tracker

    names = to or chosen(os.environ)
    if not names:
        raise InputError(f"no tracker is named: --to mlflow or --to wandb, or {CHOICE}=mlflow")
    trackers = {name: open_tracker(name, os.environ) for name in dict.fromkeys(names)}
    home = open_existing(store, TRACKING)
    want_records(home)
    done = [deliver(home, name, tracker) for name, tracker in trackers.items()]
    if as_json:
        print_json([asdict(one) for one in done])
    else:
        for one in done:
            waiting = f", {one.waiting} wait in the store" if one.problem else ""
            waiting += f", {one.refused} of them refused" if one.refused else ""
            typer.echo(f"{one.tracker}: {counted(one.steps, 'step')} and {counted(one.versions, 'version')} handed over{waiting}")
    problems = [one.problem for one in done if one.problem]
    if problems:
        raise TrackerUnavailable(f"{'; '.join(problems)}; the next `driftloop track --store {home.uri}` tries again")


def want_tracking(store: str, environment: Mapping[str, str] = os.environ) -> None:
    """Before a run: have its steps leave what the trackers in DRIFTLOOP_TRACKING show.

    Raises:
        StoreError: the store cannot be written.
    """
    if environment.get("DRIFTLOOP_TRACKING", "").strip():
        from driftloop.store import open_store
        from driftloop.tracking import want_records

        want_records(open_store(store, environment))


def track_afterwards(store: str, console: Console, environment: Mapping[str, str] = os.environ) -> None:
    """Deliver, in a process of its own, to the trackers in DRIFTLOOP_TRACKING; whatever becomes of it is a line, and no error.

    Args:
        store: URI of the model's home.
        console: takes the lines.
        environment: by which the store is opened, and the trackers' own variables.
    """
    if not environment.get("DRIFTLOOP_TRACKING", "").strip():
        return
    command = [sys.executable, "-m", "driftloop.cli.main", "track", "--store", store]
    try:
        done = subprocess.run(
            command, env=dict(environment), capture_output=True, text=True, timeout=PATIENCE_S, stdin=subprocess.DEVNULL, check=False
        )
        lines = [*done.stdout.splitlines(), *(done.stderr.splitlines()[-1:] if done.returncode else [])]
    except subprocess.TimeoutExpired:
        lines = [f"tracking: not done within {PATIENCE_S} s; `driftloop track --store {store}` catches up"]
    for line in lines:
        console.print(f"[dim]{escape(line)}[/]", soft_wrap=True)
