"""Pipelines and their versions in KFP: a new version is uploaded only where none of that name is there."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from driftloop.cli.cluster.connection import API, ClusterConnection, ClusterError
from driftloop.cli.cluster.images import Upload
from driftloop.errors import InputError

PAGE = 100


@dataclass(frozen=True)
class PipelineVersion:
    """A version of a pipeline in KFP; `fresh` when this call has uploaded it."""

    pipeline_id: str
    version_id: str
    name: str
    fresh: bool = False

    @property
    def reference(self) -> dict[str, str]:
        """As KFP's API names it."""
        return {"pipeline_id": self.pipeline_id, "pipeline_version_id": self.version_id}


def check_name(connection: ClusterConnection, upload: Upload, asked: str) -> None:
    """Make sure that what is uploaded as `asked` is that pipeline, and that KFP's of that name is ours: its server compares neither.

    Raises:
        InputError: the names differ.
    """
    if upload.name != asked:
        raise InputError(
            f"the compiled pipeline is named {upload.name}, not {asked}; run `driftloop compile`, and see its @dsl.pipeline(name=...)"
        )
    there = _find(connection, asked)
    newest = next(_versions(connection, there, page_size=1), None) if there else None
    if newest is not None:
        spec = newest.get("pipeline_spec") or {}
        inside = (spec.get("pipeline_spec") or spec).get("pipelineInfo", {}).get("name", asked)
        if inside != asked:
            raise InputError(f"{connection.endpoint}: the pipeline {asked} there holds versions of {inside}; rename or delete it in the UI")


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
                made = connection.upload(f"{API}/pipelines/upload_version", query, f"{upload.name}.yaml", upload.text)
                return PipelineVersion(pipeline_id, made["pipeline_version_id"], upload.version, fresh=True)
            except ClusterError as error:
                # Somebody else has uploaded the same since it was looked for.
                if error.status != 409:
                    raise
        for version in _versions(connection, pipeline_id):
            if version.get("display_name") == upload.version:
                return PipelineVersion(pipeline_id, version["pipeline_version_id"], upload.version)
    raise ClusterError(f"{connection.endpoint}: version {upload.version} of {upload.name} was neither found nor uploaded")


def names_of(connection: ClusterConnection, references: list[dict[str, str]]) -> dict[str, tuple[str, str]]:
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


def equals(key: str, value: str) -> str:
    """A filter of KFP's lists."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": key, "string_value": value}]})


def _find(connection: ClusterConnection, name: str) -> str:
    found = connection.call("GET", f"{API}/pipelines", {"filter": equals("display_name", name), "page_size": 2} | connection.scope)
    pipelines = found.get("pipelines", [])
    return pipelines[0]["pipeline_id"] if pipelines else ""


def _create(connection: ClusterConnection, upload: Upload) -> str:
    pipeline = {"display_name": upload.name, "name": upload.name, "description": upload.description} | connection.scope
    return connection.call("POST", f"{API}/pipelines", body=pipeline)["pipeline_id"]


def _versions(connection: ClusterConnection, pipeline_id: str, page_size: int = PAGE) -> Iterator[dict[str, Any]]:
    """The versions of a pipeline, the newest first."""
    query = {"page_size": page_size, "sort_by": "created_at desc"}
    return connection.listed(f"{API}/pipelines/{pipeline_id}/versions", "pipeline_versions", query)
