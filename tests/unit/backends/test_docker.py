"""The Docker backend before a run, on an engine that is stood in for: which store it takes, and that it leaves this process as it is."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from driftloop.backends import docker
from driftloop.backends.base import RunRequest
from driftloop.backends.docker import DockerBackend
from driftloop.errors import InputError
from tests.unit.cli.answering import answering


class Engine:
    """Has every image, and MinIO in a container that publishes a port of this machine."""

    def __init__(self, port: int) -> None:
        settings = {
            "Ports": {"9000/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]},
            "Networks": {"driftloop-store": {}, "driftloop-host": {}},
        }
        login = ["MINIO_ROOT_USER=driftloop", "MINIO_ROOT_PASSWORD=of-the-container"]
        minio = SimpleNamespace(
            name="driftloop-minio", status="running", attrs={"Config": {"Env": login}, "NetworkSettings": settings}, reload=lambda: None
        )
        self.images = SimpleNamespace(list=lambda name: [name])
        self.containers = SimpleNamespace(list=lambda **_: [minio])
        self.networks = SimpleNamespace(get=lambda name: SimpleNamespace(attrs={"Internal": name == "driftloop-store"}))


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Opens the backend in an empty folder; what it tells is in `lines`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DRIFTLOOP_BUILD_IMAGES", "0")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    lines: list[str] = []
    with answering() as answers:
        answers.add("/minio/health/ready", {})
        monkeypatch.setattr(docker, "connect_to_engine", lambda: Engine(urlsplit(answers.url).port or 0))

        def open_backend(pipeline: str = "training", **parameters: Any) -> DockerBackend:
            return DockerBackend(RunRequest(pipeline, {"data_source": "digits"} | parameters), lines.append)

        yield SimpleNamespace(backend=open_backend, lines=lines, url=answers.url)


def test_the_environment_of_this_process_stays_as_it_was(opened: Any) -> None:
    before = dict(os.environ)
    backend = opened.backend()
    assert dict(os.environ) == before
    assert backend.arguments["gpus"] == "0"
    assert f"store in MinIO at {opened.url} (container driftloop-minio, keys in runs/minio.env)" in opened.lines


def test_a_pipeline_without_gpus_is_given_none(opened: Any) -> None:
    assert opened.backend("ingest").arguments.keys() == {"data_source", "data_image_size", "store", "data_config"}


def test_the_keys_of_minio_are_kept_for_their_owner_alone(opened: Any) -> None:
    opened.backend()
    kept = Path("runs/minio.env")
    assert kept.read_text().splitlines() == [
        f"AWS_ENDPOINT_URL={opened.url}",
        "AWS_ACCESS_KEY_ID=driftloop",
        "AWS_SECRET_ACCESS_KEY=of-the-container",
        "AWS_REGION=us-east-1",
    ]
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_relative_folder_of_images_is_made_absolute_for_it_is_mounted(opened: Any) -> None:
    for name in ("cats", "dogs"):
        Path("images", name).mkdir(parents=True)
        for number in range(10):
            Path("images", name, f"{number}.png").write_bytes(b"")
    assert opened.backend(data_source="images").arguments["data_source"] == str(Path("images").resolve())


def test_a_store_in_a_folder_is_refused(opened: Any) -> None:
    with pytest.raises(InputError, match="in Docker the store is in MinIO or S3"):
        opened.backend(store="here")


def test_options_of_a_cluster_are_refused_before_the_engine_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "connect_to_engine", lambda: pytest.fail("the engine was asked"))
    for request, option in (
        (RunRequest("training", {}, wait=False), "--no-wait"),
        (RunRequest("training", {}, experiment="e"), "--experiment"),
    ):
        with pytest.raises(InputError, match=f"{option} is for runs on a cluster"):
            DockerBackend(request, print)


def test_keys_that_only_this_machine_can_look_up_are_handed_to_the_containers(
    opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3_uri: str
) -> None:
    access, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    (tmp_path / "keys").write_text(f"[team]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
    monkeypatch.setenv("AWS_PROFILE", "team")
    environment = opened.backend(store=s3_uri).environment
    assert (environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]) == (access, secret)
    assert "AWS_ACCESS_KEY_ID" not in os.environ
