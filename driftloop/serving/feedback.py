"""Labels that users give: taken at once, written to the store together, and never called random unless a list asked for them."""

import json
import logging
import os
import tempfile
import threading
import time
from pathlib import Path

import pandas as pd

from driftloop.contracts import IMPORT, RANDOM
from driftloop.errors import StoreError
from driftloop.inference.labels import read_requested, write_labels
from driftloop.inference.log_files import file_id
from driftloop.store import Store

LOG = logging.getLogger("driftloop.serving")
#: Labels of a file at most, and how long a list of what was asked for is trusted to be the newest, in seconds.
MOST_LABELS, LISTS_SECONDS = 1000, 60.0


class Feedback:
    """Takes labels; safe to share between threads. A label is on this machine's disk before its caller is told that it was accepted."""

    def __init__(self, store: Store, *, seconds: float, spool: Path | None) -> None:
        """Labels for `store`, written every so many `seconds`; those that a killed process left in `spool` are taken over."""
        self.store, self.seconds = store, seconds
        self._temporary = None if spool else tempfile.TemporaryDirectory(prefix="driftloop-labels-")
        self._folder = Path(spool or self._temporary.name)  # type: ignore[union-attr]
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._path = self._folder / f"{file_id()}.labels"
        self._rows = 0
        self._asked: set[str] = set()
        self._asked_at = -LISTS_SECONDS
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="driftloop-feedback", daemon=True)
        self._thread.start()

    def take(self, request_id: str, label: str, outcome: float | None) -> None:
        """Accept a label. Raises OSError where the disk does not take it."""
        line = json.dumps({"request_id": request_id, "label": label, "outcome": outcome}) + "\n"
        with self._lock:
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(file, line.encode())
            finally:
                os.close(file)
            self._rows += 1
            if self._rows >= MOST_LABELS:
                self._begin_anew()

    def flush(self) -> None:
        """Write what waits. Raises StoreError when the store refuses; the labels go on waiting."""
        with self._writing:
            with self._lock:
                self._begin_anew()
                waiting = sorted(path for path in self._folder.glob("*.labels") if path != self._path)
            for path in waiting:
                self._write(path)

    def close(self, *, write: bool = True) -> None:
        self._stop.set()
        self._thread.join()
        if write:
            self.flush()
        if self._temporary:
            self._temporary.cleanup()

    def _begin_anew(self) -> None:
        if self._rows:
            self._path, self._rows = self._folder / f"{file_id()}.labels", 0

    def _work(self) -> None:
        while not self._stop.wait(self.seconds):
            try:
                self.flush()
            except StoreError as refused:
                LOG.warning("labels wait for their store: %s", refused)
            except Exception:
                LOG.exception("labels could not be written")

    def _write(self, path: Path) -> None:
        lines = []
        for line in path.read_bytes().splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:  # cut off by a kill: its caller was never told that it was accepted
                LOG.warning("a label in %s was cut off", path.name)
        if lines:
            frame = pd.DataFrame(lines)
            asked = self._requested(set(frame["request_id"]))
            frame["origin"] = [RANDOM if name in asked else IMPORT for name in frame["request_id"]]
            # Named after its file: writing it again after a lost answer or a kill changes nothing.
            write_labels(self.store, frame, name=path.stem)
        path.unlink(missing_ok=True)

    def _requested(self, ids: set[str]) -> set[str]:
        """Which of the requests a list of uniformly drawn ones has asked about."""
        if not ids <= self._asked and time.monotonic() - self._asked_at >= LISTS_SECONDS:
            self._asked, self._asked_at = read_requested(self.store), time.monotonic()
        return ids & self._asked
