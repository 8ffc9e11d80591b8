"""What the new dataset holds, and what a second and third retraining make of it."""

from pathlib import Path

import numpy as np
import pandas as pd

from components.automated_retraining.grown_dataset import (
    GrownDataset,
    grow,
    in_regime,
    known_samples,
    open_parent,
    provenance_table,
    regimes,
    without_splits,
)
from driftloop.contracts import DRIFTED_GATE, DRIFTED_SPLITS, MOST_REGIMES
from driftloop.dataset import Description, ShardWriter, open_split
from driftloop.dataset.group_names import GroupNames
from driftloop.dataset.reading import read_samples
from driftloop.dataset.roles import LEFT_OUT, REGIME, assign_roles
from driftloop.inference.confirmed_rows import confirmed_rows
from driftloop.inference.log import read_images
from driftloop.inference.traffic import read_traffic
from driftloop.settings import RetrainSettings
from driftloop.store import Store, open_store
from tests.factories.datasets import random_split
from tests.factories.records import CLASSES
from tests.factories.retraining import (
    RetrainingInputs,
    confirmed_windows,
    labelled_requests,
    write_retraining_inputs,
    write_traffic_and_evidence,
)


def drift_again(inputs: RetrainingInputs, folder: Path, parent: Description, number: int) -> tuple[GrownDataset, pd.DataFrame, np.ndarray]:
    """Grow `parent` by the requests of one more confirmed drift."""
    store = open_store(inputs.store)
    rows, images = labelled_requests(150, 90, seed=number, prefix=f"drift{number}-")
    path, _ = write_traffic_and_evidence(folder / f"drift{number}", inputs.store, rows, images, confirmed_windows(rows))
    traffic = read_traffic(path)
    confirmed = confirmed_rows(traffic, confirmed_windows(rows), CLASSES)
    roles = assign_roles(confirmed, known_samples(store, parent), RetrainSettings(), GroupNames(b""))
    images = read_images(store, confirmed)
    return grow(store, parent, confirmed, roles, images), confirmed, roles


def images_under(store: Store) -> int:
    return sum(1 for entry in store.list("datasets/") if entry.key.endswith(".npy"))


def test_labels_fill_three_splits_and_the_rest_is_the_regime(tmp_path: Path) -> None:
    inputs = write_retraining_inputs(tmp_path)
    grown, rows, roles = drift_again(inputs, tmp_path, inputs.parent, 1)
    assert grown.regime == "regime-1"
    assert sum(grown.dataset.counts[split] for split in DRIFTED_SPLITS) == 90
    assert grown.dataset.counts["regime-1"] == np.isin(roles, [REGIME, DRIFTED_GATE]).sum() > 70
    for split, count in inputs.parent.counts.items():
        assert grown.dataset.counts[split] == count
    regime = open_split(grown.dataset, "regime-1")
    assert set(regime.labels) == {-1}
    assert set(regime.samples["path"]) == set(rows.loc[np.isin(roles, [REGIME, DRIFTED_GATE]), "request_id"])


def test_every_image_in_the_dataset_is_the_one_its_request_brought(tmp_path: Path) -> None:
    inputs = write_retraining_inputs(tmp_path)
    grown, rows, _ = drift_again(inputs, tmp_path, inputs.parent, 1)
    images = labelled_requests(150, 90, seed=1, prefix="drift1-")[1]
    index = rows.set_index("request_id")["image"].str.rpartition("#")[2].astype(int)
    for split in (*DRIFTED_SPLITS, "regime-1"):
        part = open_split(grown.dataset, split)
        assert np.array_equal(part.images, images[index[part.samples["path"]].to_numpy()])


def test_images_of_requests_keep_their_tags_and_older_ones_have_none(tmp_path: Path) -> None:
    inputs = write_retraining_inputs(tmp_path)
    grown, rows, _ = drift_again(inputs, tmp_path, inputs.parent, 1)
    samples = read_samples(grown.dataset).drop_duplicates("path").set_index("path")["tags"]
    assert samples.drop(rows["request_id"], errors="ignore").eq("").all()
    added = rows.set_index("request_id")["tags"].reindex(samples.index).dropna()
    assert set(added) == {"", '{"site": "B"}'}
    assert added.equals(samples[added.index])


def test_provenance_names_request_window_label_and_origin_of_every_added_image(tmp_path: Path) -> None:
    inputs = write_retraining_inputs(tmp_path)
    grown, rows, roles = drift_again(inputs, tmp_path, inputs.parent, 1)
    table = provenance_table(rows, roles, CLASSES, grown.regime)
    assert len(table) == (roles != LEFT_OUT).sum() + (roles == DRIFTED_GATE).sum() > 160
    assert set(table["split"]) == {*DRIFTED_SPLITS, "regime-1"}
    assert set(table.loc[table["split"] != "regime-1", "origin"]) == {"random"}
    assert table.loc[table["split"] == "regime-1", "label"].isna().all()
    for split in DRIFTED_SPLITS:
        part = open_split(grown.dataset, split)
        ours = table[table["split"] == split]
        assert ours["request_id"].tolist() == part.samples["path"].tolist()
        assert ours["label"].tolist() == [CLASSES[label] for label in part.labels]


def test_without_rows_set_aside_there_is_no_regime(tmp_path: Path) -> None:
    inputs = write_retraining_inputs(tmp_path)
    _, rows, roles = drift_again(inputs, tmp_path, inputs.parent, 1)
    assert not in_regime(np.where(roles == REGIME, LEFT_OUT, roles)).any()
    assert provenance_table(rows, np.where(roles == REGIME, LEFT_OUT, roles), CLASSES, None)["split"].isin(DRIFTED_SPLITS).all()


def test_growing_twice_does_it_once(tmp_path: Path) -> None:
    inputs = write_retraining_inputs(tmp_path)
    first, _, _ = drift_again(inputs, tmp_path, inputs.parent, 1)
    written = images_under(open_store(inputs.store))
    second, _, _ = drift_again(inputs, tmp_path, inputs.parent, 1)
    assert first.dataset == second.dataset
    assert images_under(open_store(inputs.store)) == written


def test_a_second_retraining_keeps_what_the_first_one_learned_and_its_regime(tmp_path: Path) -> None:
    inputs = write_retraining_inputs(tmp_path)
    first, _, _ = drift_again(inputs, tmp_path, inputs.parent, 1)
    second, _, roles = drift_again(inputs, tmp_path, first.dataset, 2)
    for split in DRIFTED_SPLITS:
        assert second.dataset.counts[split] == first.dataset.counts[split] + (roles == split).sum()
        old, new = open_split(first.dataset, split), open_split(second.dataset, split)
        assert np.array_equal(new.images[: len(old)], old.images)
    assert regimes(second.dataset) == ["regime-1", "regime-2"]
    assert second.dropped == ()


def test_one_retraining_too_many_gives_up_the_oldest_regime_and_nothing_else(tmp_path: Path) -> None:
    inputs = write_retraining_inputs(tmp_path)
    dataset = inputs.parent
    for number in range(1, MOST_REGIMES + 1):
        assert len(regimes(dataset)) == number - 1
        grown, _, _ = drift_again(inputs, tmp_path, dataset, number)
        dataset = grown.dataset
    assert regimes(dataset) == ["regime-2", "regime-3", "regime-4", "regime-5"]
    assert grown.dropped == ("regime-1",)
    assert sum(dataset.counts[split] for split in DRIFTED_SPLITS) == MOST_REGIMES * 90
    assert set(open_split(dataset, "regime-5").samples["path"].str.slice(0, 6)) == {"drift5"}
    assert len(open_split(dataset, "test")) == inputs.parent.counts["test"]


def test_a_dataset_without_a_split_is_read_by_the_same_range(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    with ShardWriter(image_size=8, channels=1, deep_range=4095) as writer:
        writer.add("train", *random_split(20, seed=1))
        writer.add("regime-1", *random_split(5, seed=2))
        whole = writer.publish(store, classes=CLASSES, source="")
    rest = without_splits(store, whole, ["regime-1"])
    assert (rest.deep_range, len(open_split(rest, "train"))) == (4095, 20)


def test_a_store_that_was_moved_is_still_the_home_of_its_datasets(tmp_path: Path) -> None:
    inputs = write_retraining_inputs(tmp_path)
    moved = tmp_path / "elsewhere"
    Path(inputs.store).rename(moved)
    parent = open_parent(open_store(str(moved)), inputs.parent.manifest_hash)
    assert len(open_split(parent, "train")) == 60
