"""`.npy` files of images: written before their number is known, and read where they lie, several as one."""

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format


class GrowingNpy:
    """A uint8 array (rows, ...) on disk that grows by its first axis."""

    def __init__(self, path: Path, row_shape: tuple[int, ...]) -> None:
        self.path, self.row_shape, self.rows = path, row_shape, 0
        self.stream: BinaryIO = open(path, "wb")  # noqa: SIM115 - closed by close()
        self._header()

    def append(self, images: np.ndarray) -> None:
        """Write uint8 images (n, *row_shape)."""
        if images.dtype != np.uint8 or images.shape[1:] != self.row_shape:
            raise ValueError(f"needs uint8 images (n, {', '.join(map(str, self.row_shape))}), got {images.dtype} {images.shape}")
        self.stream.write(np.ascontiguousarray(images).data)
        self.rows += len(images)

    def close(self) -> None:
        """Put the number of rows into the header; NumPy leaves room for it there."""
        self.stream.seek(0)
        self._header()
        self.stream.close()

    def _header(self) -> None:
        start = self.stream.tell()
        header = {"descr": "|u1", "fortran_order": False, "shape": (self.rows, *self.row_shape)}
        npy_format.write_array_header_1_0(self.stream, header)
        length = self.stream.tell() - start
        assert length == getattr(self, "_length", length), "the header must keep its length"
        self._length = length


def map_images(path: Path) -> np.ndarray:
    """The array in `path`, mapped into memory; writing to it changes this process's view only, never the file."""
    return np.load(path, mmap_mode="c", allow_pickle=False).view(np.ndarray)


def give_back(images: np.ndarray) -> None:
    """Let the system have the memory of mapped images again; it is filled anew from their files where they are read. Changes are lost.

    For whoever goes over all of a split once: what he has seen would count as his until memory runs out.
    """
    for part in getattr(images, "parts", [images]):
        base = part
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            base.madvise(mmap.MADV_DONTNEED)


class MappedFiles:
    """The images of several `.npy` files, one after the other, mapped into memory: what `map_images` gives for one.

    It answers like the array (N, ...) where it is indexed by its first axis (a number, numbers, a mask, a slice) and where NumPy's
    functions take it for one, which reads all of it into memory. It cannot be written to, though a slice within one file is a view.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths, self.parts = tuple(paths), [map_images(path) for path in paths]
        self.ends = np.cumsum([len(part) for part in self.parts])
        self.starts = np.array([0, *self.ends[:-1]])
        self.dtype, self.shape = self.parts[0].dtype, (int(self.ends[-1]), *self.parts[0].shape[1:])
        self.ndim, self.nbytes = len(self.shape), sum(part.nbytes for part in self.parts)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        rows, *others = index if isinstance(index, tuple) else (index,)
        if isinstance(rows, slice):
            numbers = range(*rows.indices(len(self)))
            part = self._part(numbers[0]) if len(numbers) else 0
            if numbers.step == 1 and len(numbers) and part == self._part(numbers[-1]):
                before = int(self.starts[part])
                return np.asarray(self.parts[part][(slice(numbers[0] - before, numbers[-1] + 1 - before), *others)])
            rows = np.arange(numbers.start, numbers.stop, numbers.step)
        elif isinstance(rows, int | np.integer):
            return np.asarray(self.take(np.array([range(len(self))[rows]]))[(0, *others)])
        rows = np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)
        return np.asarray(self.take(np.where(rows < 0, rows + len(self), rows))[(slice(None), *others)])

    def take(self, rows: np.ndarray, axis: int = 0, out: np.ndarray | None = None, mode: str = "raise") -> np.ndarray:
        """Copies of some images (n, ...), also for `np.take`.

        Args:
            rows: (n,) numbers in 0 .. N - 1.
            axis: 0.
            out: where they go.
            mode: for `np.take`'s sake.

        Raises:
            IndexError: a number beyond.
        """
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {len(self)}")
        found = np.empty((len(rows), *self.shape[1:]), self.dtype) if out is None else out
        parts = np.searchsorted(self.ends, rows, side="right")
        # One by one: gathering a file's images together would copy them twice.
        for image, part, row in zip(found, parts.tolist(), (rows - self.starts[parts]).tolist(), strict=True):
            image[...] = self.parts[part][row]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.concatenate(self.parts).astype(dtype or self.dtype, copy=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process, which maps the files itself."""
        return MappedFiles, (self.paths,)

    def _part(self, row: int) -> int:
        return int(np.searchsorted(self.ends, row, side="right"))
