"""What the scripts for kind say, in one line, where they cannot go on."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from tests.docker.engine import PROGRAM, engine_answers
from tests.k8s.rendering import ROOT

BASH = shutil.which("bash") or "/bin/bash"
SCRIPTS = ["up", "images", "down"]


def said(script: str, *arguments: str, **environment: str) -> str:
    """The one line in which a script stops."""
    done = subprocess.run(
        [BASH, str(ROOT / "k8s" / script), *arguments], check=False, capture_output=True, text=True, env=os.environ | environment
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("driftloop: ")
    return line


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder for programs that only have to be found: the scripts under test stop before they start one."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return folder


def lay(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_text("#!/bin/sh\necho this program must not be started >&2\nexit 99\n")
        (folder / name).chmod(0o755)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_missing_engine_is_named_with_its_cure(script: str, programs: Path) -> None:
    line = said(f"kind/{script}", PATH=str(programs), DOCKER="docker")
    assert "docker is not on the PATH" in line
    assert "DOCKER=" in line


@pytest.mark.parametrize(
    ("there", "missing"), [(["docker"], "kind"), (["docker", "kind"], "kubectl"), (["docker", "kind", "kubectl"], "git")]
)
def test_each_missing_tool_is_named(there: list[str], missing: str, programs: Path) -> None:
    lay(programs, *there)
    assert f"{missing} is not on the PATH" in said("kind/up", PATH=str(programs), DOCKER="docker")


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_engine_that_does_not_answer_is_told(script: str, programs: Path) -> None:
    lay(programs, "docker", "kind", "kubectl", "git")
    assert "no Docker engine answers 'docker info'" in said(f"kind/{script}", PATH=str(programs), DOCKER="docker")


def test_the_docker_program_can_be_named(programs: Path) -> None:
    assert "/nowhere/docker is not on the PATH" in said("kind/up", PATH=str(programs), DOCKER="/nowhere/docker")


@pytest.fixture
def engine(programs: Path) -> dict[str, str]:
    """The environment of a script that finds a real engine, and a kind that it must not start."""
    if not engine_answers():
        pytest.skip(
            os.environ.get("DRIFTLOOP_NO_ENGINE", "") or "no Docker engine answers: start one, or name the docker program with DOCKER=..."
        )
    if subprocess.run([PROGRAM, "container", "inspect", "driftloop-control-plane"], check=False, capture_output=True).returncode == 0:
        pytest.skip("there is a kind cluster of driftloop's on this machine, so the scripts would go on")
    lay(programs, "kind", "kubectl", "git")
    return {"PATH": f"{programs}:{os.environ['PATH']}", "DOCKER": shutil.which(PROGRAM) or PROGRAM}


def busy(port: int) -> socket.socket | None:
    """A listener on that port; None where something listens there already."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.close()
        return None
    listener.listen()
    return listener


def test_a_port_in_use_is_named(engine: dict[str, str]) -> None:
    listener = busy(8080)
    try:
        line = said("kind/up", **engine)
    finally:
        if listener:
            listener.close()
    assert "port 8080 of 127.0.0.1 is in use, and Kubeflow's UI needs it" in line


@pytest.mark.parametrize(("check", "what"), [("need_memory", "GiB of memory"), ("need_disk", "GiB free")])
def test_too_little_memory_or_disk_is_told_with_what_is_needed(check: str, what: str, engine: dict[str, str]) -> None:
    """The checks by themselves: `up` comes to them only on a machine whose ports are free."""
    program = f"set -eu; . k8s/kind/checks.bash; {check} 1; {check} 1000000"
    done = subprocess.run([BASH, "-c", program], check=False, capture_output=True, text=True, cwd=ROOT, env=os.environ | engine)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert what in line
    assert "needs" in line
    assert "1000000" in line


def test_images_need_a_cluster(engine: dict[str, str]) -> None:
    assert "make cluster-up" in said("kind/images", **engine)


def test_the_fake_gpu_wants_a_node() -> None:
    assert "name the node" in said("gpu/fake")


def test_the_fake_gpu_needs_kubectl(programs: Path) -> None:
    assert "kubectl is not on the PATH" in said("gpu/fake", "node", PATH=str(programs))


def test_no_script_gives_a_secret_to_a_command() -> None:
    """Keys go from a pipe or a here document into a program, since every user of a machine sees the arguments of its programs."""
    text = (ROOT / "k8s" / "kind" / "up").read_text()
    assert "--from-literal" not in text
    assert "--from-env-file=/dev/stdin" in text
    assert "umask 077" in text
