"""Mini-batches of a split: uint8 in memory (or memory-mapped), turned into normalised floats batch by batch.

How stored images become what a network takes stands here alone: training, validation and export must agree.

No loader processes: indexing, augmenting and normalising a batch of bytes costs less than handing it over from another process
(measured on two cores). On a GPU all of it runs there, and nothing waits: a split that fits lies in its memory as a whole; of a larger one
a thread gathers the next batches in page-locked memory while the GPU works on the last.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from driftloop.training.augmentation import Augmentation, mix
from driftloop.training.cuda_graph import Replayed
from driftloop.training.device import send
from driftloop.training.distributed import current
from driftloop.training.epoch import Batch
from driftloop.training.seeding import derive

#: Of a GPU's free memory, what a split may take to lie there as a whole.
RESIDENT_SHARE = 0.25
#: Images that are copied there together.
COPIED_TOGETHER = 2048
#: Batches that are gathered ahead of the GPU where the split does not lie there.
AHEAD = 3
#: The epoch's image numbers, (steps, batch size) int or batches of any sizes, from a seeded generator: a sampler other than shuffling.
Order = Callable[[np.random.Generator, int, int], np.ndarray | list[np.ndarray]]


def to_tensor(images: np.ndarray) -> Tensor:
    """Stored images uint8 (N, H, W, C) -> the same bytes as a tensor (N, C, H, W), which is channels-last in memory."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Grey levels 0-255 (N, C, H, W) of any type -> float32 (x / 255 - mean) / std; mean and std are (C,), on the scale 0-1."""
    scale = 1.0 / (255.0 * std)
    shift = -mean / std
    return torch.addcmul(shift[:, None, None], images.float(), scale[:, None, None])


class Pixels:
    """The images of a split on their way to a device; one that fits lies on the GPU as a whole."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, mean: Sequence[float], std: Sequence[float], device: torch.device) -> None:
        if len(images) == 0 or len(images) != len(labels):
            raise ValueError(f"needs images and as many labels, got {len(images)} and {len(labels)}")
        self.images, self.labels = images, np.asarray(labels, np.int64)
        self.device, self.device_labels = device, torch.tensor(self.labels, device=device)
        self.mean = torch.tensor(list(mean), dtype=torch.float32, device=device)
        self.std = torch.tensor(list(std), dtype=torch.float32, device=device)
        self.resident = None
        if device.type == "cuda" and images.nbytes < torch.cuda.mem_get_info(device)[0] * RESIDENT_SHARE:
            self.resident = torch.empty(images.shape, dtype=torch.uint8, device=device).permute(0, 3, 1, 2)
            for start in range(0, len(images), COPIED_TOGETHER):
                self.resident[start : start + COPIED_TOGETHER] = to_tensor(np.array(images[start : start + COPIED_TOGETHER]))

    def take(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Images uint8 (n, C, H, W) and labels (n,) int64 of `rows`, on the device."""
        on_device = send(torch.from_numpy(rows), self.device)
        images = self.resident[on_device] if self.resident is not None else send(to_tensor(self.images[rows]), self.device)
        return images, self.device_labels[on_device]

    def take_each(self, batches: Sequence[np.ndarray]) -> Iterator[tuple[Tensor, Tensor]]:
        """`take` for one batch of rows after the other; on a GPU, what has to come from this process's memory is gathered ahead."""
        if self.device.type != "cuda" or self.resident is not None:
            yield from map(self.take, batches)
            return
        # One thread: it keeps the order, and copies more than a network takes.
        with ThreadPoolExecutor(1) as gathering:
            waiting: deque[Future[Tensor]] = deque()
            for position, rows in enumerate(batches):
                for following in batches[position + len(waiting) : position + AHEAD]:
                    waiting.append(gathering.submit(self._gather, following))
                images = waiting.popleft().result().to(self.device, non_blocking=True)
                yield images, self.device_labels[send(torch.from_numpy(rows), self.device)]

    def _gather(self, rows: np.ndarray) -> Tensor:
        """Images uint8 (n, C, H, W) in page-locked memory."""
        place = torch.empty((len(rows), *self.images.shape[1:]), dtype=torch.uint8, pin_memory=True)
        np.take(self.images, rows, axis=0, out=place.numpy(), mode="clip")  # "raise" would gather elsewhere first
        return place.permute(0, 3, 1, 2)

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process: a file that lies in memory is opened there, and the device is the one of that process."""
        return _pixels, (MappedFile.of(self.images), self.labels, self.mean.tolist(), self.std.tolist(), self.device.type)

    def normalise(self, images: Tensor) -> Tensor:
        return normalise(images, self.mean, self.std).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class MappedFile:
    """Where the bytes of a memory-mapped array are, to map them again."""

    path: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int

    @classmethod
    def of(cls, array: np.ndarray) -> "MappedFile | np.ndarray":
        """Of an array that is a contiguous part of a mapped file; any other comes back as it is."""
        base: Any = array
        while isinstance(base, np.ndarray) and isinstance(base.base, np.ndarray):
            base = base.base
        if not isinstance(base, np.memmap) or base.filename is None or not array.flags.c_contiguous:
            return array
        start = array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
        return cls(str(base.filename), array.dtype, array.shape, base.offset + start)

    def opened(self) -> np.ndarray:
        """The array, copied where it is written to."""
        return np.memmap(self.path, self.dtype, "c", self.offset, self.shape).view(np.ndarray)


def _pixels(images: MappedFile | np.ndarray, labels: np.ndarray, mean: list[float], std: list[float], kind: str) -> Pixels:
    device = torch.device(kind, torch.cuda.current_device()) if kind == "cuda" else torch.device(kind)
    return Pixels(images.opened() if isinstance(images, MappedFile) else images, labels, mean, std, device)


def ordered_batch_size(shape: tuple[int, ...]) -> int:
    """Of images (N, H, W, C): 256 of 64 pixels, or as many larger ones as take the same memory."""
    return max(8, min(256, 256 * 64**2 // (shape[1] * shape[2])))


class OrderedBatches:
    """Every image once, in order, unchanged: for validating and predicting. Processes that share a training share the batches.

    Args:
        images: uint8 (N, H, W, C).
        labels: int (N,).
        mean, std: by channel, on the scale 0-1.
        device: where the batches go.
        batch_size: images per batch; None for `ordered_batch_size`.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device,
        batch_size: int | None = None,
    ) -> None:
        self.pixels = Pixels(images, labels, mean, std, device)
        self.batch_size = batch_size or ordered_batch_size(images.shape)

    @property
    def labels(self) -> np.ndarray:
        """The labels, (N,) int64, in the order of the batches."""
        return self.pixels.labels

    def __iter__(self) -> Iterator[Batch]:
        rows = np.arange(len(self.labels))
        batches = np.split(rows, range(self.batch_size, len(rows), self.batch_size))
        for images, labels in self.pixels.take_each(batches[current().share]):
            yield self.pixels.normalise(images), labels


def steps_per_epoch(images: int, batch_size: int, min_steps: int) -> int:
    """Full batches in a pass, and `min_steps` at least."""
    return max(min_steps, images // batch_size, 1)


class TrainingBatches:
    """Shuffled, augmented batches; an epoch is determined by its seed alone.

    All batches are full: what is left over at an epoch's end waits for the next shuffle, and a split smaller than `min_steps` batches
    is gone through several times, so that an epoch of a tiny dataset has steps enough.

    Args:
        images: uint8 (N, H, W, C).
        labels: int (N,).
        mean, std: by channel, on the scale 0-1.
        device: where the batches go.
        batch_size: images per batch.
        augmentation: random views, or None.
        mixup_alpha: strength of mixup, 0 for none; targets are then class probabilities.
        cutmix_alpha: strength of CutMix, likewise.
        classes: K, needed for both.
        min_steps: steps per epoch at least.
        order: another sampler than shuffling: called with a generator, the steps and the batch size.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device,
        batch_size: int = 64,
        augmentation: Augmentation | None = None,
        mixup_alpha: float = 0.0,
        cutmix_alpha: float = 0.0,
        classes: int = 2,
        min_steps: int = 1,
        order: Order | None = None,
    ) -> None:
        self.pixels = Pixels(images, labels, mean, std, device)
        self.batch_size, self.augmentation, self.classes = batch_size, augmentation, classes
        self.mixup_alpha, self.cutmix_alpha = mixup_alpha, cutmix_alpha
        self.steps = steps_per_epoch(len(images), batch_size, min_steps)
        self._views = Replayed(self._show) if device.type == "cuda" else self._show
        self.order = order or self._shuffled

    def epoch(self, seed: int) -> Iterator[Batch]:
        """The batches of the epoch that `seed` stands for."""
        rows = self.order(np.random.default_rng(seed), self.steps, self.batch_size)
        generator = torch.Generator().manual_seed(derive(seed, 1))
        own = current().share
        mixing = self.mixup_alpha > 0 or self.cutmix_alpha > 0
        # Mixing takes from images of other processes: each makes the whole batch of it.
        early, late = (slice(None), own) if mixing else (own, slice(None))
        for batch, (images, labels) in zip(rows, self.pixels.take_each([batch[early] for batch in rows]), strict=True):
            if self.augmentation and len(images):
                images = self.augmentation.operate(images, self.augmentation.draw_operations(len(batch), generator)[:, early])
                inputs = self._views(images, send(self.augmentation.draw(len(batch), generator)[:, early], images.device))
            else:
                inputs = self.pixels.normalise(images)
            if mixing:
                targets = F.one_hot(labels, self.classes).float()
                inputs, labels = mix(inputs, targets, self.mixup_alpha, self.cutmix_alpha, generator)
            yield inputs[late], labels[late]

    def _show(self, images: Tensor, amounts: Tensor) -> Tensor:
        """Views of images, as a network takes them."""
        assert self.augmentation
        return self.pixels.normalise(self.augmentation.apply(images.float(), amounts))

    def _shuffled(self, rng: np.random.Generator, steps: int, batch_size: int) -> np.ndarray:
        n = len(self.pixels.labels)
        rounds = -(-steps * batch_size // n)
        rows = np.concatenate([rng.permutation(n) for _ in range(rounds)])
        return rows[: steps * batch_size].reshape(steps, batch_size)


def class_weights(labels: np.ndarray, classes: int) -> Tensor:
    """Weights (K,) that make each class count alike in the loss: N / (K * count), and 0 for a class without images."""
    counts = np.bincount(labels, minlength=classes).astype(np.float64)
    weights = np.divide(len(labels), classes * counts, out=np.zeros(classes), where=counts > 0)
    return torch.tensor(weights, dtype=torch.float32)
