"""Every kustomization renders, and Kubernetes' own schemas know every field in it."""

import re
from pathlib import Path

import kubernetes_validate
import pytest

from tests.k8s.rendering import ROOT, Manifest, remote_references, render

#: What k8s/kind/cluster.yaml runs.
KUBERNETES = "1.34"
FOLDERS = sorted(str(file.parent.relative_to(ROOT)) for file in (ROOT / "k8s").rglob("kustomization.yaml"))


def check(manifests: list[Manifest]) -> None:
    assert manifests
    for manifest in manifests:
        where = f"{manifest['kind']} {manifest['metadata']['name']}"
        try:
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        except kubernetes_validate.ValidationError as error:
            pytest.fail(f"{where}: {'.'.join(str(part) for part in error.path)}: {error.message[:500]}")


def test_the_folders_are_found() -> None:
    assert {"k8s/minio", "k8s/driftloop", "k8s/serving", "k8s/kubeflow", "k8s/kubeflow/cluster", "k8s/gpu"} <= set(FOLDERS)
    assert {"k8s/kind/minio", "k8s/kind/driftloop", "k8s/kind/kubeflow"} <= set(FOLDERS)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_kustomization_renders_into_valid_objects(folder: str, copies: Path | None) -> None:
    check(render(folder, copies))


def test_a_misspelt_field_is_found() -> None:
    manifest = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"ports": [{"port": 1, "nodeport": 30000}]}}
    with pytest.raises(pytest.fail.Exception, match="nodeport"):
        check([manifest])


def test_the_schemas_are_of_the_kubernetes_that_kind_runs() -> None:
    assert f"kindest/node:v{KUBERNETES}." in (ROOT / "k8s" / "kind" / "cluster.yaml").read_text()


def test_remote_bases_name_a_version() -> None:
    references = remote_references()
    assert len(references) == 3
    for reference in references:
        assert re.search(r"[?&]ref=v?\d+\.\d+\.\d+(&|$)|/v\d+\.\d+\.\d+/", reference), reference
