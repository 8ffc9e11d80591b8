"""What is uploaded: the compiled pipeline with its images named by content, and the version's name, a hash of the result.

The committed YAML names the images by release. A cluster would go on using an old image of that name, and KFP's cache would take its
results for the new ones: where driftloop runs from a checkout, the tags that docker/build.sh gives to the content go in instead.
"""

import hashlib
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from driftloop import __version__
from driftloop.cli.compile import compiled
from driftloop.errors import InputError

BUILD = Path(__file__).parents[3] / "docker" / "build.sh"
IMAGE = re.compile(rf"(?<=image: )driftloop-([\w-]+):{re.escape(__version__)}(?=\s*$)", re.MULTILINE)
PREFIX = re.compile(r"(?:[a-z0-9][a-z0-9.-]*(?::\d+)?/)(?:[a-z0-9][a-z0-9._-]*/)*")


@dataclass(frozen=True)
class Upload:
    """A pipeline as it is uploaded: its name in KFP, the name of this version, its YAML, and the images in it."""

    name: str
    version: str
    text: str
    images: tuple[str, ...]

    @property
    def description(self) -> str:
        """What the pipeline does, with a line for each parameter."""
        return next(yaml.safe_load_all(self.text))["pipelineInfo"].get("description", "")


def prepare(pipeline: Any) -> Upload:
    """Compile a pipeline for a cluster.

    Raises:
        InputError: DRIFTLOOP_IMAGE_PREFIX is no prefix of an image's name, or the tags could not be computed.
    """
    text = compiled(pipeline)
    prefix = image_prefix()
    names = sorted(set(IMAGE.findall(text)))
    tags = content_tags(names)
    text = IMAGE.sub(lambda found: f"{prefix}driftloop-{found[1]}:{tags[found[1]]}", text)
    images = tuple(f"{prefix}driftloop-{name}:{tags[name]}" for name in names)
    name = next(yaml.safe_load_all(text))["pipelineInfo"]["name"]
    return Upload(name, f"{__version__}-{hashlib.sha256(text.encode()).hexdigest()[:12]}", text, images)


def image_prefix() -> str:
    """DRIFTLOOP_IMAGE_PREFIX, with the slash at its end; "" for images that were loaded into the node."""
    given = os.environ.get("DRIFTLOOP_IMAGE_PREFIX", "").strip()
    prefix = f"{given.rstrip('/')}/" if given else ""
    if prefix and not PREFIX.fullmatch(prefix):
        raise InputError(f"DRIFTLOOP_IMAGE_PREFIX: {given!r} is no registry; write it like localhost:5001/ or ghcr.io/me/")
    return prefix


def content_tags(names: list[str]) -> dict[str, str]:
    """The tag of each image: its content's where there is a checkout to compute it from, else the release's."""
    if not BUILD.exists():
        return dict.fromkeys(names, __version__)
    # `true` in the place of docker finds every image there and builds none: what is left are the names.
    asked = subprocess.run([BUILD, *names], env=os.environ | {"DOCKER": "true"}, capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        last = (asked.stderr.strip().splitlines() or ["no output"])[-1]
        raise InputError(f"the images' tags could not be computed: {last} (see it all with DOCKER=true docker/build.sh {' '.join(names)})")
    printed = dict(line.split()[1].rsplit(":", 1) for line in asked.stdout.splitlines())
    return {name: printed[f"driftloop-{name}"] for name in names}
