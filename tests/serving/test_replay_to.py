"""A replay as a client of a service: every image arrives without loss, once, and labels find their requests."""

import http.client
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from components.traffic_replay.client import API_KEY
from components.traffic_replay.replay import Amounts, replay
from driftloop.dataset import open_split
from driftloop.dataset.group_names import GroupNames
from driftloop.errors import InputError, RunFailed
from driftloop.inference.labels import read_labels
from driftloop.inference.log import read_images, read_log
from driftloop.scenarios import parse
from driftloop.settings import TrafficSettings
from driftloop.tags import read_tags_text, tags_text
from tests.factories.serving_store import build_serving_store, register_and_promote
from tests.serving.service_process import ServiceProcess, free_port


def test_a_service_gets_the_images_that_a_replay_would_have_answered_itself(tmp_path: Path) -> None:
    store, dataset = build_serving_store(tmp_path / "model")
    given = {"version": "", "scenario": parse("brightness:0.5"), "seed": 3, "settings": TrafficSettings()}
    stream = open_split(dataset, "stream")
    with ServiceProcess(store.uri, tmp_path) as service:
        sent = replay(store, stream, dataset, amounts=Amounts(60, 40, 10), to=service.url, **given)
        assert (sent.clean, sent.drifted, sent.labels, sent.version) == (60, 40, 10, "1")
        rows = read_log(store, after=None, until=datetime.now(UTC) + timedelta(days=1))
        assert len(rows) == 100
        assert set(read_labels(store)[0]["request_id"]) <= set(rows["request_id"])
        assert set(rows["request_id"]) == set(sent.truth)
        assert set(rows["tags"].fillna("")) == {"", '{"site": "B"}'}
        clean = {image.tobytes() for image in np.array(stream.images)}
        untouched = [image.tobytes() in clean for image in read_images(store, rows)]
        assert untouched.count(True) == 60
        register_and_promote(store, tmp_path / "model", dataset, expected="1", seed=1)
        again = replay(store, stream, dataset, amounts=Amounts(50, 0, 0), to=service.url, rate=40.0, **given)
    assert set(again.truth).isdisjoint(sent.truth)
    assert len(read_log(store, after=None, until=datetime.now(UTC) + timedelta(days=1))) == 150


def test_names_of_patients_and_sites_arrive_in_any_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, dataset = build_serving_store(tmp_path / "model")
    stream = open_split(dataset, "stream")
    samples = stream.samples.assign(tags=tags_text({"site": "\u6771"}), group=[f"M\u00fcller {row}" for row in range(len(stream.samples))])
    monkeypatch.setenv(API_KEY, "schl\u00fcssel")
    given = {"scenario": parse("none"), "seed": 1, "settings": TrafficSettings()}
    with ServiceProcess(store.uri, tmp_path) as service:
        replay(store, replace(stream, samples=samples), dataset, version="", amounts=Amounts(8, 0, 0), to=service.url, **given)
    rows = read_log(store, after=None, until=datetime.now(UTC) + timedelta(days=1))
    assert [read_tags_text(tags) for tags in rows["tags"]] == [{"site": "\u6771"}] * 8
    names = GroupNames.known(store)
    assert set(rows["group"]) <= {names.hashed(group) for group in samples["group"]}


def test_a_service_that_is_not_there_or_no_address_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, dataset = build_serving_store(tmp_path / "model")
    monkeypatch.setattr("components.traffic_replay.client.TRIES", 2)
    given = {"version": "", "scenario": parse("none"), "amounts": Amounts(5, 0, 0), "seed": 1, "settings": TrafficSettings()}
    stream = open_split(dataset, "stream")
    with pytest.raises(RunFailed, match="is `driftloop serve` running there"):
        replay(store, stream, dataset, to=f"http://127.0.0.1:{free_port()}", **given)
    with pytest.raises(InputError, match="not the address of a service"):
        replay(store, stream, dataset, to="ftp://x", **given)
    assert len(read_log(store, after=None, until=datetime.now(UTC) + timedelta(days=1))) == 0


def test_a_service_that_has_gone_ends_a_replay_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not after every request was tried as long as the first."""
    monkeypatch.setattr("components.traffic_replay.client.TRIES", 3)
    store, dataset = build_serving_store(tmp_path / "model")
    began = []
    connect = http.client.HTTPConnection.connect

    def counted(connection: http.client.HTTPConnection) -> None:
        began.append(connection)
        connect(connection)

    monkeypatch.setattr(http.client.HTTPConnection, "connect", counted)
    given = {"version": "", "scenario": parse("none"), "amounts": Amounts(200, 0, 0), "seed": 1, "settings": TrafficSettings()}
    with pytest.raises(RunFailed, match="is `driftloop serve` running there"):
        replay(store, open_split(dataset, "stream"), dataset, to=f"http://127.0.0.1:{free_port()}", **given)
    assert len(began) < 100
