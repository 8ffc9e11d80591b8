"""What is uploaded: the compiled pipeline with its images named by content, as a version that is named by a hash of the result.

The committed YAML names the images by release. A cluster would go on using an old image of that name, and KFP's cache would take its
results for the new ones: where driftloop runs from a checkout, the tags that docker/build.sh gives to the content go in instead. A new
version is uploaded only where KFP has none of that name.
"""

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from driftloop import __version__
from driftloop.backends.cluster.connection import API, ClusterConnection, ClusterError
from driftloop.backends.compiled_pipeline import compile_to_yaml, with_placement
from driftloop.errors import InputError

BUILD = Path(__file__).parents[3] / "docker" / "build.sh"
#: A driftloop image as the compiled YAML names it.
IMAGE = re.compile(rf"(?<=image: )driftloop-([\w-]+):{re.escape(__version__)}(?=\s*$)", re.MULTILINE)
#: A registry and a path in it, as they stand in front of an image's name.
PREFIX = re.compile(r"(?:[a-z0-9][a-z0-9.-]*(?::\d+)?/)(?:[a-z0-9][a-z0-9._-]*/)*")
#: With which a version's description tells what its steps ask for.
PLACEMENT_LINE = "placement: "
#: How many versions KFP lists at a time.
PAGE_SIZE = 100


@dataclass(frozen=True)
class Upload:
    """A pipeline as it is uploaded."""

    name: str
    """The pipeline's name in KFP."""
    version: str
    """The name of this version."""
    text: str
    """Its YAML."""
    images: tuple[str, ...]
    """The images that it names."""
    placement: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """What its steps ask for where it is not the usual."""

    @property
    def description(self) -> str:
        """What the pipeline does, with a line for each parameter, and one for what its steps ask for."""
        text = next(yaml.safe_load_all(self.text))["pipelineInfo"].get("description", "")
        return f"{text}\n{PLACEMENT_LINE}{json.dumps(self.placement)}" if self.placement else text


def compile_upload(pipeline: Any, placement: Mapping[str, Mapping[str, str]] | None = None) -> Upload:
    """Compile a pipeline for a cluster.

    Args:
        pipeline: the pipeline.
        placement: what its steps ask for where it is not the usual.

    Raises:
        InputError: it has not those steps, DRIFTLOOP_IMAGE_PREFIX cannot stand before an image's name, or the tags could not be computed.
    """
    text = with_placement(compile_to_yaml(pipeline), placement or {})
    prefix = image_prefix()
    names = sorted(set(IMAGE.findall(text)))
    tags = content_tags(names)
    text = IMAGE.sub(lambda match: f"{prefix}driftloop-{match[1]}:{tags[match[1]]}", text)
    images = tuple(f"{prefix}driftloop-{name}:{tags[name]}" for name in names)
    name = next(yaml.safe_load_all(text))["pipelineInfo"]["name"]
    return Upload(name, f"{__version__}-{hashlib.sha256(text.encode()).hexdigest()[:12]}", text, images, placement or {})


def image_prefix() -> str:
    """DRIFTLOOP_IMAGE_PREFIX, with the slash at its end; "" for images that were loaded into the node."""
    given = os.environ.get("DRIFTLOOP_IMAGE_PREFIX", "").strip()
    prefix = f"{given.rstrip('/')}/" if given else ""
    if prefix and not PREFIX.fullmatch(prefix):
        raise InputError(f"DRIFTLOOP_IMAGE_PREFIX: {given!r} is not a registry; write it like localhost:5001/ or ghcr.io/me/")
    return prefix


def content_tags(names: list[str]) -> dict[str, str]:
    """The tag of each image: its content's where there is a checkout to compute it from, else the release's."""
    if not BUILD.exists():
        return dict.fromkeys(names, __version__)
    # `true` in the place of docker finds every image there and builds none: what is left are the names.
    build = subprocess.run(
        [BUILD, *names], env=os.environ | {"DOCKER": "true", "DOCKER_PUSH_TO": ""}, capture_output=True, text=True, check=False
    )
    if build.returncode != 0:
        last = (build.stderr.strip().splitlines() or ["no output"])[-1]
        raise InputError(f"the images' tags could not be computed: {last} (see it all with DOCKER=true docker/build.sh {' '.join(names)})")
    printed = dict(line.split()[1].rsplit(":", 1) for line in build.stdout.splitlines())
    return {name: printed[f"driftloop-{name}"] for name in names}


@dataclass(frozen=True)
class PipelineVersion:
    """A version of a pipeline in KFP."""

    pipeline_id: str
    """KFP's id of the pipeline."""
    version_id: str
    """KFP's id of the version."""
    name: str
    """The version's name."""
    fresh: bool = False
    """Whether this call has uploaded it."""

    @property
    def reference(self) -> dict[str, str]:
        """As KFP's API names it."""
        return {"pipeline_id": self.pipeline_id, "pipeline_version_id": self.version_id}


def check_pipeline_name(connection: ClusterConnection, upload: Upload, name: str) -> None:
    """Make sure that what is uploaded as `name` is that pipeline, and that KFP's of that name is ours: its server compares neither.

    Raises:
        InputError: the names differ.
    """
    if upload.name != name:
        raise InputError(
            f"the compiled pipeline is named {upload.name}, not {name}; run `driftloop compile`, and see its @dsl.pipeline(name=...)"
        )
    pipeline_id = _find(connection, name)
    newest = next(_versions(connection, pipeline_id, page_size=1), None) if pipeline_id else None
    if newest is not None:
        spec = newest.get("pipeline_spec") or {}
        inside = (spec.get("pipeline_spec") or spec).get("pipelineInfo", {}).get("name", name)
        if inside != name:
            raise InputError(f"{connection.endpoint}: the pipeline {name} there holds versions of {inside}; rename or delete it in the UI")


def upload_version(connection: ClusterConnection, upload: Upload) -> PipelineVersion:
    """The version of that content, uploaded if it is not there.

    Raises:
        ClusterError: KFP refuses it.
    """
    pipeline_id = _find(connection, upload.name) or _create(connection, upload)
    for attempt in ("look", "upload", "look again"):
        if attempt == "upload":
            query = {"pipelineid": pipeline_id, "name": upload.version, "display_name": upload.version, "description": upload.description}
            try:
                uploaded = connection.upload(f"{API}/pipelines/upload_version", query, f"{upload.name}.yaml", upload.text)
                return PipelineVersion(pipeline_id, uploaded["pipeline_version_id"], upload.version, fresh=True)
            except ClusterError as error:
                # Somebody else has uploaded the same since it was looked for.
                if error.status != 409:
                    raise
        for version in _versions(connection, pipeline_id):
            if version.get("display_name") == upload.version:
                return PipelineVersion(pipeline_id, version["pipeline_version_id"], upload.version)
    raise ClusterError(f"{connection.endpoint}: version {upload.version} of {upload.name} was neither found nor uploaded")


def version_names(connection: ClusterConnection, references: list[dict[str, str]]) -> dict[str, tuple[str, str]]:
    """Pipeline version id -> the names of the pipeline and of the version; those that are gone are left out."""
    names: dict[str, tuple[str, str]] = {}
    for reference in references:
        pipeline_id, version_id = reference.get("pipeline_id", ""), reference.get("pipeline_version_id", "")
        if not pipeline_id or version_id in names:
            continue
        try:
            pipeline = connection.call("GET", f"{API}/pipelines/{pipeline_id}")
            version = connection.call("GET", f"{API}/pipelines/{pipeline_id}/versions/{version_id}") if version_id else {}
        except ClusterError as error:
            if error.status != 404:
                raise
            continue
        names[version_id] = (pipeline.get("display_name", ""), version.get("display_name", "newest"))
    return names


def version_placement(connection: ClusterConnection, reference: dict[str, str]) -> dict[str, Any]:
    """What the steps of an uploaded version ask for, where it is not the usual."""
    if not reference.get("pipeline_version_id"):
        return {}
    version = connection.call("GET", f"{API}/pipelines/{reference['pipeline_id']}/versions/{reference['pipeline_version_id']}")
    for line in (version.get("description") or "").splitlines():
        if line.startswith(PLACEMENT_LINE):
            return json.loads(line.removeprefix(PLACEMENT_LINE))
    return {}


def equals_filter(key: str, value: str) -> str:
    """A filter of KFP's lists."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": key, "string_value": value}]})


def _find(connection: ClusterConnection, name: str) -> str:
    answer = connection.call("GET", f"{API}/pipelines", {"filter": equals_filter("display_name", name), "page_size": 2} | connection.scope)
    pipelines = answer.get("pipelines", [])
    return pipelines[0]["pipeline_id"] if pipelines else ""


def _create(connection: ClusterConnection, upload: Upload) -> str:
    pipeline = {"display_name": upload.name, "name": upload.name, "description": upload.description} | connection.scope
    return connection.call("POST", f"{API}/pipelines", body=pipeline)["pipeline_id"]


def _versions(connection: ClusterConnection, pipeline_id: str, page_size: int = PAGE_SIZE) -> Iterator[dict[str, Any]]:
    """The versions of a pipeline, the newest first."""
    query = {"page_size": page_size, "sort_by": "created_at desc"}
    return connection.listed(f"{API}/pipelines/{pipeline_id}/versions", "pipeline_versions", query)
