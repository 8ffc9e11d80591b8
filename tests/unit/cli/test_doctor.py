"""`driftloop doctor` finds what is wrong, names the cure, and leaves nothing behind."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from minio import MinioAdmin
from minio.credentials import StaticProvider
from typer.testing import CliRunner

from driftloop.cli.doctor.check import Check, CheckState
from driftloop.cli.doctor.cluster import check_cluster
from driftloop.cli.doctor.command import doctor
from driftloop.cli.doctor.machine import check_disk, check_machine, check_packages
from driftloop.cli.doctor.store import check_store
from driftloop.store import Store, open_store
from tests.minio_server import MinioServer
from tests.unit.store.gateways import CarelessGateway

APP = typer.Typer()
APP.command()(doctor)


def say(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(APP, arguments, env={"COLUMNS": "300"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def states(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.state.value for check in checks}


@pytest.fixture
def limited(minio_server: MinioServer, s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Become a user of the server who may do only what is named, in the bucket of the tests."""
    open_store(s3_uri).put("champion-is-missing", b"")  # the bucket is there
    admin = MinioAdmin(
        endpoint=minio_server.endpoint.removeprefix("http://"),
        credentials=StaticProvider(minio_server.access_key, minio_server.secret_key),
        region="us-east-1",
        secure=False,
    )

    def become(*actions: str) -> str:
        name, secret = f"limited-{secrets.token_hex(4)}", secrets.token_hex(16)
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": list(actions), "Resource": ["arn:aws:s3:::*"]}]}
        admin.user_add(name, secret)
        admin.policy_add(name, policy=policy)
        admin.policy_set(name, user=name)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", name)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
        return s3_uri

    return become


@pytest.fixture
def careless(minio_server: MinioServer, s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A store on a server that ignores the conditions of writes."""
    open_store(s3_uri).put("champion-is-missing", b"")
    with CarelessGateway(minio_server).in_between(monkeypatch):
        yield s3_uri


def test_a_good_store_passes_and_nothing_is_left_in_it(store: Store) -> None:
    store.put("logs/a", b"somebody's")
    checks = check_store(store.uri)
    assert states(checks) == dict.fromkeys(["store", "store: write", "store: create once", "store: swap", "store: delete"], "ok")
    assert [entry.key for entry in store.list()] == ["logs/a"]


def test_a_server_that_ignores_conditions_is_found_out(careless: str) -> None:
    checks = check_store(careless)
    assert states(checks) == {"store": "ok", "store: write": "failed"}
    assert "ignores the conditions" in checks[-1].text
    assert "If-None-Match" in checks[-1].cure
    assert list(open_store(careless).list("doctor/")) == []


def test_credentials_that_may_not_write_are_told_with_their_cure(limited: Any) -> None:
    checks = check_store(limited("s3:ListBucket", "s3:GetObject"))
    assert states(checks) == {"store": "ok", "store: write": "failed"}
    assert "denies access" in checks[-1].text
    assert "AWS_ACCESS_KEY_ID and what it may do in bucket 'driftloop-tests'" in checks[-1].cure


def test_credentials_that_may_not_delete_are_told(limited: Any) -> None:
    checks = check_store(limited("s3:ListBucket", "s3:GetObject", "s3:PutObject"))
    assert states(checks)["store: swap"] == "ok"
    assert states(checks)["store: delete"] == "failed"


def test_credentials_that_may_not_read_are_told(limited: Any) -> None:
    assert states(check_store(limited("s3:ListBucket", "s3:PutObject"))) == {"store": "failed"}


def test_a_bucket_that_is_missing_is_not_made(s3_uri: str) -> None:
    missing = f"s3://doctor-{secrets.token_hex(6)}/model"
    assert states(check_store(missing)) == {"store": "not checked"}
    assert "no such bucket yet" in check_store(missing)[0].text


def test_a_server_that_is_not_there_is_one_failure(s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    [check] = check_store(s3_uri)
    assert (check.state, "connection refused" in check.text, "AWS_ENDPOINT_URL" in check.cure) == (CheckState.failed, True, True)


def test_missing_credentials_are_one_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    [check] = check_store("s3://driftloop/model")
    assert (check.state, check.cure) == (CheckState.failed, "export the store's AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")


def test_a_folder_that_is_a_file_is_a_failure_and_one_that_is_missing_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert states(check_store(str(tmp_path / "file"))) == {"store": "failed"}
    assert states(check_store(str(tmp_path / "nowhere"))) == {"store": "not checked"}


def test_this_machine_can_run_the_tests_it_runs() -> None:
    checks = check_machine("train")
    assert set(states(checks).values()) == {"ok"}
    assert {"Python", "packages", "training", "inference"} <= states(checks).keys()
    assert check_disk()[0].text.split()[1] == "GB"


def test_packages_that_are_missing_or_too_old_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = tmp_path / "driftloop-0.1.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    lines = ["Metadata-Version: 2.1", "Name: driftloop", "Version: 0.1.0", "Requires-Dist: numpy>=99", "Requires-Dist: no-such-package"]
    metadata.write_text("\n".join([*lines, 'Requires-Dist: only-for-training; extra == "train"', "Requires-Dist: rich"]))
    monkeypatch.syspath_prepend(str(tmp_path))
    check = check_packages("")
    assert check.state is CheckState.failed
    assert "numpy is " in check.text
    assert "no-such-package is missing" in check.text
    assert "only-for-training" not in check.text
    assert "only-for-training is missing" in check_packages("train").text
    assert "make setup" in check.cure


def test_an_engine_that_does_not_answer_is_a_failure_with_a_cure(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "driftloop.cli.main", "doctor", "--on", "docker", "--store", str(tmp_path), "--json"]
    environment = os.environ | {"DOCKER_HOST": f"unix://{tmp_path}/no.sock"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    [check] = [check for check in json.loads(done.stdout) if check["name"] == "Docker"]
    assert (done.returncode, check["state"], check["cure"]) == (1, "failed", "start it, or run with --on local")
    assert "no Docker engine answers" in check["text"]


def test_a_cluster_that_does_not_answer_is_a_failure_and_kubernetes_not_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("KFP_", "KUBE"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KFP_ENDPOINT", "http://127.0.0.1:1")
    checks = check_cluster(gpus=0)
    assert states(checks) == {"Kubeflow": "failed", "Kubernetes": "not checked", "GPU node": "not checked"}
    assert "KFP_ENDPOINT" in checks[0].cure


def test_the_exit_status_says_whether_something_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "file").write_text("")
    code, text = say("--store", str(tmp_path / "store"))
    assert (code, "nothing failed" in text) == (0, True)
    code, text = say("--store", str(tmp_path / "file"))
    assert (code, "1 failed" in text, "→ a store is a folder, choose another path" in text) == (1, True, True)
    checks = json.loads(say("--store", str(tmp_path / "file"), "--json")[1])
    assert {"name": "store", "state": "failed", "cure": "a store is a folder, choose another path"}.items() <= checks[-1].items()


def test_no_credential_is_told(limited: Any) -> None:
    uri = limited("s3:ListBucket")
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in say("--store", uri, "--json")[1]
