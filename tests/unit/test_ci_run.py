"""`.ci/run` on machines that lack Debian's packages: who may install them does, and what it could install must be there."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.debian import debian_program

SCRIPT = Path(__file__).parents[2] / ".ci" / "run"
ENVIRONMENT = {"DRIFTLOOP_MLFLOW": "/nowhere/mlflow", "DRIFTLOOP_DVC": "/nowhere/dvc", "PYENV_ROOT": "/nowhere"}


def ran(folder: Path, *, gone: int = 0, **programs: str) -> tuple[list[str], subprocess.CompletedProcess[str]]:
    """How `apt-get` was called on a machine that has these programs, of which `make` says what the tests are told; and what was said.

    Args:
        gone: seconds since the run began.
    """
    for name in ("bash", "sh", "env", "dirname", "mktemp", "sed", "tail", "mkdir", "cat"):
        (folder / name).symlink_to(shutil.which(name) or name)
    calls = folder / "calls"
    calls.touch()
    programs = {"docker": "exit 1", "make": 'echo "told: ${DRIFTLOOP_DEBIAN-nothing}"', **programs}
    for name, text in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    environment = ENVIRONMENT | {"PATH": str(folder), "HOME": str(folder), "CALLS": str(calls), "TMPDIR": str(folder), "SECONDS": str(gone)}
    done = subprocess.run([str(folder / "bash"), SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return calls.read_text().splitlines(), done


APT_GET = 'echo "$WHO apt-get $*" >>"$CALLS"'
SUDO = '[ "$1" = -n ] && shift && WHO=sudo exec "$@"'


@pytest.mark.parametrize(("user", "who"), [(1000, "sudo"), (0, "")], ids=["sudo", "root"])
def test_what_root_or_sudo_can_install_must_be_there(user: int, who: str, tmp_path: Path) -> None:
    calls, done = ran(tmp_path, **{"id": f"echo {user}", "sudo": SUDO, "apt-get": APT_GET})
    installed = [call.split()[-2:] for call in calls if call.startswith(f"{who} apt-get install -y ")]
    assert installed[:2] == [["chromium", "fonts-dejavu-core"], ["prometheus", "prometheus-alertmanager"]]
    assert "told:  chromium fonts-dejavu-core prometheus prometheus-alertmanager" in done.stdout


@pytest.mark.parametrize(
    "programs",
    [
        {"id": "echo 1000", "apt-get": APT_GET},
        {"id": "echo 1000", "apt-get": APT_GET, "sudo": "echo a password is required >&2; exit 1"},
        {"id": "echo 0"},
        {"id": "echo 0", "apt-get": f'{APT_GET}; [ "$1" = update ]'},
    ],
    ids=["no sudo", "a password", "no apt", "not offered"],
)
def test_what_cannot_be_installed_is_said_and_its_tests_are_skipped(programs: dict[str, str], tmp_path: Path) -> None:
    calls, done = ran(tmp_path, **programs)
    assert not [call for call in calls if " install -y " in call and "prometheus" in call]
    assert "cannot be installed here: prometheus prometheus-alertmanager" in done.stderr
    assert "told: nothing" in done.stdout


@pytest.mark.parametrize(("gone", "second"), [(2300, "lint test"), (2401, "lint")])
def test_a_slow_machine_lints_with_the_second_python_and_says_that_it_tests_with_the_first_alone(
    gone: int, second: str, tmp_path: Path
) -> None:
    programs = {"id": "echo 0", "python3.13": "exit 0", "python3.11": "exit 0", "make": 'echo "make $*"'}
    _, done = ran(tmp_path, gone=gone, **programs)
    calls = [line.partition(" PYTHON=")[0] for line in done.stdout.splitlines() if line.startswith("make ")]
    assert calls == ["make lint test", f"make {second}"]
    assert ("Python 3.11: linted, NOT TESTED: 40 of CI's 90 minutes have gone" in done.stderr) is (second == "lint")


def test_a_program_that_must_be_there_fails_its_test_and_any_other_skips_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    monkeypatch.setenv("DRIFTLOOP_DEBIAN", " prometheus chromium")
    with pytest.raises(pytest.fail.Exception, match="no promtool here: apt-get install prometheus"):
        debian_program("promtool", "prometheus")
    with pytest.raises(pytest.skip.Exception, match="no amtool here"):
        debian_program("amtool", "prometheus-alertmanager")
