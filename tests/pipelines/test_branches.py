"""The branches where nothing is promoted, on one store in a real MinIO: first no drift, then a candidate that is worse."""

import json
import os
import secrets
from collections.abc import Iterator

import pytest

from driftloop.store import Store, open_store
from tests.minio_server import MinioServer
from tests.pipelines.command import Command
from tests.pipelines.test_full_loop import DRIFT, SMALL, TRAFFIC


@pytest.fixture(scope="module")
def credentials(minio_server: MinioServer) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in minio_server.environment.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def home(credentials: None) -> Store:
    """A new store in a bucket that does not exist yet."""
    return open_store(f"s3://driftloop-{secrets.token_hex(4)}/demo")


@pytest.fixture(scope="module")
def command(home: Store, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """A full loop in which nothing drifted; two tasks search before its training."""
    command = Command(tmp_path_factory.mktemp("branches"))
    searched = [f"train_config.{setting}" for setting in ("sweep_trials=3", "sweep_epochs=1", "sweep_tasks=2", "ablation_epochs=0")]
    wanted = [argument for setting in searched for argument in ("--set", setting)]
    command("run", "full-loop", *SMALL, *TRAFFIC, *wanted, "--drift", "none", "--store", home.uri)
    return command


def test_without_drift_nothing_is_retrained_and_the_report_still_comes(command: Command) -> None:
    path = sorted((command.folder / "runs").glob("*-full-loop"))[0]
    summary = json.loads((path / "summary.json").read_text())
    assert summary["drift"]["verdict"] == "stable", summary["drift"]
    assert summary["gate"] is None
    assert summary["accuracy"]["retrained"] is None
    assert summary["champion"] == {"before": "1", "after": "1"}
    assert (path / "report.html").exists()
    assert not any(step.startswith("automated-retraining") for step in summary["steps"])


def test_two_tasks_of_the_pipeline_have_searched_over_one_study(command: Command, home: Store) -> None:
    path = sorted((command.folder / "runs").glob("*-full-loop"))[0]
    assert "trial-search" in json.loads((path / "summary.json").read_text())["steps"]
    assert "3 of 3 trials are done" in (path / "run.log").read_text()
    facts = json.loads((path / "deliverables" / "champion" / "facts.json").read_text())
    assert [row["trial"] for row in facts["model_optimization"]["sweep"]] == [1, 2, 3]
    assert not [info.key for info in home.list("datasets/") if "/checkpoints/" in info.key]


def test_everything_that_outlives_the_run_is_in_the_bucket(command: Command, home: Store) -> None:
    keys = [info.key for info in home.list()]
    assert {"champion.json", "watch/00000001.json", "watch/heartbeat.json", "versions/1/model.int8.onnx", "versions/1/gate.json"} <= set(
        keys
    )
    assert any(key.startswith("datasets/") and key.endswith(".npy") for key in keys)
    assert any(key.startswith("logs/dt=") and key.endswith(".parquet") for key in keys)
    assert any(key.startswith("labels/") for key in keys)


def test_a_watch_without_new_requests_is_stable_and_says_so(command: Command, home: Store) -> None:
    command("run", "drift-watch", "--gpus", "0", "--store", home.uri)
    summary = command.summary()
    assert summary["drift"]["verdict"] == "stable"
    assert summary["drift"]["p_values"] == {"statistics": None, "embedding": None}
    assert summary["drift"]["reason"].startswith("No window to test yet")


def test_a_worse_candidate_is_rejected_and_version_1_goes_on_serving(command: Command, home: Store) -> None:
    command("replay", "--drift", DRIFT, "--labels", "120", "--store", home.uri)
    ruinous = ("--set", "retrain_config.learning_rate=0.1", "--set", "retrain_config.epochs=2")
    eager = ("--set", "drift_config.harm_labels=30", "--set", "drift_config.gate_power=0")
    done = command("run", "drift-watch", "--gpus", "0", "--store", home.uri, "--strict", *eager, *ruinous, status=3)
    assert "the gate decided reject" in done.stderr
    summary = command.summary()
    assert summary["drift"]["verdict"] == "retrain", summary["drift"]
    assert summary["gate"]["decision"] == "reject", summary["gate"]
    assert summary["champion"] == {"before": "1", "after": "1"}
    assert json.loads(home.read("champion.json"))["version"] == "1"
    assert json.loads(home.read("watch/00000003.json"))["outcome"] == "kept"
    log = (command.folder / "runs" / "latest" / "run.log").read_text()
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in log
