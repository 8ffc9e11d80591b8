"""Which images labels are asked for: uniformly within each window, and the most shifted of the rest."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components.drift_detection.harm import drop_of
from components.drift_detection.judged_harm import JudgedHarm
from components.drift_detection.label_requests import (
    COLUMNS,
    allotted,
    asked_labels,
    label_requests,
    more_by_class,
    quota,
    requests_for,
)
from components.drift_detection.label_tallies import WindowPlaces
from components.drift_detection.policy import Verdict
from components.drift_detection.reference import Sample
from components.drift_detection.windows import Coverage
from driftloop.evaluation.intervals import wilson
from driftloop.settings import DriftSettings
from driftloop.watch_record import AskedLabels, RecordedWindow, WindowLabels


def rows(count: int, stratum: str = "1/0") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "request_id": [f"r{index}" for index in range(count)],
            "time": pd.Timestamp("2025-01-01", tz="UTC"),
            "group": None,
            "predicted": "a",
            "image": "x#0",
            "label": None,
            "label_origin": None,
            "stratum": stratum,
            "teaching": True,
            "judging": False,
        }
    )


def plan(wanted: int, *, quota: int = 0, kept: float = 1.0, concerned: bool = True, stratum: str = "1/0") -> pd.DataFrame:
    row = {"wanted": wanted, "quota": quota, "kept": kept, "concerned": concerned}
    return pd.DataFrame([row], index=[stratum])


def asked(table: pd.DataFrame, plans: pd.DataFrame, *, ranked: int = 0, seed: int = 0, scores: np.ndarray | None = None) -> pd.DataFrame:
    return label_requests(table, np.zeros(len(table)) if scores is None else scores, plans, ranked=ranked, purpose="harm", seed=seed)


def test_the_random_list_is_uniform_and_the_ranked_one_the_most_shifted_of_the_rest() -> None:
    lists = asked(rows(400), plan(100), ranked=20, scores=np.arange(400.0))
    assert list(lists.columns) == list(COLUMNS)
    uniform, ranked = lists[lists["origin"] == "random"], lists[lists["origin"] == "ranked"]
    assert (len(uniform), len(ranked)) == (100, 20)
    assert not set(uniform["request_id"]) & set(ranked["request_id"])
    assert uniform["shift"].mean() == pytest.approx(199.5, abs=4 * 115 / 10)
    assert ranked["shift"].is_monotonic_decreasing
    assert ranked["shift"].min() > 360
    assert list(uniform["rank"]) == list(range(1, 101))
    assert (uniform["label"] == "").all()


def test_every_request_says_why_where_and_with_which_probability() -> None:
    table = pd.concat([rows(400, "3/0"), rows(400, "3/1").assign(request_id=[f"s{index}" for index in range(400)])])
    plans = pd.concat([plan(100, quota=20, stratum="3/0"), plan(20, quota=20, concerned=False, stratum="3/1")])
    lists = asked(table, plans, ranked=30, scores=np.arange(800.0))
    random = lists[lists["origin"] == "random"]
    assert random.groupby(["stratum", "purpose"]).size().to_dict() == {("3/0", "harm"): 80, ("3/0", "quota"): 20, ("3/1", "quota"): 20}
    assert random.groupby("stratum")["probability"].unique().to_dict() == {"3/0": [0.25], "3/1": [0.05]}
    ranked = lists[lists["origin"] == "ranked"]
    assert set(ranked["stratum"]) == {"3/0"}, "only windows whose harm is in question"
    assert set(ranked["purpose"]) == {"ranked"}
    assert ranked["probability"].isna().all()


def test_the_probability_is_what_it_says() -> None:
    table = pd.concat([rows(20, "1/0"), rows(10, "1/1").assign(request_id=[f"s{index}" for index in range(10)])], ignore_index=True)
    plans = pd.concat([plan(5), plan(4, stratum="1/1")])
    drawn = pd.concat([asked(table, plans, seed=seed) for seed in range(400)])
    counts = drawn["request_id"].value_counts()
    assert len(counts) == 30
    share = drawn.groupby("request_id")["probability"].first()
    expected = 400 * share[counts.index]
    assert (np.abs(counts - expected) < 4.5 * np.sqrt(expected * (1 - share[counts.index]))).all()


def test_asking_again_continues_the_same_list() -> None:
    table = rows(50)
    first = asked(table, plan(10))["request_id"].tolist()
    assert asked(table, plan(20))["request_id"].tolist()[:10] == first
    done = table["request_id"].isin(first[:4])
    table.loc[done, ["label", "label_origin"]] = ["a", "random"]
    assert asked(table, plan(10))["request_id"].tolist() == first[4:]
    # What labellers have skipped is settled, and nobody stands in for it: that would bias the list.
    table.loc[table["request_id"].isin(first[4:6]), "label_origin"] = "skipped"
    assert asked(table, plan(10), ranked=50)["request_id"].tolist()[:4] == first[6:]
    assert not set(first[:6]) & set(asked(table, plan(10), ranked=50)["request_id"])


def test_an_image_labelled_as_ranked_stays_in_the_random_list_where_it_was_drawn() -> None:
    table = rows(10)
    table[["label", "label_origin"]] = ["a", "ranked"]
    assert asked(table, plan(10), ranked=10)["origin"].value_counts().to_dict() == {"random": 10}


@pytest.mark.parametrize(("windows", "expected"), [(0, 20), (1, 20), (5, 20), (6, 16), (24, 4), (99, 1), (1000, 1)])
def test_a_quota_is_small_in_a_day_and_never_nothing(windows: int, expected: int) -> None:
    assert quota(DriftSettings(), windows) == expected


def test_no_quota_where_none_is_wanted() -> None:
    assert quota(DriftSettings(quota_requests=0), 3) == 0
    assert quota(DriftSettings(quota_per_day=0), 3) == 0


@pytest.mark.parametrize(
    ("weights", "total", "most", "expected"),
    [
        ([1, 1], 10, [50, 50], [5, 5]),
        ([1, 3], 8, [50, 50], [2, 6]),
        ([1, 1, 1], 10, [50, 50, 50], [4, 3, 3]),
        ([1, 3], 8, [50, 4], [4, 4]),
        ([1, 3], 80, [10, 4], [10, 4]),
        ([0, 3], 8, [50, 50], [0, 8]),
        ([0, 0], 8, [50, 50], [0, 0]),
        ([], 8, [], []),
        ([1, 1, 1, 1], 2, [5, 5, 5, 5], [1, 1, 0, 0]),
    ],
)
def test_requests_are_shared_out_by_weight_and_what_one_window_lacks_the_others_give(
    weights: list[float], total: int, most: list[int], expected: list[int]
) -> None:
    assert allotted(np.array(weights, dtype=float), total, np.array(most, dtype=np.int64)).tolist() == expected


def test_what_stands_for_the_accepted_is_not_ranked_for_its_label_would_do_nothing() -> None:
    table = rows(400)
    table["teaching"] = np.arange(400) % 5 == 0
    lists = asked(table, plan(100), ranked=20, scores=np.arange(400.0))
    ranked = lists[lists["origin"] == "ranked"]
    assert len(ranked) == 20
    assert set(ranked["request_id"]) <= set(table.loc[table["teaching"], "request_id"])
    # The random list draws from all: leaving anybody out would bias it.
    assert not lists.loc[lists["origin"] == "random", "request_id"].isin(table.loc[table["teaching"], "request_id"]).all()


def test_a_quota_is_of_the_rows_that_show_harm_and_each_side_has_its_probability() -> None:
    table = rows(400)
    table["judging"] = np.arange(400) % 2 == 0
    quotas = asked(table, plan(0, quota=20))
    assert len(quotas) == 20
    assert not quotas["request_id"].isin(table.loc[table["judging"], "request_id"]).any()
    assert set(quotas["probability"]) == {0.1}
    both = asked(table, plan(30, quota=20, kept=0.5)).merge(table[["request_id", "judging"]], on="request_id")
    drawn = both.groupby("judging").size()
    assert drawn[False] == 20
    assert 5 < drawn[True] < 25
    assert both.groupby("judging")["probability"].unique().map(list).to_dict() == {
        side: [0.5 * drawn[side] / 200] for side in (False, True)
    }


def test_of_a_rare_class_more_are_drawn_with_a_probability_of_their_own() -> None:
    table = rows(1000)
    table["judging"] = np.arange(1000) % 4 == 0
    table.loc[table.index % 20 == 1, "predicted"] = "rare"
    lists = label_requests(table, np.arange(1000.0), plan(200), ranked=20, by_class=12, rare=["rare", "a"], purpose="harm", seed=0)
    uniform, by_class, ranked = (lists[lists["origin"] == origin] for origin in ("random", "by_class", "ranked"))
    assert (len(uniform), len(by_class), len(ranked)) == (200, 12, 20)
    assert lists["request_id"].is_unique
    chosen = table.set_index("request_id").loc[by_class["request_id"]]
    assert set(chosen["predicted"]) == {"rare"}
    assert not chosen["judging"].any(), "labels kept for the gate have no say"
    of_class = uniform.merge(table, on="request_id")
    there = ((of_class["predicted"] == "rare") & ~of_class["judging"]).sum() + 12
    assert set(by_class["probability"]) == {there / 50}
    assert set(by_class["stratum"]) == {"1/0"}, "what the model said would lead whoever labels"
    assert set(by_class["purpose"]) == {"class"}
    # The uniform list is what it was, and so is its probability.
    alone = asked(table, plan(200))
    assert alone[["request_id", "probability"]].equals(uniform[["request_id", "probability"]])


def test_both_lists_together_are_a_uniform_draw_within_the_class() -> None:
    table = rows(60)
    table["predicted"] = np.where(np.arange(60) % 6 == 0, "rare", "a")
    drawn = [
        label_requests(table, np.zeros(60), plan(20), ranked=0, by_class=3, rare=["rare"], purpose="harm", seed=seed) for seed in range(600)
    ]
    of_class = table.loc[table["predicted"] == "rare", "request_id"]
    counts = pd.concat(drawn).loc[lambda row: row["request_id"].isin(of_class), "request_id"].value_counts()
    assert len(counts) == 10
    assert counts.max() - counts.min() < 4.5 * np.sqrt(2 * 600 * 0.63 * 0.37)


@pytest.mark.parametrize(
    ("drawn", "others", "total", "expected"),
    [
        ({"a": 3, "b": 5}, {"a": 90, "b": 90}, 4, {"a": 3, "b": 1}),
        ({"a": 3, "b": 5}, {"a": 1, "b": 90}, 4, {"a": 1, "b": 3}),
        ({"a": 29, "b": 300}, {"a": 90, "b": 90}, 60, {"a": 1, "b": 0}),
        ({}, {}, 60, {}),
    ],
)
def test_the_class_with_the_fewest_gets_the_next(drawn: dict, others: dict, total: int, expected: dict) -> None:
    assert more_by_class(drawn, others, total) == expected


UNTIL = datetime(2025, 3, 20, tzinfo=UTC)
#: A week's half-life; lists that are easily counted.
SETTINGS = DriftSettings(random_requests=60, ranked_requests=10, class_requests=6, quota_requests=8, harm_labels=30)


def places(*windows: tuple[float, int, bool], past: int, together: tuple[int, ...] = ()) -> WindowPlaces:
    """Windows of watch 1, and from `past` on of watch 2, given as days before the end, rows and whether they drifted."""
    recorded = []
    for number, (days, count, drifted) in enumerate(windows):
        last = (UNTIL - timedelta(days=days)).isoformat()
        recorded.append(RecordedWindow(first=last, last=last, rows=count, drifted=drifted, together=number in together))
    ids = [(1, number) if number < past else (2, number - past) for number in range(len(windows))]
    return WindowPlaces(recorded, ids, past=past, open=len(windows))


def served(at: list[int], **given: Any) -> pd.DataFrame:
    """Rows of windows (from 0; -1: of none), ever more shifted from what lies around 0."""
    count = len(at)
    embedding = [np.full(4, 0.01 * number, "<f2").tobytes() for number in range(count)]
    table = rows(count).drop(columns=["stratum", "teaching", "judging"])
    return table.assign(at=at, embedding=embedding, statistics=[[0.0]] * count, probabilities=[[0.5, 0.5]] * count, **given)


def covering(table: pd.DataFrame, past: int) -> Coverage:
    covered = (table["at"] >= 0).to_numpy()
    return Coverage(covered, table["at"].to_numpy() - past, covered, covered)


def listed(
    table: pd.DataFrame,
    windows: WindowPlaces,
    concerned: list[bool],
    *,
    purpose: str = "harm",
    settings: DriftSettings = SETTINGS,
    **given: Any,
) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    reference = Sample(rng.normal(0, 0.1, (50, 4)).astype(np.float32), np.zeros((50, 1), np.float32), np.full((50, 2), 0.5, np.float32))
    usual = {"teaching": np.ones(len(table), bool), "judging": np.zeros(len(table), bool), "critical": [], "until": UNTIL.isoformat()}
    return requests_for(
        table, covering(table, windows.past), windows, np.array(concerned), reference, settings, rng, purpose=purpose, **usual | given
    )


def by_window(requests: pd.DataFrame, origin: str = "random") -> dict[str, int]:
    return requests.loc[requests["origin"] == origin, "stratum"].value_counts().to_dict()


def test_random_requests_are_shared_out_by_rows_and_age_and_the_newest_windows_have_a_quota() -> None:
    windows = places((7, 100, True), (0, 100, True), (0, 100, False), past=1)
    table = served([0] * 100 + [1] * 100 + [2] * 100 + [-1] * 20)
    requests = listed(table, windows, [True, True, False])
    assert by_window(requests) == {"1/0": 20, "2/0": 40, "2/1": 8}, "half as many of a week ago; of what is not in question the quota"
    assert requests.groupby(["stratum", "purpose"]).size()["2/0"].to_dict() == {"harm": 32, "quota": 8, "ranked": 10}
    assert by_window(requests, "ranked") == {"2/0": 10}, "the most shifted are of window 2/1, which is not in question"
    random = requests[requests["origin"] == "random"]
    assert random.groupby("stratum")["probability"].first().to_dict() == {"1/0": 0.2, "2/0": 0.4, "2/1": 0.08}
    larger = places((0, 300, True), (0, 100, True), past=0)
    assert by_window(listed(served([0] * 300 + [1] * 100), larger, [True, True])) == {"2/0": 45, "2/1": 15}


def test_a_list_of_which_all_is_settled_goes_on_while_labels_could_still_decide() -> None:
    windows = places((7, 100, True), (0, 100, True), past=1)
    table = served([0] * 100 + [1] * 100)
    lengths = []
    for _ in range(5):
        requests = listed(table, windows, [True, True])
        random = requests.loc[requests["origin"] == "random", "request_id"]
        lengths.append(len(random))
        settled = table["request_id"].isin(random)
        table.loc[settled, ["label", "label_origin"]] = ["a", "random"]
        table.loc[settled & (table.index % 7 == 0), ["label", "label_origin"]] = [None, "skipped"]
    assert lengths == [60, 60, 60, 20, 0], "and then there is no more"
    open_still = served([0] * 100 + [1] * 100)
    first = listed(open_still, windows, [True, True]).loc[lambda row: row["origin"] == "random", "request_id"]
    open_still.loc[open_still["request_id"].isin(first[:59]), ["label", "label_origin"]] = ["a", "random"]
    again = listed(open_still, windows, [True, True])
    assert list(again.loc[again["origin"] == "random", "request_id"]) == list(first[59:]), "not before"
    table[["label", "label_origin"]] = table[["label", "label_origin"]].where(table["request_id"].isin(first))
    ended = listed(table, windows, [True, True], goes_on=False)
    assert by_window(ended) == {}, "where labels would not decide"
    none = SETTINGS.model_copy(update={"random_requests": 0, "quota_requests": 0, "class_requests": 0})
    assert by_window(listed(served([0] * 100 + [1] * 100), windows, [True, True], settings=none)) == {}


def test_without_a_purpose_only_the_watch_s_own_windows_are_asked_for_and_only_their_quota() -> None:
    windows = places((0.5, 50, True), (0, 50, False), past=1)
    table = served([0] * 50 + [1] * 50)
    requests = listed(table, windows, [True, False], purpose="")
    assert (by_window(requests), set(requests["origin"]), set(requests["purpose"])) == ({"2/0": 8}, {"random"}, {"quota"})
    many = DriftSettings(quota_requests=20, quota_per_day=10)
    assert by_window(listed(table, windows, [True, False], purpose="", settings=many)) == {"2/0": 5}, "two windows in this day"
    long_ago = places((1.5, 50, True), (1, 50, False), past=1)
    assert by_window(listed(table, long_ago, [True, False], purpose="", settings=many)) == {"2/0": 10}, "one, just a day old"
    nothing = listed(table[:50], windows, [True, False], purpose="")
    assert (len(nothing), list(nothing.columns)) == (0, list(COLUMNS))


def test_only_requests_whose_image_was_kept_are_asked_for() -> None:
    table = served([0] * 40)
    table.loc[table.index[10:], "image"] = None
    requests = listed(table, places((0, 40, True), past=0), [True])
    assert set(requests["request_id"]) == set(table["request_id"][:10])
    assert set(requests["probability"]) == {1.0}


def test_of_an_earlier_window_that_did_not_drift_by_itself_a_sample_is_left_and_the_probability_knows_it() -> None:
    table = served([0] * 50 + [1] * 50 + [2] * 50 + [3] * 50)
    windows = places((0, 200, True), (0, 200, True), (0, 200, False), (0, 200, False), past=3, together=(1,))
    requests = listed(table, windows, [True] * 4, settings=SETTINGS.model_copy(update={"random_requests": 40}))
    assert by_window(requests) == {"1/0": 10, "1/1": 10, "1/2": 10, "2/0": 10}
    random = requests[requests["origin"] == "random"]
    assert random.groupby("stratum")["probability"].first().to_dict() == {"1/0": 0.2, "1/1": 0.05, "1/2": 0.05, "2/0": 0.2}


def test_more_of_critical_classes_are_drawn_or_else_of_rare_ones() -> None:
    table = served([0] * 200)
    table.loc[table.index[1::20], "predicted"] = "one in twenty"
    table.loc[table.index[5::25], "predicted"] = "rare"
    windows = places((0, 200, True), past=0)
    few = SETTINGS.model_copy(update={"random_requests": 20})
    for critical, expected in (([], "rare"), (["one in twenty"], "one in twenty")):
        requests = listed(table, windows, [True], settings=few, critical=critical)
        chosen = requests.loc[requests["origin"] == "by_class", "request_id"]
        assert 0 < len(chosen) <= 6
        assert set(table.set_index("request_id").loc[chosen, "predicted"]) == {expected}


def test_what_may_not_train_is_not_ranked_and_what_is_kept_for_the_gate_has_no_quota() -> None:
    windows, table, half = places((0, 100, True), past=0), served([0] * 100), np.arange(100) % 2 == 0
    ranked = listed(table, windows, [True], teaching=half).loc[lambda row: row["origin"] == "ranked", "request_id"]
    assert set(ranked) <= set(table["request_id"][half])
    quotas = listed(table, windows, [True], purpose="", judging=half)
    assert len(quotas) == 8
    assert not set(quotas["request_id"]) & set(table["request_id"][half])


def test_what_the_list_can_decide_is_counted_as_harm_is_judged() -> None:
    windows = places((1, 40, True), (0, 40, False), past=1)
    table = served([0] * 40 + [1] * 40 + [-1] * 5)
    table.loc[[0, 1], ["label", "label_origin"]] = ["a", "random"]
    table.loc[[2, 3, 4], "label_origin"] = "skipped"
    table.loc[[4, 5, 6, 45], "image"] = None
    table.loc[7, ["label", "image"]] = ["a", None]
    judging = np.isin(np.arange(len(table)), [8, 9, 50])
    requests = pd.DataFrame({"request_id": [f"r{number}" for number in (0, 8, 10, 11, 12, 41, 42)], "origin": "random"})
    requests.loc[4, "origin"] = "ranked"
    tally = WindowLabels(watch=1, window=0, drift=1, last=windows.windows[0].last, rows=40, labels=40, right=34)
    drop = drop_of([tally], {"reference": wilson(900, 1000)}, half_life_days=7, alpha=0.04)
    harm = JudgedHarm(
        confirmed=True,
        drift=1,
        drop=drop,
        concept_drop=None,
        concept=False,
        drifting=[tally],
        steady=[],
        in_drift=np.array([True, False]),
        concerned=np.array([True, False]),
        coverage=covering(table, windows.past),
        labels=40,
        gate_labels=0,
        gate_independent=0,
        gate_obtainable=0,
        harm_labels=30,
        skipped=0,
    )

    def asked_for(verdict: Verdict, settings: DriftSettings = SETTINGS) -> AskedLabels:
        return asked_labels(requests, table, harm, windows, settings, judging=judging, verdict=verdict)

    needed = harm.judging_labels_to_decide(SETTINGS)
    assert needed is not None
    assert needed > 40
    # Of the 40 rows two are labelled, three skipped, three others without an image, and two kept for the gate.
    expected = AskedLabels(images=7, listed=2, have=40, needed=needed, obtainable=30, without_image=2)
    assert asked_for(Verdict("needs_labels", "", "harm")) == expected
    more = SETTINGS.model_copy(update={"harm_labels": 100_000})
    assert asked_for(Verdict("needs_labels", "", "harm"), more).needed == 100_000
    assert asked_for(Verdict("retrain", "", "gate")) == expected.model_copy(update={"needed": 0})
    # A quota is of the watch's own windows, whatever was in question before.
    assert asked_for(Verdict("alert", "")) == AskedLabels(images=7, listed=2, have=40, needed=0, obtainable=38, without_image=1)
