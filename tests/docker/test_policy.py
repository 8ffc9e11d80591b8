"""What the Dockerfiles and the compose file must never lose, read from the files themselves: no engine is needed."""

import os
import re
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from driftloop.errors import StoreError
from driftloop.store import open_store
from tests.docker.engine import ROOT
from tests.minio_server import MinioServer

DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
LOCKED = sorted((ROOT / "requirements").glob("*.txt"))
SECRET = re.compile(r"(password|secret_?key|access_?key|token)[a-z_]*\s*[=:]\s*['\"]?[A-Za-z0-9+/]{8,}", re.IGNORECASE)
ADDRESS = re.compile(r"https?://(?!127\.0\.0\.1|driftloop-minio)[\w.-]+")


def pinned_bases() -> list[str]:
    return [line for line in (ROOT / "docker" / "bases.txt").read_text().splitlines() if not line.startswith("#")]


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
        assert bases[-1] == "${PYTHON_IMAGE}"
        defaults = dict(arguments.split("=", 1) for name, arguments in instructions(dockerfile) if name == "ARG")
        stages = [arguments.split()[2] for name, arguments in instructions(dockerfile) if name == "FROM" and " AS " in arguments]
        for base in bases:
            image = re.sub(r"\$\{(\w+)\}", lambda found: defaults[found[1]], base)
            assert image in stages or image in {pinned.partition("@")[0] for pinned in pinned_bases()}, image

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
    assert not names & {"torch", "torchvision", "onnx", "onnxruntime-gpu", "triton", "kubernetes", "grpcio"}


def test_the_serve_image_has_its_web_server_and_no_torch() -> None:
    names = set(re.findall(r"^([\w-]+)==", (ROOT / "requirements" / "serve.txt").read_text(), re.MULTILINE))
    assert {"fastapi", "uvicorn", "python-multipart", "prometheus-client", "grpcio", "onnxruntime", "minio"} <= names
    assert not names & {"torch", "torchvision", "onnx", "onnxruntime-gpu", "triton", "kubernetes", "schemathesis"}


@pytest.mark.parametrize("image", ["watch", "train", "serve"])
def test_the_images_get_the_versions_that_are_tested(image: str) -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^([\w.-]+==[\w.]+)", (ROOT / "requirements" / f"{name}.txt").read_text(), re.MULTILINE))

    assert {pin for pin in pins(image) - pins("dev") if not pin.startswith("onnxruntime==")} == set()


def test_a_base_has_a_version_and_where_it_is_known_a_digest() -> None:
    assert len(pinned_bases()) == 2
    assert all(re.fullmatch(r"[a-z]+:\d[\w.-]+(@sha256:[0-9a-f]{64})?", base) for base in pinned_bases())


def test_another_base_is_another_image(tmp_path: Path) -> None:
    """Tags as `docker/build.sh` computes them, with an engine that has every image; only what rests on a base changes with it."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for name in ("docker", "requirements", "driftloop", "components", "pipelines"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__", "*.env"))
    for name in ("pyproject.toml", ".dockerignore"):
        shutil.copy(ROOT / name, checkout)

    def tags() -> dict[str, str]:
        command = [str(checkout / "docker" / "build.sh"), "watch", "minio"]
        done = subprocess.run(command, env=os.environ | {"DOCKER": "true"}, capture_output=True, text=True, check=True)
        return dict(line.split()[1].rsplit(":", 1) for line in done.stdout.splitlines())

    bases, before = checkout / "docker" / "bases.txt", tags()
    assert tags() == before
    bases.write_text(re.sub("^golang:.*$", f"golang:1.26-bookworm@sha256:{'0' * 64}", bases.read_text(), flags=re.MULTILINE))
    go = tags()
    assert (go["driftloop-watch"] == before["driftloop-watch"], go["driftloop-minio"] == before["driftloop-minio"]) == (True, False)
    bases.write_text(re.sub("^python:.*$", f"python:3.11-slim-bookworm@sha256:{'0' * 64}", bases.read_text(), flags=re.MULTILINE))
    assert not set(tags().values()) & set(go.values())


#: What docker 28 says without its plugin.
NO_BUILDX = """ERROR: BuildKit is enabled but the buildx component is missing or broken.
       Install the buildx component to build images with BuildKit:
       https://docs.docker.com/go/buildx/"""


@pytest.mark.parametrize(
    ("said", "last"), [(NO_BUILDX, "has no plugin to build with (buildx): install the package"), ("no space left", "")]
)
def test_a_client_without_its_build_plugin_is_told_what_is_missing(tmp_path: Path, said: str, last: str) -> None:
    client = tmp_path / "docker"
    client.write_text(f"#!/bin/sh\n[ $1 = build ] && echo '{said}' >&2\nexit 1\n")
    client.chmod(0o755)
    command = [str(ROOT / "docker" / "build.sh"), "minio"]
    done = subprocess.run(command, env=os.environ | {"DOCKER": str(client)}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(said)
    assert (done.stderr.splitlines()[-1].startswith(f"{client} {last}")) is bool(last)
    assert ("DOCKER=" in done.stderr) is bool(last)


def test_a_release_s_images_go_to_a_registry_with_what_is_in_them(tmp_path: Path) -> None:
    """Neither a registry nor a builder that attests is at hand: what the client would be told."""
    client = tmp_path / "docker"
    client.write_text('#!/bin/sh\necho "$@" >> "$0.asked"\n')
    client.chmod(0o755)
    command = [str(ROOT / "docker" / "build.sh"), "serve"]
    environment = os.environ | {"DOCKER": str(client), "DOCKER_PUSH_TO": "ghcr.io/me"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    (asked,) = Path(f"{client}.asked").read_text().splitlines()
    assert asked.startswith("buildx build --push --sbom=true --provenance=mode=max ")
    tags = re.findall(r"--tag (\S+)", asked)
    assert tags == done.stdout.split()
    assert all(tag.startswith("ghcr.io/me/driftloop-serve:") for tag in tags)


def test_a_service_s_user_gets_the_policy_of_its_name(tmp_path: Path, minio_server: MinioServer) -> None:
    store = "s3://driftloop/made-up"
    user = make_user(tmp_path, minio_server, "driftloop-service")
    root = open_store(store, minio_server.environment)
    for key in ("champion.json", "datasets/ab/dataset.json"):
        root.put(key, b"x")
    service = open_store(store, minio_server.environment | user)
    assert service.read("champion.json") == b"x"
    service.put("labels/feedback.parquet", b"x")
    for refused in (lambda: service.read("datasets/ab/dataset.json"), lambda: service.put("champion.json", b"y")):
        with pytest.raises(StoreError, match="denies access"):
            refused()


def make_user(folder: Path, server: MinioServer, name: str) -> dict[str, str]:
    """Run docker/minio_user.py twice, as `make up` does; the user's variables."""
    root = {"MINIO_ROOT_USER": server.access_key, "MINIO_ROOT_PASSWORD": server.secret_key} | server.environment
    user = {"AWS_ACCESS_KEY_ID": name, "AWS_SECRET_ACCESS_KEY": secrets.token_hex(12), "AWS_REGION": "us-east-1"}
    for file, variables in (("minio", root), ("user", user)):
        (folder / f"{file}.env").write_text("".join(f"{key}={value}\n" for key, value in variables.items()))
    command = [sys.executable, str(ROOT / "docker" / "minio_user.py"), str(folder / "minio.env"), str(folder / "user.env")]
    for _ in ("first", "again"):
        subprocess.run(command, check=True)
    return user


def test_tensorboards_user_reads_its_events_and_nothing_else(tmp_path: Path, minio_server: MinioServer) -> None:
    user = make_user(tmp_path, minio_server, "driftloop-tensorboard")
    for key in ("tensorboard/run/events", "demo/champion.json"):
        open_store("s3://driftloop", minio_server.environment).put(key, b"x")
    store = open_store("s3://driftloop", minio_server.environment | user)
    assert [info.key for info in store.list("tensorboard/")] == ["tensorboard/run/events"]
    assert store.read("tensorboard/run/events") == b"x"
    for refused in (lambda: store.read("demo/champion.json"), lambda: list(store.list("demo/")), lambda: store.put("tensorboard/x", b"")):
        with pytest.raises(StoreError, match="denies access"):
            refused()


def test_images_of_others_name_their_version(services: dict[str, dict[str, Any]]) -> None:
    others = {name: service["image"] for name, service in services.items() if not service["image"].startswith("driftloop-")}
    assert others.keys() == {"prometheus", "grafana"}
    assert all(re.fullmatch(r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", image) for image in others.values())


def test_what_is_mounted_is_there(services: dict[str, dict[str, Any]]) -> None:
    files = [volume.split(":")[0] for service in services.values() for volume in service.get("volumes", []) if volume.startswith(".")]
    assert len(files) == 5
    assert all((ROOT / "docker" / file).is_file() for file in files)


def test_services_listen_on_the_loopback_address_only(services: dict[str, dict[str, Any]]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_services_are_hardened_and_get_their_keys_from_a_file_that_git_ignores(services: dict[str, dict[str, Any]]) -> None:
    files = {
        "minio": ["minio.env"],
        "tensorboard": ["tensorboard.env"],
        "serve": ["service.env"],
        "mlflow": [],
        "prometheus": [],
        "grafana": ["grafana.env"],
    }
    for name, service in services.items():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service.get("env_file", []) == files[name]
        assert not SECRET.search(str(service))
    assert {f"/docker/{name}" for names in files.values() for name in names} <= set((ROOT / ".gitignore").read_text().splitlines())
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    assert not any("env" in line for line in ignored if line.startswith("!"))
