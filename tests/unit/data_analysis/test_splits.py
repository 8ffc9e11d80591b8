"""A source's own splits stay, the others are cut by group, and every class gets its place."""

import numpy as np
import pandas as pd
import pytest

from components.data_analysis.splits import assign_splits, check_decidable, check_replayable, equal_groups
from driftloop.errors import InputError, SettingError
from driftloop.settings import DataSettings

#: Of a pipeline that replays traffic.
SHARES = DataSettings().shares(replayed=True)


def frame(groups: list[str], labels: list[str], splits: list[str] | None = None) -> pd.DataFrame:
    return pd.DataFrame({"group": groups, "label": labels, "source_split": splits or [""] * len(groups)})


def many(count: int, split: str = "", prefix: str = "p") -> pd.DataFrame:
    groups = [f"{prefix}{number}" for number in range(count)]
    return frame(groups, ["cat" if number % 2 else "dog" for number in range(count)], [split] * count)


def test_plain_folders_get_all_five_splits_by_their_shares() -> None:
    split = assign_splits(many(4000), SHARES, "data")["split"].value_counts(normalize=True)
    expected = {"train": 0.5, "val": 0.1, "test": 0.15, "reference": 0.1, "stream": 0.15}
    assert split.to_dict() == pytest.approx(expected, abs=0.02)


def test_where_nothing_is_replayed_the_stream_trains_and_everybody_else_stays() -> None:
    with_stream = assign_splits(many(4000), SHARES, "data")["split"]
    without = assign_splits(many(4000), DataSettings().shares(replayed=False), "data")["split"]
    assert without.tolist() == with_stream.replace("stream", "train").tolist()
    expected = {"train": 0.65, "val": 0.1, "test": 0.15, "reference": 0.1}
    assert without.value_counts(normalize=True).to_dict() == pytest.approx(expected, abs=0.02)


def test_without_a_stream_a_hundred_classes_of_twenty_images_have_their_shares_within_an_image() -> None:
    labels = [f"class{number}" for number in range(100) for _ in range(20)]
    shares = DataSettings().shares(replayed=False)
    result = assign_splits(frame([f"image{number}" for number in range(len(labels))], labels), shares, "data")
    counts = result.groupby(["label", "split"]).size().unstack(fill_value=0)
    assert all((counts[split] - share * 20).abs().max() <= 1 for split, share in shares.items() if share)


def test_a_stream_of_an_earlier_dataset_stays_one_where_nothing_is_replayed_any_more() -> None:
    source = many(300)
    first = assign_splits(source, SHARES, "data")
    known = dict(zip(first["group"], first["split"], strict=True))
    again = assign_splits(many(400), DataSettings().shares(replayed=False), "data", known)
    assert again["split"].tolist()[:300] == first["split"].tolist()
    assert "stream" not in set(again["split"][300:])


def test_where_everybody_stays_outside_the_stream_nothing_can_be_replayed_which_is_said_at_once() -> None:
    source = many(300)
    first = assign_splits(source, DataSettings().shares(replayed=False), "data")
    again = assign_splits(source, SHARES, "data", dict(zip(first["group"], first["split"], strict=True)))
    with pytest.raises(
        InputError, match=r"no image is left to replay as traffic \(each stays where an earlier dataset has it\); add images"
    ):
        check_replayable(again, SHARES, "data")
    check_replayable(assign_splits(source, SHARES, "data"), SHARES, "data")


def test_shares_that_leave_nothing_to_train_on_are_one_clear_line() -> None:
    settings = DataSettings(stream_share=0.65)
    with pytest.raises(SettingError, match=r"are 1 together and leave nothing to train on; lower one, or set data_config\.train_share"):
        settings.shares(replayed=False)
    assert settings.model_copy(update={"train_share": 0.5}).shares(replayed=False)["train"] == 0.5


def test_an_own_test_split_stays_and_the_rest_is_cut_from_train() -> None:
    source = pd.concat([many(3000, "train"), many(500, "test", "t")], ignore_index=True)
    result = assign_splits(source, SHARES, "data")
    assert set(result.loc[result["source_split"] == "test", "split"]) == {"test"}
    cut = result.loc[result["source_split"] == "train", "split"].value_counts(normalize=True)
    assert cut.to_dict() == pytest.approx(
        {"train": 0.5 / 0.85, "val": 0.1 / 0.85, "reference": 0.1 / 0.85, "stream": 0.15 / 0.85}, abs=0.02
    )


def test_a_source_with_all_splits_keeps_them() -> None:
    splits = ("train", "val", "test", "reference", "stream")
    source = pd.concat([many(20, split, split) for split in splits], ignore_index=True)
    result = assign_splits(source, SHARES, "data")
    assert result["split"].tolist() == source["source_split"].tolist()


def test_no_group_is_on_two_sides_whatever_the_sizes_of_groups() -> None:
    rng = np.random.default_rng(0)
    groups = [f"patient{number}" for number in rng.integers(0, 60, 1000)]
    labels = ["cat" if int(group[7:]) % 2 else "dog" for group in groups]
    result = assign_splits(frame(groups, labels), SHARES, "data")
    assert result.groupby("group")["split"].nunique().max() == 1


def test_many_groups_stay_where_their_hash_puts_them_when_images_are_added() -> None:
    few, more = assign_splits(many(700), SHARES, "data"), assign_splits(many(900), SHARES, "data")
    assert few["split"].tolist() == more["split"].tolist()[:700]


@pytest.mark.parametrize("prefix", ["p", "q"])
def test_few_groups_stay_where_an_earlier_dataset_has_them_and_new_ones_restore_the_balance(prefix: str) -> None:
    few = assign_splits(lots(range(20), prefix), SHARES, "data")
    known = dict(zip(few["group"], few["split"], strict=True))
    more = assign_splits(lots(range(60), prefix), SHARES, "data", known)
    assert few["split"].tolist() == more["split"].tolist()[: len(few)]
    assert more["split"].value_counts(normalize=True).to_dict() == pytest.approx(SHARES, abs=0.08)


def test_a_known_group_is_not_moved_to_where_a_class_is_missing() -> None:
    source = frame([f"p{number}" for number in range(60)], ["rare"] * 12 + ["common"] * 48)
    known = {f"p{number}": "train" for number in range(10)}
    result = assign_splits(source, SHARES, "data", known)
    assert set(result["split"][:10]) == {"train"}
    assert set(result["split"][10:12]) == {"val", "test"}


def lots(numbers: range, prefix: str = "lot") -> pd.DataFrame:
    """Lots of 20 to 99 images of two classes."""
    sizes = [20 + 37 * number % 80 for number in numbers]
    groups = np.repeat([f"{prefix}{number}" for number in numbers], sizes)
    return frame(groups.tolist(), ["cat" if number % 3 else "dog" for number in range(len(groups))])


def test_few_large_groups_are_balanced_by_size_and_the_reference_gets_eight() -> None:
    result = assign_splits(lots(range(18)), SHARES, "data")
    groups = result.groupby("split")["group"].nunique()
    assert result.groupby("group")["split"].nunique().max() == 1
    assert groups["reference"] == 8
    left = 10 / 18 / 0.9
    shares = {"train": 0.5 * left, "val": 0.1 * left, "test": 0.15 * left, "reference": 8 / 18, "stream": 0.15 * left}
    assert result["split"].value_counts(normalize=True).to_dict() == pytest.approx(shares, abs=0.03)
    assert result.groupby("split")["label"].apply(lambda labels: (labels == "cat").mean()).to_dict() == pytest.approx(
        dict.fromkeys(shares, 2 / 3), abs=0.02
    )
    assert [note[:31] for note in check_decidable(result, "data")] == [
        "The drift reference has images ",
        "The test split has 102 images o",
        "Of 18 groups the drift referenc",
    ]


def test_forty_groups_give_the_test_split_eight_as_well() -> None:
    groups = assign_splits(lots(range(40)), SHARES, "data").groupby("split")["group"].nunique()
    assert groups["reference"] == groups["test"] == 8
    fewer = assign_splits(lots(range(39)), SHARES, "data").groupby("split")["group"].nunique()
    assert fewer["reference"] == 8 > fewer["test"]


def test_fifteen_groups_show_no_drift_which_is_said_before_anything_is_trained() -> None:
    message = r"data: the drift reference gets images of [1-7] of 15 distinct groups .*, at least 8 are needed; .*data_config.group_pattern"
    with pytest.raises(InputError, match=message) as caught:
        check_decidable(assign_splits(lots(range(15)), SHARES, "data"), "data")
    assert "\n" not in str(caught.value)
    assert check_decidable(assign_splits(many(400), SHARES, "data"), "data") == []


def test_a_class_of_which_the_test_split_has_too_little_is_named() -> None:
    rare = pd.concat([many(400), many(500).iloc[400:420].assign(label="rare")], ignore_index=True)
    split = assign_splits(rare, SHARES, "data")
    there = ((split["split"] == "test") & (split["label"] == "rare")).sum()
    assert 0 < there < 8
    (note,) = check_decidable(split, "data")
    assert note.startswith(f"The test split has too few groups of rare ({there}) to tell")


def test_who_never_named_a_group_is_told_which_the_file_names_tell_and_how_images_count_by_themselves() -> None:
    sites = lots(range(5)).assign(group=lambda frame: "site0" + frame["group"].str[-1])
    with pytest.raises(InputError) as caught:
        check_decidable(assign_splits(sites, SHARES, "data"), "data")
    assert "by the file names, such as site00" in str(caught.value)
    assert str(caught.value).endswith("data_config.group_pattern what one patient is: '(.+)' lets each image count by itself")
    single = lots(range(5)).assign(group=lambda frame: "sha256:" + frame["group"])
    with pytest.raises(InputError, match=r"\(single images\), at least 8 are needed; add images") as caught:
        check_decidable(assign_splits(single, SHARES, "data"), "data")
    assert "group_pattern" not in str(caught.value)


@pytest.mark.parametrize("images", [10, 20, 37])
def test_a_hundred_classes_have_their_shares_in_every_split_within_an_image(images: int) -> None:
    labels = [f"class{number}" for number in range(100) for _ in range(images)]
    source = frame([f"image{number}" for number in range(len(labels))], labels)
    result = assign_splits(source, SHARES, "data")
    counts = result.groupby(["label", "split"]).size().unstack(fill_value=0)
    for split, share in SHARES.items():
        assert (counts[split] - share * images).abs().max() <= 1
    assert result["split"].value_counts(normalize=True).to_dict() == pytest.approx(SHARES, abs=0.01)


def test_groups_count_by_their_sizes() -> None:
    assert equal_groups(many(700)) == 350
    uneven = frame(["large"] * 90 + [f"p{number}" for number in range(10)], ["cat"] * 100)
    assert equal_groups(uneven) == pytest.approx(100**2 / (90**2 + 10))


def test_a_rare_class_gets_into_every_split() -> None:
    groups = [f"p{number}" for number in range(300)]
    labels = ["rare" if number < 10 else "common" for number in range(300)]
    result = assign_splits(frame(groups, labels), SHARES, "data")
    assert set(result.loc[result["label"] == "rare", "split"]) == {"train", "val", "test", "reference", "stream"}


def test_a_class_of_one_patient_cannot_be_split() -> None:
    groups = [*(f"p{number}" for number in range(100)), *["alone"] * 20]
    with pytest.raises(InputError, match="class 'rare' has images of only 1 patient or site,"):
        assign_splits(frame(groups, ["common"] * 100 + ["rare"] * 20), SHARES, "data")


def test_an_own_test_split_without_a_class_is_named() -> None:
    source = pd.concat([many(300, "train"), many(20, "test", "t").assign(label="cat")], ignore_index=True)
    with pytest.raises(InputError, match="no usable images of class 'dog' in test"):
        assign_splits(source, SHARES, "data")


def test_a_share_of_zero_leaves_its_split_out() -> None:
    result = assign_splits(many(500), DataSettings(stream_share=0, reference_share=0).shares(replayed=True), "data")
    assert set(result["split"]) == {"train", "val", "test"}
