"""What a person is told to look at: label shift between splits, shapes and statistics by class, outliers."""

import re
from hashlib import sha256

import numpy as np
import pandas as pd
import pytest

from components.data_analysis.audit import audit
from components.data_analysis.doubts import find_doubts, label_shift, largest_distance, outliers
from components.data_analysis.label_errors import LabelCheck
from components.data_analysis.splits import assign_splits
from driftloop.settings import DataSettings


def table(rng: np.random.Generator, sick: dict[str, float], groups: int = 200, images: int = 3) -> pd.DataFrame:
    """Groups of a few images each, sick with the given share in each split."""
    rows = [
        {
            "split": split,
            "source_split": "",
            "group": f"{split}{number}",
            "label": "sick" if ill else "well",
            "width": 60,
            "height": 50,
            "full": 0,
        }
        for split, share in sick.items()
        for number, ill in enumerate(rng.random(groups) < share)
        for _ in range(images)
    ]
    return pd.DataFrame(rows)


def test_the_chi_square_is_pearsons_over_groups() -> None:
    frame = table(np.random.default_rng(0), {"train": 0.7, "test": 0.6, "val": 0.65})
    counts = frame.drop_duplicates("group").groupby(["split", "label"]).size().unstack().to_numpy(float)
    expected = counts.sum(1, keepdims=True) * counts.sum(0) / counts.sum()
    statistic = ((counts - expected) ** 2 / expected).sum()
    shift = label_shift(frame)
    assert shift is not None
    assert shift.p_value == pytest.approx(np.exp(-statistic / 2)), "two degrees of freedom"


def test_equal_shares_are_called_shifted_as_rarely_as_the_level_says_whatever_the_images_of_a_group() -> None:
    rng = np.random.default_rng(1)
    p_values = [shift.p_value for _ in range(200) if (shift := label_shift(table(rng, {"train": 0.7, "test": 0.7}, 100, 4)))]
    assert len(p_values) == 200
    assert np.mean(np.array(p_values) < 0.05) <= 0.1


def test_the_splits_that_kaggles_chest_x_rays_come_with_differ_in_their_classes() -> None:
    """With the counts of that dataset, as if each file showed a patient of its own."""
    counts = {("train", "NORMAL"): 1341, ("train", "PNEUMONIA"): 3875, ("val", "NORMAL"): 8, ("val", "PNEUMONIA"): 8}
    counts |= {("test", "NORMAL"): 234, ("test", "PNEUMONIA"): 390}
    rows = [
        {"path": f"{split}/{label}/{split}{label}{number}.jpeg", "label": label, "source_split": split, "tags": ""}
        for (split, label), count in counts.items()
        for number in range(count)
    ]
    frame = pd.DataFrame(rows).assign(sha256=[sha256(row["path"].encode()).hexdigest() for row in rows], width=60, height=50, full=0)
    blank = np.zeros((len(frame), 16, 16), np.uint8)
    audited, findings = audit(frame, blank, group_pattern="", smallest_val=30)
    assert findings.merged_val == 16
    frame = assign_splits(audited, DataSettings.complete(None).shares(replayed=True), "chest")
    labels = (frame["label"] == "NORMAL").to_numpy().astype(int)
    (told,) = find_doubts(frame, ("brightness",), np.ones((len(frame), 1)), labels, resize="stretch", checked=None)
    assert told.gravity == 3
    assert told.finding == (
        "the splits that the source brings differ in their classes: NORMAL makes 25.8 % of train and 37.5 % of test "
        "(chi-square over groups, p < .0001)"
    )
    assert told.advice.startswith("they stay as they are")
    alike = find_doubts(frame.assign(source_split=""), ("brightness",), np.ones((len(frame), 1)), labels, resize="stretch", checked=None)
    assert alike[0].finding.startswith("the splits differ in their classes"), "what was cut from train has its shares, test has not"


@pytest.mark.parametrize(("classes", "images"), [(100, 13), (100, 40), (10, 13), (2, 10)])
def test_means_that_lie_far_apart_by_chance_are_no_finding(classes: int, images: int) -> None:
    rng = np.random.default_rng(5)
    labels = np.repeat(np.arange(classes), images)
    width = np.round(100 * np.exp(rng.normal(size=len(labels))))
    frame = pd.DataFrame({"split": "train", "source_split": "", "group": labels, "label": labels, "width": width, "height": 100, "full": 0})
    names, noise = tuple("abcdefghij"), rng.normal(size=(len(labels), 10))
    if classes == 100:
        assert largest_distance(noise[:, 0], labels) > 0.7
    assert find_doubts(frame, names, noise, labels, resize="stretch", checked=None) == []
    noise[:, 3] += 3 * (labels == 0)
    (told,) = find_doubts(frame, names, noise, labels, resize="stretch", checked=None)
    assert told.finding.startswith("classes differ already in d (")


def test_too_few_or_one_split_are_not_tested() -> None:
    rng = np.random.default_rng(2)
    assert label_shift(table(rng, {"train": 0.7, "test": 0.1}, 6)) is None
    assert label_shift(table(rng, {"train": 0.7})) is None


def test_outliers_are_those_far_from_their_own_class() -> None:
    rng = np.random.default_rng(3)
    labels = np.repeat([0, 1], 200)
    statistics = rng.normal(size=(400, 3)) + 100.0 * labels[:, None]
    assert len(outliers(statistics, labels)) == 0
    statistics[7, 1], statistics[300, 2] = 20.0, 160.0
    assert outliers(statistics, labels).tolist() == [300, 7]
    assert len(outliers(np.ones((10, 2)), np.zeros(10))) == 0, "nothing varies"


def test_doubts_come_the_gravest_first_each_with_advice() -> None:
    rng = np.random.default_rng(4)
    clean = table(rng, {"train": 0.5, "test": 0.5})
    labels = (clean["label"] == "sick").to_numpy().astype(int)
    statistics = rng.normal(size=(len(labels), 2))
    assert find_doubts(clean, ("brightness", "contrast"), statistics, labels, resize="stretch", checked=None) == []
    shifted = table(rng, {"train": 0.8, "test": 0.4})
    labels = (shifted["label"] == "sick").to_numpy().astype(int)
    shifted.loc[labels == 1, "width"] += rng.integers(20, 30, int(labels.sum()))
    statistics = rng.normal(size=(len(labels), 2))
    statistics[:, 1] += 3 * labels
    statistics[5, 0] = 50
    checked = LabelCheck(500, "somebody", 0.8, rows=np.arange(10), looks_like=np.zeros(10, int))
    found = find_doubts(shifted, ("brightness", "contrast"), statistics, labels, resize="stretch", checked=checked)
    texts = [doubt.finding for doubt in found]
    assert re.fullmatch(r"the splits differ in their classes: (sick|well) makes .* \(chi-square over groups, p < \.0001\)", texts[0])
    assert {text.split(" (")[0] for text in texts[1:3]} == {
        "classes differ already in contrast",
        "classes differ in the shape of their pictures",
    }
    assert texts[3] == "10 training images look like another class (2.0% of 500) to a model that never saw them"
    assert texts[4] == "1 training image is far from all others of the class (0.1%)"
    assert largest_distance(statistics[:, 1], labels) == pytest.approx(3, abs=0.3)
    assert all(doubt.advice for doubt in found)
