"""`--on local`: the pipeline in a child process with KFP's subprocess runner, its log kept in the run's folder.

The Docker backend runs a child process in the same way, and shares what stands in `ChildProcessBackend` and the functions here.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from driftloop.backends.base import Failure, RunRequest, only_on_a_cluster
from driftloop.backends.compiled_pipeline import default_arguments, step_titles
from driftloop.backends.log_events import LogEvent, read_event
from driftloop.backends.run_folder import LATEST_STORE, RunFolder
from driftloop.backends.step_display import StepDisplay
from driftloop.errors import InputError
from driftloop.registry import current
from driftloop.scenarios import parse
from driftloop.settings import TrainSettings
from driftloop.sources import check_source
from driftloop.store import open_store
from pipelines import PIPELINES


class ChildProcessBackend:
    """What the backends share that run a pipeline in a child process of this one.

    Args:
        request: what is to be run.

    Raises:
        InputError: an option that only a cluster has, an unusable source, or a drift that does not exist.
    """

    def __init__(self, request: RunRequest) -> None:
        if not request.wait:
            raise only_on_a_cluster("--no-wait")
        if request.experiment is not None:
            raise only_on_a_cluster("--experiment")
        if request.placement:
            raise only_on_a_cluster("placement")
        self.pipeline = request.pipeline
        self.environment: Mapping[str, str] = os.environ
        self.arguments = default_arguments(PIPELINES[request.pipeline]) | dict(request.parameters) | {"store": None}
        if "traffic_drift" in self.arguments:
            parse(self.arguments["traffic_drift"])
        if "data_source" in self.arguments:
            # An absolute path: the steps run in other folders.
            classes = self.arguments["data_config"].get("classes", "")
            self.arguments["data_source"] = check_source(self.arguments["data_source"], classes)

    def display(self, console: Console) -> StepDisplay:
        """A line a step, as each of them ends."""
        return StepDisplay(console, step_titles(PIPELINES[self.pipeline]))

    def start(self, arguments: Mapping[str, Any]) -> str:
        """Refuse: these runs end with the command."""
        raise only_on_a_cluster("--no-wait")

    def ended_run(self, folder: RunFolder) -> str:
        """See `Backend.ended_run`: these runs end with the command, under their folder's name."""
        return folder.id

    def afterwards(self, console: Console, *, failed: bool) -> None:
        """Nothing more: all of the run is in its folder."""


class LocalBackend(ChildProcessBackend):
    """Processes of this machine, ready to run a pipeline.

    Raises:
        InputError, StoreError: as `ChildProcessBackend`, and where the store, or the network to train, cannot be had.
    """

    def __init__(self, request: RunRequest) -> None:
        super().__init__(request)
        self._check_network()
        if "store" in request.parameters or request.needs_champion:
            store = request.parameters.get("store", str(LATEST_STORE))
            self.arguments["store"] = store if "://" in store else str(Path(store).resolve())
            check_store(self.arguments["store"], needs_champion=request.needs_champion)

    def _check_network(self) -> None:
        """Say now, in one line, that the network or the weights that are asked for cannot be had; torch is loaded only where it matters."""
        asked = self.arguments.get("train_config") or {}
        if asked.get("architecture") or asked.get("weights") or asked.get("epsilon"):
            from driftloop.training.choice import check_network, check_weights

            settings, image_size = TrainSettings.complete(asked), self.arguments["data_image_size"]
            check_network(settings, image_size)
            check_weights(settings, image_size)

    def store_for(self, folder: RunFolder) -> str:
        """See `Backend.store_for`; a new store is in the run's folder, and one in another folder gets a link there."""
        store = self.arguments["store"]
        if store is None:
            return str(folder.store.absolute())
        if "://" not in store:
            folder.link_store(Path(store))
        return store

    def execute(
        self, arguments: Mapping[str, Any], folder: RunFolder, show: Callable[[LogEvent], None], echo: Callable[[str], None] | None
    ) -> Failure | None:
        """See `Backend.execute`; `show` takes each event of the log."""
        folder.parameters.write_text(json.dumps(arguments, indent=1))
        module = ["driftloop.backends.local_child", self.pipeline, str(folder.parameters), str(folder.artifacts)]
        return follow(module, child_environment(folder, os.environ), folder, show, echo)


def check_store(uri: str, *, needs_champion: bool, environment: Mapping[str, str] = os.environ) -> None:
    """Say now, and in one line, what would stop the run later.

    Args:
        uri: of the store; the path of a folder is absolute.
        needs_champion: whether the run watches one.
        environment: the AWS_* variables, for a store in S3.

    Raises:
        InputError: no such folder, or no champion.
        StoreError: the store cannot be reached, or refuses.
    """
    if needs_champion and "://" not in uri and not Path(uri).exists():
        raise InputError(f"{os.path.relpath(uri)}: no store there; run `driftloop run full-loop` first, or name one with --store")
    store = open_store(uri, environment)
    store.check()
    if needs_champion and current(store) is None:
        raise InputError(f"{uri}: this store has no champion to watch; train one with `driftloop run training --store {uri}`")


def follow(
    module: list[str],
    environment: Mapping[str, str],
    folder: RunFolder,
    show: Callable[[LogEvent], None],
    echo: Callable[[str], None] | None,
) -> Failure | None:
    """Run a Python module to its end, and keep and read its log.

    Args:
        module: its name and its arguments.
        environment: all of the child's environment.
        folder: of the run, for the log.
        show: takes each event of the log as it comes.
        echo: takes each line of the log.

    Returns:
        None, or why it failed; a line of driftloop's own counts before any other.
    """
    with subprocess.Popen(
        [sys.executable, "-m", *module],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        env=environment,
        start_new_session=True,
    ) as child:
        try:
            reason = _read_log(child, folder.log, show, echo)
            status = child.wait()
        except BaseException:
            # The runner has children of its own: the whole group goes, so that nothing writes on after an interrupt.
            os.killpg(child.pid, signal.SIGKILL)
            raise
    if status == 0:
        return None
    return reason or Failure(f"the pipeline's process ended with status {status}", ours=False)


def _read_log(
    child: "subprocess.Popen[str]", path: Path, show: Callable[[LogEvent], None], echo: Callable[[str], None] | None
) -> Failure | None:
    """Keep the child's log and show its events, to its end; the first error of driftloop's own in it, or else of anybody's."""
    ours, other = "", ""
    with path.open("w") as log:
        for line in child.stdout or ():
            log.write(line)
            log.flush()
            if echo:
                echo(line.rstrip("\n"))
            event = read_event(line)
            if event is None:
                continue
            # Only what comes before the failure explains it: KFP's own traceback follows.
            if event.kind == "our_error":
                ours = ours or event.text
            elif event.kind == "other_error":
                other = other or event.text
            else:
                show(event)
    return Failure(ours or other, ours=bool(ours)) if ours or other else None


def child_environment(folder: RunFolder, environment: Mapping[str, str]) -> dict[str, str]:
    """The child's environment: this interpreter's programs first, unbuffered output, and the run's name for its watch record.

    Args:
        folder: of the run.
        environment: what the child gets besides.
    """
    programs = str(Path(sys.executable).parent)
    # Threads that wait should sleep: spinning ones halve the speed of a machine that does anything else at the same time.
    return {
        "OMP_WAIT_POLICY": "PASSIVE",
        **environment,
        "PYTHONUNBUFFERED": "1",
        "PATH": f"{programs}{os.pathsep}{environment.get('PATH', '')}",
        "DRIFTLOOP_RUN_ID": folder.id,
    }
