"""Weights & Biases, offline as it writes its folders, and with a server that cannot be reached."""

import socket
from pathlib import Path

import pytest

wandb = pytest.importorskip("wandb")
from driftloop.errors import InputError  # noqa: E402
from driftloop.store import Store  # noqa: E402
from driftloop.tracking import deliver, leave_record, want_records  # noqa: E402
from driftloop.tracking.trackers import open_tracker  # noqa: E402
from tests.factories.serving_store import build_serving_store  # noqa: E402


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("DRIFTLOOP_RUN_ID", "run-1")
    store, _ = build_serving_store(tmp_path, stream=8)
    want_records(store)
    (tmp_path / "card.md").write_text("# card")
    facts = {"device": "CPU", "accuracy": 0.9, "history": [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]}
    leave_record(store, "baseline_training", facts, {"MODEL_CARD.md": tmp_path / "card.md"})
    return store


def test_offline_every_step_and_version_is_a_folder_that_wandb_sync_takes(home: Store, tmp_path: Path) -> None:
    environment = {"WANDB_DIR": str(tmp_path / "offline")}
    done = deliver(home, "wandb", open_tracker("wandb", environment))
    assert (done.steps, done.versions, done.problem) == (1, 1, "")
    logs = [log.read_bytes() for log in (tmp_path / "offline" / "wandb").glob("offline-run-*/run-*.wandb")]
    [step] = [log for log in logs if b"baseline_training" in log]
    for part in (b"run-1", b"device", b"CPU", b"accuracy", b"loss", b"0.5", b"0.25", b"MODEL_CARD.md"):
        assert part in step
    [version] = [log for log in logs if log is not step]
    for part in (b"version-1", b"model.onnx"):
        assert part in version
    assert deliver(home, "wandb", open_tracker("wandb", environment)).steps == 0
    assert len(list((tmp_path / "offline" / "wandb").glob("offline-run-*"))) == 2


def test_trials_of_a_search_are_of_one_type(home: Store, tmp_path: Path) -> None:
    leave_record(home, "model_optimization_trial_7", {"learning_rate": "0.01", "accuracy": 0.75}, {}, group="model_optimization_trials")
    assert deliver(home, "wandb", open_tracker("wandb", {"WANDB_DIR": str(tmp_path / "offline")})).steps == 2
    logs = [log.read_bytes() for log in (tmp_path / "offline" / "wandb").glob("offline-run-*/run-*.wandb")]
    [trial] = [log for log in logs if b"run-1 model_optimization_trial_7" in log]
    assert b"model_optimization_trials" in trial


def test_a_server_that_never_answers_is_left_and_the_record_waits(home: Store, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environment = {
            "WANDB_DIR": str(tmp_path / "online"),
            "WANDB_API_KEY": "0" * 40,
            "WANDB_BASE_URL": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "DRIFTLOOP_WANDB_TIMEOUT": "4",
        }
        done = deliver(home, "wandb", open_tracker("wandb", environment))
    assert (done.steps, done.waiting) == (0, 2)
    assert "no answer within 4 s" in done.problem
    assert not list((tmp_path / "online").rglob("offline-run-*"))


def test_what_is_no_tracker_or_lacks_its_address_is_one_line() -> None:
    with pytest.raises(InputError, match="not a tracker; there are mlflow and wandb"):
        open_tracker("mlflwo", {})
    with pytest.raises(InputError, match="not a number of seconds"):
        open_tracker("wandb", {"DRIFTLOOP_WANDB_TIMEOUT": "soon"})


def test_where_its_folder_cannot_be_written_the_record_waits_and_a_line_says_why(home: Store, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = deliver(home, "wandb", open_tracker("wandb", {"WANDB_DIR": str(tmp_path / "file" / "runs")}))
    assert (done.steps, done.waiting) == (0, 2)
    assert "Not a directory" in done.problem
    assert deliver(home, "wandb", open_tracker("wandb", {"WANDB_DIR": str(tmp_path / "folder")})).steps == 1
