"""Harm of a level of a tag, from arrays: which of its labels count, against which accuracy, and what is asked for."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components.drift_detection.harm import CONCEPT_ALPHA, DRIFT_ALPHA, HALF_LABEL, STRATUM_LABELS, drop_of, score
from components.drift_detection.judged_harm import HALF_LIVES, JudgedHarm
from components.drift_detection.label_tallies import WindowPlaces
from components.drift_detection.policy import Verdict
from components.drift_detection.reference import AcceptedTraffic, prepare_regimes, read_champion
from components.drift_detection.tagged_harm import (
    LEAST_PART,
    SUSPICION,
    Judged,
    in_question,
    judge_level,
    judged_level,
    level_places,
    oversampled,
    requests_of_watch,
    rows_of_open_drifts,
    unknown_levels,
)
from components.drift_detection.tags import TAGS_SHARE, TagFindings, TagLevel
from components.drift_detection.windows import Coverage, CutRows, level_of
from driftloop.bundle import read_model, write_model
from driftloop.evaluation.intervals import wilson
from driftloop.settings import DriftSettings
from driftloop.watch_record import RecordedTagWindow, RecordedWindow, TagPart, WindowLabels
from tests.factories.drift_traffic import draw_regime, write_champion_with_references
from tests.factories.records import watch_record
from tests.unit.drift_detection.test_tag_levels import drawn, log_of

START = datetime(2025, 3, 1, tzinfo=UTC)
SETTINGS = DriftSettings(harm_labels=20)
CLEAN, OF_B = wilson(900, 1000), wilson(160, 200)


@pytest.fixture(scope="module")
def accepted(tmp_path_factory: pytest.TempPathFactory) -> AcceptedTraffic:
    """A champion that is right on .9 of all clean images, and on .8 of those of site B."""
    rng = np.random.default_rng(0)
    bundle = write_champion_with_references(tmp_path_factory.mktemp("champion"), [draw_regime("reference", 40, rng)])
    metrics = {"served_accuracy": CLEAN, "served_accuracy[site=B]": OF_B}
    write_model(bundle, read_model(bundle).model_copy(update={"metrics": metrics}))
    return read_champion(bundle, rng)


def places(*days: float, drifted: str = "", past: int | None = None, undecided: int | None = None, rows: int = 100) -> WindowPlaces:
    """A window a watch, from watch 3 on, each at its day; the last is this watch's."""
    windows = []
    for number, day in enumerate(days):
        time = (START + timedelta(days=day)).isoformat()
        flag = drifted[number : number + 1] == "T"
        windows.append(RecordedWindow(first=time, last=time, rows=rows, drifted=flag, mixture={"reference": 1.0}, together=flag))
    past = len(days) - 1 if past is None else past
    return WindowPlaces(windows, [(3 + number, 0) for number in range(len(days))], past, len(days) if undecided is None else undecided)


def window(*parts: tuple[int, int], drifted: bool = False, day: float = 0, mixture: Mapping[str, float] | None = None) -> RecordedTagWindow:
    """A window of site B with so many rows of the windows of these watches."""
    time = (START + timedelta(days=day)).isoformat()
    return RecordedTagWindow(
        tag="site=B",
        first=time,
        last=time,
        groups=10,
        p_values={},
        drifted=drifted,
        mixture=dict(mixture or {"reference": 1.0}),
        parts=[TagPart(watch=watch, window=0, rows=rows) for watch, rows in parts],
    )


def findings(
    windows: Sequence[RecordedTagWindow], inside: Any, *, confirmed: bool = False, name: str = "site", level: str = "B"
) -> TagFindings:
    return TagFindings(
        level=TagLevel(name, level, np.asarray(inside, bool), 0, prepare_regimes(["reference"], [drawn(20, 0)], np.random.default_rng(0))),
        alarm=level_of(0.05, SETTINGS, windows=90),
        size=10,
        cut=CutRows([], 0, 0, 0, 0, 10),
        waiting=np.zeros(0, np.int64),
        tested=[],
        windows=list(windows),
        confirmed=confirmed,
    )


def test_a_level_has_its_own_part_of_every_window_that_holds_some_of_it() -> None:
    every = places(0, 1, 2, 3, drifted="TFFF")
    own, members = level_places(
        [window((2, 9), (3, 5), (4, 2), mixture={"a": 1.0}), window((4, 4), (6, 6), mixture={"b": 1.0})],
        every,
    )
    assert members.tolist() == [True, True, False, True]
    assert [one.rows for one in own.windows] == [5, 6, 100, 6]
    assert [dict(one.mixture) for one in own.windows] == [{"a": 1.0}, {"b": 1.0}, {"reference": 1.0}, {"b": 1.0}]
    assert [(one.drifted, one.together) for one in own.windows] == [(True, False), (True, False), (False, False), (True, False)]
    assert own.windows[2] is every.windows[2]
    assert (own.places, own.past, own.open) == (every.places, every.past, every.open)


def test_in_question_are_windows_of_the_confirmed_drift_or_those_that_look_as_accepted() -> None:
    windows = [window((3, 5), drifted=True), window((4, 5)), window((5, 5), drifted=True), window((6, 5))]
    assert in_question(findings(windows, [], confirmed=True)) == [windows[0], windows[2]]
    assert in_question(findings(windows, [])) == [windows[1], windows[3]]


def labelled(at: Sequence[int], right: Sequence[bool], every: WindowPlaces) -> tuple[pd.DataFrame, Coverage]:
    """A row with a random label in each of these windows (-1: in none)."""
    table = pd.DataFrame({"predicted": "a", "label": np.where(right, "a", "b"), "label_origin": "random", "group": None, "image": b"x"})
    table = table.assign(request_id=[f"r{row}" for row in range(len(table))])
    number = np.asarray(at)
    flags = every.drifted[number] & (number >= 0)
    return table, Coverage(number >= 0, number - every.past, flags, flags)


def judged(
    found: TagFindings, every: WindowPlaces, accepted: AcceptedTraffic, at: Sequence[int], right: Sequence[bool], **given: Any
) -> JudgedHarm:
    table, coverage = labelled(at, right, every)
    usual: dict[str, Any] = {"judging": np.zeros(len(table), bool), "tests": 2, "records": [], "settings": SETTINGS}
    given = usual | given
    return judge_level(table, coverage, every, found, accepted, given.pop("records"), given.pop("settings"), **given)


def test_a_level_s_confirmed_drift_is_judged_by_its_labels_in_the_windows_of_that_drift(accepted: AcceptedTraffic) -> None:
    every = places(0, 1, 2, 3, drifted="FTTT")
    windows = [window((3, 10), day=0), window((4, 10), drifted=True, day=1), window((5, 10), drifted=True, day=2), window((6, 10), day=3)]
    at = [0] * 10 + [1] * 40 + [2] * 40 + [3] * 10 + [-1] * 5
    inside = np.array([True] * 95 + [False] * 0 + [True] * 10)
    inside[[10, 11]] = False  # of another site
    right = [True] * 10 + [False] * 10 + [True] * 30 + [False] * 20 + [True] * 20 + [True] * 15
    kept = np.arange(105) == 12
    harm = judged(findings(windows, inside, confirmed=True), every, accepted, at, right, judging=kept)
    assert [(tally.watch, tally.labels, tally.right, tally.rows, tally.drift, tally.tag) for tally in harm.drifting] == [
        (4, 37, 30, 10, 4, "site=B"),
        (5, 40, 20, 10, 4, "site=B"),
    ]
    assert (harm.confirmed, harm.drift, harm.tag, harm.concept, harm.concept_drop, harm.steady) == (True, 4, "site=B", False, None, [])
    expected = drop_of(harm.drifting, {"reference": OF_B}, half_life_days=SETTINGS.harm_half_life_days, alpha=TAGS_SHARE * DRIFT_ALPHA / 2)
    assert harm.drop == expected
    assert harm.concerned.tolist() == harm.in_drift.tolist() == [False, True, True, False]
    there = np.isin(at, [1, 2]) & inside
    np.testing.assert_array_equal(harm.coverage.confirmed, there)
    np.testing.assert_array_equal(harm.coverage.covered, np.array(at) >= 0)
    assert (harm.labels, harm.gate_labels, harm.harm_labels) == (there.sum(), 1, 20)


def test_labels_of_a_level_that_a_watch_has_counted_go_on_counting(accepted: AcceptedTraffic) -> None:
    every = places(0, 1, drifted="TT")
    found = findings([window((3, 10), drifted=True), window((4, 10), drifted=True, day=1)], [True] * 20, confirmed=True)
    tally = WindowLabels(watch=3, window=0, drift=3, tag="site=B", mixture={}, last=every.windows[0].last, rows=10, labels=9, right=2)
    others = [tally.model_copy(update={"tag": tag, "labels": 30}) for tag in ("", "site=C")]
    records = [
        watch_record(2, labels_by_window=[tally.model_copy(update={"labels": 99})]),
        watch_record(3, labels_by_window=[*others, tally]),
    ]
    harm = judged(found, every, accepted, [1] * 20, [True] * 20, records=records)
    assert [(one.watch, one.labels, one.right) for one in harm.drifting] == [(3, 9, 2), (4, 20, 20)]


def test_windows_of_a_level_that_look_as_accepted_are_judged_since_the_last_decision_for_what_they_mean(accepted: AcceptedTraffic) -> None:
    every = places(0, 1, 2, 3, undecided=3)
    windows = [window((3, 10)), window((4, 10), day=1), window((5, 10), drifted=True, day=2), window((6, 10), day=3)]
    at, right = [0] * 30 + [1] * 30 + [2] * 30 + [3] * 30, [True] * 30 + [False] * 30 + [True] * 30 + [False] * 30
    harm = judged(findings(windows, [True] * 120), every, accepted, at, right)
    assert [(one.watch, one.labels, one.right, one.drift) for one in harm.steady] == [(4, 30, 0, 0), (6, 30, 0, 0)]
    assert (harm.confirmed, harm.drift, harm.drop, harm.drifting, harm.concept) == (False, 0, None, [], True)
    assert harm.concept_drop == drop_of(
        harm.steady, {"reference": OF_B}, half_life_days=SETTINGS.harm_half_life_days, alpha=TAGS_SHARE * CONCEPT_ALPHA / 2
    )
    assert harm.concerned.tolist() == [False, True, False, True]
    assert not harm.in_drift.any()
    fine = judged(findings(windows, [True] * 120), every, accepted, at, [True] * 120)
    assert (fine.concept, fine.judged) == (False, None)


def test_windows_so_old_that_they_weigh_nothing_are_left_out(accepted: AcceptedTraffic) -> None:
    old = HALF_LIVES * SETTINGS.harm_half_life_days
    every = places(0, 1, old, old + 1, drifted="TTTT")
    days = (0, 1, old, old + 1)
    windows = [window((3 + number, 10), drifted=True, day=day) for number, day in enumerate(days)]
    # One drift of all four: the gap between them is no window's.
    close = [one.model_copy(update={"last": windows[0].last}) for one in windows]
    harm = judged(findings(close, [True] * 80, confirmed=True), every, accepted, [0, 1, 2, 3] * 20, [True] * 80)
    assert [one.watch for one in harm.drifting] == [4, 5, 6]
    assert harm.concerned.tolist() == [True] * 4
    assert (harm.in_drift.tolist(), harm.drift) == ([False, True, True, True], 3)


def test_without_a_known_accuracy_nothing_is_judged_and_without_windows_there_is_no_drift(
    tmp_path: Path, accepted: AcceptedTraffic
) -> None:
    unknown = replace(accepted, clean=None, model=accepted.model.model_copy(update={"metrics": {}}))
    every = places(0, 1, drifted="TT")
    found = findings([window((3, 10), drifted=True), window((4, 10), drifted=True, day=1)], [True] * 40, confirmed=True)
    harm = judged(found, every, unknown, [0, 1] * 20, [False] * 40)
    assert (harm.drop, harm.concept_drop, len(harm.drifting)) == (None, None, 2)
    gone = findings([window((1, 10), drifted=True), window((2, 10), drifted=True, day=1)], [True] * 40, confirmed=True)
    harm = judged(gone, every, accepted, [0, 1] * 20, [False] * 40)
    assert (harm.drift, harm.drifting, harm.concerned.tolist()) == (0, [], [False, False])


def harm_of(coverage: Coverage, *, windows: int = 1, tag: str = "") -> JudgedHarm:
    """Of a confirmed drift of so many windows without a label."""
    return JudgedHarm(
        confirmed=True,
        drift=3,
        drop=None,
        concept_drop=None,
        concept=False,
        drifting=[],
        steady=[],
        in_drift=np.ones(windows, bool),
        concerned=np.ones(windows, bool),
        coverage=coverage,
        labels=0,
        gate_labels=0,
        gate_independent=0.0,
        gate_obtainable=0,
        harm_labels=20,
        skipped=0,
        tag=tag,
    )


def unknown(
    accepted: AcceptedTraffic,
    table: pd.DataFrame,
    inside: np.ndarray,
    *,
    tests: int = 1,
    judging: np.ndarray | None = None,
    windows: Sequence[RecordedTagWindow] = (),
    confirmed: bool = False,
    level: str = "B",
    drifting: np.ndarray | None = None,
) -> list[str]:
    every = np.ones(len(table), bool)
    coverage = Coverage(every, np.zeros(len(table), np.int64), every, every if drifting is None else drifting)
    harm = harm_of(coverage)
    found = findings(windows, inside, confirmed=confirmed, level=level)
    kept = np.zeros(len(table), bool) if judging is None else judging
    return unknown_levels(table, harm, [found], accepted, judging=kept, tests=tests)


def answers(labels: int, right: int, count: int, groups: Sequence[str] | None = None) -> pd.DataFrame:
    """So many rows, of which the first have a random label."""
    origin = [("random" if row < labels else None) for row in range(count)]
    label = [("a" if row < right else "b") if row < labels else None for row in range(count)]
    return pd.DataFrame(
        {"predicted": "a", "label": label, "label_origin": origin, "group": list(groups) if groups else None, "image": b"x"}
    )


@pytest.mark.parametrize("tests", [1, 20])
@pytest.mark.parametrize(("level", "base"), [("B", OF_B), ("C", CLEAN)])
def test_a_level_may_be_harmed_where_its_labels_look_like_it_at_one_look(
    accepted: AcceptedTraffic, tests: int, level: str, base: Any
) -> None:
    flagged = []
    for right in range(41):
        said = unknown(accepted, answers(40, right, 400), np.arange(400) < 40, tests=tests, level=level)
        better = min(right + HALF_LABEL, 40)
        distance = float(score(base.value * base.independent, base.independent, better, 40, 0.0))
        flagged.append(bool(said))
        assert flagged[-1] == (distance > NormalDist().inv_cdf(1 - SUSPICION / tests))
        if said:
            assert said == [f"site={level}: right on {right} of 40 random labels, {base.value:.0%} was accepted"]
    assert 5 < sum(flagged) < 40


def test_labels_of_one_patient_look_like_harm_later(accepted: AcceptedTraffic) -> None:
    alone = answers(40, 26, 400)
    patients = answers(40, 26, 400, [f"p{row // 2}" for row in range(400)])
    inside = np.arange(400) < 40
    assert unknown(accepted, alone, inside) == ["site=B: right on 26 of 40 random labels, 80% was accepted"]
    assert unknown(accepted, patients, inside) == []


def test_few_labels_of_a_level_say_nothing_while_more_can_be_had(accepted: AcceptedTraffic) -> None:
    inside = np.arange(400) < 100
    few = STRATUM_LABELS - 1
    assert unknown(accepted, answers(few, few, 400), inside) == [
        f"site=B: {few} random labels of its own, {STRATUM_LABELS} are needed to tell"
    ]
    assert unknown(accepted, answers(STRATUM_LABELS, STRATUM_LABELS, 400), inside) == []
    assert unknown(accepted, answers(0, 0, 400), inside)[0].startswith("site=B: 0 random labels")
    # Two labels of a patient are one.
    twice = answers(2 * few, 2 * few, 400, [f"p{row // 2}" for row in range(400)])
    assert unknown(accepted, twice, inside)[0].startswith(f"site=B: {few} random labels")
    # Those kept for the gate do not count, nor can they be had.
    assert unknown(accepted, answers(30, 30, 400), inside, judging=np.arange(400) < 11)[0].startswith("site=B: 19 random labels")
    assert unknown(accepted, answers(few, few, 400), inside, judging=np.arange(400) >= few) == []
    # None, and none to be had.
    skipped = answers(0, 0, 400).assign(label_origin="skipped")
    assert unknown(accepted, skipped, inside) == []


def test_a_small_part_of_the_drift_one_whose_own_is_confirmed_and_one_without_accuracy_are_not_looked_at(accepted: AcceptedTraffic) -> None:
    none = answers(0, 0, 400)
    least = int(LEAST_PART * 400)
    assert unknown(accepted, none, np.arange(400) < least)
    assert not unknown(accepted, none, np.arange(400) < least - 1)
    assert unknown(accepted, none, np.arange(400) == 3, drifting=np.arange(400) < 10), "one of ten"
    assert not unknown(accepted, none, np.arange(400) == 30, drifting=np.arange(400) < 10), "none of ten"
    assert not unknown(accepted, none, np.arange(400) < 100, confirmed=True)
    nothing = replace(accepted, clean=None, model=accepted.model.model_copy(update={"metrics": {}}))
    assert not unknown(nothing, none, np.arange(400) < 100)


def test_a_level_is_held_against_the_regimes_that_its_newest_window_is_of(accepted: AcceptedTraffic) -> None:
    learned = wilson(120, 200)
    regimes = prepare_regimes(["reference", "regime-1"], [drawn(40, 0), drawn(40, 1)], np.random.default_rng(0))
    both = replace(accepted, regimes=regimes, learned=learned)
    table, inside = answers(40, 24, 400), np.arange(400) < 40
    said = unknown(both, table, inside, windows=[window((3, 10), mixture={"regime-1": 1.0}), window((3, 10))])
    assert said == ["site=B: right on 24 of 40 random labels, 80% was accepted"]
    assert unknown(both, table, inside, windows=[window((3, 10)), window((3, 10), mixture={"regime-1": 1.0})]) == []


def test_of_levels_that_ever_had_a_confirmed_drift_more_labels_were_asked() -> None:
    every = places(0, 1, 2)
    twice = [window((3, 5), drifted=True), window((4, 5), (5, 1), drifted=True)]
    calm = [window((3, 50), drifted=True), window((4, 50))]
    inside = np.arange(12)
    found = [
        findings(twice, inside < 3),
        findings([window((3, 7), drifted=True), window((5, 7), drifted=True)], (inside >= 3) & (inside < 6), level="C"),
        findings([window((4, 9), drifted=True), window((5, 2), drifted=True)], inside >= 10, name="ward"),
        findings(calm, inside == 8, name="ward", level="1"),
    ]
    more = oversampled(found, every, 12)
    assert more.inside.tolist() == [*[True] * 6, *[False] * 4, *[True] * 2]
    # Levels of one tag exclude each other, those of two may be the same requests.
    assert more.rows.tolist() == [12, 9, 8]
    none = oversampled([], every, 2)
    assert (none.inside.tolist(), none.rows.tolist()) == ([False, False], [0, 0, 0])


def test_rows_are_kept_of_drifts_of_levels_that_are_going_on_or_may_be_confirmed() -> None:
    every = places(0, 1, 2, 3, 4, 30)
    windows = [window((3 + number, 5), drifted=number in (0, 1, 5), day=day) for number, day in enumerate((0, 1, 2, 3, 4, 30))]
    at = np.array([0, 1, 2, 3, 4, 5, 5, 5])
    coverage = Coverage(np.array([True] * 6 + [False, True]), at - every.past, np.zeros(8, bool), np.zeros(8, bool))
    rows, inside, newest = pd.DataFrame(index=range(8)), [True] * 7 + [False], [*[False] * 5, True, False, False]
    assert rows_of_open_drifts(rows, [findings(windows, inside)], coverage, every).tolist() == newest
    going_on = findings(windows[:3], inside, confirmed=True)
    assert rows_of_open_drifts(rows, [going_on], coverage, every).tolist() == [True, True, *[False] * 6]
    other = findings(windows[5:], [False] * 8)
    assert rows_of_open_drifts(rows, [findings(windows, inside), other], coverage, every).tolist() == newest
    # A confirmed drift that is over for the windows to come, as where the last decision settled it.
    over = findings(windows[:5], inside, confirmed=True)
    assert rows_of_open_drifts(rows, [over], coverage, every).tolist() == [True, True, *[False] * 6]
    assert not rows_of_open_drifts(rows, [], coverage, every).any()


COUNT = 120


def drifts(*purposes: str) -> tuple[pd.DataFrame, list[Judged]]:
    """All requests, and those of levels of a site, a third each; what each asks labels for."""
    every = places(0, drifted="T", past=0, rows=COUNT)
    rows = log_of(drawn(COUNT, 3), watches=[0] * COUNT, windows=[-1] * COUNT, waits=[""] * COUNT).assign(image=b"x")
    third = np.arange(COUNT) % 3
    made = []
    for number, purpose in enumerate(purposes):
        tag = f"site={number}" if number else ""
        inside = third == number if number else np.ones(COUNT, bool)
        coverage = Coverage(inside, np.zeros(COUNT, np.int64), inside, inside)
        verdict = Verdict("needs_labels", "because", purpose)  # type: ignore[arg-type]
        harm = harm_of(coverage, tag=tag)
        made.append(Judged(harm, verdict, every, coverage, drawn(30, 0)))
    return rows, made


def asked(rows: pd.DataFrame, made: list[Judged], chosen: int, **given: int) -> pd.DataFrame:
    settings = DriftSettings(
        **{"random_requests": 31, "ranked_requests": 4, "quota_requests": 6, "quota_per_day": 6, "class_requests": 5} | given
    )
    everything, nothing = np.ones(COUNT, bool), np.zeros(COUNT, bool)
    return requests_of_watch(
        rows,
        made,
        made[chosen].harm,
        settings,
        np.random.default_rng(0),
        teaching=everything,
        judging=nothing,
        critical=["a"],
        until=START.isoformat(),
    )


def counts(requests: pd.DataFrame) -> dict[tuple[str, str, str], int]:
    return dict(Counter(zip(requests["stratum"], requests["origin"], requests["purpose"], strict=True)))


def test_drifts_that_need_labels_share_the_list_and_the_chosen_one_has_its_most_shifted_images_on_it() -> None:
    rows, made = drifts("", "harm", "gate", "")
    requests = asked(rows, made, 2)
    found = counts(requests)
    # Six of each window whatever it looks like; of those the levels need some name again, and they stand there once.
    assert found["3/0", "random", "quota"] == 6
    drawn_of = {tag: found[f"3/0 site={tag}", "random", purpose] for tag, purpose in ((1, "harm"), (2, "gate"))}
    shared = {tag: sum(int(name[1:]) % 3 == tag for name in requests.loc[requests["purpose"] == "quota", "request_id"]) for tag in drawn_of}
    quota_rows = requests["purpose"] == "quota"
    assert all(15 - shared[tag] <= drawn_of[tag] <= 15 for tag in drawn_of)
    assert found["3/0 site=2", "ranked", "ranked"] == 4
    assert set(found) == {
        ("3/0", "random", "quota"),
        ("3/0 site=1", "random", "harm"),
        ("3/0 site=2", "random", "gate"),
        ("3/0 site=2", "ranked", "ranked"),
    }
    assert requests["request_id"].is_unique
    assert (requests["origin"] == "ranked").tolist() == sorted((requests["origin"] == "ranked").tolist()), "random ones first"
    assert requests["rank"].tolist() == [*range(1, len(requests) - 3), 1, 2, 3, 4]
    for tag in (1, 2):
        of_level = requests.loc[requests["stratum"] == f"3/0 site={tag}", "request_id"]
        assert all(int(name[1:]) % 3 == tag for name in of_level)
    assert quota_rows.sum() == 6


def test_all_requests_have_the_list_for_themselves_where_no_level_needs_labels() -> None:
    rows, made = drifts("harm", "", "")
    found = counts(asked(rows, made, 0, random_requests=15))
    assert found == {
        ("3/0", "random", "quota"): 6,
        ("3/0", "random", "harm"): 9,
        ("3/0", "by_class", "class"): 5,
        ("3/0", "ranked", "ranked"): 4,
    }
    rows, made = drifts("", "", "")
    assert counts(asked(rows, made, 0)) == {("3/0", "random", "quota"): 6}
    nothing = asked(rows, made, 0, quota_requests=0)
    assert (len(nothing), list(nothing.columns)) == (0, list(asked(rows, made, 0).columns))


def test_a_level_asks_for_the_rows_of_its_drift_with_its_own_part_of_every_window() -> None:
    every = places(0, 1, drifted="TT")
    found = findings([window((3, 7), drifted=True), window((4, 8), drifted=True, day=1)], [True, False], confirmed=True)
    coverage = Coverage(np.array([True, True]), np.zeros(2, np.int64), np.ones(2, bool), np.array([True, False]))
    harm = harm_of(coverage, windows=2, tag="site=B")
    made = judged_level(harm, Verdict("needs_labels", "because", "harm"), found, every)
    assert made.coverage.covered.tolist() == made.coverage.confirmed.tolist() == [True, False]
    assert [one.rows for one in made.places.windows] == [7, 8]
    assert found.level.regimes is not None
    assert made.reference is found.level.regimes.samples[0]
    assert (made.harm, made.verdict.purpose) == (harm, "harm")
