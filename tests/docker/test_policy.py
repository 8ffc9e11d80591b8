"""What the Dockerfiles and the compose file must never lose, read from the files themselves: no engine is needed."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docker.engine import ROOT

DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
LOCKED = sorted((ROOT / "requirements").glob("*.txt"))
SECRET = re.compile(r"(password|secret_?key|access_?key|token)[a-z_]*\s*[=:]\s*['\"]?[A-Za-z0-9+/]{8,}", re.IGNORECASE)
ADDRESS = re.compile(r"https?://(?!127\.0\.0\.1|driftloop-minio)[\w.-]+")


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Each instruction and its arguments, with continued lines joined."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in joined.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    return yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
class TestEveryImage:
    def test_runs_as_a_numeric_user_that_is_not_root(self, dockerfile: Path) -> None:
        users = [arguments for name, arguments in instructions(dockerfile) if name == "USER"]
        assert users == ["10001:10001"]

    def test_rests_on_a_pinned_base(self, dockerfile: Path) -> None:
        bases = [arguments.split()[0] for name, arguments in instructions(dockerfile) if name == "FROM"]
        assert bases[-1] == "python:3.11-slim-bookworm"
        defaults = dict(arguments.split("=", 1) for name, arguments in instructions(dockerfile) if name == "ARG")
        stages = [arguments.split()[2] for name, arguments in instructions(dockerfile) if name == "FROM" and " AS " in arguments]
        for base in bases:
            image = re.sub(r"\$\{(\w+)\}", lambda found: defaults[found[1]], base)
            assert image in stages or re.fullmatch(r"[\w/.-]+:\d[\w.-]+", image), image

    def test_holds_no_secret_and_no_address(self, dockerfile: Path) -> None:
        text = dockerfile.read_text()
        assert not SECRET.search(text)
        assert not ADDRESS.search(text)
        assert not text.startswith("# syntax=")

    def test_says_what_it_is(self, dockerfile: Path) -> None:
        labels = " ".join(arguments for name, arguments in instructions(dockerfile) if name == "LABEL")
        for label in ("title", "description", "licenses", "version", "revision"):
            assert f"org.opencontainers.image.{label}=" in labels


@pytest.mark.parametrize("requirements", LOCKED, ids=lambda path: path.name)
def test_every_locked_requirement_has_hashes_and_no_address(requirements: Path) -> None:
    if requirements.stem.endswith("excludes"):
        return
    text = requirements.read_text()
    pins = [entry for entry in text.replace("\\\n", " ").splitlines() if entry.strip() and not entry.startswith("#")]
    assert pins
    assert all("==" in pin and "--hash=sha256:" in pin for pin in pins)
    assert "://" not in text
    assert "--index-url" not in text
    assert "--find-links" not in text


def test_the_watch_image_has_no_torch() -> None:
    names = set(re.findall(r"^([\w-]+)==", (ROOT / "requirements" / "watch.txt").read_text(), re.MULTILINE))
    assert {"kfp", "onnxruntime", "numpy", "scipy", "minio"} <= names
    assert not names & {"torch", "torchvision", "onnx", "onnxruntime-gpu", "triton", "kubernetes"}


@pytest.mark.parametrize("image", ["watch", "train"])
def test_the_images_get_the_versions_that_are_tested(image: str) -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^([\w.-]+==[\w.]+)", (ROOT / "requirements" / f"{name}.txt").read_text(), re.MULTILINE))

    assert {pin for pin in pins(image) - pins("dev") if not pin.startswith("onnxruntime==")} == set()


def test_services_listen_on_the_loopback_address_only(services: dict[str, dict[str, Any]]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_services_are_hardened_and_get_their_keys_from_a_file_that_git_ignores(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["env_file"] == ["minio.env"]
        assert not SECRET.search(str(service))
    assert "/docker/minio.env" in (ROOT / ".gitignore").read_text().splitlines()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    assert not any("env" in line for line in ignored if line.startswith("!"))
