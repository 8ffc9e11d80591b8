"""Images that an earlier dataset of the store has stay on their side of a new one."""

from pathlib import Path

import pandas as pd
import pytest

from components.data_analysis.earlier_splits import earlier_splits
from driftloop.dataset import Description, ShardWriter, extend_dataset
from driftloop.dataset.group_names import GroupNames
from driftloop.dataset.reading import read_samples
from driftloop.store import Store
from driftloop.store.local import LocalStore
from tests.factories.datasets import random_split
from tests.factories.serving_store import build_serving_store, register_and_promote, textured_squares

SHARES = {"train": 0.5, "val": 0.1, "test": 0.15, "reference": 0.1, "stream": 0.15}


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def pack(store: Store, seed: int, shares: dict[str, float] = SHARES) -> pd.DataFrame:
    with ShardWriter(image_size=8, channels=1) as writer:
        for number, split in enumerate(("train", "test", "stream")):
            writer.add(split, *random_split(20, seed=10 * seed + number))
        return read_samples(writer.publish(store, classes=["A", "B"], source="", shares=shares), store)


def as_source(samples: pd.DataFrame) -> pd.DataFrame:
    return samples.assign(label="A").astype({"label": str})[["group", "sha256"]].assign(label=["A", "B"] * (len(samples) // 2))


def test_nothing_is_known_in_an_empty_store(store: LocalStore) -> None:
    assert earlier_splits(store, pd.DataFrame({"group": ["p"], "sha256": ["0"], "label": ["A"]}), SHARES) == {}


def test_before_the_first_champion_the_newest_dataset_of_the_same_shares_and_classes_counts(store: LocalStore) -> None:
    first = pack(store, 1)
    pack(store, 2, SHARES | {"test": 0.3})
    source = as_source(first)
    expected = dict(zip(first["group"], first["split"], strict=True))
    assert earlier_splits(store, source, SHARES) == expected
    assert earlier_splits(store, source, SHARES | {"val": 0.2}) == {}
    assert earlier_splits(store, source.assign(label="C"), SHARES) == {}
    pack(store, 3)
    assert earlier_splits(store, source, SHARES) == {}


def test_a_renamed_group_is_known_by_its_images_and_a_new_image_by_its_group(store: LocalStore) -> None:
    first = pack(store, 1)
    renamed = as_source(first).assign(group="another " + first["group"])
    assert earlier_splits(store, renamed, SHARES) == dict(zip(renamed["group"], first["split"], strict=True))
    replaced = as_source(first).assign(sha256="0")
    assert earlier_splits(store, replaced, SHARES) == dict(zip(first["group"], first["split"], strict=True))


def test_a_group_that_joins_two_sides_goes_to_the_side_that_learned(store: LocalStore) -> None:
    first = pack(store, 1)
    joined = as_source(first).assign(group="everybody")
    assert earlier_splits(store, joined, SHARES) == {"everybody": "train"}


def grown(store: Store, dataset: Description) -> Description:
    names = GroupNames.of(store)
    parts = {}
    for number, split in enumerate(("drifted_train", "drifted_val", "drifted_gate", "regime-1")):
        images, labels, samples = textured_squares(4, seed=20 + number)
        parts[split] = (images, labels, samples.assign(group=[names.hashed(group) for group in samples["group"]]))
    return extend_dataset(store, dataset, parts)


def test_the_champions_dataset_counts_whatever_its_shares_and_so_does_what_production_taught_it(tmp_path: Path) -> None:
    store, dataset = build_serving_store(tmp_path, stream=20)
    register_and_promote(store, tmp_path, grown(store, dataset), expected="1", seed=1)
    pack(store, 4)
    groups = {"1-0": "train", "2-0": "reference", "3-0": "stream", "20-0": "train", "21-0": "val", "22-0": "test"}
    source = pd.DataFrame({"group": [*groups, "23-0", "4-0"], "sha256": "0", "label": "bright"})
    assert earlier_splits(store, source, SHARES) == groups


def test_a_champion_whose_dataset_is_gone_leaves_everybody_free(tmp_path: Path) -> None:
    store, dataset = build_serving_store(tmp_path, stream=20)
    store.delete_many([info.key for info in store.list(f"datasets/{dataset.manifest_hash}/")])
    assert earlier_splits(store, pd.DataFrame({"group": ["1-0"], "sha256": "0", "label": "bright"}), SHARES) == {}
