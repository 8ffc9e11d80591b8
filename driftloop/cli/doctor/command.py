"""`driftloop doctor`: what a run would trip over, found before it does."""

import os
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from driftloop.backends.base import BackendName
from driftloop.cli.arguments import DEFAULT_STORE, JsonOption, print_json
from driftloop.cli.doctor.check import Check, CheckState, not_checked
from driftloop.errors import InputError

#: The exit status that says "something failed": 2 is a mistake in the call.
EXIT_FAILED = 1
MARKS = {CheckState.ok: "[green]✓[/]", CheckState.failed: "[bold red]✗[/]", CheckState.not_checked: "[dim]-[/]"}


def doctor(
    store: Annotated[str | None, typer.Option(help="The model's home: a folder or s3://bucket/prefix. Default: as for runs.")] = None,
    on: Annotated[BackendName, typer.Option(help="Where runs are to happen.")] = BackendName.local,
    gpus: Annotated[int, typer.Option(min=0, max=16, help="Looks for a cluster's node with so many GPUs, too.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Check Python, packages, the store and, as asked, Docker or the cluster; each failure names its cure.

    Exit status 0: nothing failed; 1: something did. Leaves nothing behind.
    """
    checks = []
    console = Console(highlight=False)
    with console.status("checking", spinner="dots") if not as_json and console.is_terminal else nullcontext():
        for group in _groups(on, store, gpus):
            checks += group()
    if as_json:
        print_json([_as_dict(check) for check in checks])
    else:
        _print(console, checks)
    if any(check.state is CheckState.failed for check in checks):
        raise typer.Exit(EXIT_FAILED)


def _groups(on: BackendName, store: str | None, gpus: int) -> Iterable[Callable[[], list[Check]]]:
    """The checks in their order, each loaded when it is its turn."""
    from driftloop.cli.doctor.machine import check_machine

    yield lambda: check_machine({BackendName.local: "train", BackendName.docker: "docker", BackendName.cluster: ""}[on])
    if on is BackendName.docker:
        from driftloop.cli.doctor.docker import check_docker

        yield check_docker
    if on is BackendName.cluster:
        from driftloop.cli.doctor.cluster import check_cluster

        yield lambda: check_cluster(gpus, store)
    yield lambda: _check_store(on, store)


def _check_store(on: BackendName, store: str | None) -> list[Check]:
    from driftloop.cli.doctor.store import check_store
    from driftloop.store.s3_credentials import names_credentials

    if store is None and on is not BackendName.local and not names_credentials(os.environ):
        return [
            not_checked("store", "no keys are named here (AWS_*), so nothing is known of it; set them, and name the store with --store")
        ]
    try:
        return check_store(store or _usual_store(on))
    except InputError as error:
        return [not_checked("store", str(error))]


def _usual_store(on: BackendName) -> str:
    """The store that a run takes when none is named."""
    if on is BackendName.docker:
        from driftloop.backends.docker import latest_store

        return latest_store()
    if on is BackendName.cluster:
        from driftloop.backends.cluster.backend import DEFAULT_STORE as CLUSTER_STORE

        return CLUSTER_STORE
    return DEFAULT_STORE


def _as_dict(check: Check) -> dict[str, str | None]:
    return {"name": check.name, "state": check.state.value, "text": check.text, "cure": check.cure or None}


def _print(console: Console, checks: list[Check]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        table.add_row(MARKS[check.state], escape(check.name), escape(check.text))
        if check.cure:
            table.add_row("", "", f"[yellow]→ {escape(check.cure)}[/]")
    console.print(table)
    failures = sum(check.state is CheckState.failed for check in checks)
    unchecked = sum(check.state is CheckState.not_checked for check in checks)
    words = [f"{failures} failed" if failures else "nothing failed", f"{unchecked} not checked" if unchecked else ""]
    console.print(", ".join(filter(None, words)))
