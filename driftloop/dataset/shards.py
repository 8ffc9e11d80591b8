"""Writing a dataset of any size: images go to shard files as they come, then to the store under the hash of the whole."""

import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pandas as pd

from driftloop.dataset.description import NAME, Description, Shard
from driftloop.dataset.manifest import COLUMNS, manifest_hash
from driftloop.dataset.npy import GrowingNpy, file_sha256
from driftloop.dataset.pixel_counts import PixelCounts
from driftloop.store import Store

PREFIX = "datasets/"
SHARD_BYTES = 512 << 20


class ShardWriter:
    """Takes images by split and publishes them as one dataset.

    Images are held on disk only, in a temporary folder that goes when the writer is left; what stays in memory is the table of
    samples. Batches of different splits may come in any order; within a split the order is kept.

    Args:
        image_size: side of the square images, pixels.
        channels: 1 or 3.
        shard_bytes: a shard is closed when it has grown this large.

    Example:
        with ShardWriter(image_size=64, channels=1) as writer:
            writer.add("train", images, labels, samples)
            description = writer.publish(store, classes=["NORMAL", "PNEUMONIA"], source="data/chest")
    """

    def __init__(self, *, image_size: int, channels: int, shard_bytes: int = SHARD_BYTES) -> None:
        self.image_size, self.channels, self.shard_bytes = image_size, channels, shard_bytes
        self._row_bytes = image_size * image_size * channels
        self.folder = Path(tempfile.mkdtemp(prefix="driftloop-shards-"))
        self.open: dict[str, GrowingNpy] = {}
        self.files: dict[str, list[GrowingNpy]] = {}
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
            samples: n rows with path, group, sha256, width and height; other columns are left out.

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
        frame = samples.assign(label=np.asarray(labels, np.int64), split=split)[list(COLUMNS)]
        self.frames.setdefault(split, []).append(frame)

    def publish(self, store: Store, *, classes: list[str], source: str, parent: Description | None = None) -> Description:
        """Write everything to the store as one dataset and describe it; `dataset.json` comes last and makes it valid.

        The same content gives the same hash and is not written twice.

        Args:
            store: where `datasets/<hash>/` is made.
            classes: names by label.
            source: what the images came from.
            parent: a dataset in the same store whose shards and samples the new one also has, first; its mean and std stay.
        """
        for file in self.open.values():
            file.close()
        self.open = {}
        files = [(split, file) for split, of_split in self.files.items() for file in of_split]
        own = [Shard(key="", split=split, rows=file.rows, sha256=file_sha256(file.path)) for split, file in files]
        frames = [frame for split in self.files for frame in self.frames[split]]
        inherited = [_samples_of(store, parent, self.folder)] if parent else []
        samples = pd.concat([*inherited, *frames], ignore_index=True)
        shards = [*(parent.shards if parent else []), *own]
        name = manifest_hash(classes, self.image_size, self.channels, shards, samples)
        if store.exists(f"{PREFIX}{name}/{NAME}"):
            existing = Description.model_validate_json(store.read(f"{PREFIX}{name}/{NAME}"))
            return existing.model_copy(update={"store": store.uri})
        placed = self._upload(store, name, files, own)
        description = self._describe(store, name, classes, source, parent, [*(parent.shards if parent else []), *placed], samples)
        self._upload_samples(store, description.samples, samples)
        store.put(f"{PREFIX}{name}/{NAME}", (description.model_dump_json(indent=1) + "\n").encode())
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
            key = f"{PREFIX}{name}/{file.path.name}"
            store.upload(key, file.path)
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
            mean=mean,
            std=std,
            counts={split: int(counts[split]) for split in dict.fromkeys(samples["split"])},
            samples=f"{PREFIX}{name}/samples.parquet",
            shards=shards,
            parent=parent.manifest_hash if parent else None,
        )

    def _mean_and_std(self) -> tuple[list[float], list[float]]:
        """Of the training split; of everything where there is none."""
        total = PixelCounts(self.channels)
        for split, counted in self.pixels.items():
            if split == "train" or "train" not in self.pixels:
                total.counts += counted.counts
        return total.mean_and_std()


def _samples_of(store: Store, description: Description, folder: Path) -> pd.DataFrame:
    path = folder / "parent.parquet"
    store.download(description.samples, path)
    return pd.read_parquet(path)
