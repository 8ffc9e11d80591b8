"""What is written is read back, once, checked, and without holding it in memory."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driftloop.dataset import (
    UNLABELLED,
    Description,
    ShardWriter,
    extend_dataset,
    open_split,
    read_description,
    write_dataset,
    write_description,
)
from driftloop.dataset.npy_files import give_back
from driftloop.dataset.reading import stored_description
from driftloop.errors import InputError, IntegrityError, NotFound
from driftloop.store import open_store
from driftloop.store.local import LocalStore
from tests.factories.datasets import random_split

CLASSES = ["NORMAL", "PNEUMONIA"]


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTLOOP_CACHE", str(tmp_path / "cache"))


def test_a_split_comes_back_as_it_was_written(store: LocalStore, tmp_path: Path) -> None:
    parts = {"train": random_split(20, seed=1), "test": random_split(10, seed=2)}
    description = write_dataset(store, parts, classes=CLASSES, source="here")
    write_description(tmp_path / "artifact", description)
    assert read_description(tmp_path / "artifact") == description
    for name, (images, labels, samples) in parts.items():
        split = open_split(tmp_path / "artifact", name)
        assert np.array_equal(split.images, images)
        assert split.labels.tolist() == labels.tolist()
        assert split.labels.dtype == np.int64
        assert split.samples["path"].tolist() == samples["path"].tolist()
        assert split.samples["split"].unique().tolist() == [name]
        assert list(split.samples) == ["path", "label", "split", "group", "sha256", "width", "height", "tags"]
        assert len(split) == len(images)


def test_mean_and_std_are_those_of_the_training_pixels(store: LocalStore) -> None:
    images, labels, samples = random_split(30, seed=1, channels=3)
    description = write_dataset(
        store, {"test": random_split(9, seed=2, channels=3), "train": (images, labels, samples)}, classes=CLASSES, source=""
    )
    assert description.mean == pytest.approx((images / 255).mean((0, 1, 2)).tolist())
    assert description.std == pytest.approx((images / 255).std((0, 1, 2)).tolist())


def test_a_split_of_several_shards_is_read_like_one_array_where_they_lie(store: LocalStore, tmp_path: Path) -> None:
    images, labels, samples = random_split(50, seed=1, channels=3)
    description = write_dataset(store, {"train": (images, labels, samples)}, classes=CLASSES, source="", shard_bytes=7 * 192)
    assert [shard.rows for shard in description.shards] == [7] * 7 + [1]
    found = open_split(description, "train").images
    assert np.array_equal(found, images)
    assert (len(found), found.shape, found.dtype, found.ndim, found.nbytes) == (50, (50, 8, 8, 3), np.uint8, 4, images.nbytes)
    assert not (tmp_path / "cache").exists()


def test_the_images_of_several_files_are_indexed_as_numpy_indexes(store: LocalStore) -> None:
    images, labels, samples = random_split(50, seed=1, channels=3)
    description = write_dataset(store, {"train": (images, labels, samples)}, classes=CLASSES, source="", shard_bytes=7 * 192)
    split = open_split(description, "train")
    shuffled = np.random.default_rng(1).permutation(50)
    indices: list[Any] = [
        0,
        6,
        7,
        49,
        -1,
        -50,
        np.int64(13),
        slice(None),
        slice(2, 5),
        slice(5, 9),
        slice(40, 99),
        slice(9, 3),
        slice(-3, None),
    ]
    indices += [slice(None, None, -3), shuffled, shuffled - 50, shuffled[:1], [3, 30], [], shuffled < 20, np.zeros(50, bool)]
    indices += [(4, 3), (slice(0, 20), slice(2, 4), ..., 0), (shuffled, slice(None), 1), (-2, ..., 1)]
    for again in (split.images, pickle.loads(pickle.dumps(split.images))):
        for index in indices:
            expected = images[index]
            assert again[index].shape == expected.shape, index
            assert np.array_equal(again[index], expected), index
        assert all(map(np.array_equal, again, images))
    gathered = np.empty_like(images)
    np.take(split.images, shuffled, axis=0, out=gathered, mode="clip")
    assert np.array_equal(gathered, images[shuffled])
    for beyond in (50, -51, [0, 50], [-51]):
        with pytest.raises(IndexError):
            split.images[beyond]


@pytest.mark.parametrize("shard_bytes", [64 << 20, 5 << 20])
def test_memory_of_mapped_images_is_given_back(store: LocalStore, shard_bytes: int) -> None:
    images, labels, samples = random_split(20, seed=1, side=1024)
    description = write_dataset(store, {"train": (images, labels, samples)}, classes=CLASSES, source="", shard_bytes=shard_bytes)
    mapped = open_split(description, "train").images
    before = _resident_mib()
    assert all(mapped[row : row + 1].max() for row in range(20))
    assert _resident_mib() - before > 15
    give_back(mapped)
    assert _resident_mib() - before < 5
    assert np.array_equal(mapped, images)
    give_back(images)  # of no file: they stay


def _resident_mib() -> float:
    """Of files, in this process."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssFile:")[1].split()[0]) / 1024


def test_batches_of_several_splits_may_come_in_any_order(store: LocalStore) -> None:
    images, labels, samples = random_split(12, seed=1)
    with ShardWriter(image_size=8, channels=1, shard_bytes=5 * 64) as writer:
        for start in range(0, 12, 3):
            rows = slice(start, start + 3)
            writer.add("train" if start % 2 else "val", images[rows], labels[rows], samples.iloc[rows])
        description = writer.publish(store, classes=CLASSES, source="")
    assert description.counts == {"val": 6, "train": 6}
    assert np.array_equal(open_split(description, "val").images, np.concatenate([images[0:3], images[6:9]]))


def test_shards_are_closed_at_their_size(store: LocalStore) -> None:
    images, labels, samples = random_split(12, seed=1)
    with ShardWriter(image_size=8, channels=1, shard_bytes=5 * 64) as writer:
        for row in range(12):
            writer.add("train", images[row : row + 1], labels[row : row + 1], samples.iloc[row : row + 1])
        description = writer.publish(store, classes=CLASSES, source="")
    assert [shard.rows for shard in description.shards] == [5, 5, 2]


def test_writing_twice_is_writing_once(store: LocalStore) -> None:
    parts = {"train": random_split(20, seed=1), "test": random_split(10, seed=2)}
    first = write_dataset(store, parts, classes=CLASSES, source="here")
    before = {info.key: (info.modified, store.read(info.key)) for info in store.list()}
    assert write_dataset(store, parts, classes=CLASSES, source="here") == first
    after = {info.key: (info.modified, store.read(info.key)) for info in store.list()}
    # Only dataset.json is written again, as it was: it is in use, and a prune spares what was written lately.
    description = f"datasets/{first.manifest_hash}/dataset.json"
    assert after.pop(description)[1] == before.pop(description)[1]
    assert after == before


def test_the_hash_follows_pixels_labels_and_splits(store: LocalStore) -> None:
    images, labels, samples = random_split(20, seed=1)
    changed = images.copy()
    changed[3, 4, 5] ^= 1
    variants = [
        {"train": (images, labels, samples)},
        {"train": (changed, labels, samples)},
        {"train": (images, 1 - labels, samples)},
        {"test": (images, labels, samples)},
        {"train": (images, labels, samples.assign(group="one"))},
    ]
    hashes = {write_dataset(store, variant, classes=CLASSES, source="").manifest_hash for variant in variants}
    assert len(hashes) == len(variants)


def test_how_images_were_made_square_is_part_of_a_dataset_and_of_what_grows_out_of_it(store: LocalStore) -> None:
    described = {}
    for resize in ("stretch", "crop"):
        with ShardWriter(image_size=8, channels=1, resize=resize) as writer:
            writer.add("train", *random_split(20, seed=1))
            described[resize] = writer.publish(store, classes=CLASSES, source="")
    assert described["stretch"] == write_dataset(store, {"train": random_split(20, seed=1)}, classes=CLASSES, source="")
    assert described["crop"].manifest_hash != described["stretch"].manifest_hash, "a model of the one decodes otherwise"
    grown = extend_dataset(store, described["crop"], {"val": random_split(5, seed=2)})
    assert (grown.resize, len(open_split(grown, "train"))) == ("crop", 20)
    older = described["stretch"].model_dump(exclude={"resize"})
    assert Description(**older) == described["stretch"], "datasets of earlier releases are stretched"


def test_by_which_range_images_became_eight_bits_is_part_of_a_dataset_and_of_what_grows_out_of_it(store: LocalStore) -> None:
    described = {}
    for deep_range in (0, 4095):
        with ShardWriter(image_size=8, channels=1, deep_range=deep_range) as writer:
            writer.add("train", *random_split(20, seed=1))
            described[deep_range] = writer.publish(store, classes=CLASSES, source="")
    assert described[4095].manifest_hash != described[0].manifest_hash, "a model of the one decodes otherwise"
    older = described[0].model_dump(exclude={"deep_range"})
    assert Description(**older) == described[0], "datasets of earlier releases have none"
    grown = extend_dataset(store, described[4095], {"val": random_split(5, seed=3)})
    assert (grown.deep_range, len(open_split(grown, "train"))) == (4095, 20)


def test_a_dataset_without_its_description_is_written_again(store: LocalStore) -> None:
    parts = {"train": random_split(20, seed=1)}
    description = write_dataset(store, parts, classes=CLASSES, source="")
    store.delete(f"datasets/{description.manifest_hash}/dataset.json")
    assert write_dataset(store, parts, classes=CLASSES, source="") == description
    assert store.exists(f"datasets/{description.manifest_hash}/dataset.json")


def test_an_extended_dataset_points_at_its_parents_shards(store: LocalStore) -> None:
    parts = {"train": random_split(20, seed=1), "test": random_split(10, seed=2)}
    parent = write_dataset(store, parts, classes=CLASSES, source="")
    new = random_split(5, seed=3)
    regime = (random_split(7, seed=4)[0], np.full(7, UNLABELLED), random_split(7, seed=4)[2])
    child = extend_dataset(store, parent, {"drifted_train": new, "regime-1": regime, "train": random_split(4, seed=5)})
    assert child.shards[: len(parent.shards)] == parent.shards
    assert child.parent == parent.manifest_hash
    assert (child.mean, child.std) == (parent.mean, parent.std)
    assert child.counts == {"train": 24, "test": 10, "drifted_train": 5, "regime-1": 7}
    assert np.array_equal(open_split(child, "drifted_train").images, new[0])
    assert np.array_equal(open_split(child, "train").images, np.concatenate([parts["train"][0], random_split(4, seed=5)[0]]))
    assert np.array_equal(open_split(child, "test").images, parts["test"][0])
    assert set(open_split(child, "regime-1").labels) == {UNLABELLED}
    assert np.array_equal(open_split(parent, "train").images, parts["train"][0]), "the parent stays what it was"


def test_extending_twice_is_extending_once_and_with_nothing_gives_the_parent(store: LocalStore) -> None:
    parent = write_dataset(store, {"train": random_split(20, seed=1)}, classes=CLASSES, source="")
    additions = {"drifted_train": random_split(5, seed=3)}
    assert extend_dataset(store, parent, additions) == extend_dataset(store, parent, additions)
    assert extend_dataset(store, parent, {}) == parent


def test_extending_with_other_images_or_in_another_store_is_refused(store: LocalStore, tmp_path: Path) -> None:
    parent = write_dataset(store, {"train": random_split(20, seed=1)}, classes=CLASSES, source="")
    with pytest.raises(InputError, match="cannot join"):
        extend_dataset(store, parent, {"drifted_train": random_split(5, seed=3, side=16)})
    with pytest.raises(InputError, match="not in this store"):
        extend_dataset(LocalStore(tmp_path / "other"), parent, {"drifted_train": random_split(5, seed=3)})


def test_a_missing_split_and_a_missing_dataset_are_named(store: LocalStore, tmp_path: Path) -> None:
    description = write_dataset(store, {"train": random_split(20, seed=1)}, classes=CLASSES, source="")
    with pytest.raises(InputError, match=r"has no split 'test'; it has train"):
        open_split(description, "test")
    with pytest.raises(InputError, match="not a dataset"):
        open_split(tmp_path, "train")


@pytest.mark.parametrize("shard_bytes", [1 << 20, 7 * 64])
def test_a_damaged_shard_is_noticed(store: LocalStore, shard_bytes: int) -> None:
    description = write_dataset(store, {"train": random_split(20, seed=1)}, classes=CLASSES, source="", shard_bytes=shard_bytes)
    path = store.path(description.shards[0].key)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match="damaged"):
        open_split(description, "train")


def test_a_changed_samples_table_is_noticed(store: LocalStore) -> None:
    description = write_dataset(store, {"train": random_split(20, seed=1)}, classes=CLASSES, source="")
    samples = open_split(description, "train").samples
    samples.assign(label=1 - samples["label"]).to_parquet(store.path(description.samples), index=False)
    with pytest.raises(IntegrityError, match=r"samples\.parquet"):
        open_split(description, "train")


def test_a_deleted_shard_is_named(store: LocalStore) -> None:
    description = write_dataset(store, {"train": random_split(20, seed=1)}, classes=CLASSES, source="")
    store.delete(description.shards[0].key)
    with pytest.raises(NotFound, match="run data_analysis anew"):
        open_split(description, "train")


def test_changing_an_opened_image_does_not_change_the_store(store: LocalStore) -> None:
    images, labels, samples = random_split(20, seed=1)
    description = write_dataset(store, {"train": (images, labels, samples)}, classes=CLASSES, source="")
    open_split(description, "train").images[:] = 0
    assert np.array_equal(open_split(description, "train").images, images)


def test_the_writer_refuses_what_does_not_fit() -> None:
    images, labels, samples = random_split(4, seed=1)
    with ShardWriter(image_size=8, channels=1) as writer:
        with pytest.raises(ValueError, match="uint8"):
            writer.add("train", images.astype(np.float32), labels, samples)
        with pytest.raises(ValueError, match="4 images, 3 labels"):
            writer.add("train", images, labels[:3], samples)


def test_the_writers_temporary_folder_goes_even_after_an_error(store: LocalStore) -> None:
    images, labels, samples = random_split(4, seed=1)

    def write_and_fail() -> None:
        with ShardWriter(image_size=8, channels=1) as writer:
            folders.append(writer.folder)
            writer.add("train", images, labels, samples)
            raise RuntimeError("stop")

    folders: list[Path] = []
    with pytest.raises(RuntimeError, match="stop"):
        write_and_fail()
    assert not folders[0].exists()
    assert not list(store.list())


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    """200 MB of images go through a process whose peak stays far below that."""
    script = """
import resource, sys
import numpy as np, pandas as pd
from driftloop.dataset import ShardWriter, open_split
from driftloop.store.local import LocalStore

def batch(number):
    images = np.full((200, 128, 128, 1), number % 251, np.uint8)
    samples = pd.DataFrame({"path": [f"{number}/{row}" for row in range(200)], "group": "g", "sha256": "0" * 64, "width": 1, "height": 1})
    return images, np.zeros(200, np.int64), samples

with ShardWriter(image_size=128, channels=1, shard_bytes=32 << 20) as writer:
    writer.add("train", *batch(0))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(1, 64):
        writer.add("train", *batch(number))
    writer.publish(LocalStore(sys.argv[1]), classes=["A", "B"], source="")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "big")], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 60


def test_the_same_works_over_s3(s3_uri: str, tmp_path: Path) -> None:
    store = open_store(s3_uri)
    images, labels, samples = random_split(30, seed=1)
    description = write_dataset(store, {"train": (images, labels, samples)}, classes=CLASSES, source="", shard_bytes=20 * 64)
    for _ in ("fetched", "from the cache"):
        assert np.array_equal(open_split(description, "train").images, images)
    child = extend_dataset(store, description, {"drifted_train": random_split(5, seed=3)})
    assert len(open_split(child, "drifted_train")) == 5
    single = child.shards[-1]
    cached = tmp_path / "cache" / f"{single.sha256}.npy"
    cached.write_bytes(b"damaged")
    assert len(open_split(child, "drifted_train")) == 5, "a damaged copy in the cache is fetched again"


def test_a_damaged_description_is_one_line_and_is_not_written_over(store: LocalStore, tmp_path: Path) -> None:
    parts = {"train": random_split(4, seed=1), "test": random_split(4, seed=2)}
    key = f"datasets/{write_dataset(store, parts, classes=CLASSES, source='here').manifest_hash}/dataset.json"
    store.put(key, b"{")
    for use in (
        lambda: write_dataset(store, parts, classes=CLASSES, source="here"),
        lambda: stored_description(store, key.split("/")[1]),
        lambda: read_description(store.path(key).parent),
    ):
        with pytest.raises(IntegrityError, match=r"dataset\.json: damaged, .*; restore it from a backup"):
            use()
    assert store.read(key) == b"{"
