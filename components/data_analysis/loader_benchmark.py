"""How fast training gets its images: packed bytes mapped into memory, against decoding the files for every epoch."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from driftloop.dataset import Split
from driftloop.training.batches import normalise, to_tensor

TIMED_BATCH = 64
TIMED_ROUNDS = 3


@dataclass(frozen=True)
class LoaderSpeed:
    """Images a second of one way to the batches, in one process."""

    images_per_second: float
    """The median of `TIMED_ROUNDS` rounds."""
    slowest: float
    """Of the slowest round."""
    fastest: float
    """Of the fastest round."""


@dataclass(frozen=True)
class LoaderBenchmark:
    """Both ways to the same batches: float32 tensors (64, C, side, side), normalised."""

    packed: LoaderSpeed
    """From packed bytes, memory-mapped."""
    files: LoaderSpeed
    """By decoding the files."""
    images: int
    """How many were loaded in each round: of those drawn, whose files could still be opened."""

    @property
    def speedup(self) -> float:
        return self.packed.images_per_second / self.files.images_per_second


def benchmark_loaders(
    train: Split, files: Mapping[str, Path], mean: Sequence[float], std: Sequence[float], *, seed: int, images: int = 512
) -> LoaderBenchmark | None:
    """Time both ways on the same random training images, one round before the clock starts to fill the file cache for both.

    Args:
        train: the packed split.
        files: the source's, by the path that the samples of the split have.
        mean, std: by channel, on the scale 0-1.
        seed: of the choice of images.
        images: at most so many.

    Returns:
        None where no file can be opened any more: the dataset is packed, and no benchmark is worth the step that made it.
    """
    rows = np.random.default_rng(seed).permutation(len(train))[:images]
    side, channels = train.images.shape[1], train.images.shape[3]
    drawn = [(row, files[path]) for row, path in zip(rows, train.samples["path"].iloc[rows], strict=True) if path in files]
    loadable = [(row, path) for row, path in drawn if _loads(path, side, channels)]
    if not loadable:
        return None
    rows, paths = np.array([row for row, _ in loadable]), [path for _, path in loadable]
    batches = [slice(start, start + TIMED_BATCH) for start in range(0, len(rows), TIMED_BATCH)]
    centre, spread = torch.tensor(list(mean)), torch.tensor(list(std))

    def packed() -> None:
        for batch in batches:
            normalise(to_tensor(train.images[rows[batch]]), centre, spread)

    def decoded() -> None:
        for batch in batches:
            normalise(to_tensor(np.stack([_load(path, side, channels) for path in paths[batch]])), centre, spread)

    threads = torch.get_num_threads()
    # One thread for both: on a busy machine a pool's threads wait for each other longer than these small batches take.
    torch.set_num_threads(1)
    try:
        packed()  # the files have had this round above
        return LoaderBenchmark(_timed(packed, len(rows)), _timed(decoded, len(rows)), len(rows))
    finally:
        torch.set_num_threads(threads)


def _load(path: Path, side: int, channels: int) -> np.ndarray:
    """What torchvision's ImageFolder with a Resize does: open, convert, resize."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L" if channels == 1 else "RGB").resize((side, side), Image.Resampling.BILINEAR))
    return pixels[..., None] if channels == 1 else pixels


def _loads(path: Path, side: int, channels: int) -> bool:
    try:
        _load(path, side, channels)
    except Exception:  # Pillow's readers raise whatever their format makes of a file
        return False
    return True


def _timed(work: Callable[[], None], images: int) -> LoaderSpeed:
    speeds = []
    for _ in range(TIMED_ROUNDS):
        began = time.perf_counter()
        work()
        speeds.append(images / (time.perf_counter() - began))
    return LoaderSpeed(sorted(speeds)[TIMED_ROUNDS // 2], min(speeds), max(speeds))
