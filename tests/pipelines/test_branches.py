"""The branches where nothing is promoted, on one store: first no drift, then a candidate that is worse."""

import json
from pathlib import Path

import pytest

from tests.pipelines.command import Command
from tests.pipelines.test_full_loop import DRIFT, SMALL, TRAFFIC


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """A full loop in which nothing drifted."""
    command = Command(tmp_path_factory.mktemp("branches"))
    command("run", "full-loop", *SMALL, *TRAFFIC, "--drift", "none")
    return command


def latest_store(command: Command) -> Path:
    return command.folder / "runs" / "latest" / "store"


def test_without_drift_nothing_is_retrained_and_the_report_still_comes(command: Command) -> None:
    path = sorted((command.folder / "runs").glob("*-full-loop"))[0]
    summary = json.loads((path / "summary.json").read_text())
    assert summary["drift"]["verdict"] == "stable", summary["drift"]
    assert summary["gate"] is None
    assert summary["accuracy"]["retrained"] is None
    assert summary["champion"] == {"before": "1", "after": "1"}
    assert (path / "report.html").exists()
    assert not any(step.startswith("automated-retraining") for step in summary["steps"])


def test_a_watch_without_new_requests_is_stable_and_says_so(command: Command) -> None:
    command("run", "drift-watch", "--gpus", "0")
    summary = command.summary()
    assert summary["drift"]["verdict"] == "stable"
    assert "no new requests" in summary["drift"]["reason"]


def test_a_worse_candidate_is_rejected_and_version_1_goes_on_serving(command: Command) -> None:
    command("replay", "--drift", DRIFT, "--labels", "120")
    ruinous = ("--set", "retrain_config.learning_rate=1.0", "--set", "retrain_config.epochs=2")
    command("run", "drift-watch", "--gpus", "0", "--set", "drift_config.minimum_labels=30", *ruinous)
    summary = command.summary()
    assert summary["drift"]["verdict"] == "retrain", summary["drift"]
    assert summary["gate"]["decision"] == "reject", summary["gate"]
    assert summary["champion"] == {"before": "1", "after": "1"}
    store = latest_store(command)
    assert json.loads((store / "champion.json").read_text())["version"] == "1"
    records = sorted((store / "watch").glob("0*.json"))
    assert json.loads(records[-1].read_text())["outcome"] == "kept"
