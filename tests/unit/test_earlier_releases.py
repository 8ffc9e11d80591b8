"""A store that driftloop 0.1.0 wrote is read by every later release, and its watches go on where they stood.

`tests/data/store-0.1.0.tar.xz` was written by that release's own logger, steps and registry (commit fdd809a): a champion, 80 clean requests
and a stable watch, 100 dark ones and a watch that confirmed a drift and asked for labels, and six labels that came after it.
"""

import io
import json
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from components.drift_detection.step import run as detect
from components.production_monitoring.step import run as monitor
from driftloop import registry
from driftloop.cli.main import app
from driftloop.dataset.decoding import MOST_PIXELS
from driftloop.inference.log_writer import InferenceLogger
from driftloop.inference.served_model import ServedModel
from driftloop.inference.traffic import Traffic, read_traffic
from driftloop.serving.batching import _pixels
from driftloop.step_facts import read_facts
from driftloop.store import Store, open_store
from driftloop.watch_store import close_watch, read_records
from tests.factories.metrics import MetricsFile
from tests.factories.serving_store import CLASSES, textured_squares

ARCHIVE = Path(__file__).parent.parent / "data" / "store-0.1.0.tar.xz"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return open_store(str(tmp_path / "store"))


def watch(
    store: Store, folder: Path, run_id: str, monkeypatch: pytest.MonkeyPatch, until: str = "2025-03-02T00:00:00Z"
) -> tuple[Traffic, dict]:
    """Themes 5 and 6, and the end of the watch; the traffic and the drift step's facts."""
    monkeypatch.setenv("DRIFTLOOP_RUN_ID", run_id)
    paths = {name: str(folder / run_id / name) for name in ("traffic", "champion", "evidence", "page.html", "sheet.html")}
    monitor(store.uri, paths["traffic"], paths["champion"], paths["page.html"], until=until, config={}, metrics=MetricsFile())
    detect(
        paths["traffic"],
        paths["champion"],
        paths["evidence"],
        paths["page.html"],
        paths["sheet.html"],
        store=store.uri,
        alpha=0.05,
        config={"window_size": 40, "minimum_window": 20, "wait_days": 0},
        metrics=MetricsFile(),
    )
    traffic = read_traffic(paths["traffic"])
    close_watch(store, traffic.info.sequence, run_id, outcome="watched")
    return traffic, read_facts(paths["evidence"])["drift_detection"]


def test_what_it_holds_can_be_listed(store: Store) -> None:
    champion = registry.current(store)
    assert champion is not None
    assert champion.version == "1"
    assert [info.version for info in registry.versions(store)] == ["1"]
    assert [(record.sequence, record.state, record.verdict) for record in read_records(store)] == [
        (1, "closed", "stable"),
        (2, "closed", "needs_labels"),
    ]
    runner = CliRunner()
    for command in (["status", "--json"], ["models", "list"], ["models", "show", "1"]):
        done = runner.invoke(app, [*command, "--store", store.uri])
        assert done.exit_code == 0, done.output


def test_its_champion_reads_each_image_of_more_than_eight_bits_by_its_own_range(store: Store) -> None:
    model = registry.description(store, "1")
    assert (model.deep_range, model.channels) == (0, 1)
    live = SimpleNamespace(model=SimpleNamespace(description=model))
    for highest, level in ((4000, 4000 * 255 / 4095), (8000, 8000 * 255 / 65535)):
        stream = io.BytesIO()
        Image.fromarray(np.full((8, 8), highest, np.uint16)).save(stream, "PNG")
        assert np.abs(_pixels(stream.getvalue(), live, MOST_PIXELS)[0] - level).max() <= 0.5


def test_its_watches_go_on_with_the_drift_that_is_open(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    traffic, drift = watch(store, tmp_path, "first-new-run", monkeypatch)
    assert traffic.info.sequence == 3
    assert traffic.info.since == read_records(store)[1].until
    assert traffic.info.fresh_rows == 0, "what was covered is not covered again"
    assert traffic.rows.groupby(["watch", "window"]).size().to_dict() == {(2, 0): 40, (2, 1): 40, (2, 2): 20}
    assert len(traffic.labels) == 6
    assert (drift["confirmed"], drift["verdict"], drift["labels"]) == (True, "needs_labels", 6)
    assert drift["requests"]["random"] == 94

    again, drift = watch(store, tmp_path, "second-new-run", monkeypatch)
    assert again.rows.groupby(["watch", "window"]).size().to_dict() == {(2, 0): 40, (2, 1): 40, (2, 2): 20}
    assert (drift["confirmed"], drift["labels"], len(again.labels)) == (True, 6, 6)


def test_requests_of_old_and_new_writers_are_covered_once(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, _, samples = textured_squares(30, seed=5)
    registry.download(store, "1", tmp_path / "served")
    model = ServedModel.open(tmp_path / "served")
    with InferenceLogger(store) as log:
        ids = log.log(images, model.predict(images), 1.0, version="1", classes=CLASSES, groups=list(samples["group"]))
    old = "logs/dt=2025-03-01/hour=12/20250301T120000000000-0123456789ab.parquet"
    (new,) = [entry.key for entry in store.list("logs/") if entry.key.endswith("-000001.parquet")]
    rows = pd.read_parquet(Path(store.uri, new)).assign(time=pd.Timestamp.now("UTC"), request_id=[f"old{index}" for index in range(30)])
    store.put(old.replace("dt=2025-03-01/hour=12", new.split("/", 1)[1].rsplit("/", 1)[0]), rows.to_parquet(index=False))
    traffic, _ = watch(store, tmp_path, "first-new-run", monkeypatch, until="")
    assert sorted(traffic.fresh["request_id"]) == sorted([*ids, *rows["request_id"]])
    again, _ = watch(store, tmp_path, "second-new-run", monkeypatch, until="")
    assert again.info.fresh_rows == 0
    assert json.loads(store.read("watch/00000004.json"))["coverage"]["files"] != {}


def test_rows_of_its_stable_windows_are_settled_and_what_came_after_them_is_fresh(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.delete("watch/00000002.json")
    traffic, drift = watch(store, tmp_path, "first-new-run", monkeypatch)
    assert (len(traffic.rows), len(traffic.fresh)) == (100, 100)
    assert [window["rows"] for window in drift["windows"]] == [40, 40, 20]


def test_it_is_upgraded_when_asked_to_and_only_then(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {entry.key: store.read(entry.key) for entry in store.list()}
    runner = CliRunner()
    dry = runner.invoke(app, ["store", "upgrade", "--store", store.uri])
    assert dry.exit_code == 0
    assert dry.output.splitlines()[:3] == [
        "champion.json: form 1 -> 2",
        "watch/00000001.json: form 1 -> 2",
        "watch/00000002.json: form 1 -> 2",
    ]
    assert "nothing was changed" in dry.output
    listed = json.loads(runner.invoke(app, ["store", "upgrade", "--store", store.uri, "--json"]).output)
    assert (listed["upgraded"], listed["outdated"][0]) == (False, {"key": "champion.json", "form": 1, "newest": 2})
    assert {entry.key: store.read(entry.key) for entry in store.list()} == before
    done = runner.invoke(app, ["store", "upgrade", "--store", store.uri, "--yes"])
    assert "3 objects upgraded" in done.output
    assert "newest form" in runner.invoke(app, ["store", "upgrade", "--store", store.uri, "--yes"]).output
    changed = {entry.key for entry in store.list() if before.get(entry.key) != store.read(entry.key)}
    assert changed == {"champion.json", "watch/00000001.json", "watch/00000002.json", "watch/history.json"}
    _, drift = watch(store, tmp_path, "first-new-run", monkeypatch)
    assert (drift["confirmed"], drift["verdict"], drift["labels"]) == (True, "needs_labels", 6)
