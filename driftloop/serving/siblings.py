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
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

LOG = logging.getLogger("driftloop.serving")
PUBLISH_SECONDS = 1.0
#: A file that was not replaced for so long is of a process that hangs, which counts as one that has ended.
ENDED_SECONDS = 10.0
PREFIX = "process-"
#: Of the file beside it on which its process has a lock for as long as it lives.
LIVES = ".lives"


class Siblings:
    """The other processes; none where there is no folder."""

    def __init__(self, folder: Path | None, own: Callable[[], dict[str, Any]]) -> None:
        """Args:
        folder: that the processes share; None for a process on its own.
        own: says what this process has to tell: anything that JSON holds.
        """
        self._folder, self._own = folder, own
        self._file = f"{PREFIX}{os.getpid()}.json"
        self._lock: int | None = None
        if folder:
            self._lock = os.open((folder / self._file).with_suffix(LIVES), os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_SH)
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
                told.append(json.loads(path.read_bytes()) | {"ended": _has_ended(path)})
            except (OSError, ValueError):  # the folder goes with the service
                LOG.warning("%s cannot be read", path.name)
        return told

    def close(self) -> None:
        """End, with a last word."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

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


def _has_ended(path: Path) -> bool:
    """Whether the process has that told this; a killed one has at once."""
    if time.time() - path.stat().st_mtime > ENDED_SECONDS:
        return True
    with suppress(OSError), open(path.with_suffix(LIVES), "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
