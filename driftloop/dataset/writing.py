"""Writing a dataset of any size: images go to shard files as they come, then to the store under the hash of the whole.

Mean and deviation of the training images are exact: grey levels are counted. Also here: datasets from arrays, and datasets that grow
out of others.
"""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pandas as pd

from driftloop.bundle import sha256_file
from driftloop.contracts import STRETCH, TRAIN
from driftloop.dataset.description import DATASET_FILE, SAMPLE_COLUMNS, TAGS, Description, Shard, manifest_hash, with_tags_column
from driftloop.dataset.npy_files import GrowingNpy
from driftloop.errors import InputError
from driftloop.prune_marks import take_up
from driftloop.schema import parse_stored
from driftloop.step_facts import write_json
from driftloop.store import Store
from driftloop.store.local import LocalStore

#: Where datasets lie in a store: `datasets/<hash>/`.
DATASETS = "datasets/"
#: The label of an image whose class nobody has said.
UNLABELLED = -1
#: A shard is closed when it has grown this large.
SHARD_BYTES = 512 << 20
#: Images counted at once.
_COUNTED_AT_ONCE = 64

#: Images uint8 (N, side, side, C), labels int (N,), samples with path, group, sha256, width and height.
Part = tuple[np.ndarray, np.ndarray, pd.DataFrame]


def write_dataset(
    store: Store, parts: Mapping[str, Part], *, classes: list[str], source: str, shard_bytes: int = SHARD_BYTES
) -> Description:
    """Publish a dataset whose splits are at hand as arrays.

    Args:
        store: where `datasets/<hash>/` is made.
        parts: by split: images, labels, samples.
        classes: names by label.
        source: what the images came from.
        shard_bytes: size at which a shard is closed.
    """
    first = next(iter(parts.values()))[0]
    with ShardWriter(image_size=first.shape[1], channels=first.shape[3], shard_bytes=shard_bytes) as writer:
        for split, (images, labels, samples) in parts.items():
            writer.add(split, images, labels, samples)
        return writer.publish(store, classes=classes, source=source)


def extend_dataset(store: Store, parent: Description, additions: Mapping[str, Part], *, source: str = "") -> Description:
    """A new dataset with everything in `parent` and the `additions`: nothing is copied, the parent's shards are pointed at.

    Mean and std stay the parent's, since the model that is fine-tuned from it was trained under them. Doing it twice does it once.

    Args:
        store: the parent's home.
        parent: what it grows out of.
        additions: by split (an old one grows, a new one begins): images, labels (-1 for unlabelled), samples.
        source: where the additions came from; default: the parent's source.

    Raises:
        InputError: the parent lies in another store, or the images' size or channels differ.
    """
    take_up(store, "dataset", parent.manifest_hash)
    if not store.exists(parent.samples):
        raise InputError(f"{store.uri}: dataset {parent.manifest_hash[:12]} is not in this store; extend it in its own, {parent.store}")
    with ShardWriter(image_size=parent.image_size, channels=parent.channels, resize=parent.resize, deep_range=parent.deep_range) as writer:
        for split, (images, labels, samples) in additions.items():
            if images.shape[1:] != (parent.image_size, parent.image_size, parent.channels):
                expected = (parent.image_size, parent.image_size, parent.channels)
                raise InputError(f"{split}: images of shape {images.shape[1:]} cannot join a dataset of {expected}")
            writer.add(split, images, labels, samples)
        if not writer.files:
            return parent
        _used_again(store, parent.manifest_hash)
        return writer.publish(store, classes=parent.classes, source=source or parent.source, parent=parent)


def write_description(directory: str | Path, description: Description) -> None:
    """Write `dataset.json` into a dataset artifact's directory, which is made."""
    write_json(Path(directory, DATASET_FILE), description.model_dump())


class ShardWriter:
    """Takes images by split and publishes them as one dataset.

    Images are held on disk only, in a temporary folder that goes when the writer is left, each shard as soon as the store has it; what
    stays in memory is the table of samples. Batches of different splits may come in any order; within a split the order is kept.

    Args:
        image_size: side of the square images, pixels.
        channels: 1 or 3.
        shard_bytes: a shard is closed when it has grown this large.
        resize: how the images were made square, which the description keeps.
        deep_range: by which those of more than 8 bits became 8, likewise.
        splits: in this order in the dataset, whatever comes first; others follow in the order in which they come.

    Example:
        with ShardWriter(image_size=64, channels=1) as writer:
            writer.add("train", images, labels, samples)
            description = writer.publish(store, classes=["NORMAL", "PNEUMONIA"], source="data/chest")
    """

    def __init__(
        self,
        *,
        image_size: int,
        channels: int,
        shard_bytes: int = SHARD_BYTES,
        resize: str = STRETCH,
        deep_range: int = 0,
        splits: Sequence[str] = (),
    ) -> None:
        self.image_size, self.channels, self.shard_bytes = image_size, channels, shard_bytes
        self.resize, self.deep_range = resize, deep_range
        self._row_bytes = image_size * image_size * channels
        self.folder = Path(tempfile.mkdtemp(prefix="driftloop-shards-"))
        self.open: dict[str, GrowingNpy] = {}
        self.files: dict[str, list[GrowingNpy]] = {split: [] for split in splits}
        self.frames: dict[str, list[pd.DataFrame]] = {}
        self.pixels: dict[str, PixelCounts] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for file in self.open.values():
            file.stream.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def add(self, split: str, images: np.ndarray, labels: np.ndarray, samples: pd.DataFrame) -> None:
        """Append images to a split.

        Args:
            split: its name.
            images: uint8 (n, side, side, channels).
            labels: int (n,), the class's number or -1 for unlabelled.
            samples: n rows with path, group, sha256, width and height, and perhaps tags; other columns are left out.

        Raises:
            ValueError: images of another type or shape, or not as many labels or samples.
        """
        if not len(images) == len(labels) == len(samples):
            raise ValueError(f"{split}: {len(images)} images, {len(labels)} labels and {len(samples)} samples")
        if not len(images):
            return
        start = 0
        while start < len(images):
            file = self._file(split)
            end = start + max(1, self.shard_bytes // self._row_bytes - file.rows)
            file.append(images[start:end])
            start = end
        self.pixels.setdefault(split, PixelCounts(self.channels)).add(images)
        frame = with_tags_column(samples.assign(label=np.asarray(labels, np.int64), split=split))[[*SAMPLE_COLUMNS, TAGS]]
        self.frames.setdefault(split, []).append(frame)

    def publish(
        self,
        store: Store,
        *,
        classes: list[str],
        source: str,
        parent: Description | None = None,
        shares: Mapping[str, float] | None = None,
        naming: Mapping[str, str] | None = None,
    ) -> Description:
        """Write everything to the store as one dataset and describe it; `dataset.json` comes last and makes it valid.

        The same content gives the same hash and is not written twice.

        Args:
            store: where `datasets/<hash>/` is made.
            classes: names by label.
            source: what the images came from.
            parent: a dataset in the same store whose shards and samples the new one also has, first; its mean and std stay.
            shares: by which the splits were cut; default: the parent's.
            naming: the settings by which the names of files were read; default: the parent's.
        """
        for file in self.open.values():
            file.close()
        self.open = {}
        files = [(split, file) for split, of_split in self.files.items() for file in of_split]
        own = [Shard(key="", split=split, rows=file.rows, sha256=sha256_file(file.path)) for split, file in files]
        frames = [frame for split in self.files for frame in self.frames.get(split, [])]
        inherited = [_samples_of(store, parent, self.folder)] if parent else []
        samples = pd.concat([*inherited, *frames], ignore_index=True)
        shards = [*(parent.shards if parent else []), *own]
        name = manifest_hash(classes, self.image_size, self.channels, shards, samples, self.resize, self.deep_range)
        take_up(store, "dataset", name)
        if store.exists(f"{DATASETS}{name}/{DATASET_FILE}"):
            return _used_again(store, name).model_copy(update={"store": store.uri})
        placed = self._upload(store, name, files, own)
        description = self._describe(store, name, classes, source, parent, [*(parent.shards if parent else []), *placed], samples)
        kept = {"shares": shares or (parent.shares if parent else {}), "naming": naming or (parent.naming if parent else {})}
        description = description.model_copy(update={name: dict(value) for name, value in kept.items()})
        self._upload_samples(store, description.samples, samples)
        store.put(f"{DATASETS}{name}/{DATASET_FILE}", (description.model_dump_json(indent=1) + "\n").encode())
        return description

    def _file(self, split: str) -> GrowingNpy:
        """The shard that takes the split's next images."""
        current = self.open.get(split)
        if current is not None and (current.rows + 1) * self._row_bytes > self.shard_bytes:
            self.open.pop(split).close()
            current = None
        if current is None:
            of_split = self.files.setdefault(split, [])
            path = self.folder / f"images-{split}-{len(of_split):05d}.npy"
            current = self.open[split] = GrowingNpy(path, (self.image_size, self.image_size, self.channels))
            of_split.append(current)
        return current

    def _upload(self, store: Store, name: str, files: list[tuple[str, GrowingNpy]], own: list[Shard]) -> list[Shard]:
        placed = []
        for (_, file), shard in zip(files, own, strict=True):
            key = f"{DATASETS}{name}/{file.path.name}"
            if isinstance(store, LocalStore):
                store.adopt(key, file.path)
            else:
                store.upload(key, file.path)
                file.path.unlink()
            placed.append(shard.model_copy(update={"key": key}))
        return placed

    def _upload_samples(self, store: Store, key: str, samples: pd.DataFrame) -> None:
        path = self.folder / "samples.parquet"
        samples.to_parquet(path, index=False)
        store.upload(key, path)

    def _describe(
        self,
        store: Store,
        name: str,
        classes: list[str],
        source: str,
        parent: Description | None,
        shards: list[Shard],
        samples: pd.DataFrame,
    ) -> Description:
        mean, std = (parent.mean, parent.std) if parent else self._mean_and_std()
        counts = samples["split"].value_counts()
        return Description(
            manifest_hash=name,
            store=store.uri,
            source=source,
            classes=classes,
            image_size=self.image_size,
            channels=self.channels,
            resize=self.resize,
            deep_range=self.deep_range,
            mean=mean,
            std=std,
            counts={split: int(counts[split]) for split in dict.fromkeys(samples["split"])},
            samples=f"{DATASETS}{name}/samples.parquet",
            shards=shards,
            parent=parent.manifest_hash if parent else None,
        )

    def _mean_and_std(self) -> tuple[list[float], list[float]]:
        """Of the training split; of everything where there is none."""
        total = PixelCounts(self.channels)
        for split, pixels in self.pixels.items():
            if split == TRAIN or TRAIN not in self.pixels:
                total.counts += pixels.counts
        return total.mean_and_std()


class PixelCounts:
    """How often each grey level occurs in each channel: (channels, 256) integers, the same whatever the order of the images."""

    def __init__(self, channels: int) -> None:
        self.counts = np.zeros((channels, 256), np.int64)

    def add(self, images: np.ndarray) -> None:
        """Count uint8 images (N, H, W, C)."""
        for start in range(0, len(images), _COUNTED_AT_ONCE):
            part = images[start : start + _COUNTED_AT_ONCE]
            for channel in range(len(self.counts)):
                self.counts[channel] += np.bincount(part[..., channel].ravel(), minlength=256)

    def mean_and_std(self) -> tuple[list[float], list[float]]:
        """By channel, on the scale 0-1. A constant channel gets the deviation of one grey level, so that dividing by it is harmless."""
        levels = np.arange(256) / 255
        total = np.maximum(self.counts.sum(1), 1)
        mean = (self.counts * levels).sum(1) / total
        variance = (self.counts * (levels[None] - mean[:, None]) ** 2).sum(1) / total
        std = np.maximum(np.sqrt(variance), 1 / 255)
        return [round(float(value), 8) for value in mean], [round(float(value), 8) for value in std]


def _used_again(store: Store, name: str) -> Description:
    """The description of a dataset that is there. It is written again as it is: a prune spares what was written lately."""
    key = f"{DATASETS}{name}/{DATASET_FILE}"
    data = store.read(key)
    description = parse_stored(Description, data, f"{store.uri}/{key}")
    store.put(key, data)
    return description


def _samples_of(store: Store, description: Description, folder: Path) -> pd.DataFrame:
    path = folder / "parent.parquet"
    store.download(description.samples, path)
    return with_tags_column(pd.read_parquet(path))
