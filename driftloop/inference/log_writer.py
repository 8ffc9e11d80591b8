"""Writing the inference log: an answer is in the spool before its caller has it, and in the store a few seconds later.

`InferenceLogger.log` appends to a file on this machine (`driftloop.inference.spool`) and returns; a thread of its own brings what is
there to the store, whole files at a time, the images first. While the store is away nothing waits but that thread.
"""

import hashlib
import io
import json
import logging
import tempfile
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from driftloop.errors import Conflict, StoreError
from driftloop.inference.image_statistics import image_statistics
from driftloop.inference.log import EMBEDDING_DTYPE, FORM_KEY, LOG_FORM, LOG_SCHEMA, STATUS_OK, image_digest
from driftloop.inference.log_files import IMAGES_SUFFIX, SUFFIX, file_id, hour_folder
from driftloop.inference.served_model import ServedPredictions
from driftloop.inference.spool import Record, Segment, Spool, encoded
from driftloop.store.interface import Store, is_listed

LOG = logging.getLogger("driftloop.inference")
#: Between two tries while the store is away, in seconds; it doubles up to the second figure.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
#: Between two lines that say that rows are being lost.
LOST_SECONDS = 60.0
#: Where the spool is full, this part of it is made free at once.
ROOM_MADE = 16
#: How a segment says in which hour it was tried.
HOUR_MARK = "%Y-%m-%dT%H"


@dataclass(frozen=True)
class LogLimits:
    """When rows go to the store, and how much may wait for it."""

    rows: int = 1000
    """In a file, about."""
    bytes: int = 64 << 20
    """In a file, about: images are most of it."""
    seconds: float = 10.0
    """That a row waits at most while the store answers."""
    spool_bytes: int = 1 << 30
    """On this machine's disk while the store is away, of all writers of the spool; beyond it the oldest images go, then the oldest rows."""
    writers: int = 1
    """That share the spool: each may have its part of those bytes whatever the others have."""


@dataclass
class LogCounts:
    """What became of the rows so far."""

    logged: int = 0
    """Taken."""
    written: int = 0
    """In the store."""
    waiting: int = 0
    """In the spool."""
    waiting_bytes: int = 0
    dropped_rows: int = 0
    """Lost for want of room."""
    dropped_images: int = 0
    """Likewise, of rows that were kept."""
    failures: int = 0
    """Tries that the store refused."""
    lag_seconds: float = 0.0
    """For how long the oldest row in the spool has waited."""


class InferenceLogger:
    """Logs the answers of a model; safe to share between threads.

    Example:
        with InferenceLogger(store) as log:
            log.log(images, model.predict(images), latency_ms=2.1, version="3", classes=model.description.classes)
    """

    def __init__(
        self,
        store: Store,
        *,
        image_share: float = 1.0,
        limits: LogLimits | None = None,
        spool: str | Path | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """A logger into `store`.

        Args:
            image_share: share of the requests whose image is kept, 0-1, drawn by a hash of the request id.
            limits: when rows are written, and how many may wait.
            spool: folder that outlives the process: what a killed one has left there is taken over. None: a temporary one.
            clock: says when a file is written, with a time zone.
        """
        if not 0 <= image_share <= 1:
            raise ValueError(f"InferenceLogger: image_share in 0-1, got {image_share}")
        self.store, self.image_share, self.limits, self.clock = store, image_share, limits or LogLimits(), clock
        if self.limits.rows < 1:
            raise ValueError(f"InferenceLogger: limits.rows >= 1, got {self.limits.rows}")
        self.writer = file_id()
        self._temporary = None if spool else tempfile.TemporaryDirectory(prefix="driftloop-spool-")
        self._spool = Spool(Path(spool or self._temporary.name), self.writer)  # type: ignore[union-attr]
        self._lock = threading.Lock()  # the spool and the counts
        self._writing = threading.Lock()  # one file at a time, in their order
        self._wake = threading.Event()
        self._stopped = False
        self._opened = 0.0
        self._lost_said = -LOST_SECONDS
        #: Sealed, and being brought to the store at this moment.
        self._on_its_way: Segment | None = None
        self._bytes_of_others = 0
        self._image_shape: tuple[int, ...] = ()
        self._sealed: deque[Segment] = deque(self._spool.adopt())
        adopted = sum(segment.rows for segment in self._sealed)
        self._counts = LogCounts(logged=adopted, waiting=adopted, waiting_bytes=sum(segment.size for segment in self._sealed))
        if adopted:
            LOG.info("%s rows of a writer that was cut off were found in %s", adopted, spool)
        self._thread = threading.Thread(target=self._work, name="driftloop-log", daemon=True)
        self._thread.start()

    @property
    def counts(self) -> LogCounts:
        """What became of the rows so far."""
        with self._lock:
            waiting = [*self._sealed, self._spool.open]
            oldest = min((segment.began for segment in waiting if segment and segment.rows), default=None)
            return replace(self._counts, lag_seconds=max(0.0, time.time() - oldest) if oldest is not None else 0.0)

    def log(
        self,
        images: np.ndarray,
        predictions: ServedPredictions | None,
        latency_ms: float | Sequence[float] | np.ndarray,
        *,
        version: str,
        classes: Sequence[str],
        groups: Sequence[str | None] | None = None,
        tags: Sequence[Mapping[str, str]] | None = None,
        request_ids: Sequence[str] | None = None,
        times: Sequence[datetime] | None = None,
        statistics: np.ndarray | None = None,
        status: str = STATUS_OK,
    ) -> list[str]:
        """Add one row for each of N images. When it returns they are in the spool; a full disk is counted, and never raises.

        Args:
            images: uint8 (N, H, W, C), as the model saw them.
            predictions: what the model answered; None for requests that failed (`status` says how): their prediction columns are null.
            latency_ms: of each request, or one number for all.
            version: the registered version that answered.
            classes: its class names, in the order of its probabilities.
            groups: patient, source or session of each image, where known: one group is one independent case to the drift tests.
            tags: site, device, ... of each image.
            request_ids: unique ids; drawn where not given. A repeated id is one request.
            times: of each request, with a time zone; now where not given.
            statistics: of the images, as `image_statistics` gives them, where they are known already.
            status: `STATUS_OK`, or what went wrong.

        Returns:
            The request ids.

        Raises:
            ValueError: arguments of different lengths, a time without a zone, or a logger that was closed.
        """
        count = len(images)
        ids = list(request_ids) if request_ids is not None else [uuid.uuid4().hex for _ in range(count)]
        times = times if times is not None else [datetime.now(UTC)] * count
        groups = list(groups) if groups is not None else [None] * count
        tags = [dict(each) for each in tags] if tags is not None else [{}] * count
        lengths = {len(ids), len(groups), len(times), len(tags), count if predictions is None else len(predictions)}
        if lengths != {count}:
            raise ValueError(f"InferenceLogger.log: {count} images, but other arguments have {sorted(lengths - {count})} entries")
        sampled = [index for index in range(count) if _image_is_sampled(ids[index], self.image_share)]
        fields: dict[str, Any] = {
            "request_ids": ids,
            "times": [_microseconds(moment) for moment in times],
            "version": version,
            "status": status,
            "groups": groups,
            "tags": tags,
            "latencies": [float(number) for number in np.broadcast_to(np.asarray(latency_ms, np.float32), (count,))],
            "digests": [image_digest(image) for image in images],
            "sampled": sampled,
            "predicted": None if predictions is None else [classes[int(label)] for label in predictions.labels],
        }
        arrays = {
            "statistics": image_statistics(images) if statistics is None else np.asarray(statistics, np.float32),
            "pixels": images[sampled],
        }
        if predictions is not None:
            arrays["probabilities"] = predictions.probabilities.astype(np.float32, copy=False)
            arrays["confidence"] = predictions.confidences.astype(np.float32, copy=False)
            arrays["embedding"] = predictions.embedding.astype(EMBEDDING_DTYPE, copy=False)
        self._append(encoded(fields, arrays), count, images.shape[1:])
        return ids

    def flush(self) -> None:
        """Write what waits, and wait for it. Raises StoreError when the store refuses; the rows then go on waiting."""
        with self._lock:
            self._seal()
        while self._write_oldest():
            pass

    def close(self, *, write: bool = True) -> None:
        """Take no more rows and flush; may be called again when the store refused. With `write=False` the rest stays in the spool."""
        with self._lock:
            self._stopped = True
            self._seal()
        self._wake.set()
        if write:
            self.flush()
        self._thread.join()
        with self._lock:
            self._spool.close()
        if self._temporary:
            self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _append(self, record: bytes, rows: int, image_shape: tuple[int, ...]) -> None:
        with self._lock:
            if self._stopped:
                raise ValueError("InferenceLogger.log: this logger was closed")
            if image_shape != self._image_shape:  # the next version takes images of another size, and a file holds one
                self._seal()
                self._image_shape = image_shape
            self._counts.logged += rows
            self._make_room(len(record))
            new = self._spool.open is None
            try:
                segment = self._spool.append(record, rows)
            except OSError as refused:
                self._counts.dropped_rows += rows
                # Not at each: the log of the service may lie on the disk that is full.
                if time.monotonic() - self._lost_said >= LOST_SECONDS:
                    self._lost_said = time.monotonic()
                    LOG.error("rows of the log are lost, %s so far: %s", self._counts.dropped_rows, refused)
                return
            self._counts.waiting += rows
            self._counts.waiting_bytes += len(record)
            if new:
                self._opened = time.monotonic()
            if segment.rows >= self.limits.rows or segment.size >= self.limits.bytes:
                self._seal()
                self._wake.set()

    def _seal(self) -> None:
        segment = self._spool.seal()
        if segment:
            self._sealed.append(segment)

    def _make_room(self, size: int) -> None:
        """Do without the oldest images, then without the oldest rows, until a record of `size` bytes fits."""
        limits = self.limits
        most = max(limits.spool_bytes // limits.writers, limits.spool_bytes - self._bytes_of_others)
        if self._counts.waiting_bytes + size <= most:
            return
        # Somewhat more than is needed: each time ends a segment.
        enough = most - max(size, most // ROOM_MADE)
        self._seal()
        spare = [segment for segment in self._sealed if segment is not self._on_its_way]
        for segment in spare:
            if self._counts.waiting_bytes <= enough:
                return
            if not segment.has_images:
                continue
            before = segment.size
            try:
                self._counts.dropped_images += segment.without_images()
            except OSError as refused:  # rewriting it takes room, too: its rows go below
                LOG.error("images of the log cannot be done without: %s", refused)
            self._counts.waiting_bytes -= before - segment.size
        for segment in spare:
            if self._counts.waiting_bytes <= enough:
                return
            self._sealed.remove(segment)
            segment.remove()
            self._forget(segment)
            self._counts.dropped_rows += segment.rows

    def _forget(self, segment: Segment) -> None:
        self._counts.waiting -= segment.rows
        self._counts.waiting_bytes -= segment.size

    def _work(self) -> None:
        """The thread that brings sealed segments to the store; it ends when the logger is closed, whatever still waits."""
        pause = FIRST_PAUSE
        while not self._stopped:
            self._wake.wait(min(1.0, self.limits.seconds / 4))
            self._wake.clear()
            others = self._spool.bytes_of_others() if self.limits.writers > 1 else 0
            with self._lock:
                if self._spool.open is not None and time.monotonic() - self._opened >= self.limits.seconds:
                    self._seal()
                # They may have come to need their part meanwhile.
                self._bytes_of_others = others
                self._make_room(0)
            try:
                while not self._stopped and self._write_oldest():
                    pause = FIRST_PAUSE
            except StoreError as refused:
                LOG.warning("the log waits for its store: %s", refused)
                self._sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            except Exception:
                # Nothing may end this thread.
                LOG.exception("a file of the log could not be written")
                self._sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stopped and time.monotonic() < until:
            time.sleep(0.1)

    def _write_oldest(self) -> bool:
        """Bring the oldest sealed segment to the store; whether there was one."""
        with self._writing:
            with self._lock:
                if not self._sealed:
                    return False
                segment = self._on_its_way = self._sealed[0]
            try:
                written = segment.bring(self._write)
                with self._lock:
                    self._sealed.popleft()
                    self._forget(segment)
                    if written:
                        self._counts.written += segment.rows
                    else:
                        self._counts.dropped_rows += segment.rows
            except StoreError:
                with self._lock:
                    self._counts.failures += 1
                raise
            finally:
                self._on_its_way = None
            return True

    def _write(self, segment: Segment) -> None:
        """One log file, after the file of the images that it refers to."""
        name = f"{segment.writer}-{segment.number:06d}"
        # The answer to an earlier try may be all that was lost. A file that is written anew lies in the hour of that: watches look there.
        if segment.mark and is_listed(self.store, _folder(segment.mark) + name + SUFFIX):
            return
        kept = segment.records()
        if not kept:  # its only record was cut off when its writer was killed
            return
        now = self.clock()
        key = hour_folder(now) + name
        segment.mark_tried(now.astimezone(UTC).strftime(HOUR_MARK))
        pixels = [record.arrays["pixels"] for record in kept if len(record.arrays["pixels"])]
        places = iter(range(sum(map(len, pixels))))
        # The names are this writer's alone: what is there already is from a try whose answer was lost.
        with suppress(Conflict):
            if pixels:
                self.store.create(key + IMAGES_SUFFIX, _npy_bytes(pixels))
        named = [[f"{key}{IMAGES_SUFFIX}#{next(places)}" for _ in record.fields["sampled"]] for record in kept]
        stream = io.BytesIO()
        pq.write_table(_table(kept, named).replace_schema_metadata({FORM_KEY: str(LOG_FORM)}), stream, compression="zstd")
        with suppress(Conflict):
            self.store.create(key + SUFFIX, stream.getvalue())


def _folder(mark: str) -> str:
    """The folder of the hour in which a segment was tried."""
    return hour_folder(datetime.strptime(mark, HOUR_MARK).replace(tzinfo=UTC))


def _table(kept: Sequence[Record], images: Sequence[Sequence[str]]) -> pa.Table:
    """The rows of the records as `LOG_SCHEMA`, with the places of their sampled images: one table at once, for a record may be a row."""
    columns: dict[str, list[Any]] = {field.name: [] for field in LOG_SCHEMA}
    for record, places in zip(kept, images, strict=True):
        for name, values in _columns(record, places).items():
            columns[name] += values
    times = pa.array(columns["time"], pa.int64()).cast(LOG_SCHEMA.field("time").type)
    arrays = [times if field.name == "time" else pa.array(columns[field.name], field.type) for field in LOG_SCHEMA]
    return pa.table(arrays, schema=LOG_SCHEMA)


def _columns(record: Record, images: Sequence[str]) -> dict[str, list[Any]]:
    fields, arrays = record.fields, record.arrays
    count = len(fields["request_ids"])
    place = dict(zip(fields["sampled"], images, strict=True))
    missing = [None] * count
    answered = "probabilities" in arrays
    probabilities = arrays["probabilities"].tolist() if answered else missing
    # A spool of a release that named the most probable class alone does not have it.
    confidence = arrays.get("confidence", arrays["probabilities"].max(axis=1)).tolist() if answered else missing
    return {
        "request_id": fields["request_ids"],
        "time": fields["times"],
        "model_version": [fields["version"]] * count,
        "status": [fields["status"]] * count,
        "predicted": fields["predicted"] if answered else missing,
        "confidence": confidence,
        "probabilities": probabilities,
        "statistics": arrays["statistics"].tolist(),
        "embedding": [row.tobytes() for row in arrays["embedding"]] if answered else missing,
        "latency_ms": fields["latencies"],
        "group": fields["groups"],
        "image_sha256": fields["digests"],
        "image": [place.get(index) for index in range(count)],
        "tags": [json.dumps(tags, sort_keys=True) if tags else None for tags in fields["tags"]],
    }


def _image_is_sampled(request_id: str, share: float) -> bool:
    """Whether the image of a request is kept: a uniform draw that depends on the request's id alone."""
    return int.from_bytes(hashlib.sha256(request_id.encode()).digest()[:8]) < share * 2.0**64


def _microseconds(moment: datetime) -> int:
    """Microseconds since 1970. Raises ValueError for a time without a zone."""
    if moment.tzinfo is None:
        raise ValueError(f"InferenceLogger.log: {moment} has no time zone")
    whole = moment.astimezone(UTC).replace(microsecond=0)
    return int(whole.timestamp()) * 1_000_000 + moment.microsecond


def _npy_bytes(parts: Sequence[np.ndarray]) -> bytes:
    """Arrays of one type, one after the other along their first axis, as the bytes of a .npy file; each is copied once."""
    header = io.BytesIO()
    shape = (sum(map(len, parts)), *parts[0].shape[1:])
    np.lib.format.write_array_header_1_0(
        header, {"descr": np.lib.format.dtype_to_descr(parts[0].dtype), "fortran_order": False, "shape": shape}
    )
    return b"".join([header.getvalue(), *(np.ascontiguousarray(part).data for part in parts)])
