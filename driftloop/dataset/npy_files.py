"""`.npy` files of images whose number is not known when the first one is written."""

from pathlib import Path
from typing import BinaryIO

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
