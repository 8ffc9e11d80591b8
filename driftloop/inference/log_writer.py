"""Writing the inference log: rows are held back, then written as a file with their images, the images first."""

import hashlib
import io
import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from driftloop.errors import Conflict
from driftloop.inference.image_statistics import image_statistics
from driftloop.inference.log import EMBEDDING_DTYPE, FORM_KEY, LOG_FORM, LOG_SCHEMA, STATUS_OK, image_digest
from driftloop.inference.log_files import IMAGES_SUFFIX, SUFFIX, file_id, hour_folder
from driftloop.inference.served_model import ServedPredictions
from driftloop.store.interface import Store

#: Sampled images held back at most, in bytes, before they are flushed whatever the number of rows.
MAX_IMAGE_BYTES = 64 << 20


class InferenceLogger:
    """Writes the log rows of one model version; safe to share between threads.

    Example:
        with InferenceLogger(store, version="3", classes=model.description.classes, channels=1) as log:
            log.log(images, model.predict(images), latency_ms=2.1)
    """

    def __init__(
        self,
        store: Store,
        *,
        version: str,
        classes: Sequence[str],
        channels: int,
        image_share: float = 1.0,
        flush_rows: int = 1000,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """A logger into `store`.

        Args:
            version: the registered version that predicts.
            classes: its class names, in the order of its probabilities.
            channels: of its images, 1 or 3.
            image_share: share of the requests whose image is kept, 0-1, drawn by a hash of the request id.
            flush_rows: rows held back at most before they are written.
            clock: says when a file is written, with a time zone.
        """
        if not 0 <= image_share <= 1 or flush_rows < 1:
            raise ValueError(f"InferenceLogger: image_share in 0-1 and flush_rows >= 1, got {image_share} and {flush_rows}")
        self.store, self.version, self.classes, self.channels = store, version, list(classes), channels
        self.image_share, self.flush_rows, self.clock = image_share, flush_rows, clock
        self.writer = file_id()
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._rows: list[dict[str, Any]] = []
        self._image_bytes = 0
        self._files = 0
        #: A file that the store has refused: its number, the name that was tried, and its rows. It goes out first.
        self._refused: tuple[int, str, list[dict[str, Any]]] | None = None
        self._closed = False

    def log(
        self,
        images: np.ndarray,
        predictions: ServedPredictions | None,
        latency_ms: float | Sequence[float] | np.ndarray,
        *,
        groups: Sequence[str | None] | None = None,
        request_ids: Sequence[str] | None = None,
        times: Sequence[datetime] | None = None,
        status: str = STATUS_OK,
    ) -> list[str]:
        """Add one row for each of N images and flush when enough are held back.

        Args:
            images: uint8 (N, H, W, channels), as the model saw them.
            predictions: what the model answered; None for requests that failed (`status` says how): their prediction columns are null.
            latency_ms: of each request, or one number for all.
            groups: patient, source or session of each image, where known: one group is one independent case to the drift tests.
            request_ids: unique ids; drawn where not given. A repeated id is one request.
            times: of each request, with a time zone; now where not given.
            status: `STATUS_OK`, or what went wrong.

        Returns:
            The request ids.

        Raises:
            ValueError: arguments of different lengths, a time without a zone, or a logger that was closed.
            StoreError: the flush failed; the rows are kept and go out with the next one.
        """
        ids = list(request_ids) if request_ids is not None else [uuid.uuid4().hex for _ in images]
        rows = self._log_rows(images, predictions, latency_ms, groups, ids, times, status)
        with self._lock:
            if self._closed:
                raise ValueError("InferenceLogger.log: this logger was closed")
            self._rows += rows
            self._image_bytes += _image_bytes(rows)
            full = len(self._rows) >= self.flush_rows or self._image_bytes >= MAX_IMAGE_BYTES
        if full:
            self.flush()
        return ids

    def flush(self) -> None:
        """Write what is held back. Raises StoreError when the store refuses; the rows are then kept for the next flush."""
        with self._writing:
            if self._refused:
                number, tried, rows = self._refused
                # Its answer may be all that was lost. A file that is written again lies in the hour of that: watches look there.
                if not self.store.exists(tried + SUFFIX):
                    self._write_file(number, rows)
                self._refused = None
            with self._lock:
                rows, self._rows, self._image_bytes = self._rows, [], 0
            if rows:
                self._files += 1
                self._write_file(self._files, rows)

    def close(self) -> None:
        """Take no more rows and flush; may be called again when the store refused."""
        with self._lock:
            self._closed = True
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _log_rows(
        self,
        images: np.ndarray,
        predictions: ServedPredictions | None,
        latency_ms: float | Sequence[float] | np.ndarray,
        groups: Sequence[str | None] | None,
        ids: list[str],
        times: Sequence[datetime] | None,
        status: str,
    ) -> list[dict[str, Any]]:
        """The columns of each row, and its sampled image as `pixels` (None where the image is not kept)."""
        count = len(images)
        groups = groups if groups is not None else [None] * count
        times = times if times is not None else [datetime.now(UTC)] * count
        if images.shape[-1] != self.channels:
            raise ValueError(f"InferenceLogger.log: images have {images.shape[-1]} channels, this logger was made for {self.channels}")
        lengths = {len(ids), len(groups), len(times), count if predictions is None else len(predictions)}
        if lengths != {count}:
            raise ValueError(f"InferenceLogger.log: {count} images, but other arguments have {sorted(lengths - {count})} entries")
        latencies = np.broadcast_to(np.asarray(latency_ms, np.float32), (count,))
        statistics = image_statistics(images)
        rows = []
        for index in range(count):
            kept = _image_is_sampled(ids[index], self.image_share)
            row = {
                "request_id": ids[index],
                "time": _in_utc(times[index]),
                "model_version": self.version,
                "status": status,
                "statistics": statistics[index],
                "latency_ms": float(latencies[index]),
                "group": groups[index],
                "image_sha256": image_digest(images[index]),
                "pixels": images[index].copy() if kept else None,
            }
            rows.append(row | self._prediction_columns(predictions, index))
        return rows

    def _prediction_columns(self, predictions: ServedPredictions | None, index: int) -> dict[str, Any]:
        if predictions is None:
            return {"predicted": None, "confidence": None, "probabilities": None, "embedding": None}
        probabilities = predictions.probabilities[index]
        return {
            "predicted": self.classes[int(probabilities.argmax())],
            "confidence": float(probabilities.max()),
            "probabilities": probabilities,
            "embedding": predictions.embedding[index].astype(EMBEDDING_DTYPE).tobytes(),
        }

    def _write_file(self, number: int, rows: list[dict[str, Any]]) -> None:
        """One file of rows, after the file of the images they refer to."""
        name = f"{hour_folder(self.clock())}{self.writer}-{number:06d}"
        self._refused = (number, name, rows)
        sampled = [row for row in rows if row["pixels"] is not None]
        for position, row in enumerate(sampled):
            row["image"] = f"{name}{IMAGES_SUFFIX}#{position}"
        # The names are this writer's alone: what is there already is from a try whose answer was lost.
        with suppress(Conflict):
            if sampled:
                self.store.create(name + IMAGES_SUFFIX, _npy_bytes(np.stack([row["pixels"] for row in sampled])))
        table = pa.Table.from_pylist([{field: row.get(field) for field in LOG_SCHEMA.names} for row in rows], schema=LOG_SCHEMA)
        stream = io.BytesIO()
        pq.write_table(table.replace_schema_metadata({FORM_KEY: str(LOG_FORM)}), stream, compression="zstd")
        with suppress(Conflict):
            self.store.create(name + SUFFIX, stream.getvalue())
        self._refused = None


def _image_is_sampled(request_id: str, share: float) -> bool:
    """Whether the image of a request is kept: a uniform draw that depends on the request's id alone."""
    return int.from_bytes(hashlib.sha256(request_id.encode()).digest()[:8]) < share * 2.0**64


def _in_utc(time: datetime) -> datetime:
    """The time in UTC. Raises ValueError for a time without a zone."""
    if time.tzinfo is None:
        raise ValueError(f"InferenceLogger.log: {time} has no time zone")
    return time.astimezone(UTC)


def _npy_bytes(array: np.ndarray) -> bytes:
    """An array as the bytes of a .npy file."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _image_bytes(rows: Sequence[dict[str, Any]]) -> int:
    """The size of the sampled images that the rows hold back."""
    return sum(row["pixels"].nbytes for row in rows if row["pixels"] is not None)
