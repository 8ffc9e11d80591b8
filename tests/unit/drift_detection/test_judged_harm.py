"""How many labels there are, can be had, and are asked for, where of each group one counts."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from components.drift_detection.judged_harm import FEWEST_LABELS, JudgedHarm, counted_labels, judge_harm
from components.drift_detection.label_tallies import OverSampled, WindowPlaces, labels_to_be_had
from components.drift_detection.tags import TAGS_SHARE
from components.drift_detection.windows import Coverage
from driftloop.evaluation.intervals import wilson
from driftloop.settings import DriftSettings
from driftloop.watch_record import RecordedWindow, WatchRecord
from tests.factories.records import watch_record

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


def hourly(flags: str) -> WindowPlaces:
    """A watch an hour, each with a window."""
    windows = []
    for hour, flag in enumerate(flags):
        time = (datetime(2025, 3, 1, tzinfo=UTC) + timedelta(hours=hour)).isoformat()
        windows.append(RecordedWindow(first=time, last=time, rows=20, drifted=flag == "T"))
    return WindowPlaces(windows, [(hour + 1, 0) for hour in range(len(flags))], past=len(flags) - 1, open=len(flags))


def judged(flags: str, labelled: dict[int, int], records: list[WatchRecord], *, confirmed: bool, share: float = 1.0) -> JudgedHarm:
    """The newest watch, with so many labels of some of its windows (from 0), half of them right."""
    places = hourly(flags)
    at = np.repeat(list(labelled), list(labelled.values()))
    table = pd.DataFrame({"label": np.where(np.arange(len(at)) % 2, "a", "b"), "label_origin": "random", "predicted": "a", "group": None})
    table = table.assign(image=b"x", request_id=[f"r{index}" for index in range(len(at))])
    drifted = places.drifted[at] if len(at) else np.zeros(0, bool)
    return judge_harm(
        table,
        Coverage(np.ones(len(at), bool), at.astype(np.int64) - places.past, drifted, drifted),
        places,
        {"reference": wilson(900, 1000)},
        records,
        SETTINGS,
        judging=np.zeros(len(at), bool),
        confirmed=confirmed,
        oversampled=OverSampled(np.zeros(len(at), bool), np.zeros(len(flags), np.int64)),
        share=share,
    )


def test_labels_of_a_weak_drift_stay_counted_while_it_is_not_confirmed_and_their_rows_go() -> None:
    first = judged("TT", {0: 20, 1: 20}, [], confirmed=True)
    assert first.drop is not None
    assert first.drop.n == 40
    quiet = judged("TTFFFF", {}, [watch_record(2, labels_by_window=first.recorded)], confirmed=False)
    assert (quiet.drop, quiet.drift) == (None, 0), "nothing is judged meanwhile"
    again = judged("TTFFFFTT", {6: 10}, [watch_record(6, labels_by_window=quiet.recorded)], confirmed=True)
    assert again.drop is not None
    assert (again.drop.n, again.drift) == (50, 1)
    over = judged("TT" + "F" * 60, {}, [watch_record(2, labels_by_window=first.recorded)], confirmed=False)
    assert over.recorded == [], "and not after it is over"


def test_beside_levels_of_tags_all_requests_have_a_part_of_the_chance_of_a_wrong_bound() -> None:
    alone, beside = (judged("FTT", {0: 30, 1: 30, 2: 30}, [], confirmed=True, share=share) for share in (1.0, 1 - TAGS_SHARE))
    for drop, alpha in ((alone.drop, 0.04), (alone.concept_drop, 0.01), (beside.drop, 0.02), (beside.concept_drop, 0.005)):
        assert drop is not None
        assert drop.alpha == pytest.approx(alpha)
