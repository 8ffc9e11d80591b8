"""The loaders are timed on the files that can still be opened."""

from pathlib import Path

import numpy as np
import pandas as pd

from components.data_analysis.loader_benchmark import benchmark_loaders
from driftloop.dataset import Split
from tests.factories.image_folders import write_images

MEAN, STD = [0.5], [0.25]


def split_of(paths: list[Path]) -> tuple[Split, dict[str, Path]]:
    images = np.zeros((len(paths), 24, 24, 1), np.uint8)
    names = [path.name for path in paths]
    return Split(images, np.zeros(len(paths), np.int64), pd.DataFrame({"path": names})), dict(zip(names, paths, strict=True))


def test_files_that_cannot_be_opened_are_left_out(tmp_path: Path) -> None:
    train, files = split_of(write_images(tmp_path, 10))
    files["image000.png"].unlink()
    files["image001.png"].write_bytes(b"no image")
    del files["image002.png"]
    timed = benchmark_loaders(train, files, MEAN, STD, seed=0)
    assert timed is not None
    assert timed.images == 7
    assert timed.packed.slowest > 0
    assert timed.files.slowest > 0


def test_nothing_is_timed_where_no_file_can_be_opened(tmp_path: Path) -> None:
    train, files = split_of(write_images(tmp_path, 10))
    for path in files.values():
        path.unlink()
    assert benchmark_loaders(train, files, MEAN, STD, seed=0) is None
