"""Blocks: what reading made of the files of a chunk, kept in the store under a digest of all that determines it.

Several pods read the chunks of a source side by side (`parallel.py`) and leave a block of each. Whoever reads the source afterwards takes
the blocks that are there and reads the rest himself, with the same result to the last bit. Nothing names a block and none is ever needed:
one that is damaged is made again, one that was pruned is read like any other chunk.
"""

import functools
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from components.data_analysis import ingest
from components.data_analysis.ingest import Chunk, ReadChunk, printable, read_chunk, spool_file
from driftloop.bundle import sha256_file
from driftloop.contracts import BLOCKS
from driftloop.dataset import decoding, duplicates
from driftloop.dataset.duplicates import THUMBNAIL_SIDE
from driftloop.errors import InputError, IntegrityError, NotFound
from driftloop.sources.s3 import fetch_files, stamps_between
from driftloop.store import Store, open_store

_DIGEST_LENGTH = 64


@dataclass(frozen=True)
class Blocks:
    """The blocks of a store and what they are made of; opened anew in each process that reads."""

    store: str
    """Its URI."""
    remote: str
    """The folder on S3 whose files have yet to be fetched; "" where they are at hand."""
    image_size: int
    """Side in pixels."""
    resize: str
    """How images become square."""
    deep_range: int | None
    """As `ingest` takes it."""

    def read(self, root: Path, spool: Path, chunk: Chunk) -> ReadChunk:
        """What `read_chunk` makes of the chunk: from its block, or from its files where there is none. A damaged block is replaced."""
        chunk = stamped(root, chunk)
        try:
            kept = self.take(spool, chunk)
        except IntegrityError as damaged:
            print(f"{damaged}; its {len(chunk.files)} files are read anew", flush=True)
            return self.make(root, spool, chunk)
        return kept or self._read_files(root, spool, chunk)

    def fetch(self, root: Path, paths: Sequence[str]) -> None:
        """Bring files to `root` that are not there yet."""
        if self.remote:
            fetch_files(self.remote, root, paths)

    def key(self, chunk: Chunk) -> str:
        """Of a stamped chunk's block: by its files' names and stamps, and by what makes pixels of them."""
        files = [[file.path, stamp] for file, stamp in zip(chunk.files, chunk.stamps, strict=True)]
        content = [_code(), self.image_size, self.resize, self.deep_range, self.remote, files]
        return f"{BLOCKS}{hashlib.sha256(json.dumps(content).encode()).hexdigest()}"

    def take(self, spool: Path, chunk: Chunk) -> ReadChunk | None:
        """What a stamped chunk's block holds, with its pixels in the spool; None where there is no such block.

        Raises:
            IntegrityError: it is damaged.
        """
        key, store = self.key(chunk), _store(self.store, os.getpid())
        try:
            data = store.read(key)
        except NotFound:
            return None
        head, small, pixels = _opened(data, key, store)
        spool_file(spool, chunk.number).write_bytes(pixels)
        rows: list[tuple[object, ...]] = []
        broken: list[tuple[str, str]] = []
        for file, found in zip(chunk.files, head["files"], strict=True):
            if isinstance(found, str):
                broken.append((printable(file.path), found))
            else:
                *read, offset = found
                rows.append((printable(file.path), file.label, file.split, file.tags, *read, chunk.number, offset))
        return ReadChunk(rows, small, broken)

    def make(self, root: Path, spool: Path, chunk: Chunk) -> ReadChunk:
        """Read a stamped chunk and keep its block.

        Raises:
            InputError: a file is not what the source had under its name when the chunk was stamped.
        """
        read = self._read_files(root, spool, chunk)
        for file, before, now in zip(chunk.files, chunk.stamps, self._stamps_now(root, chunk, read), strict=True):
            if now != before:
                raise InputError(f"{printable(file.path)}: changed while the source was read; run again when it is still")
        if len({printable(file.path) for file in chunk.files}) == len(chunk.files):  # else nobody could tell which of two is which
            key, pixels = self.key(chunk), spool_file(spool, chunk.number).read_bytes()
            _store(self.store, os.getpid()).put(key, _block(key, read, chunk, pixels))
        return read

    def _read_files(self, root: Path, spool: Path, chunk: Chunk) -> ReadChunk:
        """What was fetched for it goes again: a pod need not have room for a source on S3."""
        self.fetch(root, [file.path for file in chunk.files])
        read = read_chunk(root, spool, self.image_size, self.resize, self.deep_range, chunk)
        if self.remote:
            for file in chunk.files:
                (root / file.path).unlink(missing_ok=True)
        return read

    def _stamps_now(self, root: Path, chunk: Chunk, read: ReadChunk) -> list[str]:
        """Of the files that have been read, by which they were read."""
        if self.remote:
            listed = stamps_between(self.remote, chunk.after, chunk.files[-1].path)
            return [listed.get(file.path, "") for file in chunk.files]
        hashes = {str(path): str(sha256) for path, _, _, _, sha256, *_ in read.rows}
        return [hashes.get(printable(file.path)) or _hash(root / file.path) for file in chunk.files]


def stamped(root: Path, chunk: Chunk) -> Chunk:
    """The chunk with the hashes of its files, where their source's listing gave no stamps."""
    return chunk if chunk.stamps else replace(chunk, stamps=tuple(_hash(root / file.path) for file in chunk.files))


def _block(key: str, read: ReadChunk, chunk: Chunk, pixels: bytes) -> bytes:
    """The object: the digest of the rest; a line of JSON, by file a reason or sha256 to scaled and the offset; thumbnails; pixels."""
    broken, rows = dict(read.broken), iter(read.rows)
    files: list[Any] = []
    for file in chunk.files:
        reason = broken.get(printable(file.path))
        if reason is None:
            row = next(rows)
            files.append([*row[4:-2], row[-1]])
        else:
            files.append(reason)
    body = b"".join([json.dumps({"key": key, "files": files}).encode(), b"\n", read.thumbnails.tobytes(), pixels])
    return hashlib.sha256(body).hexdigest().encode() + body


def _opened(data: bytes, key: str, store: Store) -> tuple[dict[str, Any], np.ndarray, memoryview]:
    """What a block says of its files, their thumbnails and their pixels."""
    view = memoryview(data)
    head_end = data.find(b"\n") + 1
    if hashlib.sha256(view[_DIGEST_LENGTH:]).hexdigest().encode() != data[:_DIGEST_LENGTH]:
        raise IntegrityError(f"{store.uri}/{key}: damaged (its SHA-256 has changed)")
    head = json.loads(data[_DIGEST_LENGTH:head_end])
    if head["key"] != key:
        raise IntegrityError(f"{store.uri}/{key}: damaged (it is the block {head['key']})")
    count = sum(not isinstance(found, str) for found in head["files"])
    pixels = head_end + count * THUMBNAIL_SIDE * THUMBNAIL_SIDE
    small = np.frombuffer(view[head_end:pixels], np.uint8).reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    return head, small, view[pixels:]


def _hash(path: Path) -> str:
    """The SHA-256 of a file, "" of one that cannot be read."""
    try:
        return sha256_file(path)
    except OSError:
        return ""


@functools.lru_cache
def _code() -> str:
    """A digest of the code that makes a block of files, and of the libraries that it uses."""
    digest = hashlib.sha256(f"{PIL.__version__} {np.__version__}".encode())
    for path in (decoding.__file__, duplicates.__file__, ingest.__file__, __file__):
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()


@functools.lru_cache(maxsize=1)
def _store(uri: str, process: int) -> Store:
    """The store, of this process alone: a process that was forked must not use its parent's connections."""
    return open_store(uri)
