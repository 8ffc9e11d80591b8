"""Which images labels are asked for: uniformly within each window, and the most shifted of the rest."""

import numpy as np
import pandas as pd
import pytest

from components.drift_detection.label_requests import COLUMNS, allotted, label_requests, more_by_class, quota
from driftloop.settings import DriftSettings


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
