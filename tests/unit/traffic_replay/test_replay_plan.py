"""The plan of a replay: shares, shortage, groups, labels."""

import numpy as np
import pandas as pd
import pytest

from components.traffic_replay.replay_plan import ReplayPlan, fit_to_stream, make_plan, separate_groups
from driftloop.scenarios import parse


def samples(n: int, *, groups: int | None = None, positives: float = 0.5) -> pd.DataFrame:
    label = (np.arange(n) < n * positives).astype(int)
    group = [f"g{index % (groups or n)}" for index in range(n)]
    return pd.DataFrame({"label": label, "group": group, "sha256": [f"{index:032x}" for index in range(n)]})


def plan(table: pd.DataFrame, drift: str = "blur:0.5", *, played: set[str] | None = None, seed: int = 0, **wanted: int) -> ReplayPlan:
    amounts = {"clean": 40, "drifted": 160, "window_size": 20, "labels": 50} | wanted
    return make_plan(table, played or set(), parse(drift), max_label_share=0.45, rng=np.random.default_rng(seed), **amounts)


def test_no_image_is_asked_about_twice():
    rows = plan(samples(500)).rows
    assert len(rows) == 200
    assert len(set(rows.tolist())) == 200


def test_images_that_were_played_before_are_left_out():
    table = samples(500)
    first = plan(table)
    second = plan(table, played=set(table["sha256"].iloc[first.rows]))
    assert not set(first.rows) & set(second.rows)


def test_copies_of_an_image_are_one_image():
    table = samples(300)
    table["sha256"] = [f"{index % 150:032x}" for index in range(300)]
    rows = plan(table, clean=0, drifted=300).rows
    assert len(rows) == 150
    assert table["sha256"].iloc[rows].is_unique


def test_without_drift_all_traffic_is_clean_and_labels_come_from_all_of_it():
    made = plan(samples(500), "none")
    assert (made.clean, made.drifted) == (200, 0)
    assert len(made.labelled) == 50
    assert made.labelled.min() < 40


def test_labels_come_from_the_drifted_requests_only_and_leave_unlabelled_ones():
    made = plan(samples(500), labels=1000)
    assert made.labelled.min() >= 40
    assert len(made.labelled) == int(160 * 0.45)
    assert len(set(made.labelled.tolist())) == len(made.labelled)


def test_labels_are_uniform_over_the_drifted_requests():
    counts = np.zeros(200)
    for seed in range(400):
        counts[plan(samples(500), seed=seed).labelled] += 1
    expected = 400 * 50 / 160
    statistic = ((counts[40:] - expected) ** 2 / expected).sum()
    # Chi-square with 159 degrees of freedom, 99.9 % quantile; drawing without replacement only makes it smaller.
    assert statistic < 222


@pytest.mark.parametrize(
    ("wanted", "available", "expected"),
    [((40, 160), 500, (40, 160)), ((40, 160), 100, (20, 80)), ((40, 160), 10, (0, 10)), ((0, 160), 100, (0, 100)), ((200, 0), 90, (90, 0))],
)
def test_a_short_stream_shrinks_both_parts_in_proportion(wanted: tuple[int, int], available: int, expected: tuple[int, int]):
    assert fit_to_stream(*wanted, available, 20) == expected


def test_no_window_holds_a_group_twice_while_that_can_be_had():
    table = samples(400, groups=100)
    made = plan(table)
    for part in (made.rows[: made.clean], made.rows[made.clean :]):
        for start in range(0, len(part), 20):
            assert table["group"].iloc[part[start : start + 20]].is_unique


def test_groups_repeat_when_there_are_too_few_and_nothing_is_lost():
    groups = np.array(["a", "a", "a", "b", "b", "c"])
    assert sorted(separate_groups(np.arange(6), groups, 4)) == list(range(6))


def test_the_order_stays_random_where_groups_do_not_collide():
    rows = np.random.default_rng(0).permutation(50)
    assert list(separate_groups(rows, np.arange(50).astype(str), 10)) == rows.tolist()


def test_a_prior_shift_reaches_the_drifted_part_only():
    table = samples(2000)
    made = plan(table, "prior:0.3", clean=200, drifted=400)
    share = table["label"].to_numpy()[made.rows]
    assert abs(share[made.clean :].mean() - 0.5) == pytest.approx(0.3, abs=0.01)
    assert abs(share[: made.clean].mean() - 0.5) < 0.12


def test_the_same_seed_gives_the_same_plan():
    first, second = plan(samples(500), seed=7), plan(samples(500), seed=7)
    assert first.rows.tolist() == second.rows.tolist()
    assert first.labelled.tolist() == second.labelled.tolist()


def test_a_prior_shift_starts_from_the_shares_of_the_whole_stream_whatever_was_played_before():
    table = samples(2000)
    # Earlier replays have taken most of one class.
    played = set(table["sha256"].iloc[:600])
    made = plan(table, "prior:0.3", played=played, clean=0, drifted=300)
    share = (table["label"].to_numpy()[made.rows] == 0).mean()
    assert share == pytest.approx(0.8, abs=0.01)
