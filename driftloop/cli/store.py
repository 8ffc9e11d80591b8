"""`driftloop store upgrade`: a store to the newest forms of what lies in it."""

from dataclasses import asdict
from typing import Annotated

import typer

from driftloop.cli.arguments import DEFAULT_STORE, JsonOption, open_existing, print_json
from driftloop.plurals import counted

store = typer.Typer(help="The store of a model.", no_args_is_help=True)


@store.callback()
def _store() -> None:
    """The store of a model."""


@store.command("upgrade")
def upgrade_store(
    uri: Annotated[str, typer.Option("--store", help="The model's home: a folder or s3://bucket/prefix.")] = DEFAULT_STORE,
    yes: Annotated[bool, typer.Option("--yes", help="Rewrite them; without it they are only listed.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Rewrite what an older driftloop wrote in its newest form; lists it first, and changes nothing without --yes.

    Readers know the newest form and the one before, so this is needed once before every second release that changes a form.
    """
    from driftloop.housekeeping.upgrading import outdated_objects, upgrade  # loads pandas, for which the other commands need not wait

    home = open_existing(uri)
    outdated = outdated_objects(home)
    if as_json:
        if yes:
            upgrade(home, outdated)
        print_json({"outdated": [asdict(item) for item in outdated], "upgraded": yes})
        return
    for item in outdated:
        typer.echo(f"{item.key}: form {item.form} -> {item.newest}")
    if not outdated:
        typer.echo(f"{uri}: everything is in its newest form")
    elif yes:
        upgrade(home, outdated)
        typer.echo(f"{counted(len(outdated), 'object')} upgraded")
    else:
        command = f"driftloop store upgrade --store {uri} --yes"
        typer.echo(f"{counted(len(outdated), 'object')} would be rewritten; nothing was changed. Do it with: {command}")
