"""The cluster of KFP_ENDPOINT, and runs on it that several tests look at: each takes minutes."""

import json
import os
import secrets
import subprocess
from pathlib import Path
from typing import Any

import pytest

from driftloop.backends.cluster.connection import ClusterConnection
from tests.pipelines.command import DRIFTLOOP
from tests.pipelines.test_full_loop import DRIFT, SMALL, TRAFFIC

#: A full loop on two cores that do other work, too.
TIMEOUT_S = 3600


class OnCluster:
    """Runs `driftloop` in a folder of its own, on a store of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"e2e-{secrets.token_hex(4)}"
        self.store = f"s3://driftloop/{self.name}"
        self.connection = ClusterConnection.from_environment()

    def __call__(self, *arguments: str, status: int = 0, **environment: str | None) -> subprocess.CompletedProcess[str]:
        """Run the command; a variable set to None is taken out of its environment."""
        changed = os.environ | {"COLUMNS": "160", "NO_COLOR": "1"} | environment
        left = {name: value for name, value in changed.items() if value is not None}
        done = subprocess.run([DRIFTLOOP, *arguments], cwd=self.folder, env=left, capture_output=True, text=True, timeout=TIMEOUT_S)
        assert done.returncode == status, f"driftloop {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done

    def run(self, pipeline: str, *arguments: str, status: int = 0, **environment: str | None) -> subprocess.CompletedProcess[str]:
        """Run a pipeline on the cluster, and wait for its end."""
        return self("run", pipeline, "--on", "cluster", "--store", self.store, *arguments, status=status, **environment)

    def latest(self) -> Path:
        """The folder of the last run."""
        return (self.folder / "runs" / "latest").resolve()


class Run:
    """What a finished run has printed and left."""

    def __init__(self, output: str, folder: Path) -> None:
        self.output = output
        self.folder = folder
        self.summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())

    def line(self, title: str) -> str:
        """The line of a step or a branch."""
        found = [line for line in self.output.splitlines() if line[2:].startswith(f"{title} ")]
        assert len(found) == 1, f"{title}: {found}\n{self.output}"
        return found[0]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> OnCluster:
    """The cluster; skipped where none is named, but not where KFP_ENDPOINT names one that does not answer."""
    if not os.environ.get("KFP_ENDPOINT"):
        pytest.skip("no cluster: KFP_ENDPOINT is not set")
    return OnCluster(tmp_path_factory.mktemp("cluster"))


@pytest.fixture(scope="session")
def kubernetes(cluster: OnCluster) -> None:
    """Kubernetes itself, where the product looks for it too."""
    if not Path(os.environ.get("KUBECONFIG") or Path("~/.kube/config").expanduser()).exists():
        pytest.skip("neither KUBECONFIG nor ~/.kube/config names a cluster: pods, images and secrets are not looked at")


@pytest.fixture(scope="session")
def drifted(cluster: OnCluster) -> Run:
    """The whole loop under a drift that harms: training, and the branch that retrains."""
    done = cluster.run("full-loop", *SMALL, *TRAFFIC, "--drift", DRIFT)
    return Run(done.stdout, cluster.latest())


@pytest.fixture(scope="session")
def undrifted(cluster: OnCluster, drifted: Run) -> Run:
    """The same training again, and traffic that has not drifted from what the champion of the first run has accepted."""
    done = cluster.run("full-loop", *SMALL, *TRAFFIC, "--drift", "none")
    return Run(done.stdout, cluster.latest())
