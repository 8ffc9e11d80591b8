"""The serve image as it is built: what it holds, and the service in it as hardened as on the cluster."""

import pytest

from tests.docker.engine import HARDENED, build, docker, python


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
