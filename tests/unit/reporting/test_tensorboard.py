"""The events of a run's steps, where one TensorBoard finds those of all runs."""

import secrets
from pathlib import Path

import pytest
from tensorboard.summary import Writer

from driftloop.reporting.tensorboard import publish_events
from driftloop.store import open_store


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """What a training leaves: a file, and a folder with another."""
    for folder in (tmp_path / "events", tmp_path / "events" / "loss_train"):
        writer = Writer(str(folder))
        writer.add_scalar("loss", 0.5, 1)
        writer.close()
    (tmp_path / "events" / "notes.txt").write_text("no events")
    return tmp_path / "events"


def test_events_lie_below_the_run_and_the_step_in_the_stores_bucket(events: Path, s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = secrets.token_hex(6)
    monkeypatch.setenv("DRIFTLOOP_RUN_ID", run)
    publish_events(events, s3_uri, "baseline-training")
    keys = [info.key for info in open_store(f"s3://driftloop-tests/tensorboard/{run}").list()]
    assert [key.rpartition("/")[0] for key in keys] == ["baseline-training", "baseline-training/loss_train"]
    assert all("tfevents" in key for key in keys)


def test_a_run_without_a_name_or_on_a_local_store_publishes_nothing(
    events: Path, s3_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DRIFTLOOP_RUN_ID", raising=False)
    before = len(list(open_store("s3://driftloop-tests/tensorboard").list()))
    publish_events(events, s3_uri, "baseline-training")
    monkeypatch.setenv("DRIFTLOOP_RUN_ID", "here")
    publish_events(events, str(tmp_path / "store"), "baseline-training")
    assert len(list(open_store("s3://driftloop-tests/tensorboard").list())) == before
    assert not (tmp_path / "store").exists()


def test_a_store_that_fails_does_not_stop_the_step(events: Path, s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTLOOP_RUN_ID", "here")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    publish_events(events, s3_uri, "baseline-training")
