"""Run one pipeline with KFP's local Docker runner: the child process of `driftloop run --on docker`.

Its containers are hardened as the cluster's are (a numeric user, no capabilities), and have a read-only root besides, which KFP cannot ask
Kubernetes for, and no network but the store's.
"""

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from kfp import local

from driftloop.backends.local_child import tried_once
from driftloop.contracts import SHARED_MEMORY_GIB
from pipelines import PIPELINES

#: What a step's container takes over from this process, where it is set: the store's address and keys, and the run's name.
PASSED_ON = (
    "AWS_ENDPOINT_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "DRIFTLOOP_RUN_ID",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
)
#: The label that names a container's run, so that an interrupted run can take its containers along.
RUN_LABEL = "driftloop.run"


@dataclass(frozen=True)
class Sandbox:
    """What the containers of a run may use."""

    run_id: str
    """The run's name."""
    network: str
    """The network that the store is on."""
    source: str
    """The folder or zip of images, which they see read-only under the same path; "" for none."""
    gpus: int
    """The number of GPUs."""
    user: str
    """User and group, as numbers."""

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The sandbox that `to_json` wrote."""
        return cls(**json.loads(text))

    def to_json(self) -> str:
        """As one line, for the child's command line: no keys are in it."""
        return json.dumps(asdict(self))


def container_arguments(sandbox: Sandbox) -> dict[str, Any]:
    """What KFP's runner passes on to `docker.containers.run`."""
    import docker

    arguments: dict[str, Any] = {
        "user": sandbox.user,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "read_only": True,
        "tmpfs": {"/tmp": "rw,nosuid,nodev,mode=1777"},  # noqa: S108
        "shm_size": f"{SHARED_MEMORY_GIB}g",
        "network_mode": sandbox.network,
        "environment": {name: os.environ[name] for name in PASSED_ON if name in os.environ},
        "labels": {RUN_LABEL: sandbox.run_id},
        "init": True,
    }
    if sandbox.source:
        arguments["mounts"] = [docker.types.Mount(sandbox.source, sandbox.source, type="bind", read_only=True)]
    if sandbox.gpus:
        arguments["device_requests"] = [docker.types.DeviceRequest(count=sandbox.gpus, capabilities=[["gpu"]])]
    return arguments


def main(name: str, parameters: Path, artifacts: Path, sandbox: Sandbox) -> None:
    """Run pipeline `name` with the arguments in the JSON file `parameters`; artifacts go below `artifacts`."""
    local.init(local.DockerRunner(**container_arguments(sandbox)), pipeline_root=str(artifacts))
    tried_once(PIPELINES[name])(**json.loads(parameters.read_text()))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), Sandbox.from_json(sys.argv[4]))
