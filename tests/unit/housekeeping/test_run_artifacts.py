"""Which artifacts of local runs may go, and which datasets they name."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from driftloop.backends.run_folder import RunFolder
from driftloop.housekeeping.run_artifacts import datasets_named_by_runs, finished_run_artifacts, remove_run_artifacts

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
