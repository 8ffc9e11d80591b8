"""Which labels of which windows judge harm."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from components.drift_detection.harm import drop_of
from components.drift_detection.label_tallies import (
    MOST_TALLIES,
    OverSampled,
    WindowPlaces,
    correct_answers,
    random_labels,
    to_record,
    window_labels,
)
from components.drift_detection.policy import Situation, decide
from components.drift_detection.windows import Coverage, WatchHistory
from driftloop.evaluation.clustered import independent_images
from driftloop.evaluation.intervals import wilson
from driftloop.settings import DriftSettings, RetrainSettings
from driftloop.watch_record import RecordedWindow, WindowLabels


def recorded(rows: int, *, drifted: bool, hour: int) -> RecordedWindow:
    time = f"2025-03-01T{hour:02d}:00:00+00:00"
    return RecordedWindow(first=time, last=time, rows=rows, drifted=drifted, mixture={"reference": 1.0})


#: Two windows of watch 3, one of watch 4, which is this one's.
PLACES = WindowPlaces(
    [recorded(200, drifted=False, hour=1), recorded(200, drifted=True, hour=2), recorded(150, drifted=True, hour=3)],
    [(3, 0), (3, 1), (4, 0)],
    past=2,
    open=2,
)


def rows(*given: tuple[int, str | None, str | None, str | None]) -> tuple[pd.DataFrame, Coverage]:
    """Rows as window (from 0; -1: none), label, origin and group, all predicted "a"; and what covers them."""
    frame = pd.DataFrame(given, columns=["at", "label", "label_origin", "group"]).assign(predicted="a")
    at = frame.pop("at").to_numpy()
    flags = np.array([False, True, True, False])[at]
    return frame, Coverage(at >= 0, at - PLACES.past, flags, flags)


def counts(tallies: list[WindowLabels]) -> list[tuple[int, int, int, int, int]]:
    return [(tally.watch, tally.window, tally.labels, tally.right, tally.skipped) for tally in tallies]


def tallied(*given: Any, chosen: list[bool], counted: Any = (), kept: Any = (), drifted: bool = True) -> list[WindowLabels]:
    frame, coverage = rows(*given)
    judging = np.isin(np.arange(len(frame)), kept)
    return window_labels(frame, coverage, PLACES, np.array(chosen), counted, judging=judging, drifted=drifted)


DRIFT = [False, True, True]


def test_labels_are_counted_by_window_and_only_random_ones_of_the_chosen() -> None:
    tallies = tallied(
        (0, "a", "random", None),
        (1, "a", "random", None),
        (1, "b", "random", None),
        (1, "a", "ranked", None),
        (1, None, None, None),
        (2, "a", "random", None),
        (2, None, "skipped", None),
        (-1, "a", "random", None),
        chosen=DRIFT,
    )
    assert counts(tallies) == [(3, 1, 2, 1, 0), (4, 0, 1, 1, 1)]
    assert [(tally.rows, tally.drift, tally.mixture) for tally in tallies] == [(200, 3, {"reference": 1.0}), (150, 3, {"reference": 1.0})]
    assert tallies[0].share == 0.01


def test_labels_that_are_kept_for_the_gate_do_not_count() -> None:
    given = [(1, "b", "random", None), (1, "a", "random", None), (2, "b", "random", None), (2, None, "skipped", None)]
    assert counts(tallied(*given, chosen=DRIFT, kept=[0, 2])) == [(3, 1, 1, 1, 0), (4, 0, 0, 0, 1)]


def test_a_window_without_labels_is_there_with_none() -> None:
    assert counts(tallied((1, "a", "random", None), chosen=DRIFT)) == [(3, 1, 1, 1, 0), (4, 0, 0, 0, 0)]
    assert tallied((1, "a", "random", None), chosen=[False, False, False]) == []


def test_every_label_counts_and_patients_with_several_widen_the_bounds() -> None:
    given = [(0, "b", "random", "p"), (1, "a", "random", "p"), (1, "b", "random", "p"), (2, "b", "random", "p"), (2, "b", "random", "q")]
    tallies = tallied(*given, chosen=DRIFT)
    assert counts(tallies) == [(3, 1, 2, 1, 0), (4, 0, 2, 0, 0)]
    right, patients = np.array([True, False, False, False]), np.array(["p", "p", "p", "q"])
    assert [4 / tally.effect for tally in tallies] == [pytest.approx(independent_images(right, patients))] * 2
    alone = tallied(*((at, label, origin, None) for at, label, origin, _ in given), chosen=DRIFT)
    assert [tally.effect for tally in alone] == [1.0, 1.0]


def test_an_image_that_is_sent_again_and_again_without_a_group_says_no_more_than_one() -> None:
    """A hundred images that are answered as before, and twenty copies of one that is answered wrongly."""
    frame, coverage = rows(*[(1, "a" if number < 93 else "b", "random", None) for number in range(120)])
    frame = frame.assign(image_sha256=[f"image {min(number, 100)}" for number in range(120)])
    kept = np.zeros(120, dtype=bool)
    (tally,) = window_labels(frame, coverage, PLACES, np.array([False, True, False]), [], judging=kept, drifted=True)
    drop = drop_of([tally], {"reference": wilson(1395, 1500)}, half_life_days=7, alpha=0.04)
    assert drop is not None
    assert (tally.labels, len(random_labels(frame))) == (120, 101)
    assert drop.low < 0 < 0.1 < drop.value


@pytest.mark.parametrize(("patients", "verdict"), [(1, "stable"), (40, "needs_labels")])
def test_an_accepted_drift_is_contradicted_by_labels_of_many_patients_and_not_by_as_many_of_one(patients: int, verdict: str) -> None:
    """A hundred labels are as good as before, then 14 of 40 are wrong."""
    right = [*[True] * 93, *[False] * 7, *[True] * 26, *[False] * 14]
    groups = [*(f"{number}" for number in range(100)), *(f"late {number % patients}" for number in range(40))]
    tallies = tallied(*((1, "a" if hit else "b", "random", group) for hit, group in zip(right, groups, strict=True)), chosen=DRIFT)
    drop = drop_of(tallies, {"reference": wilson(1395, 1500)}, half_life_days=7, alpha=0.04)
    assert drop is not None
    assert (drop.n, drop.value) == (140, pytest.approx(0.08))
    situation = Situation(tested=1, drifted=1, confirmed=True, drop=drop, accepted="accepted by ada")
    assert decide(situation, DriftSettings(), RetrainSettings()).name == verdict


def test_accuracy_is_that_of_the_requests_also_where_large_groups_are_answered_worse() -> None:
    """A label a group said .97 of these, the more surely the more labels came, where .83 are right."""
    rng, singles, large = np.random.default_rng(0), 170, np.repeat(np.arange(30), 12)
    given = []
    for window in (1, 2):
        right = rng.random(singles + len(large)) < np.where(np.arange(singles + len(large)) < singles, 0.97, 0.75)
        groups = [None] * singles + [f"{window}/{group}" for group in large]
        given += [(window, "a" if hit else "b", "random", group) for hit, group in zip(right, groups, strict=True)]
    tallies = tallied(*given, chosen=DRIFT)
    share = sum(tally.right for tally in tallies) / sum(tally.labels for tally in tallies)
    assert share == pytest.approx((170 * 0.97 + 360 * 0.75) / 530, abs=0.03)


def test_windows_that_look_as_accepted_are_of_no_drift_and_only_since_the_last_decision() -> None:
    assert PLACES.undrifted().tolist() == [False, False, False], "the first came before the decision"
    places = WindowPlaces(PLACES.windows, PLACES.places, past=2, open=3)
    assert places.undrifted().tolist() == [True, False, False]
    assert places.fresh.tolist() == [False, False, True]
    tallies = tallied((0, "b", "random", None), chosen=[True, False, False], drifted=False)
    assert (counts(tallies), tallies[0].drift) == ([(3, 0, 1, 0, 0)], 0)


def test_the_windows_of_a_watch_follow_those_of_the_watches_before() -> None:
    history = WatchHistory(PLACES.windows[:2], [(3, 0), (3, 1)], open_windows=1, days_since_retraining=None, recent_retrainings=0)
    assert WindowPlaces.of(history, PLACES.windows[2:], 4) == PLACES


def test_windows_of_long_ago_are_told_apart() -> None:
    assert PLACES.within(1 / 24).tolist() == [False, True, True]
    assert PLACES.within(2 / 24).tolist() == [True, True, True]
    assert WindowPlaces([], [], 0, 0).within(1).tolist() == []


def test_what_was_counted_stays_where_rows_have_gone_and_enters_once() -> None:
    known = tallied(*[(1, "a", "random", None)] * 3, (1, None, "skipped", None), chosen=DRIFT)
    assert counts(tallied((1, "b", "random", None), chosen=DRIFT, counted=known))[0] == (3, 1, 3, 3, 1)
    # As many or more labels with their rows there are counted anew: a correction is taken.
    corrected = [(1, "b", "random", None)] * 3
    clustered = [known[0].model_copy(update={"effect": 2.5})]
    assert tallied((1, "b", "random", None), chosen=DRIFT, counted=clustered)[0].effect == 2.5
    assert counts(tallied(*corrected, chosen=DRIFT, counted=known))[0] == (3, 1, 3, 0, 0)


def test_a_record_holds_the_newest_windows_that_have_labels() -> None:
    tally = tallied((1, "a", "random", None), chosen=DRIFT)[0]
    many = [tally.model_copy(update={"watch": number}) for number in range(600)]
    silent = [tally.model_copy(update={"watch": 700, "labels": 0})]
    skipped = [tally.model_copy(update={"watch": 650, "labels": 0, "skipped": 1})]
    kept = to_record(many, silent + skipped)
    assert [kept[0].watch, kept[-1].watch, len(kept)] == [101, 650, MOST_TALLIES]


def test_a_window_beyond_the_record_counts_while_its_rows_are_there_and_not_after() -> None:
    known = tallied(*[(1, "a", "random", None)] * 3, chosen=DRIFT)
    newer = [known[0].model_copy(update={"watch": 100 + number, "labels": 1}) for number in range(MOST_TALLIES)]
    beyond = to_record(known, newer)
    assert known[0] not in beyond
    there = tallied(*[(1, "a", "random", None)] * 3, chosen=DRIFT, counted=beyond)
    gone = tallied((1, None, None, None), chosen=DRIFT, counted=beyond)
    assert [sum(tally.labels for tally in found) for found in (there, gone)] == [3, 0]


def test_the_accuracy_of_a_window_is_that_of_its_random_labels_however_many_of_one_group() -> None:
    frame = pd.DataFrame(
        {
            "group": ["a", "a", None, None, "b", "c"],
            "predicted": list("xxyyxx"),
            "label": ["x", "y", "y", "x", "y", None],
            "label_origin": ["random", "random", "random", "random", "ranked", None],
        }
    )
    assert correct_answers(frame) == (2, 4)


def test_rows_that_were_labelled_more_often_weigh_no_more_than_their_part_of_the_window() -> None:
    given = [(1, "a", "random", None)] * 19 + [(1, "b", "random", None)] * 30 + [(1, None, None, None)] * 101
    frame, coverage = rows(*given)
    frame["request_id"] = [f"r{index}" for index in range(len(frame))]
    often = OverSampled(np.arange(len(frame)) >= 19, np.array([0, 20, 0]))
    arguments = {"judging": np.zeros(len(frame), bool), "drifted": True}
    (tally, _) = window_labels(frame, coverage, PLACES, np.array(DRIFT), (), oversampled=often, **arguments)
    # 19 of the other 180 have a label, so 3 of these 20 count.
    assert (tally.labels, tally.right, tally.rows) == (22, 19, 200)
    everything = OverSampled(np.ones(len(frame), bool), np.array([0, 200, 0]))
    (tally, _) = window_labels(frame, coverage, PLACES, np.array(DRIFT), (), oversampled=everything, **arguments)
    assert tally.labels == 49, "where nothing else is there, all of them are a uniform sample"


def test_which_of_them_stay_is_drawn_by_the_request_and_window_by_window() -> None:
    ours, others = [True] * 20 + [False] * 30, [True] * 10 + [False] * 20
    given = [(1, "ab"[number % 2], "random", None) for number in range(50)] + [(2, "a", "random", None)] * 30
    frame, coverage = rows(*given)
    frame["request_id"] = [f"r{index}" for index in range(len(frame))]
    often = OverSampled(np.array(ours + others), np.array([0, 20, 50]))
    tallies = []
    for order in (np.arange(80), np.random.default_rng(0).permutation(80)):
        shuffled = OverSampled(often.inside[order], often.rows)
        there = Coverage(*(part[order] for part in vars(coverage).values()))
        table = frame.iloc[order]
        arguments = {"judging": np.zeros(80, bool), "drifted": True, "oversampled": shuffled}
        tallies.append(window_labels(table, there, PLACES, np.array(DRIFT), (), **arguments))
    # Of window 1 30 of the other 180 have a label, so 4 of these 20 count; of window 2 20 of 100, so 10 of 50 do.
    assert [tally.labels for tally in tallies[0]] == [34, 30]
    assert counts(tallies[0]) == counts(tallies[1])
    nobody = OverSampled(np.zeros(80, bool), np.array([0, 20, 50]))
    assert [
        tally.labels for tally in window_labels(frame, coverage, PLACES, np.array(DRIFT), (), **arguments | {"oversampled": nobody})
    ] == [50, 30]


def test_a_record_holds_them_in_the_order_of_watch_and_window() -> None:
    tally = tallied((1, "a", "random", None), chosen=DRIFT)[0]
    given = [tally.model_copy(update={"watch": watch, "window": window}) for watch, window in ((4, 1), (3, 2), (4, 0), (3, 0))]
    assert [(kept.watch, kept.window) for kept in to_record(given[:2], given[2:])] == [(3, 0), (3, 2), (4, 0), (4, 1)]


def test_a_label_that_was_taken_back_counts_no_more() -> None:
    known = tallied(*[(1, "b", "random", None)] * 3, chosen=DRIFT)
    taken_back = tallied((1, "a", "random", None), *[(1, None, "skipped", None)] * 2, chosen=DRIFT, counted=known)
    assert counts(taken_back)[0] == (3, 1, 1, 1, 2)


def test_labels_of_a_tag_are_counted_by_themselves() -> None:
    before = WindowLabels(watch=3, window=1, drift=3, last="2025-03-01T02:00:00+00:00", rows=20, labels=9, right=5, tag="site=B")
    frame, coverage = rows((1, "a", "random", None))
    arguments = {"judging": np.zeros(1, bool), "drifted": True}
    of_all = window_labels(frame, coverage, PLACES, np.array(DRIFT), [before], **arguments)
    of_tag = window_labels(frame, coverage, PLACES, np.array(DRIFT), [before], tag="site=B", **arguments)
    assert [(tallies[0].labels, tallies[0].tag) for tallies in (of_all, of_tag)] == [(1, ""), (9, "site=B")]
