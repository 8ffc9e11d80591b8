"""The simulated traffic, and the simulated labelling team."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from driftloop.dataset import open_split
from driftloop.errors import InputError
from driftloop.inference.labels import read_labels
from driftloop.inference.log import read_log
from driftloop.rehearsal.production import LabellingTeam, Production, fewest_groups, what_can_be_played
from driftloop.rehearsal.timeline import Calendar
from driftloop.scenarios import parse
from driftloop.settings import DriftSettings
from driftloop.store import open_store
from tests.factories.serving_store import build_serving_store

TRUTH = {f"r{index}": "ill" if index % 2 else "well" for index in range(10)}


def evidence(folder: Path, random: list[str], ranked: list[str] = ()) -> Path:
    folder.mkdir()
    rows = [(name, "random") for name in random] + [(name, "ranked") for name in ranked]
    pd.DataFrame(rows, columns=["request_id", "origin"]).assign(label="").to_csv(folder / "label_requests.csv", index=False)
    return folder


def test_windows_of_few_groups_are_played_each_image_of_its_own_group(tmp_path: Path):
    """Against a reference of 32 patients a window has eight, fewer than a replay of its own may have."""
    store, dataset = build_serving_store(tmp_path)
    production = Production(store, open_split(dataset, "stream"), dataset, size=8, labels=2, seed=1, config={})
    calendar = Calendar(2)
    for window, drift in enumerate(("none", "blur:1"), 1):
        played = production.traffic(parse(drift), calendar.clock(window))
        assert (played.requests, played.labels) == (8, 2)
    rows = read_log(store, after=None, until=calendar.start(2) + timedelta(hours=1))
    assert rows["request_id"].nunique() == 16
    assert rows["group"].head(8).is_unique


@pytest.mark.parametrize(("size", "minimum", "fewest"), [(200, 50, 8), (9, 50, 8), (8, 50, 7), (8, 2, 2), (5, 50, 4)])
def test_so_many_groups_make_a_window(size: int, minimum: int, fewest: int) -> None:
    assert fewest_groups(size, DriftSettings(minimum_window=minimum)) == fewest


def test_a_stream_of_too_few_groups_is_refused_since_nothing_would_be_tested(tmp_path: Path) -> None:
    stream = open_split(build_serving_store(tmp_path)[1], "stream")
    groups = stream.samples["group"].nunique()
    assert what_can_be_played([parse("none")], stream, 8, groups)[1] == []
    with pytest.raises(InputError, match=f"only {groups} patients or sites, and a window is tested with {groups + 1} or more.*; raise"):
        what_can_be_played([parse("none")], stream, 8, groups + 1)


def test_the_random_list_comes_back_with_the_truth_when_it_is_due(tmp_path: Path):
    store, team = open_store(str(tmp_path / "store")), LabellingTeam(delay=3)
    job = team.take(evidence(tmp_path / "one", ["r1", "r2"], ["r5"]), window=4)
    assert job is not None
    assert job.due == 7
    assert [team.hand_in(store, TRUTH, window) for window in (5, 6, 7, 8)] == [0, 0, 2, 0]
    labels = read_labels(store)[0]
    assert dict(zip(labels["request_id"], labels["label"], strict=True)) == {"r1": "ill", "r2": "well"}
    assert set(labels["origin"]) == {"random"}


def test_the_team_works_on_one_list_at_a_time(tmp_path: Path):
    store, team = open_store(str(tmp_path / "store")), LabellingTeam(delay=2)
    team.take(evidence(tmp_path / "one", ["r1"]), window=1)
    second = evidence(tmp_path / "two", ["r2"])
    assert team.take(second, window=2) is None
    team.hand_in(store, TRUTH, 3)
    assert team.take(second, window=3) is not None


def test_ranked_lists_are_labelled_too_where_that_is_asked_for_and_each_label_says_of_which_list_it_is(tmp_path: Path):
    store, team = open_store(str(tmp_path / "store")), LabellingTeam(delay=1, ranked=True)
    team.take(evidence(tmp_path / "one", ["r1", "r2"], ["r5"]), window=1)
    assert team.hand_in(store, TRUTH, 2) == 3
    labels = read_labels(store)[0]
    assert dict(zip(labels["request_id"], labels["origin"], strict=True)) == {"r1": "random", "r2": "random", "r5": "ranked"}


@pytest.mark.parametrize(("per_day", "days"), [(1, 4.0), (3, 2.0), (24, 0.3), (3, 0.0)])
def test_no_label_comes_before_its_turnaround_and_none_is_counted_twice(tmp_path: Path, per_day: int, days: float):
    windows, rng = 14, np.random.default_rng(5)
    calendar, store = Calendar(windows, per_day), open_store(str(tmp_path / "store"))
    team = LabellingTeam(calendar.windows_in(days), ranked=True)
    truth: dict[str, str] = {}
    asked_at: dict[str, int] = {}
    handed_in = 0
    for window in range(1, windows + 1):
        count = team.hand_in(store, truth, window)
        arrived = set(read_labels(store)[0]["request_id"])
        assert len(arrived) == handed_in + count
        handed_in += count
        for request in arrived:
            assert calendar.start(window) - calendar.start(asked_at[request]) >= timedelta(days=days)
        fresh = [f"w{window}-{index}" for index in range(4)]
        truth |= dict.fromkeys(fresh, "ill")
        open_ids = [name for name in truth if name not in arrived]
        rng.shuffle(open_ids)
        job = team.take(evidence(tmp_path / f"e{window}", open_ids[:5], open_ids[5:7]), window)
        if job is not None:
            assert not asked_at.keys() & job.origins.keys() & arrived
            asked_at |= dict.fromkeys(job.origins, window)
    assert handed_in > 0


def test_an_empty_list_is_no_work(tmp_path: Path):
    assert LabellingTeam(delay=2).take(evidence(tmp_path / "none", []), window=1) is None
