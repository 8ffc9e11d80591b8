"""What the processes behind one port tell each other, through a folder of this machine: a file each, replaced as a whole.

Each replaces its own every second, whoever asks may add up all of them: a caller reaches one process and wants to know of the service.
"""

import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LOG = logging.getLogger("driftloop.serving")
PUBLISH_SECONDS = 1.0
#: A file that was not replaced for so long is of a process that has ended.
ENDED_SECONDS = 10.0
PREFIX = "process-"


class Siblings:
    """The other processes; none where there is no folder."""

    def __init__(self, folder: Path | None, own: Callable[[], dict[str, Any]]) -> None:
        """Args:
        folder: that the processes share; None for a process on its own.
        own: says what this process has to tell: anything that JSON holds.
        """
        self._folder, self._own = folder, own
        self._file = f"{PREFIX}{os.getpid()}.json"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._publish, name="driftloop-siblings", daemon=True)

    def start(self) -> None:
        """Tell the others from now on."""
        if self._folder:
            self._thread.start()

    @contextmanager
    def one_at_a_time(self) -> Iterator[None]:
        """Held by one of the processes, and let go when it ends, killed or not. Two that load a model at once leave callers no core."""
        if self._folder is None:
            yield
            return
        with open(self._folder / "turn", "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def all(self) -> list[dict[str, Any]]:
        """What this process and the others have to tell; those of processes that have ended say `ended: true`."""
        told = [self._own() | {"ended": False}]
        for path in sorted(self._folder.glob(f"{PREFIX}*.json")) if self._folder else []:
            if path.name == self._file:
                continue
            try:
                ended = time.time() - path.stat().st_mtime > ENDED_SECONDS
                told.append(json.loads(path.read_bytes()) | {"ended": ended})
            except (OSError, ValueError):  # the folder goes with the service
                LOG.warning("%s cannot be read", path.name)
        return told

    def close(self) -> None:
        """End, with a last word."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _publish(self) -> None:
        self._write()
        while not self._stop.wait(PUBLISH_SECONDS):
            self._write()
        self._write()

    def _write(self) -> None:
        assert self._folder is not None
        path = self._folder / self._file
        try:
            new = path.with_suffix(".new")
            new.write_text(json.dumps(self._own()))
            new.replace(path)
        except OSError as error:
            LOG.warning("%s cannot be written: %s", path.name, error)
