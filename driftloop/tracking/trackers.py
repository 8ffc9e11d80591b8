"""What a tracker is, and the trackers there are: one file and one extra each, imported when somebody asks for it."""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from driftloop.bundle import ModelDescription
from driftloop.errors import DriftloopError, InputError
from driftloop.registry import Champion, VersionInfo
from driftloop.tracking.step_record import StepRecord

#: Each is a module of this package with a class `Tracker`, and the extra of the same name.
TRACKERS = ("mlflow", "wandb")
#: The trackers that a run delivers to when it ends, separated by commas.
CHOICE = "DRIFTLOOP_TRACKING"


class TrackerUnavailable(DriftloopError):
    """The tracker cannot be reached, or takes nothing at present; it is tried again at the next delivery."""

    exit_code = 1


class TrackerRefused(DriftloopError):
    """The tracker does not take this, for what is in it; what else there is it may take."""

    exit_code = 1


class Tracker(Protocol):
    """One place that shows runs and models. Every method may be repeated with the same arguments, and then changes nothing.

    All raise `TrackerUnavailable` after at most a few time-outs, or `TrackerRefused`.
    """

    place: str
    """The address that it writes to, without keys: what was delivered to one place was not delivered to another."""

    def show_step(self, record: StepRecord, files: Mapping[str, Path]) -> None:
        """Show a step of a run: its parameters, metrics, curves and files."""

    def register(self, model: str, info: VersionInfo, about: ModelDescription, folder: Path) -> None:
        """Put the served graph and the card of a version, which lie in `folder`, into the registry under the name `model`."""

    def follow(self, model: str, champion: Champion) -> None:
        """Let the registry say who serves, and who served before; where the tool has no way to say it, do nothing."""


def open_tracker(name: str, environment: Mapping[str, str]) -> Tracker:
    """The tracker of that name; nothing is contacted.

    Raises:
        InputError: no such tracker, its extra is not installed, or it lacks its address.
    """
    if name not in TRACKERS:
        raise InputError(f"{name!r}: not a tracker; there are {' and '.join(TRACKERS)} ({CHOICE}, --to)")
    try:
        module = importlib.import_module(f"driftloop.tracking.{name}")
    except ModuleNotFoundError as missing:
        raise InputError(f"{name}: {missing.name} is not installed: pip install 'driftloop[{name}]'") from None
    made: Callable[[Mapping[str, str]], Tracker] = module.Tracker
    return made(environment)


def chosen(environment: Mapping[str, str]) -> list[str]:
    """The names in DRIFTLOOP_TRACKING."""
    return [name.strip() for name in environment.get(CHOICE, "").split(",") if name.strip()]
