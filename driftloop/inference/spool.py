"""The spool: answered requests, and labels, on this machine's disk until they lie in the store.

    <spool>/<writer>/lock                       held for as long as the writer's process lives
    <spool>/<writer>/000003.rows                a segment: what becomes the writer's third log file
    <spool>/<writer>/000002.2026-03-01T12.rows  a segment that was tried in that hour: its file may be in the store already
    <spool>/<writer>/000001.damaged             one that cannot be brought there whatever the store says; for a person to look at

A segment is a row of records, one for each batch of answers, each appended by one write(2): what a process has written there outlives
it. A record that was cut off or damaged is left out. The segments of a writer that died are taken over by the next that starts on the
same folder.
"""

import fcntl
import json
import logging
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from driftloop.errors import StoreError

SUFFIX, LOCK, DAMAGED = ".rows", "lock", ".damaged"
LOG = logging.getLogger("driftloop.inference")
#: Magic, length of the fields as JSON, length of the arrays, CRC-32 of both.
_HEADER = struct.Struct("<4sIQI")
_MAGIC = b"DLR2"


@dataclass(frozen=True)
class Record:
    """The answers of one batch: lists and arrays with an entry for each."""

    fields: dict[str, Any]
    """What JSON can say: request ids, times, groups, ..."""
    arrays: dict[str, np.ndarray]
    """probabilities, statistics, embedding, and the pixels of the sampled images."""


def encoded(fields: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """A record as bytes."""
    shapes = {name: [array.dtype.str, *array.shape] for name, array in arrays.items()}
    head = json.dumps({"fields": fields, "arrays": shapes}).encode()
    body = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values())
    return _HEADER.pack(_MAGIC, len(head), len(body), zlib.crc32(body, zlib.crc32(head))) + head + body


def records(stream: BinaryIO) -> Iterator[Record]:
    """The whole records of a segment; one that was cut off or damaged is left out, and those behind it count."""
    data, at = stream.read(), 0
    while (at := data.find(_MAGIC, at)) >= 0:
        found = _record_at(data, at)
        if found is None:
            LOG.warning("%s: a record at byte %s is damaged or was cut off", getattr(stream, "name", "a segment"), at)
            at += 1
        else:
            record, at = found
            yield record


def _record_at(data: bytes, begin: int) -> tuple[Record, int] | None:
    """The record that begins there, and where it ends; None where it is not whole."""
    at = begin + _HEADER.size
    if at > len(data):
        return None
    _, head_length, body_length, checksum = _HEADER.unpack_from(data, begin)
    body_at, end = at + head_length, at + head_length + body_length
    if end > len(data) or zlib.crc32(memoryview(data)[at:end]) != checksum:
        return None
    content = json.loads(data[at:body_at])
    arrays = {}
    for name, (dtype, *shape) in content["arrays"].items():
        arrays[name] = np.frombuffer(data, np.dtype(dtype), offset=body_at, count=int(np.prod(shape))).reshape(shape)
        body_at += arrays[name].nbytes
    return Record(content["fields"], arrays), end


@dataclass
class Segment:
    """A file of records that becomes one file in the store."""

    path: Path
    size: int
    """Bytes."""
    rows: int
    began: float
    """When its oldest record came, in seconds since 1970; of an adopted one, when its newest did."""
    has_images: bool = True
    """Whether there may be images in it that can still be done without."""

    @property
    def writer(self) -> str:
        return self.path.parent.name

    @property
    def number(self) -> int:
        return int(self.path.name.split(".")[0])

    @property
    def mark(self) -> str:
        """By what it was last tried: enough to find out whether that try arrived. Empty where it was never tried."""
        parts = self.path.name.split(".")
        return parts[1] if len(parts) == 3 else ""

    def mark_tried(self, mark: str) -> None:
        """Remember on disk that it is about to be written, by a word without dots."""
        self.path = self.path.rename(self.path.with_name(f"{self.number:06d}.{mark}{SUFFIX}"))

    def records(self) -> list[Record]:
        with open(self.path, "rb") as stream:
            return list(records(stream))

    def without_images(self) -> int:
        """Drop the sampled images, to make room; how many there were. OSError where the disk has no room to do so."""
        kept = self.records()
        partial = self.path.with_suffix(".partial")
        dropped = 0
        try:
            with open(partial, "wb") as stream:
                for record in kept:
                    dropped += len(record.arrays["pixels"])
                    arrays = record.arrays | {"pixels": record.arrays["pixels"][:0]}
                    stream.write(encoded(record.fields | {"sampled": []}, arrays))
            partial.replace(self.path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
        self.size, self.has_images = self.path.stat().st_size, False
        return dropped

    def bring(self, write: "Callable[[Segment], None]") -> bool:
        """Write it to the store and remove it. Where that fails for what is in it, it is set aside: it must not hold up those behind it
        for ever, and stays where it is under a name that nobody reads.

        Returns:
            Whether it is in the store now.

        Raises:
            StoreError, OSError, MemoryError: another time; it goes on waiting.
        """
        try:
            write(self)
        except (StoreError, OSError, MemoryError):
            raise
        except Exception:
            self.path = self.path.rename(self.path.with_name(f"{self.number:06d}{DAMAGED}"))
            LOG.exception("%s rows cannot be written; they are kept in %s", self.rows, self.path)
            return False
        self.remove()
        return True

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


class Spool:
    """One writer's folder; the segment that is being filled has the highest number. Not safe between threads: its owner locks."""

    def __init__(self, folder: Path, writer: str) -> None:
        """The spool of `writer` below `folder`, which is made; its lock is held until `close`."""
        self.folder = folder
        self.home = folder / writer
        # It gets its name once it is locked: before that another process might take it for one whose writer is gone.
        begun = folder / f".{writer}"
        begun.mkdir(parents=True)
        self._lock = _locked(begun)
        begun.rename(self.home)
        #: Folders of writers that are gone, and their locks.
        self._adopted: list[tuple[Path, int]] = []
        self._number = 0
        self._file: int | None = None
        #: The segment that is being filled; None before its first record.
        self.open: Segment | None = None

    def adopt(self) -> list[Segment]:
        """The segments of writers that are gone, oldest first; their folders are locked by this process from now on."""
        adopted = []
        for home in sorted(path for path in self.folder.iterdir() if _is_home(path) and path != self.home):
            try:
                lock = _locked(home)
            except FileNotFoundError:  # another process has just done away with it
                continue
            if lock is None:
                continue
            self._adopted.append((home, lock))
            for partial in home.glob("*.partial"):
                partial.unlink()
            for path in sorted(home.glob(f"*{SUFFIX}")):
                segment = Segment(path, path.stat().st_size, 0, path.stat().st_mtime)
                segment.rows = sum(len(record.fields["request_ids"]) for record in segment.records())
                adopted.append(segment)
        return adopted

    def bytes_of_others(self) -> int:
        """What writers that live have in the folder beside this one's."""
        own = {self.home, *(home for home, _ in self._adopted)}
        sizes = 0
        for home in self.folder.iterdir():
            if home in own or not _is_home(home):
                continue
            with suppress(FileNotFoundError):  # its writer has just ended, and done away with it
                for name in os.listdir(home):
                    if name.endswith(SUFFIX):
                        with suppress(FileNotFoundError):  # it has just been brought to the store
                            sizes += (home / name).stat().st_size
        return sizes

    def append(self, record: bytes, rows: int) -> Segment:
        """Write a record; OSError where the disk refuses, after which the segment is as before."""
        if self._file is None or self.open is None:
            self._number += 1
            path = self.home / f"{self._number:06d}{SUFFIX}"
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            self.open = Segment(path, 0, 0, time.time())
        written = 0
        try:
            while written < len(record):
                written += os.write(self._file, memoryview(record)[written:])
        except OSError:
            os.ftruncate(self._file, self.open.size)
            raise
        self.open.size += written
        self.open.rows += rows
        return self.open

    def seal(self) -> Segment | None:
        """End the segment that is being filled; None where there is none, or the disk took nothing for it."""
        sealed, self.open = self.open, None
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if sealed is not None and not sealed.rows:
            sealed.remove()
            return None
        return sealed

    def close(self) -> None:
        """Give the locks back, and remove folders without a segment."""
        for home, lock in [(self.home, self._lock), *self._adopted]:
            if not any(home.glob(f"*{SUFFIX}")):
                (home / LOCK).unlink(missing_ok=True)
                with suppress(OSError):  # somebody has put a file there: then the folder stays
                    home.rmdir()
            if lock is not None:
                os.close(lock)
        self._lock, self._adopted = None, []


def _is_home(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _locked(home: Path) -> int | None:
    """A lock on a writer's folder; None where its process lives."""
    lock = os.open(home / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock
