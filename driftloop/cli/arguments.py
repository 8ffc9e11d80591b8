"""What people type: the store that a command looks at, and a run's parameters; and what scripts read.

Parameters come from `--config` files, then options, then `--set`, all checked before anything starts.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
import yaml

from driftloop.backends.base import only_on_a_cluster
from driftloop.backends.compiled_pipeline import default_arguments
from driftloop.backends.run_folder import LATEST_STORE
from driftloop.errors import InputError, SettingError
from driftloop.settings import PARAMETERS, check
from driftloop.store import Store, open_store
from pipelines import PIPELINES

#: The store of the newest run.
DEFAULT_STORE = str(LATEST_STORE)
StoreOption = Annotated[str, typer.Option("--store", help="The model's home: a folder or s3://bucket/prefix.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]


def print_json(content: Any) -> None:
    """On standard output, for --json."""
    typer.echo(json.dumps(content, indent=1))


def answer(line: str, record: Any, *, as_json: bool) -> None:
    """Say what was done: as a line, or for --json."""
    if as_json:
        print_json(record)
    else:
        typer.echo(line)


def open_existing(uri: str, part: str = "") -> Store:
    """The store, after checking that it is there and grants access.

    Args:
        part: the prefix that is read, where those who may read no more ask.

    Raises:
        InputError: no such folder.
        StoreError: it cannot be reached, or refuses.
    """
    if "://" not in uri and not Path(uri).expanduser().exists():
        raise InputError(f"{uri}: no store there; name one with --store, or make one with `driftloop run full-loop`")
    home = open_store(uri)
    home.check(part)
    return home


class RunArguments(NamedTuple):
    """What people ask of a run, checked."""

    parameters: dict[str, Any]
    """The pipeline's parameters that are set; the others keep their defaults, as do the other settings of a group."""
    placement: dict[str, dict[str, str]]
    """What steps on a cluster ask for: component -> `memory` or `cpu` -> as Kubernetes writes it."""


def read_arguments(pipeline: Any, configs: Sequence[Path], options: dict[str, Any], assignments: Sequence[str]) -> RunArguments:
    """What the command line says of a run of `pipeline`.

    Args:
        configs: YAML files of parameters; groups of settings, and `placement`, as nested mappings. One file serves every pipeline: what
            only another one takes is passed over.
        options: from the command line's own options; None means not given.
        assignments: `name=value`, `group_config.setting=value` or `placement.step.memory=value`, with values as in YAML.

    Raises:
        SettingError: anything unknown, another pipeline's, of the wrong type or out of range.
        InputError: a file that cannot be read.
    """
    known = default_arguments(pipeline)
    given: dict[str, Any] = {}
    for path in configs:
        _merge(given, {name: value for name, value in _read_yaml(path).items() if name in known or name not in PARAMETERS})
    _merge(given, {name: value for name, value in options.items() if value is not None})
    for assignment in assignments:
        _merge(given, _parse(assignment))
    placement = _check_placement(given.pop("placement", {}))
    for name in given:
        if name in PARAMETERS and name not in known:
            raise SettingError(f"{name}: this pipeline has no such parameter; leave it out, it belongs to {owners(name)}")
    return RunArguments({name: check(name, _over_default(known.get(name), value), known) for name, value in given.items()}, placement)


def collect(pipeline: Any, configs: Sequence[Path], options: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """The parameters alone, for what is not run on a cluster; see `read_arguments`.

    Raises:
        InputError: as `read_arguments`, and `placement` was given.
    """
    arguments = read_arguments(pipeline, configs, options, assignments)
    if arguments.placement:
        raise only_on_a_cluster("placement")
    return arguments.parameters


def owners(parameter: str) -> str:
    """The pipelines that have a parameter, in words."""
    return " and ".join(name for name, pipeline in PIPELINES.items() if parameter in default_arguments(pipeline))


def _check_placement(placement: Any) -> dict[str, dict[str, str]]:
    if not placement:
        return {}
    from pipelines.placement import check_placement  # brings KFP along

    return check_placement(placement)


def _over_default(default: Any, value: Any) -> Any:
    """A group of settings on top of the pipeline's own default for it; any other value as it is."""
    return default | value if isinstance(default, dict) and isinstance(value, dict) else value


def _merge(into: dict[str, Any], new: dict[str, Any]) -> None:
    """Later values win; groups are merged setting by setting, and placement step by step."""
    for name, value in new.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            into[name] = dict(into[name])
            if name == "placement":
                _merge(into[name], value)
            else:
                into[name] |= value
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
    if group == "placement" and dot:
        step, named, quantity = setting.partition(".")
        return {group: {step: {quantity: text} if named else text}}
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
