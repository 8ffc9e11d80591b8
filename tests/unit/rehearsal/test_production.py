"""The simulated labelling team."""

from pathlib import Path

import pandas as pd

from driftloop.inference.labels import read_labels
from driftloop.rehearsal.production import LabellingTeam
from driftloop.store import open_store

TRUTH = {f"r{index}": "ill" if index % 2 else "well" for index in range(10)}


def evidence(folder: Path, random: list[str], ranked: list[str] = ()) -> Path:
    folder.mkdir()
    rows = [(name, "random") for name in random] + [(name, "ranked") for name in ranked]
    pd.DataFrame(rows, columns=["request_id", "origin"]).assign(label="").to_csv(folder / "label_requests.csv", index=False)
    return folder


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


def test_an_empty_list_is_no_work(tmp_path: Path):
    assert LabellingTeam(delay=2).take(evidence(tmp_path / "none", []), window=1) is None
