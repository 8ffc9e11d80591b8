"""`driftloop run drift-watch --on docker` on a store in a MinIO container: real containers, the branch where nothing is retrained."""

import os
import secrets
from pathlib import Path

import pytest

from driftloop.backends.docker_child import RUN_LABEL, Sandbox, container_arguments
from driftloop.store import open_store
from tests.docker.engine import docker
from tests.factories.serving_store import build_serving_store
from tests.pipelines.command import Command


@pytest.fixture(scope="module")
def store() -> str:
    return f"s3://driftloop-{secrets.token_hex(4)}/watched"


@pytest.fixture(scope="module")
def command(minio: dict[str, str], store: str, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """A folder from which traffic was sent to the store's champion; that a run's own champion is watched is tested on this machine."""
    command = Command(tmp_path_factory.mktemp("watch"))
    build_serving_store(command.folder, open_store(store, minio))
    command("replay", "--drift", "none", "--store", store, env=minio)
    return command


def test_the_watch_runs_in_hardened_containers_on_the_store(
    command: Command, store: str, minio: dict[str, str], stand_in_for_train: None
) -> None:
    shown = command("run", "drift-watch", "--on", "docker", "--store", store, env=minio).stdout
    summary = command.summary()
    assert summary["drift"]["verdict"] == "stable", summary["drift"]
    assert summary["champion"] == {"before": "1", "after": "1"}
    assert "✓ 5 monitoring" in shown
    run = command.folder / "runs" / "latest"
    assert (run / "report.html").exists()
    outputs = list((run / "artifacts").glob("*/*/executor_output.json"))
    assert outputs
    assert {path.stat().st_uid for path in outputs} == {os.getuid() or 10001}
    assert docker("ps", "--all", "--quiet", "--filter", f"label={RUN_LABEL}={summary['run_id']}") == ""
    log = (run / "run.log").read_text()
    assert "Found image 'driftloop-watch" in log
    assert minio["AWS_SECRET_ACCESS_KEY"] not in log


def test_a_step_that_fails_in_its_container_ends_the_run_with_its_own_line(
    command: Command, store: str, minio: dict[str, str], stand_in_for_train: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in minio.items():
        monkeypatch.setenv(name, value)
    opened = open_store(store)
    weights = opened.read("versions/1/model.onnx")
    opened.put("versions/1/model.onnx", b"damaged")
    failed = command("run", "drift-watch", "--on", "docker", "--store", store, status=2)
    opened.put("versions/1/model.onnx", weights)
    assert failed.stderr.startswith("driftloop: 5 monitoring: ")
    assert len(failed.stderr.strip().splitlines()) == 1
    assert command.summary()["error"]


def test_a_store_in_a_folder_is_refused_before_anything_starts(tmp_path: Path, minio: dict[str, str], stand_in_for_train: None) -> None:
    refused = Command(tmp_path)("run", "training", "--on", "docker", "--store", "here", "--source", "digits", env=minio, status=2)
    assert "in Docker the store is in MinIO or S3" in refused.stderr


def test_containers_get_the_hardening_the_store_and_nothing_else(engine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the store")
    monkeypatch.setenv("UNRELATED_SECRET", "of this machine")
    arguments = container_arguments(Sandbox("run", "driftloop-store", "/data/images", 1, "10001:10001"))
    assert (arguments["user"], arguments["cap_drop"], arguments["read_only"]) == ("10001:10001", ["ALL"], True)
    assert arguments["security_opt"] == ["no-new-privileges:true"]
    assert arguments["network_mode"] == "driftloop-store"
    assert arguments["environment"]["AWS_SECRET_ACCESS_KEY"] == "of the store"
    assert "UNRELATED_SECRET" not in arguments["environment"]
    (mount,) = arguments["mounts"]
    assert (mount["Source"], mount["Target"], mount["ReadOnly"]) == ("/data/images", "/data/images", True)
    assert arguments["device_requests"][0]["Count"] == 1
    without = container_arguments(Sandbox("run", "host", "", 0, "10001:10001"))
    assert not {"mounts", "device_requests"} & without.keys()
