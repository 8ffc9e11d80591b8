"""Work on a store that dies by SIGKILL just before one of its writes, in a process of its own."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from typing import Any

from driftloop.store import open_store
from tests.unit.housekeeping.killed import arm


def killed_before(write: int, work: Callable[..., object], uri: str, *arguments: Any) -> bool:
    """Call `work(store, *arguments)` in a process that dies just before its write number `write`, from 0; whether it came to it.

    Args:
        write: counted from 0.
        work: a function of a module, which the process imports: quickly, where `FORKED` of conftest.py names it.
        uri: of the store.
        arguments: such as can be pickled.
    """
    server = multiprocessing.get_context("forkserver")
    environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    process = server.Process(target=_work_and_die, args=(write, work, uri, arguments, environment))
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def _work_and_die(write: int, work: Callable[..., object], uri: str, arguments: tuple[Any, ...], environment: dict[str, str]) -> None:
    os.environ.update(environment)
    arm(write)
    work(open_store(uri), *arguments)
