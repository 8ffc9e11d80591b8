"""The serve image as it is built: what it holds, and the service in it as hardened as on the cluster."""

import io
import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image

from driftloop.inference.log import read_log
from driftloop.inference.log_files import log_files
from driftloop.store import Store, open_store
from tests.docker.engine import HARDENED, build, docker, python
from tests.factories.serving_store import build_serving_store, textured_squares


@pytest.fixture(scope="module")
def serve_image(engine: None) -> str:
    """The serve image, built from this checkout."""
    return build("serve")


def test_the_service_can_be_loaded_in_it_and_torch_cannot(serve_image: str) -> None:
    program = """
import importlib.util
import driftloop.serving.app, uvicorn, httptools, uvloop
print(importlib.util.find_spec("torch"), importlib.util.find_spec("kubernetes"))
"""
    assert python(serve_image, program) == "None None"


def test_it_runs_as_nobody_with_a_health_check_of_its_own_python(serve_image: str) -> None:
    assert docker("image", "inspect", "--format", "{{.Config.User}}", serve_image) == "10001:10001"
    assert "/v2/health/live" in docker("image", "inspect", "--format", "{{json .Config.Healthcheck}}", serve_image)


def test_it_says_its_options_under_a_read_only_root(serve_image: str) -> None:
    assert "--spool" in docker("run", "--rm", *HARDENED, serve_image, "driftloop", "serve", "--help")


@dataclass(frozen=True)
class Service:
    """A container of the service, in which requests can be sent to it."""

    container: str

    def ask(self, path: str, body: bytes = b"", **headers: str) -> tuple[int, str]:
        """Status and body of an answer: of a POST where there is a body."""
        program = f"""
import http.client
connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=30)
connection.request({"POST" if body else "GET"!r}, {path!r}, {body!r} or None, {headers!r})
answer = connection.getresponse()
print(answer.status, answer.read().decode())
"""
        status, _, text = docker("exec", "--interactive", self.container, "python", "-", text=program).partition(" ")
        return int(status), text

    def becomes(self, health: str) -> bool:
        """Whether the engine's own health check says so within a minute."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if docker("inspect", "--format", "{{.State.Health.Status}}", self.container) == health:
                return True
            time.sleep(0.2)
        return False


@pytest.fixture
def store(minio: dict[str, str], tmp_path: Path) -> Store:
    """A store with a champion in the MinIO container."""
    made, _ = build_serving_store(tmp_path, stream=10)
    store = open_store(f"s3://driftloop-{secrets.token_hex(4)}/served", minio)
    for entry in made.list():
        store.put(entry.key, made.read(entry.key))
    return store


@pytest.fixture
def service(serve_image: str, minio: dict[str, str], store: Store) -> Iterator[Service]:
    """The service on that store, hardened as in docker/compose.yaml, on a network from which nothing but MinIO can be reached."""
    port = minio["AWS_ENDPOINT_URL"].rpartition(":")[2]
    network = docker("ps", "--filter", f"publish={port}", "--format", "{{.Names}}")  # MinIO's container and its network have one name
    variables = minio | {"AWS_ENDPOINT_URL": f"http://{network}:9000", "DRIFTLOOP_API_KEY": "caller"}
    environment = [argument for name, value in variables.items() for argument in ("--env", f"{name}={value}")]
    command = ("driftloop", "serve", "--store", store.uri, "--host", "0.0.0.0", "--port", "8080", "--spool", "/spool", "--flush", "3600")
    hardened = (*HARDENED[:-1], network, "--health-interval", "1s")
    container = docker("run", "--detach", *hardened, "--volume", "/spool", *environment, serve_image, *command)
    try:
        yield Service(container)
    finally:
        docker("rm", "--force", "--volumes", container)


def test_the_service_in_it_answers_and_brings_its_log_to_the_store_before_it_ends(service: Service, store: Store) -> None:
    assert service.becomes("healthy"), docker("logs", service.container)
    image = io.BytesIO()
    Image.fromarray(textured_squares(2, seed=5)[0][1, :, :, 0]).save(image, "PNG")
    headers = {"Content-Type": "image/png", "X-Request-Id": "asked-once"}
    assert service.ask("/predict", image.getvalue(), **headers)[0] == 401
    status, said = service.ask("/predict", image.getvalue(), Authorization="Bearer caller", **headers)
    assert status == 200, said
    answer = json.loads(said)
    assert (answer["version"], answer["predictions"][0]["class"]) == ("1", "dark")
    assert list(log_files(store)) == []
    docker("stop", "--time", "40", service.container)
    assert docker("inspect", "--format", "{{.State.ExitCode}} {{.State.OOMKilled}}", service.container) == "143 false"
    rows = read_log(store, after=None, until=datetime.now(UTC))
    assert list(rows["request_id"]) == ["asked-once"]
