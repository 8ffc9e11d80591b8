"""Manifests as a cluster would get them: rendered by kustomize, with remote bases from the network or from copies of them.

DRIFTLOOP_KFP_MANIFESTS names a folder of copies for a machine that does not reach github.com: <owner>/<repository>/..., each checked out at
the version that k8s/ (or KFP's own manifests) names. Only their folders `manifests` and `deployments` are read.
"""

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
KUSTOMIZE = "sigs.k8s.io/kustomize/kustomize/v5@v5.5.0"
BUILT = Path.home() / ".cache" / "driftloop" / "bin"
REMOTE = re.compile(
    r"https://(?:github\.com/([\w.-]+/[\w.-]+)/([^?\s]+)\?ref=\S+|raw\.githubusercontent\.com/([\w.-]+/[\w.-]+)/[^/]+/(\S+))"
)
OFFLINE = re.compile(r"could not resolve|no such host|dial tcp|unable to access|network is unreachable", re.IGNORECASE)
FOLDERS = ("manifests", "deployments")

Manifest = dict[str, Any]


@cache
def render(folder: str, copies: Path | None = None) -> list[Manifest]:
    """The objects of a kustomization, such as `k8s/minio`. Skips where a remote base cannot be had."""
    done = subprocess.run([*kustomize(), str((copies or ROOT) / folder)], check=False, capture_output=True, text=True, timeout=600)
    if done.returncode and OFFLINE.search(done.stderr):
        pytest.skip("github.com cannot be reached; name copies of KFP's manifests with DRIFTLOOP_KFP_MANIFESTS (tests/k8s/rendering.py)")
    assert done.returncode == 0, f"{folder}: {done.stderr[-3000:]}"
    return [document for document in yaml.safe_load_all(done.stdout) if document]


@cache
def kustomize() -> tuple[str, ...]:
    """The command that renders a folder; skips where none is to be had, but not in CI."""
    for program, arguments in (("kubectl", ("kustomize",)), ("kustomize", ("build",)), (str(BUILT / "kustomize"), ("build",))):
        if found := shutil.which(program):
            return found, *arguments
    if shutil.which("go"):
        BUILT.mkdir(parents=True, exist_ok=True)
        if subprocess.run(["go", "install", KUSTOMIZE], env=os.environ | {"GOBIN": str(BUILT)}, check=False).returncode == 0:
            return str(BUILT / "kustomize"), "build"
    reason = "nothing renders manifests here: put `kubectl` or `kustomize` on the PATH, or install Go"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def with_copies(work: Path) -> Path | None:
    """A copy of k8s/ whose remote bases are folders; None where DRIFTLOOP_KFP_MANIFESTS names none."""
    named = os.environ.get("DRIFTLOOP_KFP_MANIFESTS")
    if not named:
        return None
    shutil.copytree(ROOT / "k8s", work / "k8s")
    for repository in Path(named).glob("*/*"):
        for folder in FOLDERS:
            if (repository / folder).is_dir():
                shutil.copytree(repository / folder, work / "remote" / repository.relative_to(named) / folder)
    for file in work.rglob("kustomization.yaml"):
        file.write_text(REMOTE.sub(lambda found, at=file.parent: _local(found, at, work), file.read_text()))
    return work


def _local(found: re.Match[str], at: Path, work: Path) -> str:
    repository, path = found[1] or found[3], found[2] or found[4]
    copy = work / "remote" / repository / path
    assert copy.exists(), f"DRIFTLOOP_KFP_MANIFESTS lacks {repository}/{path}"
    if copy.is_file():  # kustomize takes files from below the folder that names them, only
        return shutil.copy(copy, at / copy.name).name
    return os.path.relpath(copy, at)


def remote_references() -> list[str]:
    """Every remote base that k8s/ names."""
    files = (ROOT / "k8s").rglob("kustomization.yaml")
    return [line.strip("- \n") for file in files for line in file.read_text().splitlines() if line.strip().startswith("- http")]


def pod(manifest: Manifest) -> Manifest | None:
    """The pod specification of a workload; None for anything else."""
    spec = manifest.get("spec") or {}
    if manifest["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    return spec["template"]["spec"] if manifest["kind"] in {"Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"} else None


def one(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    """The object of that kind and name."""
    found = [manifest for manifest in manifests if (manifest["kind"], manifest["metadata"]["name"]) == (kind, name)]
    assert len(found) == 1, f"{kind} {name}: {len(found)} found"
    return found[0]


def environment(container: Manifest) -> dict[str, Any]:
    """A container's variables: a value, or where it comes from."""
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container.get("env", [])}
