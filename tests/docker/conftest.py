"""A Docker engine, the watch image, and a MinIO server in a container on a network from which nothing else can be reached."""

import os
import secrets
import shutil
from collections.abc import Iterator

import pytest

from driftloop import __version__
from tests.docker.engine import build, docker, engine_answers
from tests.minio_server import MinioServer, becomes_ready

MINIO_IMAGE = f"driftloop-minio:{__version__}"


@pytest.fixture(scope="session")
def engine() -> None:
    """Skips where no Docker engine answers; in CI only where `.ci/run` says why it could not bring one up."""
    if not engine_answers():
        told = os.environ.get("DRIFTLOOP_NO_ENGINE", "")
        reason = told or "no Docker engine answers: start one, or name the docker program with DOCKER=..."
        if os.environ.get("CI") == "true" and not told:
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def watch_image(engine: None) -> str:
    """The watch image, built from this checkout."""
    return build("watch")


@pytest.fixture(scope="session")
def train_image(engine: None) -> str:
    """The train image, built from this checkout where that is asked for."""
    if os.environ.get("DRIFTLOOP_TEST_TRAIN_IMAGE") != "1":
        pytest.skip("the train image is 7 GB, too heavy for every run; test it with DRIFTLOOP_TEST_TRAIN_IMAGE=1")
    return build("train")


@pytest.fixture(scope="session")
def minio_image(engine: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """MinIO in an image: driftloop's own where it is built, else this machine's server program on the same base."""
    if docker("images", "--quiet", MINIO_IMAGE):
        return MINIO_IMAGE
    program = MinioServer(tmp_path_factory.mktemp("minio") / "data")._binary
    if program is None:
        return build("minio")
    folder = tmp_path_factory.mktemp("image")
    shutil.copy(program, folder / "minio")
    (folder / "Dockerfile").write_text(
        "FROM python:3.11-slim-bookworm\nCOPY minio /usr/local/bin/\nRUN mkdir /data && chown 10001 /data\nUSER 10001\n"
    )
    docker("build", "--quiet", "--tag", "driftloop-test-minio", str(folder))
    return "driftloop-test-minio"


@pytest.fixture(scope="session")
def minio(minio_image: str) -> Iterator[dict[str, str]]:
    """The AWS_* variables of a MinIO server in a container, which other containers reach on an internal network."""
    name, key, secret = f"driftloop-test-{secrets.token_hex(4)}", secrets.token_hex(8), secrets.token_hex(16)
    docker("network", "create", "--internal", name)
    login = ("--env", f"MINIO_ROOT_USER={key}", "--env", f"MINIO_ROOT_PASSWORD={secret}")
    docker(*("run", "--detach", "--name", name, "--publish", "127.0.0.1::9000"), *login, minio_image, "minio", "server", "/data")
    try:
        docker("network", "connect", name, name)
        endpoint = "http://" + docker("port", name, "9000/tcp").splitlines()[0]
        if not becomes_ready(endpoint):
            raise RuntimeError(f"MinIO in a container did not start at {endpoint}")
        yield {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_REGION": "us-east-1"}
    finally:
        docker("rm", "--force", "--volumes", name)
        docker("network", "rm", name)


@pytest.fixture
def stand_in_for_train(watch_image: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lets the watch image carry the train image's name where there is none: for pipelines that start no step in it."""
    monkeypatch.setenv("DRIFTLOOP_BUILD_IMAGES", "0")
    train = f"driftloop-train:{__version__}"
    missing = not docker("images", "--quiet", train)
    if missing:
        docker("tag", watch_image, train)
    yield
    if missing:
        docker("rmi", train)
