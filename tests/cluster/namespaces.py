"""driftloop's own kustomizations in namespaces of the tests' own, on stores of their own."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from driftloop.backends.cluster.uploads import content_tags, image_prefix
from tests.k8s.rendering import ROOT

#: What MinIO's NetworkPolicy knows a namespace by that is not `serving` itself.
KNOWN_TO_MINIO = {"app.kubernetes.io/part-of": "kubeflow-profile"}


def kubectl(*arguments: str, given: str = "", status: int = 0) -> str:
    """What it prints; arguments are of kubectl."""
    done = subprocess.run(["kubectl", *arguments], input=given, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == status, f"kubectl {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def secret_of(user: str, namespace: str) -> None:
    """The keys of a user of the cluster's MinIO, in a Secret of his name."""
    encoded = json.loads(kubectl("-n", "minio", "get", "secret", "users", "-o", "json"))["data"][user]
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": user},
        "data": {"secretkey": encoded},
        "stringData": {"accesskey": user},
    }
    kubectl("-n", namespace, "create", "-f", "-", given=json.dumps(body))


def overlay(folder: Path, base: str, namespace: str, **more: Any) -> None:
    """Write a kustomization that puts another one, such as `k8s/serving`, into this namespace; `more` are fields of it."""
    content = {"namespace": namespace, "resources": [os.path.relpath(ROOT / base, folder.resolve())]} | more
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content))


def image_of(name: str) -> dict[str, str]:
    """This checkout's image, for the `images` of a kustomization."""
    return {"name": f"driftloop-{name}", "newName": f"{image_prefix()}driftloop-{name}", "newTag": content_tags([name])[name]}
