"""A Docker engine for the tests: the program, images built by docker/build.sh, and hardened containers."""

import os
import shutil
import subprocess
from pathlib import Path

from driftloop import __version__

ROOT = Path(__file__).parents[2]
PROGRAM = os.environ.get("DOCKER", "docker")
HARDENED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "none")


def engine_answers() -> bool:
    """Whether a Docker engine can be used here."""
    return bool(shutil.which(PROGRAM)) and subprocess.run([PROGRAM, "info"], check=False, capture_output=True).returncode == 0


def docker(*arguments: str, text: str | None = None) -> str:
    """What a docker command prints; a failing one fails the test with its errors."""
    done = subprocess.run([PROGRAM, *arguments], check=False, capture_output=True, text=True, input=text)
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout.strip()


def build(name: str) -> str:
    """Build one of driftloop's images as a user does; its name with the release version."""
    done = subprocess.run([ROOT / "docker" / "build.sh", name], check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"docker/build.sh {name}: {done.stderr[-4000:]}"
    image, content = done.stdout.split()
    assert image == f"driftloop-{name}:{__version__}"
    assert docker("image", "inspect", "--format", "{{.Id}}", image) == docker("image", "inspect", "--format", "{{.Id}}", content)
    return image


def python(image: str, program: str) -> str:
    """What a Python program prints in a container as hardened as a pipeline's, without any network."""
    return docker("run", "--rm", "--interactive", "--env", "_KFP_RUNTIME=true", *HARDENED, image, "python", "-", text=program)
