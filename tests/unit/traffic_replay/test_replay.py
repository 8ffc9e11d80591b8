"""A replay through a real store, a real model and the real log."""

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.traffic_replay.replay import UNSEEN_LABEL, Amounts, Replayed, replay
from components.traffic_replay.replay_plan import image_id, played_rows
from components.traffic_replay.step import run
from components.traffic_replay.traffic import answer
from driftloop.dataset import Description, open_split, write_description
from driftloop.errors import InputError, NoChampion
from driftloop.inference.labels import read_labels
from driftloop.inference.log import read_images, read_log
from driftloop.inference.served_model import ServedModel
from driftloop.scenarios import parse
from driftloop.settings import TrafficSettings
from driftloop.store import Store, open_store
from tests.factories.serving_store import CLASSES, build_serving_store, textured_squares

HUNDRED = Amounts(40, 60, 20)


def play(store: Store, dataset: Description, drift: str = "blur+noise:0.6", *, amounts: Amounts = HUNDRED, seed: int = 1) -> Replayed:
    settings = TrafficSettings(window_size=20)
    return replay(
        store, open_split(dataset, "stream"), dataset, version="", scenario=parse(drift), amounts=amounts, seed=seed, settings=settings
    )


def logged(store: Store, until: str) -> pd.DataFrame:
    return read_log(store, after=None, until=datetime.fromisoformat(until))


def test_every_request_is_logged_once_with_image_group_and_latency(tmp_path: Path):
    store, dataset = build_serving_store(tmp_path)
    played = play(store, dataset)
    rows = logged(store, played.until)
    assert len(rows) == 100
    assert rows["time"].is_monotonic_increasing
    assert rows["time"].is_unique
    assert rows["group"].is_unique
    assert (rows["model_version"] == "1").all()
    assert (rows["latency_ms"] > 0).all()
    assert rows["image"].notna().all()
    tags = open_split(dataset, "stream").samples.set_index(open_split(dataset, "stream").samples["sha256"].map(image_id))["tags"]
    assert rows["tags"].fillna("").tolist() == tags[rows["request_id"].str.rpartition("-")[2]].tolist()
    assert set(tags) == {"", '{"site": "B"}'}


def test_until_lies_just_after_the_last_row(tmp_path: Path):
    store, dataset = build_serving_store(tmp_path)
    played = play(store, dataset)
    last = logged(store, played.until)["time"].max()
    assert datetime.fromisoformat(played.until) - last.to_pydatetime() == timedelta(microseconds=1)


def test_the_first_windows_are_clean_and_the_others_drifted(tmp_path: Path):
    store, dataset = build_serving_store(tmp_path)
    rows = logged(store, play(store, dataset, "brightness:0.2").until)
    originals = {image.tobytes() for image in open_split(dataset, "stream").images}
    untouched = [image.tobytes() in originals for image in read_images(store, rows)]
    assert untouched == [True] * 40 + [False] * 60


def test_labels_are_random_true_and_cover_only_drifted_requests(tmp_path: Path):
    store, dataset = build_serving_store(tmp_path)
    rows = logged(store, play(store, dataset).until)
    labels = read_labels(store)[0]
    assert len(labels) == 20
    assert set(labels["origin"]) == {"random"}
    assert set(labels["request_id"]) <= set(rows["request_id"].iloc[40:])
    joined = rows.merge(labels, on="request_id")
    # Bright and dark squares stay what they are under blur and noise, and the model tells them apart.
    assert (joined["label"] == joined["predicted"]).mean() > 0.9
    assert set(joined["label"]) <= set(CLASSES)


def test_a_second_replay_plays_other_images_and_a_third_says_that_none_are_left(tmp_path: Path):
    store, dataset = build_serving_store(tmp_path, stream=150)
    play(store, dataset)
    second = play(store, dataset)
    assert (second.clean, second.drifted, second.wanted) == (20, 30, 100)
    assert "of 100 asked for" in second.figures()
    played = played_rows(store)
    assert len(played) == 150
    assert played["image"].is_unique
    with pytest.raises(InputError, match="all 150 stream images were replayed before"):
        play(store, dataset)


def test_a_replay_says_that_it_labelled_fewer_than_asked_for_and_does_not_call_a_new_site_s_images_clean(tmp_path: Path):
    store, dataset = build_serving_store(tmp_path)
    played = play(store, dataset)
    assert played.labels_wanted == played.labels == 20
    assert "asked for" not in played.figures()
    fewer = replace(played, labels_wanted=60, source="../site-b")
    assert fewer.figures().startswith("40 unchanged + 60 with blur+noise:0.6 requests of ../site-b, 20 labels (of 60 asked for")
    assert "clean" not in fewer.figures()


def test_a_killed_replay_goes_on_and_ends_as_if_it_had_not_been_killed(tmp_path: Path):
    store, dataset = build_serving_store(tmp_path)
    command = [sys.executable, "-m", "tests.unit.traffic_replay.interrupted", store.uri, dataset.manifest_hash]
    died = subprocess.run(command, capture_output=True, check=False)
    assert died.returncode == -9, died.stderr.decode()
    survivors = played_rows(store)
    assert len(survivors) == 200

    finished = replay(
        store,
        open_split(dataset, "stream"),
        dataset,
        version="1",
        scenario=parse("blur+noise:0.6"),
        amounts=Amounts(100, 150, 40),
        seed=5,
        settings=TrafficSettings(),
    )
    rows = logged(store, finished.until)
    assert len(rows) == 250
    assert played_rows(store)["image"].is_unique
    assert set(survivors["request_id"]) <= set(rows["request_id"])
    assert len(read_labels(store)[0]) == 40
    assert rows["time"].is_monotonic_increasing


def test_two_stores_in_the_same_state_see_the_same_replay(tmp_path: Path):
    answers = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        store, dataset = build_serving_store(tmp_path / name)
        rows = logged(store, play(store, dataset).until)
        answers.append((rows["request_id"].tolist(), rows["image_sha256"].tolist(), sorted(read_labels(store)[0]["request_id"])))
    assert answers[0] == answers[1]


def test_a_rehearsals_clock_sets_the_times_in_the_log(tmp_path: Path):
    store, dataset = build_serving_store(tmp_path)
    noon = datetime(2025, 5, 1, 12, tzinfo=UTC)
    settings = TrafficSettings(window_size=20)
    stream, scenario = open_split(dataset, "stream"), parse("none")
    played = replay(store, stream, dataset, version="", scenario=scenario, amounts=HUNDRED, seed=1, settings=settings, clock=lambda: noon)
    times = logged(store, played.until)["time"]
    assert times.min().to_pydatetime() == noon
    assert times.is_unique
    assert times.max() - times.min() < timedelta(seconds=1)


def test_the_truth_of_every_request_is_known_afterwards(tmp_path: Path):
    store, dataset = build_serving_store(tmp_path)
    played = play(store, dataset)
    rows = logged(store, played.until)
    assert set(played.truth) == set(rows["request_id"])
    labels = read_labels(store)[0]
    assert {name: played.truth[name] for name in labels["request_id"]} == dict(zip(labels["request_id"], labels["label"], strict=True))


def test_without_drift_every_image_is_the_original(tmp_path: Path):
    store, dataset = build_serving_store(tmp_path)
    played = play(store, dataset, "none")
    originals = {image.tobytes() for image in open_split(dataset, "stream").images}
    assert (played.clean, played.drifted) == (100, 0)
    assert all(image.tobytes() in originals for image in read_images(store, logged(store, played.until)))


def test_an_unseen_class_is_labelled_as_none_of_the_classes(tmp_path: Path):
    store, dataset = build_serving_store(tmp_path)
    play(store, dataset, "unseen_class:0.5", amounts=Amounts(0, 100, 45))
    share = (read_labels(store)[0]["label"] == UNSEEN_LABEL).mean()
    assert 0.25 < share < 0.75


def test_a_store_without_a_champion_is_one_clear_line(tmp_path: Path):
    _, dataset = build_serving_store(tmp_path)
    with pytest.raises(NoChampion, match="run training"):
        play(open_store(str(tmp_path / "empty")), dataset)


def test_a_dataset_without_a_stream_is_one_clear_line(tmp_path: Path):
    store, dataset = build_serving_store(tmp_path)
    write_description(tmp_path / "artifact", dataset.model_copy(update={"counts": {"train": 8}}))
    with pytest.raises(InputError, match="stream_share"):
        run(str(tmp_path / "artifact"), champion_version="1", drift="none", seed=1, store=store.uri, config={})


def test_the_step_plays_what_its_settings_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    store, dataset = build_serving_store(tmp_path)
    write_description(tmp_path / "artifact", dataset)
    config = {"window_size": 20.0, "clean_windows": 2.0, "drifted_windows": 3.0, "labels": 9.0}
    until = run(str(tmp_path / "artifact"), champion_version="1", drift="brightness:0.4", seed=1, store=store.uri, config=config)
    assert len(logged(store, until)) == 100
    assert len(read_labels(store)[0]) == 9
    assert "[driftloop figures] 40 clean + 60 with brightness:0.4 requests, 9 labels, version 1" in capsys.readouterr().out


def test_answering_in_batches_changes_no_answer_and_every_request_waits_for_its_batch(tmp_path: Path):
    build_serving_store(tmp_path)
    model = ServedModel.open(tmp_path / "candidate-0")
    images, _, _ = textured_squares(20, seed=4)
    start = datetime.now(UTC)
    alone, times, _ = answer(model, images, start, 1)
    together, _, latencies = answer(model, images, start, 7)
    assert np.allclose(alone.probabilities, together.probabilities, atol=1e-6)
    assert np.array_equal(alone.embedding, together.embedding)
    assert times == sorted(set(times))
    assert times[0] > start
    assert [len(set(latencies[part])) for part in (slice(0, 7), slice(7, 14), slice(14, 20))] == [1, 1, 1]
