"""Labels that users give: taken at once, written to the store together, and never called drawn unless a list has asked for them."""

import logging
import tempfile
import threading
from pathlib import Path

import pandas as pd

from driftloop.contracts import RANDOM
from driftloop.errors import StoreError
from driftloop.inference.labels import LABELS_PREFIX, RequestedLabels, write_labels
from driftloop.inference.log_files import file_id
from driftloop.inference.spool import Segment, Spool, encoded
from driftloop.store import Store
from driftloop.store.interface import is_listed

LOG = logging.getLogger("driftloop.serving")
#: Labels of a file at most.
MOST_LABELS = 1000


class Feedback:
    """Takes labels; safe to share between threads. A label is on this machine's disk before its caller is told that it was accepted."""

    def __init__(self, store: Store, *, seconds: float, spool: Path | None) -> None:
        """Labels for `store`, written every so many `seconds`; those that a killed process left in `spool` are taken over."""
        self.store, self.seconds = store, seconds
        self._temporary = None if spool else tempfile.TemporaryDirectory(prefix="driftloop-labels-")
        self._spool = Spool(Path(spool or self._temporary.name), file_id())  # type: ignore[union-attr]
        self._waiting: list[Segment] = self._spool.adopt()
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._asked = RequestedLabels(store)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="driftloop-feedback", daemon=True)
        self._thread.start()

    def take(self, request_id: str, label: str, outcome: float | None) -> None:
        """Accept a label. Raises OSError where the disk does not take it."""
        record = encoded({"request_ids": [request_id], "label": label, "outcome": outcome}, {})
        with self._lock:
            if self._spool.append(record, 1).rows >= MOST_LABELS:
                self._seal()

    def flush(self) -> None:
        """Write what waits. Raises StoreError when the store refuses; the labels go on waiting."""
        with self._writing:
            with self._lock:
                self._seal()
                waiting = list(self._waiting)
            for segment in waiting:
                segment.bring(self._write)
                with self._lock:
                    self._waiting.remove(segment)

    def close(self, *, write: bool = True) -> None:
        """End; with `write=False` what waits stays in the spool."""
        self._stop.set()
        self._thread.join()
        if write:
            self.flush()
        with self._lock:
            self._seal()
            self._spool.close()
        if self._temporary:
            self._temporary.cleanup()

    def _seal(self) -> None:
        segment = self._spool.seal()
        if segment:
            self._waiting.append(segment)

    def _work(self) -> None:
        while not self._stop.wait(self.seconds):
            try:
                self.flush()
            except StoreError as refused:
                LOG.warning("labels wait for their store: %s", refused)
            except Exception:
                LOG.exception("labels could not be written")

    def _write(self, segment: Segment) -> None:
        # The answer to an earlier try may be all that was lost. Else the file gets a new name: watches look for those of late.
        if segment.mark and is_listed(self.store, f"{LABELS_PREFIX}{segment.mark}.parquet"):
            return
        given = [record.fields for record in segment.records()]
        if not given:  # cut off by a kill: its caller was never told that it was accepted
            return
        ids = [fields["request_ids"][0] for fields in given]
        frame = pd.DataFrame(
            {
                "request_id": ids,
                "label": [fields["label"] for fields in given],
                "outcome": [fields["outcome"] for fields in given],
                "origin": self._origins(ids),
            }
        )
        segment.mark_tried(file_id())
        write_labels(self.store, frame, name=segment.mark)

    def _origins(self, ids: list[str]) -> list[str]:
        """Of each request, which kind of list has drawn it. A list may be as new as the labels, so it is looked for at every write."""
        if any(self._asked.origin_of(name) != RANDOM for name in ids):
            self._asked.refresh()
        return [self._asked.origin_of(name) for name in ids]
