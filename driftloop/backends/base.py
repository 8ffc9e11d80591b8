"""What `driftloop run` asks of every backend, and finding a backend by its name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console

from driftloop.backends.run_folder import RunFolder
from driftloop.errors import InputError

#: The pipeline that watches a champion, which must be there.
WATCH = "drift-watch"


class BackendName(StrEnum):
    """Where a pipeline can be run."""

    local = "local"
    docker = "docker"
    cluster = "cluster"


@dataclass(frozen=True)
class RunRequest:
    """What a run is asked to do."""

    pipeline: str
    """Its name in `pipelines.PIPELINES`."""
    parameters: Mapping[str, Any]
    """What this run sets itself, of the right types and within their ranges; the others keep their defaults."""
    wait: bool = True
    """Whether to follow the run to its end, or only to start it."""
    experiment: str | None = None
    """The experiment that a run on a cluster belongs to; None for the usual one."""
    placement: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """What steps on a cluster ask for where it is not the usual: component -> `memory` or `cpu` -> as Kubernetes writes it."""

    @property
    def needs_champion(self) -> bool:
        """Whether the store must have a champion before the run."""
        return self.pipeline == WATCH


@dataclass(frozen=True)
class Failure:
    """Why a run failed."""

    text: str
    """One line."""
    ours: bool
    """Whether that line is driftloop's own: then a person can mend it."""


class Display(Protocol):
    """What shows a run while it goes, and knows afterwards how long its steps took and which of them failed."""

    console: Console
    seconds: dict[str, float]
    failed: str

    @property
    def titles(self) -> Mapping[str, str]:
        """KFP's name of a step -> the name that people see."""

    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...
    @property
    def show(self) -> Callable[[Any], None]:
        """Takes what the backend reports of the run: each backend has the display that understands it."""


class Backend(Protocol):
    """One place to run one pipeline. It is made for a request, and making it checks all that can be checked before the run:

    the options, source, drift and store, and what the place itself lacks. Nothing is written or started when a check fails.
    """

    @property
    def arguments(self) -> dict[str, Any]:
        """All of the pipeline's parameters, as the steps get them; `store` is None where the run is to have a new one."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables, AWS_* among them, by which the run's store is opened on this machine."""

    def store_for(self, folder: RunFolder) -> str:
        """The URI of the store of the run in `folder`: the one that was named, or a new one."""

    def display(self, console: Console) -> Display:
        """What shows the run."""

    def start(self, arguments: Mapping[str, Any]) -> str:
        """Start a run that nobody here follows; its address.

        Raises:
            InputError: runs of this backend end with the command.
        """

    def execute(
        self, arguments: Mapping[str, Any], folder: RunFolder, show: Callable[[Any], None], echo: Callable[[str], None] | None
    ) -> Failure | None:
        """Run the pipeline to its end, with its log and its artifacts in `folder`.

        Args:
            arguments: of the pipeline, all of them.
            folder: of the run.
            show: the display's, which takes what is reported of the run.
            echo: takes each line of the log (`--verbose`).

        Returns:
            None, or why the run failed.
        """

    def ended_run(self, folder: RunFolder) -> str:
        """By which name the steps of the run in `folder` wrote into the store; "" where it still goes on, or never began."""

    def afterwards(self, console: Console, *, failed: bool) -> None:
        """Print what a person should see last, such as the run's address."""


def only_on_a_cluster(option: str) -> InputError:
    """The error that says that an option has no meaning here."""
    return InputError(f"{option} is for runs on a cluster; add --on cluster")
