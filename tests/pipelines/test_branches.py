"""The branches where nothing is promoted: no drift, and a candidate that is worse."""

import json
from pathlib import Path

import pytest

from tests.pipelines.command import Command
from tests.pipelines.test_full_loop import SMALL


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


def test_without_drift_nothing_is_retrained_and_the_report_still_comes(command: Command) -> None:
    command("run", "full-loop", *SMALL, "--drift", "none")
    summary = command.summary()
    assert summary["drift"]["verdict"] == "stable", summary["drift"]
    assert summary["gate"] is None
    assert summary["accuracy"]["retrained"] is None
    assert summary["champion"] == {"before": "1", "after": "1"}
    assert (command.folder / "runs" / "latest" / "report.html").exists()
    assert not any(step.startswith("automated-retraining") for step in summary["steps"])
    # Nothing more to watch: an empty window is stable, too, and says why.
    command("run", "drift-watch", "--set", "gpus=0")
    again = command.summary()
    assert again["drift"]["verdict"] == "stable"
    assert "no " in again["drift"]["reason"]


def test_a_worse_candidate_is_rejected_and_version_1_goes_on_serving(command: Command) -> None:
    ruinous = ("--set", "retrain_config.learning_rate=1.0", "--set", "retrain_config.epochs=2")
    command("run", "full-loop", *SMALL, "--drift", "noise:1.0", *ruinous)
    summary = command.summary()
    assert summary["drift"]["verdict"] == "retrain"
    assert summary["gate"]["decision"] == "reject", summary["gate"]
    assert summary["champion"] == {"before": "1", "after": "1"}
    store = command.folder / "runs" / "latest" / "store"
    assert json.loads((store / "champion.json").read_text())["version"] == "1"
    assert json.loads((store / "watch" / "00000001.json").read_text())["outcome"] == "kept"
