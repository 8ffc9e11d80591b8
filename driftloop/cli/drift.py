"""`driftloop drift`: a drift that labels showed to be harmless is accepted, and what was accepted before."""

import getpass
from typing import Annotated

import typer

from driftloop.accepted_drifts import AcceptedDrift, accept_newest, accepted_drifts
from driftloop.cli.arguments import DEFAULT_STORE, JsonOption, StoreOption, answer, open_existing, print_json

drift = typer.Typer(help="Accept a harmless drift, and list what was accepted.", no_args_is_help=True)


@drift.command()
def accept(
    reason: Annotated[str, typer.Option("--reason", help="Why, in one line; kept in the history.")],
    by: Annotated[str, typer.Option("--by", help="Who; the name of the account where it is left out.", show_default=False)] = "",
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Accept the drift that the last watch has called harmless: it alarms no more, unless labels or the champion's confidence say so.

    Quotas of labels go on, harm is judged as ever. It stands for drifts that begin within 28 days, too; later ones, and another champion,
    need an acceptance of their own.
    """
    known = accept_newest(open_existing(store), by=by or getpass.getuser(), reason=reason)
    answer(_line(known), known.model_dump(), as_json=as_json)


@drift.command(name="list")
def list_accepted(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """What was accepted, oldest first: under which champion, since which watch, by whom and why."""
    accepted = accepted_drifts(open_existing(store))
    if as_json:
        print_json([known.model_dump() for known in accepted])
        return
    for known in accepted:
        typer.echo(_line(known))


def _line(known: AcceptedDrift) -> str:
    whose = f" of the requests with {known.tag}" if known.tag else ""
    accepted = f"version {known.version}: the drift{whose} that began with watch {known.drift} was {known.said}"
    return f"{accepted}; it stands for drifts that begin until {known.until:%Y-%m-%d}"
