"""How many labels there are, can be had, and are asked for, where of each group one counts."""

import numpy as np
import pandas as pd
import pytest

from components.drift_detection.judged_harm import FEWEST_LABELS, counted_labels
from components.drift_detection.label_tallies import labels_to_be_had
from driftloop.settings import DriftSettings

SETTINGS = DriftSettings(harm_labels=100)


def rows(groups: int, images: int, *, labelled: int) -> pd.DataFrame:
    """So many images of each group, of which the first few are labelled; the others could be."""
    table = pd.DataFrame({"group": np.repeat([f"lot-{number}" for number in range(groups)], images) if groups else [""] * images})
    place = np.tile(np.arange(images), groups or 1)
    return table.assign(label=np.where(place < labelled, "a", None), label_origin=np.where(place < labelled, "random", None), image=b"x")


@pytest.mark.parametrize(
    ("groups", "images", "asked"),
    [
        (75, 20, FEWEST_LABELS),  # a hundred never come
        (12, 40, FEWEST_LABELS),  # nor will these do
        (300, 2, 100),
        (30, 2, 100),  # sixty rows may become more
        (0, 1500, 100),  # without groups every request is one
    ],
)
def test_fewer_labels_do_where_groups_are_fewer_than_the_setting(groups: int, images: int, asked: int) -> None:
    table = rows(groups, images, labelled=1)
    everything, nothing = np.ones(len(table), bool), np.zeros(len(table), bool)
    assert counted_labels(table, everything, nothing, SETTINGS)["harm_labels"] == asked


def test_labels_to_be_had_are_one_a_group_whether_they_are_there_or_not() -> None:
    table = rows(12, 10, labelled=2)
    assert labels_to_be_had(table) == 12
    table.loc[table["group"].isin(["lot-0", "lot-1"]), ["label", "label_origin"]] = None
    assert labels_to_be_had(table) == 12
    table.loc[table["group"] == "lot-0", "image"] = None
    assert labels_to_be_had(table) == 11, "no image of lot-0 was kept"
    assert labels_to_be_had(rows(0, 7, labelled=3)) == 7


def test_a_group_that_has_its_label_can_bring_no_other() -> None:
    table = rows(40, 10, labelled=3)
    table.loc[table["group"] == "lot-0", ["label", "label_origin"]] = None
    everything = np.ones(len(table), bool)
    counted = counted_labels(table, everything, everything, SETTINGS)
    assert (counted["labels"], counted["gate_labels"], counted["gate_obtainable"]) == (39, 39, 40)
    skipped = table.assign(label_origin=table["label_origin"].fillna("skipped"))
    assert counted_labels(skipped, everything, everything, SETTINGS)["gate_obtainable"] == 39, "lot-0 was skipped"
