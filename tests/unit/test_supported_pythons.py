"""Which versions of Python are supported: every place says the same, and `make` takes the newest that runs."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from driftloop.cli.doctor.machine import PYTHONS

ROOT = Path(__file__).parents[2]
SUPPORTED = [f"{major}.{minor}" for major, minor in PYTHONS]


def test_the_project_installs_on_these_and_on_no_other() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = SpecifierSet(project["requires-python"])
    assert [f"3.{minor}" for minor in range(30) if f"3.{minor}" in wanted] == SUPPORTED
    assert [line.rsplit(" ", 1)[1] for line in project["classifiers"] if "Python ::" in line] == SUPPORTED


def test_the_oldest_is_what_ruff_and_the_locks_are_set_to() -> None:
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]
    assert ruff["target-version"] == f"py{SUPPORTED[0].replace('.', '')}"
    assert f"--python-version {SUPPORTED[0]} " in (ROOT / "Makefile").read_text()


def test_continuous_integration_tests_the_oldest_and_the_newest() -> None:
    checks = yaml.safe_load((ROOT / ".github" / "workflows" / "checks.yml").read_text())
    assert checks["jobs"]["test"]["strategy"]["matrix"]["python"] == [SUPPORTED[0], SUPPORTED[-1]]
    assert f"for version in {SUPPORTED[-1]} {SUPPORTED[0]};" in (ROOT / ".ci" / "run").read_text()


def make_setup(*arguments: str, path: str, venv: Path) -> subprocess.CompletedProcess[str]:
    """`make setup` as a shell starts it, not as a part of the `make test` that may be running."""
    ours = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHON", "VENV"}
    environment = {name: value for name, value in os.environ.items() if name not in ours} | {"PATH": path}
    command = [shutil.which("make") or "make", "setup", f"VENV={venv}", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_make_takes_the_newest_that_runs(tmp_path: Path) -> None:
    program(tmp_path / "shims" / "python3.13", "exit 127")
    program(tmp_path / "shims" / "python3.12", f'exec {sys.executable} "$@"')
    newest = program(tmp_path / "programs" / "python3.13", f'exec {sys.executable} "$@"')
    path = f"{tmp_path / 'shims'}:{tmp_path / 'programs'}"
    assert f'python="{newest}"' in make_setup("--dry-run", path=path, venv=tmp_path / "venv").stdout
    newest.unlink()
    assert f'python="{tmp_path / "shims" / "python3.12"}"' in make_setup("--dry-run", path=path, venv=tmp_path / "venv").stdout


@pytest.mark.parametrize("arguments", [[], ["PYTHON=python2"]], ids=["found", "asked for"])
def test_make_without_a_supported_python_says_which_it_needs(tmp_path: Path, arguments: list[str]) -> None:
    for name in ("python3", "python2"):
        program(tmp_path / name, "exit 1")
    done = make_setup(*arguments, path=str(tmp_path), venv=tmp_path / "venv")
    assert (done.returncode, done.stdout) == (2, "")
    said = done.stderr.splitlines()
    assert len(said) == 2, "one line, and make's own"
    assert "python2" in said[0] if arguments else "PATH" in said[0]
    assert all(version in said[0] for version in SUPPORTED)
    assert "make setup PYTHON=" in said[0]
    assert not (tmp_path / "venv").exists()


def test_an_environment_keeps_its_python_although_a_newer_is_there(tmp_path: Path) -> None:
    for path in (tmp_path / "venv" / "bin" / "python", tmp_path / "python3.13"):
        program(path, f'exec {sys.executable} "$@"')
    done = make_setup("--dry-run", path=str(tmp_path), venv=tmp_path / "venv")
    assert f'python="{tmp_path / "venv" / "bin" / "python"}"' in done.stdout


def test_an_environment_of_another_version_than_the_one_asked_for_is_made_again(tmp_path: Path) -> None:
    venv, path = tmp_path / "venv", os.environ["PATH"]
    python = program(venv / "bin" / "python", f'exec {sys.executable} "$@"')
    (venv / ".ready").touch()
    asked = f"PYTHON={sys.executable}"
    assert make_setup("--question", path=path, venv=venv).returncode == 0
    assert make_setup("--question", asked, path=path, venv=venv).returncode == 0
    program(python, "echo '(3, 9)'")
    assert make_setup("--question", path=path, venv=venv).returncode == 0
    assert make_setup("--question", asked, path=path, venv=venv).returncode == 1
