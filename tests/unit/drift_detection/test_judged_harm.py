"""How many labels there are, can be had, and are asked for, also where several are of one group."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest

from components.drift_detection.judged_harm import FEWEST_LABELS, JudgedHarm, counted_labels, judge_harm
from components.drift_detection.label_tallies import OverSampled, WindowPlaces, labels_to_be_had
from components.drift_detection.policy import Situation, decide
from components.drift_detection.tags import TAGS_SHARE
from components.drift_detection.windows import Coverage
from driftloop.evaluation.clustered import independent_images
from driftloop.evaluation.intervals import Proportion, wilson
from driftloop.settings import DriftSettings, RetrainSettings
from driftloop.watch_record import RecordedWindow, WatchRecord
from tests.factories.records import watch_record

SETTINGS = DriftSettings(harm_labels=100)


def rows(groups: int, images: int, *, labelled: int) -> pd.DataFrame:
    """So many images of each group, of which the first few are labelled; the others could be."""
    table = pd.DataFrame({"group": np.repeat([f"lot-{number}" for number in range(groups)], images) if groups else [""] * images})
    place = np.tile(np.arange(images), groups or 1)
    origins = np.where(place < labelled, "random", None)
    return table.assign(label=np.where(place < labelled, "a", None), label_origin=origins, image=b"x", predicted="a")


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


def test_the_gate_waits_for_a_label_of_each_group_at_most() -> None:
    table = rows(40, 10, labelled=3)
    table.loc[table["group"] == "lot-0", ["label", "label_origin"]] = None
    everything = np.ones(len(table), bool)
    counted = counted_labels(table, everything, everything, SETTINGS)
    assert (counted["labels"], counted["gate_labels"], counted["gate_obtainable"]) == (117, 117, 40)
    assert counted["gate_independent"] == 39, "no label that judges harm says how much alike they are"
    skipped = table.assign(label_origin=table["label_origin"].fillna("skipped"))
    assert counted_labels(skipped, everything, everything, SETTINGS)["gate_obtainable"] == 39, "lot-0 was skipped"


def of_few_lots(*, alike: bool) -> tuple[pd.DataFrame, np.ndarray]:
    """60 lots of ten requests, six of each labelled, but for one lot; and which rows are the gate's, half of the lots.

    The champion is right on a third: of every lot, or (alike) on every label of a third of the lots.
    """
    table, number = rows(60, 10, labelled=6), np.arange(600)
    right = number // 10 % 6 < 2 if alike else number % 3 == 0
    judging = number // 10 % 2 == 0
    return table.assign(predicted=np.where(right, "a", "b"), label=table["label"].where(number >= 10)), judging


def test_several_labels_of_a_lot_are_worth_to_the_gate_what_those_that_judge_harm_say_alike() -> None:
    for alike, least, most in ((False, 100, 174), (True, 29, 30)):
        table, judging = of_few_lots(alike=alike)
        counted = counted_labels(table, np.ones(600, bool), judging, SETTINGS)
        assert (counted["labels"], counted["gate_labels"], counted["gate_obtainable"]) == (354, 174, 30)
        assert least <= counted["gate_independent"] <= most
    # What they say by themselves has no say in it: that would choose when the gate is asked by the labels that it judges by.
    other = table.assign(predicted=table["predicted"].mask(judging, "a"))
    assert counted_labels(other, np.ones(600, bool), judging, SETTINGS) == counted


def test_many_labels_of_one_large_lot_are_worth_little_to_the_gate() -> None:
    table, judging = of_few_lots(alike=False)
    usual = counted_labels(table, np.ones(600, bool), judging, SETTINGS)
    # As many labels, of which all but those of four lots are of one.
    large = table.assign(group=table["group"].mask(judging & (np.arange(600) >= 100), "one large lot"))
    counted = counted_labels(large, np.ones(600, bool), judging, SETTINGS)
    assert counted["gate_labels"] == usual["gate_labels"] == 174
    assert 5 <= counted["gate_independent"] < usual["gate_independent"] / 2
    # Where none of those that judge harm are of one lot nothing says how much alike they are.
    apart = table.assign(group=table["group"].mask(~judging, ""))
    assert counted_labels(apart, np.ones(600, bool), judging, SETTINGS)["gate_independent"] == 29


def test_the_worth_of_labels_is_by_the_correlation_within_lots_of_those_that_judge_harm() -> None:
    """Lots of two, three and four labels judge harm, of which some are alike; the gate has lots of five."""
    sizes = [2, 3, 4] * 10
    names = [f"harm-{lot}" for lot in range(30)], [f"gate-{lot}" for lot in range(8)]
    groups = np.concatenate([np.repeat(names[0], sizes), np.repeat(names[1], 5)])
    number = np.arange(len(groups))
    right = np.where(number < 60, number // 4 % 2 == 0, number % 3 == 0)
    table = pd.DataFrame({"group": groups, "label": "a", "label_origin": "random", "predicted": np.where(right, "a", "b"), "image": b"x"})
    judging = table["group"].str.startswith("gate").to_numpy()
    effect = 90 / independent_images(right[:90], groups[:90])
    mean_size = sum(size**2 for size in sizes) / sum(sizes)
    worth = 40 / (1 + 4 * (effect - 1) / (mean_size - 1))
    assert 1.1 < effect < 2
    everything = np.ones(130, bool)
    assert counted_labels(table, everything, judging, SETTINGS)["gate_independent"] == pytest.approx(worth)
    assert worth > 8
    # Of too few nothing is learned.
    for count, known in ((FEWEST_LABELS - 1, False), (FEWEST_LABELS, True)):
        some = counted_labels(table, judging | (number < count), judging, SETTINGS)
        assert (some["gate_independent"] != 8) == known


def test_a_champion_that_fails_is_retrained_though_one_of_the_gate_s_lots_has_no_label() -> None:
    table, judging = of_few_lots(alike=False)
    inside = np.ones(600, bool)
    harm = judge_harm(
        table.assign(request_id=[f"r{number}" for number in range(600)]),
        Coverage(inside, np.arange(600) % 2 - 1, inside, inside),
        hourly("FTT"),
        {"reference": wilson(880, 1000)},
        [],
        SETTINGS,
        judging=judging,
        confirmed=True,
        oversampled=OverSampled(~inside, np.zeros(3, np.int64)),
    )
    situation = Situation(
        tested=3,
        drifted=2,
        confirmed=True,
        drop=harm.drop,
        labels=harm.labels,
        gate_labels=harm.gate_labels,
        gate_independent=harm.gate_independent,
        gate_obtainable=harm.gate_obtainable,
    )
    assert harm.drop is not None
    assert harm.drop.low > 0.3
    assert decide(situation, SETTINGS, RetrainSettings()).name == "retrain"


def hourly(flags: str, *, undecided: int | None = None, estimates: Sequence[float | None] = ()) -> WindowPlaces:
    """A watch an hour, each with a window; how many came after the last decision (all), and what is estimated of each without labels."""
    windows = []
    for hour, flag in enumerate(flags):
        time = (datetime(2025, 3, 1, tzinfo=UTC) + timedelta(hours=hour)).isoformat()
        estimate = estimates[hour] if estimates else None
        windows.append(RecordedWindow(first=time, last=time, rows=20, drifted=flag == "T", label_free_drop=estimate))
    undecided = len(flags) if undecided is None else undecided
    return WindowPlaces(windows, [(hour + 1, 0) for hour in range(len(flags))], past=len(flags) - 1, open=undecided)


def judged(
    flags: str,
    labelled: dict[int, int],
    records: Sequence[WatchRecord] = (),
    *,
    confirmed: bool,
    share: float | None = None,
    calendar_due: bool | None = None,
    undecided: int | None = None,
    kept: int = 0,
    oversampled: int = 0,
    settings: DriftSettings = SETTINGS,
    accepted: Mapping[str, Proportion] = MappingProxyType({"reference": wilson(900, 1000)}),
) -> JudgedHarm:
    """The newest watch, with so many labels of some of its windows (from 0), half of them right.

    Args:
        kept: so many of the labels are the gate's.
        oversampled: so many of them are of rows of which more labels were asked, four in each window.
    """
    places = hourly(flags, undecided=undecided)
    at = np.repeat(list(labelled), list(labelled.values()))
    table = pd.DataFrame({"label": np.where(np.arange(len(at)) % 2, "a", "b"), "label_origin": "random", "predicted": "a", "group": None})
    table = table.assign(image=b"x", request_id=[f"r{index}" for index in range(len(at))])
    drifted = places.drifted[at] if len(at) else np.zeros(0, bool)
    return judge_harm(
        table,
        Coverage(np.ones(len(at), bool), at.astype(np.int64) - places.past, drifted, drifted),
        places,
        accepted,
        records,
        settings,
        judging=np.arange(len(at)) < kept,
        confirmed=confirmed,
        oversampled=OverSampled(np.arange(len(at)) < oversampled, np.full(len(flags), 4 * bool(oversampled), np.int64)),
        **{name: value for name, value in (("share", share), ("calendar_due", calendar_due)) if value is not None},
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


def test_windows_in_question_are_those_of_the_drift_else_of_the_harm_else_of_the_calendar_else_of_the_alarm() -> None:
    labels = {0: 60, 1: 60, 2: 60, 3: 60}
    drift = judged("TFTT", labels, confirmed=True, calendar_due=True)
    assert drift.concerned.tolist() == drift.in_drift.tolist() == [True, False, True, True]
    assert (drift.confirmed, drift.concept, drift.drift, drift.labels) == (True, False, 1, 180)
    assert (drift.judged, drift.drop.n if drift.drop else 0) == (drift.drop, 180)
    concept = judged("FFFT", labels, confirmed=False, calendar_due=True, undecided=3)
    assert concept.concerned.tolist() == [False, True, True, False], "that did not drift, since the last decision"
    assert (concept.concept, concept.drop, concept.drift, concept.labels) == (True, None, 0, 120)
    assert (concept.judged, concept.concept_drop.n if concept.concept_drop else 0) == (concept.concept_drop, 120)
    assert concept.coverage.confirmed.tolist() == [False] * 60 + [True] * 120 + [False] * 60
    assert not concept.in_drift.any()
    few = {0: 10, 1: 10, 2: 10, 3: 10}
    calendar = judged("FFFT", few, confirmed=False, calendar_due=True, undecided=3)
    assert calendar.concerned.tolist() == [False, True, True, True], "drifted or not"
    assert (calendar.concept, calendar.judged, calendar.labels) == (False, None, 30)
    assert calendar.coverage.confirmed.tolist() == [False] * 10 + [True] * 30
    alarm = judged("FTFT", few, confirmed=False)
    assert alarm.concerned.tolist() == [False, False, False, True], "that of this watch alone"
    assert (alarm.concept, alarm.judged, alarm.labels) == (False, None, 20)
    assert judged("FTFF", few, confirmed=False).concerned.tolist() == [False] * 4


def test_labels_of_long_ago_are_left_out_and_where_nothing_was_accepted_nothing_is_judged() -> None:
    brief = SETTINGS.model_copy(update={"harm_half_life_days": 2 / 24 / 10})
    drift = judged("TTTT", {0: 60, 1: 60, 2: 60, 3: 60}, confirmed=True, settings=brief)
    assert (drift.drop.n if drift.drop else 0, drift.in_drift.tolist()) == (180, [False, True, True, True]), "ten half-lives are two hours"
    assert drift.concerned.tolist() == [True] * 4
    unknown = judged("FTT", {0: 60, 1: 60, 2: 60}, confirmed=True, accepted={})
    assert (unknown.drop, unknown.concept_drop, unknown.labels) == (None, None, 120)


def test_a_drift_and_what_looks_as_accepted_are_told_apart_in_what_is_recorded_and_no_part_of_them_weighs_more() -> None:
    found = judged("FTT", {0: 30, 1: 20, 2: 10}, confirmed=True)
    assert [(tally.watch, tally.drift, tally.labels) for tally in found.recorded] == [(1, 0, 30), (2, 2, 20), (3, 2, 10)]
    # Of the first window four of 20 requests were asked more: beside ten labels of the other sixteen, three of their twenty count.
    thinned = judged("FTT", {0: 30, 1: 20, 2: 10}, confirmed=True, oversampled=20)
    assert [tally.labels for tally in thinned.steady] == [13]
    assert [tally.labels for tally in judged("TT", {0: 30, 1: 20}, confirmed=True, oversampled=20).drifting] == [13, 20]


def test_of_the_labels_that_would_decide_the_gate_has_its_share() -> None:
    found = judged("TT", {0: 20, 1: 30}, confirmed=True, kept=10, accepted={"reference": wilson(600, 1000)})
    assert found.drop is not None
    needed = found.judging_labels_to_decide(SETTINGS)
    assert needed is not None
    assert needed > found.drop.n == 40
    for share, parts in ((0.2, 1), (0.5, 4)):
        retrain = RetrainSettings(train_parts=3, val_parts=1, gate_parts=parts)
        total = found.labels_to_decide(SETTINGS, retrain)
        assert total is not None
        further = total - 50
        assert 40 + further * (1 - share) >= needed > 40 + (further - 1) * (1 - share)
    assert judged("TT", {}, confirmed=True).labels_to_decide(SETTINGS, retrain) is None, "no label says how many it would take"
    lost = judged("TT", {0: 20}, confirmed=True, settings=SETTINGS, accepted={"reference": wilson(6, 10)})
    assert lost.judging_labels_to_decide(SETTINGS) is None
    assert lost.labels_to_decide(SETTINGS, retrain) is None, "ten clean images never do"


def test_it_is_told_where_only_the_accuracy_that_was_accepted_is_known_too_little_for_labels_to_decide() -> None:
    for accepted, labels, told in ((wilson(6, 10), {0: 20}, 10.0), (wilson(600, 1000), {0: 20}, None), (wilson(6, 10), {}, None)):
        found = judged("TT", labels, confirmed=True, settings=SETTINGS, accepted={"reference": accepted})
        assert found.too_few_accepted(SETTINGS) == told
    # Between what is harmless and what is worth a retraining labels decide nothing, however well the accuracy is known.
    between = SETTINGS.model_copy(update={"retrain_drop": 0.9, "harmless_drop": 0.001})
    assert judged("TT", {0: 20}, confirmed=True, accepted={"reference": wilson(6, 10)}).too_few_accepted(between) is None


def test_more_labels_are_worth_asking_for_but_where_even_a_great_many_would_not_do() -> None:
    few = {"reference": wilson(6, 10)}
    for accepted, labels, worth in ((wilson(600, 1000), 60, True), (wilson(6, 10), 60, False), (wilson(6, 10), 30, True)):
        found = judged("TT", {0: labels, 1: 60}, confirmed=True, accepted={"reference": accepted})
        assert found.labels_could_decide(SETTINGS) is worth
    assert judged("TT", {}, confirmed=True, accepted=few).labels_could_decide(SETTINGS), "without a label nothing is known"


def test_estimates_without_labels_grow_from_those_of_the_labelled_windows_by_their_labels() -> None:
    found = judged("TTTT", {0: 10, 1: 30, 2: 20}, confirmed=True)
    places = hourly("TTTT", estimates=[0.02, 0.06, None, 0.5])
    assert found.label_free_growth(places, 0.2) == pytest.approx(0.2 - 0.05)
    assert found.label_free_growth(places, None) is None
    assert found.label_free_growth(hourly("TTTT", estimates=[None, None, None, 0.5]), 0.2) is None


def test_the_policy_s_number_of_labels_is_what_these_requests_allow() -> None:
    found = replace(judged("TT", {0: 20}, confirmed=True), harm_labels=FEWEST_LABELS)
    assert found.own_settings(SETTINGS) == SETTINGS.model_copy(update={"harm_labels": FEWEST_LABELS})


def test_labels_in_question_are_counted_apart_from_those_of_other_requests() -> None:
    table = pd.concat([rows(0, 10, labelled=6), rows(0, 10, labelled=7)], ignore_index=True)
    table.loc[[6, 7, 16], "label_origin"] = "skipped"
    confirmed, judging = np.arange(20) < 10, np.arange(20) % 5 == 0
    assert counted_labels(table, confirmed, judging, SETTINGS) == {
        "labels": 6,
        "gate_labels": 2,
        "gate_independent": 2,
        "gate_obtainable": 2,
        "harm_labels": 100,
        "skipped": 2,
    }
