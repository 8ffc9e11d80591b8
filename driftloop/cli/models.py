"""`driftloop models`: the versions in a store, which of them serves, and what differs between two."""

import sys
import tempfile
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from driftloop import registry
from driftloop.cli.arguments import DEFAULT_STORE, JsonOption, StoreOption, open_existing, print_json
from driftloop.cli.track import track_afterwards
from driftloop.errors import IntegrityError, NoChampion, NotFound
from driftloop.evaluation.intervals import Proportion
from driftloop.registry import Champion, Hold, VersionInfo
from driftloop.registry.restoring import plan_restoration, restore
from driftloop.registry.versions import complete_versions
from driftloop.store import Store

models = typer.Typer(name="models", help="List, compare, verify, promote and roll back the versions in a store.", no_args_is_help=True)
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, in one line; kept in the history.")]
Version = Annotated[str, typer.Argument(help="The version's number.")]
VersionOrChampion = Annotated[str, typer.Argument(help="The version's number; the champion where it is left out.", show_default=False)]


@models.command(name="list")
def list_versions(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """The versions, oldest first, and which of them serves; accuracy on clean and on drifted images, latency and size of what users get."""
    home = open_existing(store)
    versions, damaged = _versions_and_damage(home)
    champion, lost = _champion_or_why_not(home)
    lost = lost or damaged
    if as_json:
        print_json({"store": home.uri, "champion": _pointer(champion), "versions": [version.model_dump() for version in versions]})
        _stop_if(lost)
        return
    table = _table("version", "", "registered", "clean", "drifted", "p95 ms", "MB", "parent")
    for version in versions:
        serves = "serves" if champion is not None and champion.version == version.version else ""
        shares = (_percent(version.accuracy), _percent(version.drifted_accuracy))
        speed, size = "-" if version.p95_ms is None else f"{version.p95_ms:.2f}", f"{version.served_bytes / 1e6:.1f}"
        _add(table, version.version, serves, _minute(version.registered_at), *shares, speed, size, version.parent or "-")
    Console().print(table)
    if champion is not None and champion.hold is not None:
        Console(soft_wrap=True, highlight=False).print(escape(say_hold(champion.hold, home)))
    _stop_if(lost)


@models.command()
def show(version: VersionOrChampion = "", store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """One version in full: lineage, accuracy, files, and every move of the pointer to it or away from it."""
    home = open_existing(store)
    champion = _champion_or_why_not(home)[0] if version else registry.current(home)
    info = registry.version_info(home, version or _champion(home, champion))
    moves = [move for move in (champion.history if champion else []) if info.version in (move.version, move.before)]
    if as_json:
        serves = champion is not None and champion.version == info.version
        print_json(info.model_dump() | {"serves": serves, "history": [move.model_dump() for move in moves]})
        return
    table = _table(f"version {info.version}", "")
    for name, value in info.model_dump(exclude={"version", "files", "accuracy", "drifted_accuracy"}).items():
        _add(table, name, str("-" if value in (None, "") else value))
    _add(table, "accuracy", str(info.accuracy or "-"))
    _add(table, "drifted accuracy", str(info.drifted_accuracy or "-"))
    _add(table, "files", "\n".join(f"{digest[:12]}  {name}" for name, digest in info.files.items()))
    for move in moves:
        who = "a person" if move.by_person else "a run"
        what = "hold released" if move.action == "release" else f"{move.action} {move.before or '(none)'} -> {move.version}"
        _add(table, _minute(move.at), f"{what}{', promotions on hold' if move.hold else ''} by {who}: {move.reason}")
    Console().print(table)


@models.command()
def diff(left: Version, right: Version, store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """What differs between two versions: description, training, metrics, files."""
    home = open_existing(store)
    changed = differences(home, left, right)
    if as_json:
        print_json({"versions": [left, right], "differences": {name: list(pair) for name, pair in changed.items()}})
        return
    table = _table("", f"version {left}", f"version {right}")
    for name, pair in changed.items():
        _add(table, name, *("-" if value is None else str(value) for value in pair))
    Console().print(table)


@models.command()
def verify(version: VersionOrChampion = "", store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Read every file of a version and check it against SHA256SUMS."""
    home = open_existing(store)
    version = version or _champion(home, registry.current(home))
    info = registry.version_info(home, version)
    with tempfile.TemporaryDirectory() as directory:
        try:
            registry.download(home, version, directory)
        except (IntegrityError, NotFound) as damage:
            raise IntegrityError(f"{home.uri}: version {version} is damaged: {str(damage).replace(directory + '/', '')}") from None
    if as_json:
        print_json({"version": version, "intact": True, "files": info.files})
        return
    Console().print(f"version {version}: {len(info.files)} files, {info.bytes / 1e6:.1f} MB, all as in SHA256SUMS")


@models.command()
def promote(
    version: Version, reason: ReasonOption = "promoted by hand", store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False
) -> None:
    """Let a version serve, by a person's decision: no gate is asked."""
    home = open_existing(store)
    champion = registry.current(home)
    now = registry.promote(home, version, expected=champion.version if champion else None, reason=reason, by_person=True)
    _say_who_serves(now, home, as_json)


@models.command()
def rollback(
    reason: ReasonOption,
    version: Annotated[str, typer.Argument(help="The version to take back, so that repeating the command changes nothing.")] = "",
    hold: Annotated[bool, typer.Option("--hold", help="Promote nothing from now on, until `driftloop models release`.")] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Let the version before the champion serve again."""
    home = open_existing(store)
    _say_who_serves(registry.rollback(home, reason=reason, hold=hold, version=version), home, as_json)


@models.command()
def release(reason: ReasonOption = "released by hand", store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Let promotions go on after a `rollback --hold`; the champion stays."""
    home = open_existing(store)
    _say_who_serves(registry.release(home, reason=reason), home, as_json)


@models.command(name="restore-pointer")
def restore_pointer(
    version: Annotated[str, typer.Option("--version", help="Who is to serve, where you know better than the store.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Write the pointer. Without it, it is only shown; a terminal asks.")] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Rebuild a lost or damaged `champion.json` from the gate's evidence and the watch records. A pointer that stands is never touched."""
    home = open_existing(store)
    restoration = plan_restoration(home, version)
    champion = restoration.champion
    if not as_json:
        table = _table("when", "", "from")
        for move in champion.history:
            _add(table, _minute(move.at), f"{move.action} {move.before or '(none)'} -> {move.version}", move.reason.partition(": ")[2])
        _wide().print(table)
        say = Console(soft_wrap=True, highlight=False).print
        say(f"version {champion.version} is to serve; holds, and rollbacks since the last watch, are not known (--version names another)")
        if not yes and sys.stdin.isatty() and sys.stdout.isatty():
            yes = typer.confirm("write this pointer?")
        elif not yes:
            say("nothing was written; --yes does")
    if yes:
        restore(home, restoration)
    if as_json:
        print_json({"written": yes, "champion": _pointer(champion)})
    elif yes:
        _say_who_serves(champion, home, as_json)


def differences(store: Store, left_version: str, right_version: str) -> dict[str, tuple[Any, Any]]:
    """The entries that differ, by dotted name, each with the value in the left and in the right version (None: it has no such entry).

    Raises:
        NotFound: a version that does not exist.
    """
    left, right = _entries(store, left_version), _entries(store, right_version)
    names = [*left, *(name for name in right if name not in left)]
    return {name: (left.get(name), right.get(name)) for name in names if left.get(name) != right.get(name)}


def _entries(store: Store, version: str) -> dict[str, Any]:
    """A version's metrics, each as the line that a person reads, then its description and files, as flat names and values."""
    info = registry.version_info(store, version)
    model = registry.description(store, version)
    entries: dict[str, Any] = {f"metrics.{name}": str(metric) for name, metric in model.metrics.items()}
    entries |= {"drifted_accuracy": str(info.drifted_accuracy or "-"), "p95_ms": info.p95_ms, "bytes": info.bytes}
    entries |= {"decision": info.decision, "run": info.run, "registered_at": info.registered_at}
    for name, value in model.model_dump(exclude={"metrics"}).items():
        entries |= flattened(name, value)
    return entries | {f"files.{name}": digest[:12] for name, digest in info.files.items()}


def flattened(name: str, value: Any) -> dict[str, Any]:
    """A value by its name; what is nested, by dotted names."""
    if not isinstance(value, dict):
        return {name: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= flattened(f"{name}.{key}", inner)
    return flat


def _versions_and_damage(home: Store) -> tuple[list[VersionInfo], IntegrityError | None]:
    """The versions that can be read, and the first error of one that cannot."""
    versions, damaged = [], None
    for version in complete_versions(home):
        try:
            versions.append(registry.version_info(home, version))
        except IntegrityError as error:
            damaged = damaged or error
    return versions, damaged


def _champion_or_why_not(home: Store) -> tuple[Champion | None, IntegrityError | None]:
    """The champion, or the error that says that its pointer is lost: what else there is to see is shown first."""
    try:
        return registry.current(home), None
    except IntegrityError as lost:
        return None, lost


def _stop_if(lost: IntegrityError | None) -> None:
    if lost is not None:
        raise lost


def _champion(home: Store, champion: Champion | None) -> str:
    if champion is None:
        raise NoChampion(f"{home.uri}: no champion; name a version, see `driftloop models list --store {home.uri}`")
    return champion.version


def _say_who_serves(champion: Champion, home: Store, as_json: bool) -> None:
    _print_who_serves(champion, home, as_json)
    track_afterwards(home.uri, Console(stderr=True, highlight=False))


def _print_who_serves(champion: Champion, home: Store, as_json: bool) -> None:
    if as_json:
        print_json(_pointer(champion))
        return
    before = f"; a rollback returns to version {champion.previous}" if champion.previous else ""
    held = f"\n{say_hold(champion.hold, home)}" if champion.hold else ""
    Console(soft_wrap=True).print(escape(f"version {champion.version} serves{before}{held}"))


def say_hold(hold: Hold, home: Store) -> str:
    """That promotions are stopped, why, and what lets them go on."""
    return f"promotions are on hold since {_minute(hold.since)}: {hold.reason}; driftloop models release --store {home.uri} ends it"


def _pointer(champion: Champion | None) -> dict[str, Any] | None:
    return champion.model_dump(exclude={"nonce"}) if champion else None


def _percent(share: Proportion | None) -> str:
    return "-" if share is None else f"{100 * share.value:.1f} %"


def _minute(time: str) -> str:
    return time[:16].replace("T", " ")


def _wide() -> Console:
    """A console on which a row of versions is one line: a pipe, and a narrow terminal, break lines better than a table its cells."""
    return Console(width=max(Console().width, 132))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _add(table: Table, *cells: str) -> None:
    """A row of plain text: brackets in it are not markup."""
    table.add_row(*(escape(cell) for cell in cells))
