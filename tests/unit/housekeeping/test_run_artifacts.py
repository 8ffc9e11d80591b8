"""Which artifacts of local runs and of Kubeflow's pipeline root may go, and which datasets they name."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from driftloop.backends.run_folder import RunFolder
from driftloop.errors import InputError
from driftloop.housekeeping.run_artifacts import (
    datasets_named_by_runs,
    finished_run_artifacts,
    read_pipeline_root,
    remove_run_artifacts,
    remove_watch_artifacts,
)
from driftloop.store import Store

NOW = datetime.now(UTC)
OLD = NOW - timedelta(days=9)
CUTOFF = NOW - timedelta(days=7)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def run(runs: Path, dataset: str, *, ended: datetime | None) -> RunFolder:
    """A run whose artifacts name a dataset."""
    folder = RunFolder.create("training", runs)
    artifact = folder.artifacts / "training-0123" / "data-analysis" / "dataset" / "dataset.json"
    artifact.parent.mkdir(parents=True)
    artifact.write_text(json.dumps({"manifest_hash": dataset}))
    (folder.path / "report.html").write_text("the report")
    folder.store.mkdir()
    if ended is not None:
        folder.summary.write_text("{}")
        os.utime(folder.summary, (ended.timestamp(), ended.timestamp()))
    return folder


def test_artifacts_of_old_finished_runs_go_and_their_reports_and_stores_stay(runs: Path) -> None:
    old = run(runs, "a", ended=OLD)
    run(runs, "b", ended=NOW)
    run(runs, "c", ended=None)
    [artifacts] = finished_run_artifacts(runs, CUTOFF)
    assert (artifacts.run, artifacts.size) == (old.id, len('{"manifest_hash": "a"}'))
    remove_run_artifacts(artifacts)
    assert not old.artifacts.exists()
    assert (old.path / "report.html").exists()
    assert old.store.is_dir()
    assert finished_run_artifacts(runs, CUTOFF) == []


def test_the_latest_run_keeps_its_artifacts_however_old_it_is(runs: Path) -> None:
    run(runs, "a", ended=OLD).point_latest()
    assert finished_run_artifacts(runs, CUTOFF) == []


def test_artifacts_behind_a_link_are_left_alone(runs: Path, tmp_path: Path) -> None:
    folder = run(runs, "a", ended=OLD)
    folder.artifacts.rename(tmp_path / "elsewhere")
    folder.artifacts.symlink_to(tmp_path / "elsewhere")
    assert finished_run_artifacts(runs, CUTOFF) == []


def test_datasets_are_named_by_the_runs_that_stay(runs: Path) -> None:
    run(runs, "a", ended=OLD)
    run(runs, "b", ended=NOW)
    run(runs, "c", ended=None)
    assert datasets_named_by_runs(runs, finished_run_artifacts(runs, CUTOFF)) == {"b", "c"}


def test_without_local_runs_nothing_is_named(runs: Path) -> None:
    assert finished_run_artifacts(runs, CUTOFF) == []
    assert datasets_named_by_runs(runs, []) == set()


WATCH, OTHER = "9ff6ac5a-9a85-49b5-b129-e0d72187ae3c", "a6238246-7170-4076-9112-5051ae01f530"


IN_AN_HOUR, AN_HOUR_AGO = (datetime.now(UTC) + timedelta(hours=hours) for hours in (1, -1))


def fill(root: Store) -> None:
    root.put(f"v2/artifacts/training/{OTHER}/data-analysis/77/dataset/dataset.json", b'{"manifest_hash": "a", "classes": []}')
    root.put(f"v2/artifacts/training/{OTHER}/data-analysis/77/dataset/facts.json", b'{"manifest_hash": "b"}')
    root.put("v2/artifacts/others/dataset.json", b'["of somebody else"]')
    root.put(f"v2/artifacts/drift-watch/{WATCH}/production-monitoring/78/champion/model.onnx", b"x" * 1000)
    root.put(f"v2/artifacts/drift-watch/{WATCH}/automated-retraining/79/dataset/dataset.json", b'{"manifest_hash": "c"}')
    root.put("v2/artifacts/drift-watch/notes.txt", b"not of a run")


def test_the_datasets_that_artifacts_name_are_in_use(store: Store) -> None:
    fill(store)
    assert read_pipeline_root(store, AN_HOUR_AGO)[0] == {"a", "c"}


def test_only_the_artifacts_of_old_watches_go(store: Store) -> None:
    fill(store)
    assert read_pipeline_root(store, AN_HOUR_AGO)[1] == []
    [item] = read_pipeline_root(store, IN_AN_HOUR)[1]
    assert (item.kind, item.name, item.size) == ("artifacts", WATCH, 1000 + len('{"manifest_hash": "c"}'))
    remove_watch_artifacts(store, item)
    assert [entry.key.split("/")[2] for entry in store.list()] == ["drift-watch", "others", "training", "training"]
    assert read_pipeline_root(store, IN_AN_HOUR)[1] == []


def test_a_place_where_nothing_lies_is_not_taken_for_a_pipeline_root(store: Store) -> None:
    with pytest.raises(InputError, match="nothing lies there"):
        read_pipeline_root(store, IN_AN_HOUR)
