"""Kustomizations with remote bases, rendered once."""

from pathlib import Path

import pytest

from tests.k8s.rendering import Manifest, render, with_copies


@pytest.fixture(scope="session")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """k8s/ with copies in the place of remote bases, if there are any."""
    return with_copies(tmp_path_factory.mktemp("manifests"))


@pytest.fixture(scope="session")
def kubeflow(copies: Path | None) -> list[Manifest]:
    """Kubeflow Pipelines as k8s/kubeflow changes it."""
    return render("k8s/kubeflow", copies)
