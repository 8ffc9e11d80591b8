"""`driftloop alerts`: what fires, what receivers are still to be told, silences; and the telling of `driftloop status --notify`."""

import getpass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from driftloop.alerts.notifying import notify
from driftloop.alerts.receivers import receivers
from driftloop.alerts.rules import DEFAULT_RULES, read_rules
from driftloop.alerts.series import METRICS, WITH_BASELINE
from driftloop.alerts.state import EVERY_RULE, AlertState, Silence, change_state, read_state
from driftloop.cli.arguments import DEFAULT_STORE, JsonOption, StoreOption, answer, open_existing, print_json
from driftloop.durations import parse_duration
from driftloop.errors import InputError
from driftloop.store import Store

alerts = typer.Typer(help="What fires, silences, and files of rules.", no_args_is_help=True)
#: Of a receiver that did not take what it was told.
EXIT_UNTOLD = 1


def notify_receivers(store: Store, rules: Path | None, every: timedelta | None, *, as_json: bool) -> int:
    """Tell the receivers, and this terminal what came of it; the exit status."""
    told = notify(store, read_rules(rules or DEFAULT_RULES), receivers(), datetime.now(UTC), every=every)
    if as_json:
        content = _as_dict(told.state) | {"delivered": told.delivered, "failures": told.failures, "busy": told.busy}
        print_json(content)
    else:
        _show(told.state)
        _say("another call is sending" if told.busy else f"{told.delivered} messages delivered")
    for name, reason in told.failures.items():
        typer.echo(f"{name} was not told: {reason}; it is tried again with the next call", err=True)
    return EXIT_UNTOLD if told.failures else 0


@alerts.command(name="list")
def list_alerts(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """What fired when `driftloop status --notify` last looked, what is silenced, and who is still to be told."""
    state = read_state(open_existing(store))
    if as_json:
        print_json(_as_dict(state))
    else:
        _show(state)


@alerts.command()
def silence(
    rule: Annotated[str, typer.Argument(help=f"A rule's name, or {EVERY_RULE} for all.")],
    span: Annotated[str, typer.Option("--for", help="How long: 90m, 6h, 2d.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, in one line.")],
    by: Annotated[str, typer.Option("--by", help="Who; the name of the account where it is left out.", show_default=False)] = "",
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Tell nobody of a rule for a while. What still fires then is told; what was told before still ends."""
    until = datetime.now(UTC) + parse_duration(span, option="--for", least=timedelta(minutes=1))
    new = Silence(rule=rule, until=until.isoformat(), by=by or getpass.getuser(), reason=reason)
    home = open_existing(store)
    change_state(home, lambda state: state if new in state.silences else state.model_copy(update={"silences": [*state.silences, new]}))
    answer(f"{rule}: silent until {_minute(new.until)}", new.model_dump(), as_json=as_json)


@alerts.command()
def unsilence(
    rule: Annotated[str, typer.Argument(help=f"A rule's name, or {EVERY_RULE} for the silence of all.")],
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """End a silence."""
    home = open_existing(store)
    if not any(known.rule == rule for known in read_state(home).silences):
        raise InputError(f"{rule}: not silenced; `driftloop alerts list` shows what is")
    change_state(home, lambda state: state.model_copy(update={"silences": [known for known in state.silences if known.rule != rule]}))
    answer(f"{rule}: not silenced any more", {"rule": rule, "silenced": False}, as_json=as_json)


@alerts.command()
def check(
    rules: Annotated[
        Path | None, typer.Argument(help="A YAML file of rules; the usual ones where it is left out.", show_default=False)
    ] = None,
    metrics: Annotated[bool, typer.Option("--metrics", help="Show what rules can compare.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check a file of alert rules, and show them."""
    if as_json:
        print_json(METRICS if metrics else [rule.model_dump(mode="json") for rule in read_rules(rules or DEFAULT_RULES)])
        return
    if metrics:
        for name, description in METRICS.items():
            _say(f"{name}: {description}" + (" (has a baseline)" if name in WITH_BASELINE and "baseline" not in description else ""))
        return
    for rule in read_rules(rules or DEFAULT_RULES):
        what = rule.metric if rule.compare == "value" else f"{rule.compare} of {rule.metric} to its baseline"
        repeated = f", {rule.points} in a row" if rule.points > 1 else ""
        _say(f"{rule.name} ({rule.severity}): {what} {'above' if rule.above is not None else 'below'} {rule.limit:g}{repeated}")


def _as_dict(state: AlertState) -> dict[str, object]:
    return state.model_dump(exclude={"nonce", "sending"})


def _show(state: AlertState) -> None:
    now = datetime.now(UTC)
    for alert in sorted(state.alerts, key=lambda alert: (not alert.firing, alert.since)):
        name = alert.rule + (f" ({alert.instance})" if alert.instance else "")
        quiet = state.silenced(alert.rule, now) if alert.firing else None
        what = f"[bold red]{alert.severity}[/] since {_minute(alert.since)}" if alert.firing else f"over since {_minute(alert.ended)}"
        silent = f"; silent until {_minute(quiet.until)} by {escape(quiet.by)}: {escape(quiet.reason)}" if quiet else ""
        _say(f"{escape(name)}: {what}: {escape(alert.message)}{silent}", markup=True)
    if not any(alert.firing for alert in state.alerts):
        _say("nothing fires")
    for entry in state.outbox:
        why = "; ".join(f"{name}: {reason}" for name, reason in entry.failures.items())
        _say(f"still to tell {', '.join(entry.pending)}: {entry.alert.message}" + (f" ({why})" if why else ""))


def _minute(time: str) -> str:
    return time[:16].replace("T", " ")


def _say(line: str, *, markup: bool = False) -> None:
    Console(soft_wrap=True, highlight=False).print(line, markup=markup)
