"""`driftloop config`: every parameter and setting with its default, range and meaning, as `settings.py` declares them."""

import difflib
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from driftloop.cli.arguments import JsonOption, print_json
from driftloop.errors import SettingError
from driftloop.settings import GROUPS, PARAMETERS

config = typer.Typer(
    name="config",
    help="What can be set: every parameter and setting, its default, range and meaning.",
    no_args_is_help=True,
)


@dataclass(frozen=True)
class Setting:
    """Something that `--set` takes."""

    key: str
    """As `--set` wants it: `data_image_size`, or `train_config.label_smoothing`."""
    default: Any
    """What holds where nothing is said."""
    range: str
    """Which values are allowed, in words; empty: any."""
    meaning: str
    """What it is for, in one line."""


def known_settings() -> list[Setting]:
    """The pipelines' parameters, then the settings of each group."""
    parameters = [
        Setting(name, given.default, "" if given.low is None else f"{given.low:,.10g} to {given.high:,.10g}", given.description)
        for name, given in PARAMETERS.items()
        if not name.endswith("_config")
    ]
    return parameters + [
        Setting(f"{name}_config.{field}", info.default, _range(info), info.description or "")
        for name, group in GROUPS.items()
        for field, info in group.model_fields.items()
    ]


def _range(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return " | ".join(map(str, get_args(field.annotation)))
    bounds = {name: getattr(limit, name) for limit in field.metadata for name in ("ge", "gt", "le", "lt") if hasattr(limit, name)}
    low = f"{bounds['ge']:,.10g}" if "ge" in bounds else f"above {bounds['gt']:,.10g}" if "gt" in bounds else ""
    high = f"{bounds['le']:,.10g}" if "le" in bounds else f"below {bounds['lt']:,.10g}" if "lt" in bounds else ""
    return f"{low} to {high}" if low and high else low or high


@config.command(name="list")
def list_settings(
    group: Annotated[str, typer.Argument(help=f"Only these: {', '.join(GROUPS)}, or parameters.", show_default=False)] = "",
    as_json: JsonOption = False,
) -> None:
    """What can be set, with defaults and ranges."""
    if group and group not in ("parameters", *GROUPS):
        raise SettingError(f"{group}: no such group; known: parameters, {', '.join(GROUPS)}")
    shown = [setting for setting in known_settings() if not group or _group(setting) == group]
    if as_json:
        print_json([asdict(setting) for setting in shown])
        return
    console = Console(highlight=False)
    titles = {"parameters": "parameters: --set name=value"} | {
        name: f"{name}: {settings.purpose}; --set {name}_config.name=value" for name, settings in GROUPS.items()
    }
    for name in dict.fromkeys(_group(setting) for setting in shown):
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        for column in ("name", "default", "range"):
            table.add_column(column, overflow="fold")
        for setting in shown:
            if _group(setting) == name:
                table.add_row(*map(escape, (setting.key.rpartition(".")[2], _text(setting.default), setting.range)))
        console.print(f"[bold]{escape(titles[name])}[/]", soft_wrap=True)
        console.print(table)
        console.print()
    console.print("driftloop config explain NAME says what one is for", soft_wrap=True)


@config.command()
def explain(
    key: Annotated[str, typer.Argument(help="train_config.label_smoothing, or label_smoothing alone where only one has that name.")],
    as_json: JsonOption = False,
) -> None:
    """What one setting is for."""
    found = find_settings(key)
    if as_json:
        print_json([asdict(setting) for setting in found])
        return
    console = Console(highlight=False)
    for setting in found:
        console.print(f"[bold]{escape(setting.key)}[/]: {escape(setting.meaning)}", soft_wrap=True)
        console.print(f"  default {escape(_text(setting.default))}{f'; {escape(setting.range)}' if setting.range else ''}", soft_wrap=True)
        console.print(f"  driftloop run full-loop --set {escape(setting.key)}={escape(_text(setting.default))}", soft_wrap=True)


def find_settings(key: str) -> list[Setting]:
    """Those of that name, with its group or without.

    Raises:
        SettingError: there is none; the message names the nearest.
    """
    known = known_settings()
    found = [setting for setting in known if key in (setting.key, setting.key.rpartition(".")[2])]
    if not found:
        names = {setting.key: setting.key for setting in known} | {setting.key.rpartition(".")[2]: setting.key for setting in known}
        near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
        raise SettingError(f"{key}: no such setting ({f'did you mean {names[near[0]]}?' if near else 'see `driftloop config list`'})")
    return found


def _group(setting: Setting) -> str:
    return setting.key.partition("_config.")[0] if "_config." in setting.key else "parameters"


def _text(value: Any) -> str:
    """A value as `--set` takes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)
