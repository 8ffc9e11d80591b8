"""A source's own splits stay, the others are cut by group, and every class gets its place."""

import numpy as np
import pandas as pd
import pytest

from components.data_analysis.splits import assign_splits
from driftloop.errors import InputError
from driftloop.settings import DataSettings

SETTINGS = DataSettings()


def frame(groups: list[str], labels: list[str], splits: list[str] | None = None) -> pd.DataFrame:
    return pd.DataFrame({"group": groups, "label": labels, "source_split": splits or [""] * len(groups)})


def many(count: int, split: str = "", prefix: str = "p") -> pd.DataFrame:
    groups = [f"{prefix}{number}" for number in range(count)]
    return frame(groups, ["cat" if number % 2 else "dog" for number in range(count)], [split] * count)


def test_plain_folders_get_all_five_splits_by_their_shares() -> None:
    split = assign_splits(many(4000), SETTINGS, "data")["split"].value_counts(normalize=True)
    expected = {"train": 0.5, "val": 0.1, "test": 0.15, "reference": 0.1, "stream": 0.15}
    assert split.to_dict() == pytest.approx(expected, abs=0.02)


def test_an_own_test_split_stays_and_the_rest_is_cut_from_train() -> None:
    source = pd.concat([many(3000, "train"), many(500, "test", "t")], ignore_index=True)
    result = assign_splits(source, SETTINGS, "data")
    assert set(result.loc[result["source_split"] == "test", "split"]) == {"test"}
    cut = result.loc[result["source_split"] == "train", "split"].value_counts(normalize=True)
    assert cut.to_dict() == pytest.approx(
        {"train": 0.5 / 0.85, "val": 0.1 / 0.85, "reference": 0.1 / 0.85, "stream": 0.15 / 0.85}, abs=0.02
    )


def test_a_source_with_all_splits_keeps_them() -> None:
    splits = ("train", "val", "test", "reference", "stream")
    source = pd.concat([many(20, split, split) for split in splits], ignore_index=True)
    result = assign_splits(source, SETTINGS, "data")
    assert result["split"].tolist() == source["source_split"].tolist()


def test_no_group_is_on_two_sides_whatever_the_sizes_of_groups() -> None:
    rng = np.random.default_rng(0)
    groups = [f"patient{number}" for number in rng.integers(0, 60, 1000)]
    labels = ["cat" if int(group[7:]) % 2 else "dog" for group in groups]
    result = assign_splits(frame(groups, labels), SETTINGS, "data")
    assert result.groupby("group")["split"].nunique().max() == 1


def test_adding_images_does_not_move_the_others() -> None:
    few, more = assign_splits(many(400), SETTINGS, "data"), assign_splits(many(700), SETTINGS, "data")
    assert few["split"].tolist() == more["split"].tolist()[:400]


def test_a_rare_class_gets_into_every_split() -> None:
    groups = [f"p{number}" for number in range(300)]
    labels = ["rare" if number < 10 else "common" for number in range(300)]
    result = assign_splits(frame(groups, labels), SETTINGS, "data")
    assert set(result.loc[result["label"] == "rare", "split"]) == {"train", "val", "test", "reference", "stream"}


def test_a_class_of_one_patient_cannot_be_split() -> None:
    groups = [*(f"p{number}" for number in range(100)), *["alone"] * 20]
    with pytest.raises(InputError, match="class 'rare' has images of only 1 patients or sites"):
        assign_splits(frame(groups, ["common"] * 100 + ["rare"] * 20), SETTINGS, "data")


def test_an_own_test_split_without_a_class_is_named() -> None:
    source = pd.concat([many(300, "train"), many(20, "test", "t").assign(label="cat")], ignore_index=True)
    with pytest.raises(InputError, match="no usable images of class 'dog' in test"):
        assign_splits(source, SETTINGS, "data")


def test_a_share_of_zero_leaves_its_split_out() -> None:
    result = assign_splits(many(500), DataSettings(stream_share=0, reference_share=0), "data")
    assert set(result["split"]) == {"train", "val", "test"}
