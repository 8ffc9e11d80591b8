"""Spans of time as people write them: 90m, 6h, 30d.

The store that a command looks at, where it must be there already.

What a run is asked to do: `--config` files, then options, then `--set`, all checked before anything starts.
"""

import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from driftloop.errors import InputError, SettingError
from driftloop.settings import check
from driftloop.store import Store, open_store

UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def parse_duration(text: str, *, option: str, least: timedelta) -> timedelta:
    """The span of time that `text` names: a whole number and m, h or d.

    Raises:
        InputError: it names none, or one shorter than `least`; the line begins with `option`.
    """
    found = re.fullmatch(r"([0-9]{1,6})([mhd])", text.strip())
    if found is None:
        raise InputError(f"{option}: {text!r} is not a span of time; write it like 90m, 6h or 30d")
    span = timedelta(**{UNITS[found[2]]: int(found[1])})
    if span < least:
        raise InputError(f"{option}: {text} is too short; give at least {say_duration(least)}")
    return span


def say_duration(span: timedelta) -> str:
    """A span in at most two units: 2 d 3 h, 6 h, 4 min, 12 s."""
    seconds = int(span.total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    minutes = seconds // 60
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = [f"{count} {unit}" for count, unit in ((days, "d"), (hours, "h"), (minutes, "min")) if count]
    return " ".join(parts[:2]) if days == 0 or hours else parts[0]


DEFAULT_STORE = "runs/latest/store"


def open_existing(uri: str) -> Store:
    """The store, after checking that it is there and lets us in.

    Raises:
        InputError: no such folder.
        StoreError: it cannot be reached, or refuses.
    """
    if "://" not in uri and not Path(uri).expanduser().exists():
        raise InputError(f"{uri}: no store there; name one with --store, or make one with `driftloop run full-loop`")
    home = open_store(uri)
    home.check()
    return home


def default_arguments(pipeline: Any) -> dict[str, Any]:
    """The parameters of a compiled pipeline and their defaults, in the order of its signature."""
    inputs = pipeline.component_spec.inputs or {}
    return {name: spec.default for name, spec in inputs.items()}


def collect(pipeline: Any, configs: Sequence[Path], options: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """The parameters of `pipeline` that this run sets itself, checked; the others keep their defaults.

    Args:
        configs: YAML files of parameters; groups of settings as nested mappings.
        options: from the command line's own options; None means not given.
        assignments: `name=value` or `group_config.setting=value`, with values as in YAML.

    Raises:
        SettingError: anything unknown, of the wrong type or out of range.
        InputError: a file that cannot be read.
    """
    known = default_arguments(pipeline)
    asked: dict[str, Any] = {}
    for path in configs:
        _merge(asked, _read_yaml(path))
    _merge(asked, {name: value for name, value in options.items() if value is not None})
    for assignment in assignments:
        _merge(asked, _parse(assignment))
    return {name: check(name, value, known) for name, value in asked.items()}


def _merge(into: dict[str, Any], new: dict[str, Any]) -> None:
    """Later values win; groups are merged setting by setting."""
    for name, value in new.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            into[name] = into[name] | value
        else:
            into[name] = value


def _parse(assignment: str) -> dict[str, Any]:
    name, equals, text = assignment.partition("=")
    if not equals or not name:
        raise SettingError(f"--set {assignment}: expected name=value, such as data_image_size=96 or train_config.label_smoothing=0.05")
    try:
        value = yaml.safe_load(text) if text else ""
    except yaml.YAMLError:
        value = text
    group, dot, setting = name.partition(".")
    if group == "train_nodes":
        value = text  # a label's value is a text, "yes" too
    return {group: {setting: value}} if dot else {name: value}


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise InputError(f"--config {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"--config {path}: not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict):
        raise InputError(f"--config {path}: expected parameters as `name: value` lines")
    return content
