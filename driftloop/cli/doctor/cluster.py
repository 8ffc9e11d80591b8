"""`driftloop doctor --on cluster`: Kubeflow Pipelines, and what runs need in Kubernetes; the checks that `run --on cluster` makes first."""

import os
from typing import TYPE_CHECKING

from driftloop.cli.doctor.check import Check, CheckState, not_checked, ok, refused
from driftloop.errors import InputError

if TYPE_CHECKING:
    from driftloop.backends.cluster.connection import ClusterConnection


def check_cluster(gpus: int, store: str | None = None) -> list[Check]:
    """What `--on cluster` needs.

    Args:
        gpus: that a training step will ask for; 0 looks for none.
        store: the URI of the store, on which the steps' keys are tried; None for the usual one.
    """
    from driftloop.backends.cluster.connection import ClusterConnection
    from driftloop.backends.cluster.uploads import content_tags, image_prefix

    try:
        connection = ClusterConnection.from_environment()
        prefix, tags = image_prefix(), content_tags(["train", "watch"])
    except InputError as error:
        return [refused("cluster", error)]
    images = [f"{prefix}driftloop-{name}:{tag}" for name, tag in tags.items()]
    pipelines = _check_pipelines(connection)
    reports = [_check_reports(connection)] if pipelines.state is CheckState.ok else []
    return [pipelines, *reports, *_check_kubernetes(connection.namespace, images, gpus, store)]


def _check_pipelines(connection: "ClusterConnection") -> Check:
    from driftloop.backends.cluster.connection import TESTED

    try:
        server = connection.server
    except InputError as error:
        return refused("Kubeflow", error)
    version = server.version or "of unknown version"
    tested = "" if server.tested else f"; driftloop is tested with {TESTED}"
    users = f"several users, namespace {connection.namespace}" if server.multi_user else "single user"
    return ok("Kubeflow", f"Pipelines {version} at {connection.endpoint}, {users}{tested}")


def _check_reports(connection: "ClusterConnection") -> Check:
    """Whether a run's reports can be brought back: KFP's metadata store says where they are."""
    from driftloop.backends.cluster.artifacts import why_unreachable

    reason = why_unreachable(connection)
    return refused("reports", reason) if reason else ok("reports", "the metadata store answers, which knows where they are")


def _check_kubernetes(namespace: str, images: list[str], gpus: int, store: str | None) -> list[Check]:
    from driftloop.backends.cluster.backend import DEFAULT_STORE
    from driftloop.backends.cluster.preflight import CONTEXT, inspect_cluster

    findings = inspect_cluster(namespace, images, gpus, store=store or DEFAULT_STORE)
    checks = [refused("Kubernetes", line) for line in (*findings.failures, *findings.doubts)] + [
        not_checked("Kubernetes", line) for line in findings.not_checked
    ]
    if not checks:
        looked = "secret with keys that the store takes, ConfigMap and images" + (f", a node with {gpus} GPU" if gpus else "")
        context = f", context {os.environ[CONTEXT]}" if os.environ.get(CONTEXT) else ""
        checks.append(ok("Kubernetes", f"{looked} are there, namespace {namespace}{context}"))
    return checks if gpus else [*checks, not_checked("GPU node", "only with --gpus 1")]
