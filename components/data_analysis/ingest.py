"""From image files to the store: every file is read once, by several processes, and packed when its split is known.

Reading hashes, decodes and resizes a file and leaves the pixels in a spool on disk; packing takes them from there in the order in which
they are packed, a batch at a time, and gives their place on the disk back: pixels never lie there twice.

Images of more than 8 bits become 8 by one range, which is known when all are read: those that were scaled by a smaller one, because those
before them in their chunk needed no larger, are decoded again, and only they.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from driftloop import runtime
from driftloop.contracts import SPLITS
from driftloop.dataset import Decoded, Description, ShardWriter, UnreadableImage, decode_image
from driftloop.dataset.duplicates import thumbnail
from driftloop.dataset.splitting import hash_position
from driftloop.errors import InputError
from driftloop.plurals import counted
from driftloop.processes import spread
from driftloop.sources import SourceFile
from driftloop.store import Store

#: Files that one process reads together.
FILES_PER_CHUNK = 128
#: A file larger than this is not even read.
MOST_FILE_BYTES = 512 << 20
#: Images packed at once.
PACKED_AT_ONCE = 256
INGESTED_COLUMNS = [
    *("path", "label", "source_split", "tags", "sha256", "width", "height", "grey", "full", "negative", "scaled", "chunk", "offset")
]


@dataclass(frozen=True)
class Ingested:
    """What was read; the pixels of the N readable images lie in the spool."""

    frame: pd.DataFrame
    """By readable image: path, label (class name), source_split, tags, sha256, width, height, grey, full, negative and scaled as `Decoded`
    says them, and its place: chunk, offset.
    """
    thumbnails: np.ndarray
    """uint8 (N, 16, 16), by row of `frame`."""
    broken: list[tuple[str, str]]
    """Path and reason by unreadable file."""
    spool: Path
    """Folder of the chunks' pixels."""
    deep_range: int
    """The level that became 255 in images of more than 8 bits; 0: there are none, or each has its own range."""

    @property
    def channels(self) -> int:
        """1 when every image is grey, else 3."""
        return 1 if bool(self.frame["grey"].all()) else 3

    def take(self, rows: pd.DataFrame, side: int) -> np.ndarray:
        """The images of some rows of `frame`, uint8 (n, side, side, channels), which leave the spool.

        Grey images of a dataset in colour get three equal channels.

        Args:
            rows: those that follow the ones taken before, by `packing_order`.
            side: in pixels, at which they were read.
        """
        images = np.empty((len(rows), side, side, self.channels), np.uint8)
        left: dict[int, int] = {}
        for image, (chunk, offset, grey) in zip(images, rows[["chunk", "offset", "grey"]].itertuples(index=False), strict=True):
            depth = 1 if grey else 3
            pixels = np.fromfile(spool_file(self.spool, chunk), np.uint8, side * side * depth, offset=offset)
            image[:] = pixels.reshape(side, side, depth)
            left[chunk] = min(offset, left.get(chunk, offset))
        for chunk, length in left.items():
            os.truncate(spool_file(self.spool, chunk), length)
        return images


@dataclass(frozen=True)
class Chunk:
    """Files that one process reads together."""

    number: int
    files: list[SourceFile]
    stamps: tuple[str, ...] = ()
    """By file, what changes whenever it is written, where the source's listing says that."""
    after: str = ""
    """The path of the file before the first; "" where there is none."""


def chunks_of(files: list[SourceFile], stamps: Mapping[str, str] | None = None, after: str = "") -> list[Chunk]:
    """The files as chunks, in their order; `stamps` by path, and `after` of the first."""
    chunks = []
    for number, start in enumerate(range(0, len(files), FILES_PER_CHUNK)):
        part = files[start : start + FILES_PER_CHUNK]
        chunks.append(Chunk(number, part, tuple(stamps[file.path] for file in part) if stamps else (), after))
        after = part[-1].path
    return chunks


@dataclass(frozen=True)
class Rescaled:
    """Images of one chunk that are to be scaled by a larger range than they were."""

    number: int
    """Of the chunk."""
    rows: list[int]
    """Of the frame."""
    images: list[tuple[str, str, int]]
    """By row: path, sha256 and offset."""


@dataclass(frozen=True)
class ReadChunk:
    """What was read of one chunk; the pixels are on disk."""

    rows: list[tuple[object, ...]]
    """Of the frame, by readable image: `INGESTED_COLUMNS`."""
    thumbnails: np.ndarray
    """uint8 (n, 16, 16)."""
    broken: list[tuple[str, str]]
    """Path and reason by unreadable file."""


class ChunkKeeper(Protocol):
    """Who may have read chunks already: `blocks.Blocks`; it goes to the processes that read."""

    def read(self, root: Path, spool: Path, chunk: Chunk) -> ReadChunk:
        """What `read_chunk` would make of the chunk."""

    def fetch(self, root: Path, paths: Sequence[str]) -> None:
        """Bring files to `root` that are not there yet."""


def ingest(
    root: Path,
    files: list[SourceFile],
    spool: Path,
    *,
    image_size: int,
    resize: str,
    workers: int,
    deep_range: int | None = None,
    keeper: ChunkKeeper | None = None,
    stamps: Mapping[str, str] | None = None,
    progress: tuple[float, float] = (0.0, 1.0),
) -> Ingested:
    """Read all `files` below `root` into `spool`; memory holds the table and 256 bytes an image, not the images.

    Args:
        deep_range: the level that becomes 255 in images of more than 8 bits; 0: each has its own range; None: the smallest of
            `decoding.DEEP_RANGES` that holds all of them.
        keeper: who may have read some of them already.
        stamps: for the keeper, by path, of files that are not below `root` yet.
        progress: the step's at the beginning and at the end of reading.

    Raises:
        InputError: a file changed while it was read.
    """
    chunks = chunks_of(files, stamps)
    rows: list[tuple[object, ...]] = []
    thumbnails: list[np.ndarray] = []
    broken: list[tuple[str, str]] = []
    read = partial(keeper.read, root, spool) if keeper else partial(read_chunk, root, spool, image_size, resize, deep_range)
    for done, result in enumerate(spread(read, chunks, workers=workers), 1):
        rows += result.rows
        thumbnails.append(result.thumbnails)
        broken += result.broken
        if done % 8 == 0:
            fraction = progress[0] + (progress[1] - progress[0]) * done / len(chunks)
            runtime.progress(fraction, f"read {len(rows) + len(broken):,} of {len(files):,} files")
    frame, small = pd.DataFrame(rows, columns=INGESTED_COLUMNS), np.concatenate(thumbnails)
    if deep_range is None:
        deep_range = max(frame["full"], default=0)
        behind = _behind(frame, files, deep_range)
        again = partial(rescale, root, spool, image_size, resize, deep_range, keeper=keeper)
        for part, rescaled in zip(behind, spread(again, behind, workers=workers), strict=True):
            small[part.rows] = rescaled
        frame.loc[frame["full"] > 0, "scaled"] = deep_range
    return Ingested(frame, small, broken, spool, deep_range)


def _behind(frame: pd.DataFrame, files: list[SourceFile], deep_range: int) -> list[Rescaled]:
    """What was scaled by a smaller range than that of all, by chunk."""
    behind = frame[(frame["full"] > 0) & (frame["scaled"] < deep_range)]
    names = {printable(file.path): file.path for file in files} if len(behind) else {}
    parts = []
    for number in behind["chunk"].unique():
        part = behind[behind["chunk"] == number]
        images = [(names[path], *of) for path, *of in part[["path", "sha256", "offset"]].itertuples(index=False)]
        parts.append(Rescaled(int(number), list(part.index), images))
    return parts


def rescale(
    root: Path, spool: Path, image_size: int, resize: str, deep_range: int, part: Rescaled, *, keeper: ChunkKeeper | None = None
) -> np.ndarray:
    """Decode images again, by the range of all, into their places in the spool; their thumbnails, uint8 (n, 16, 16)."""
    if keeper:
        keeper.fetch(root, [path for path, _, _ in part.images])
    small = []
    with open(spool_file(spool, part.number), "r+b") as stream:
        for path, sha256, offset in part.images:
            try:
                data = _bytes(root / path)
                decoded = decode_image(data, image_size, resize, deep_range)
            except (UnreadableImage, OSError):
                data = b""
            if hashlib.sha256(data).hexdigest() != sha256:
                name = printable(path)
                raise InputError(f"{name}: changed while the source was read; run again when it is still")
            stream.seek(offset)
            stream.write(np.ascontiguousarray(decoded.pixels).data)
            small.append(thumbnail(decoded.pixels))
    return np.array(small, np.uint8)


def read_chunk(root: Path, spool: Path, image_size: int, resize: str, deep_range: int | None, chunk: Chunk) -> ReadChunk:
    """Read one chunk; its pixels go to the spool one after the other, (side, side) or (side, side, 3) each.

    What is packed first lies last: a file of the spool is taken from its end, and cut there.
    """
    read: list[tuple[SourceFile, str, Decoded]] = []
    broken: list[tuple[str, str]] = []
    reached = deep_range or 0
    for file in chunk.files:
        try:
            data = _bytes(root / file.path)
            decoded = decode_image(data, image_size, resize, reached)
            if deep_range is None and decoded.full > reached:
                reached = decoded.full
                decoded = decode_image(data, image_size, resize, reached) if decoded.scaled < reached else decoded
        except (UnreadableImage, OSError) as error:
            reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            broken.append((printable(file.path), reason))
            continue
        read.append((file, hashlib.sha256(data).hexdigest(), decoded))
    offsets = [0] * len(read)
    with open(spool_file(spool, chunk.number), "wb") as stream:
        for number in sorted(range(len(read)), key=lambda number: packing_order(read[number][1], read[number][0].path), reverse=True):
            offsets[number] = stream.tell()
            stream.write(np.ascontiguousarray(read[number][2].pixels).data)
    rows = [_row(*image, chunk.number, offset) for image, offset in zip(read, offsets, strict=True)]
    return ReadChunk(rows, np.array([thumbnail(decoded.pixels) for _, _, decoded in read], np.uint8).reshape(-1, 16, 16), broken)


def check_broken(ingested: Ingested, source: str, max_broken_share: float) -> None:
    """Stop when too much is broken: something else is wrong then.

    Raises:
        InputError: more than `max_broken_share` of the files.
    """
    broken, files = len(ingested.broken), len(ingested.broken) + len(ingested.frame)
    if broken > max_broken_share * files:
        path, reason = ingested.broken[0]
        raise InputError(
            f"{source}: {broken:,} of {files:,} image files are broken ({broken / files:.1%}, at most {max_broken_share:.1%}), such as "
            f"{path} ({reason}); mend or remove them, or raise data_config.max_broken_share"
        )


def reading_notes(ingested: Ingested) -> list[str]:
    """What the reader of the report must know about the reading itself."""
    notes = []
    if ingested.broken:
        read = counted(
            len(ingested.broken), "file could not be read and was left out; it is", "files could not be read and were left out; they are"
        )
        notes.append(f"{read} listed below.")
    colourful = ingested.frame[~ingested.frame["grey"]]
    if 0 < len(colourful) < 0.05 * len(ingested.frame):
        are = "is" if len(colourful) == 1 else "are"
        notes.append(
            f"Only {len(colourful)} of {len(ingested.frame):,} images {are} in colour (such as {colourful['path'].iloc[0]}), so all are "
            "stored in colour; without them the dataset would be grey and a third as large."
        )
    return notes + _deep_notes(ingested.frame[ingested.frame["full"] > 0], ingested.deep_range)


def _deep_notes(deep: pd.DataFrame, deep_range: int) -> list[str]:
    """Where the levels of images of more than 8 bits became other ones than their owner may think."""
    notes = []
    below = deep[deep["negative"].astype(bool)]
    if len(below):
        notes.append(
            f"Levels below 0 were read as 0, in {len(below):,} of {len(deep):,} images of more than 8 bits (such as "
            f"{below['path'].iloc[0]}); where they mean something, raise all levels above 0 first."
        )
    highest = deep["full"].max()
    largest, rest = deep[deep["full"] == highest], deep[deep["full"] < highest]
    read_by = f"All {len(deep):,} images of more than 8 bits are read by the range of 0 to {deep_range:,}"
    if len(rest):
        notes.append(
            f"{read_by}, since {len(largest):,} of them (such as {largest['path'].iloc[0]}) go beyond {rest['full'].max():,}. Where that "
            "is a hot pixel or another device, the others are darker than they need be: leave such images out, or convert all to one range "
            "first, for training and for the service."
        )
    elif highest < deep_range:
        notes.append(f"{read_by}, as by the model that serves, though none goes beyond {highest:,}.")
    return notes


def pack(
    frame: pd.DataFrame,
    ingested: Ingested,
    store: Store,
    *,
    image_size: int,
    resize: str,
    source: str,
    shares: Mapping[str, float] | None = None,
    naming: Mapping[str, str] | None = None,
) -> Description:
    """Publish the frame's images as a dataset; `shares` are those by which its splits were cut, `resize` how its images were made square,
    `naming` the settings by which the names of its files were read.

    Within a split the order is by hash: whoever reads a split from the front gets all classes mixed, and the same images first
    when others are added.
    """
    classes = sorted(set(frame["label"]))
    labels = {name: number for number, name in enumerate(classes)}
    places = [packing_order(*of) for of in frame[["sha256", "path"]].itertuples(index=False)]
    frame = frame.iloc[sorted(range(len(places)), key=places.__getitem__)]
    with ShardWriter(
        image_size=image_size, channels=ingested.channels, resize=resize, deep_range=ingested.deep_range, splits=SPLITS
    ) as writer:
        for start in range(0, len(frame), PACKED_AT_ONCE):
            batch = frame.iloc[start : start + PACKED_AT_ONCE]
            images = ingested.take(batch, image_size)
            for split in set(batch["split"]):
                of_split = (batch["split"] == split).to_numpy()
                part = batch[of_split]
                writer.add(split, images[of_split], part["label"].map(labels).to_numpy(), part)
        return writer.publish(store, classes=classes, source=source, shares=shares, naming=naming)


def packing_order(sha256: str, path: str) -> tuple[float, str]:
    """By what images are sorted in a split.

    Args:
        sha256: of the file; path: its own.
    """
    return hash_position(sha256), printable(path)


def spool_file(spool: Path, chunk: int) -> Path:
    """Where the pixels of a chunk lie."""
    return spool / f"chunk-{chunk:06d}.npy"


def _bytes(path: Path) -> bytes:
    size = path.stat().st_size
    if size == 0:
        raise UnreadableImage("empty file")
    if size > MOST_FILE_BYTES:
        raise UnreadableImage(f"too large: {size >> 20:,} MiB, at most {MOST_FILE_BYTES >> 20} are read")
    return path.read_bytes()


def _row(file: SourceFile, sha256: str, decoded: Decoded, chunk: int, offset: int) -> tuple[object, ...]:
    of_file = (printable(file.path), file.label, file.split, file.tags, sha256)
    return (
        *of_file,
        decoded.width,
        decoded.height,
        decoded.pixels.ndim == 2,
        decoded.full,
        decoded.negative,
        decoded.scaled,
        chunk,
        offset,
    )


def printable(path: str) -> str:
    """A file's path as samples and reports have it: file names need not be UTF-8, tables must be."""
    return path.encode("utf-8", "backslashreplace").decode()
