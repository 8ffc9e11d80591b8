"""`--on local`: the pipeline in a child process with KFP's subprocess runner, its log kept in the run's folder.

`follow` runs the child process of any local runner and reads its log.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftloop.backends.log_events import LogEvent, read_event
from driftloop.backends.run_folder import RunFolder


@dataclass(frozen=True)
class Failure:
    """Why a run failed, in one line, and whether that line is driftloop's own: then a person can mend it."""

    text: str
    ours: bool


def execute(
    pipeline: str, arguments: dict[str, Any], folder: RunFolder, show: Callable[[LogEvent], None], echo: Callable[[str], None] | None
) -> Failure | None:
    """Run a pipeline to its end.

    Args:
        show: takes each event of the log as it comes.
        echo: takes each line of the log (`--verbose`).

    Returns:
        None, or why the run failed.
    """
    folder.parameters.write_text(json.dumps(arguments, indent=1))
    command = ["driftloop.backends.local_child", pipeline, str(folder.parameters), str(folder.artifacts)]
    return follow(command, child_environment(folder), folder, show, echo)


def follow(
    module: list[str], environment: dict[str, str], folder: RunFolder, show: Callable[[LogEvent], None], echo: Callable[[str], None] | None
) -> Failure | None:
    """Run a Python module to its end, and keep and read its log.

    Args:
        module: its name and its arguments.
        environment: all of the child's environment.
        show: takes each event of the log as it comes.
        echo: takes each line of the log (`--verbose`).

    Returns:
        None, or why it failed; a line of driftloop's own counts before any other.
    """
    command = [sys.executable, "-m", *module]
    ours, other = "", ""
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        env=environment,
        start_new_session=True,
    ) as child:
        try:
            with folder.log.open("w") as log:
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
            status = child.wait()
        except BaseException:
            # The runner has children of its own: the whole group goes, so that nothing writes on after an interrupt.
            os.killpg(child.pid, signal.SIGKILL)
            raise
    if status == 0:
        return None
    return Failure(ours or other or f"the pipeline's process ended with status {status}", ours=bool(ours))


def child_environment(folder: RunFolder) -> dict[str, str]:
    """The child's environment: this interpreter's programs first, unbuffered output, and the run's name for its watch record."""
    programs = str(Path(sys.executable).parent)
    # Threads that wait should sleep: spinning ones halve the speed of a machine that does anything else at the same time.
    return (
        {"OMP_WAIT_POLICY": "PASSIVE"}
        | os.environ
        | {
            "PYTHONUNBUFFERED": "1",
            "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}",
            "DRIFTLOOP_RUN_ID": folder.id,
        }
    )
