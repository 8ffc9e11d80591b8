"""`--on docker`: the pipeline's steps in hardened containers, on a store in MinIO or S3.

What is missing is brought up: the images are built where driftloop runs from its sources (DRIFTLOOP_BUILD_IMAGES=0 takes them
as they are), and MinIO is started where no AWS_* variable names a server. That MinIO goes on running: what a run promoted can be
watched, compared and rolled back later.
"""

import contextlib
import json
import os
import secrets
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from driftloop import __version__
from driftloop.backends.base import Failure, RunRequest
from driftloop.backends.docker_child import RUN_LABEL, Sandbox
from driftloop.backends.local import ChildProcessBackend, check_store, child_environment, follow
from driftloop.backends.log_events import LogEvent
from driftloop.backends.run_folder import LATEST, RUNS, RunFolder
from driftloop.contracts import MINIO_PORT
from driftloop.errors import InputError, StoreError
from driftloop.store.s3_connection import s3_credentials, s3_endpoint
from driftloop.store.s3_credentials import as_variables
from pipelines import PIPELINES

BUILD = Path(__file__).parents[2] / "docker" / "build.sh"
MINIO_IMAGE = f"driftloop-minio:{__version__}"
#: MinIO as `make up` runs it, and as a run brings it up where that one is not there.
COMPOSE_MINIO, OWN_MINIO = "driftloop-minio", "driftloop-run-minio"
OWN_NETWORK = "driftloop-run"
#: MinIO's port in its container, as Docker names it.
CONTAINER_PORT = f"{MINIO_PORT}/tcp"
START_TIMEOUT_S = 60
IMAGE_USER = 10001
#: Where none of these is set, the store is in a MinIO of our own; keys without an address are for AWS itself.
NAMES_A_SERVER = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def latest_store() -> str:
    """The store of the last run, for a watch that names none.

    Raises:
        InputError: there was no run, or its store is out of the containers' reach.
    """
    with contextlib.suppress(OSError, ValueError, KeyError):
        return _checked(json.loads((LATEST / "parameters.json").read_text())["store"])
    raise InputError("no run to go on from; run `driftloop run full-loop --on docker` first, or name a store with --store")


class DockerBackend(ChildProcessBackend):
    """A Docker engine, ready to run a pipeline.

    Args:
        request: what is to be run; images of its pipeline that are not there, or older than the sources, are built.
        tell: takes a line about what a person has to wait for.

    Raises:
        InputError: as `ChildProcessBackend`, and: no engine, no Python package for it, a store in a folder or without a champion
            to watch, or an image that cannot be built.
        StoreError: MinIO could not be started, or the store cannot be used.
    """

    def __init__(self, request: RunRequest, tell: Callable[[str], None]) -> None:
        super().__init__(request)
        if "gpus" in self.arguments:
            self.arguments["gpus"] = request.parameters.get("gpus", "0")
        store = request.parameters.get("store") or (latest_store() if request.needs_champion else None)
        self.arguments["store"] = _checked(store) if store else None
        self._tell = tell
        self._client = connect_to_engine()
        executors = PIPELINES[request.pipeline].pipeline_spec.deployment_spec["executors"].values()
        for image in sorted({executor["container"]["image"] for executor in executors}):
            self._prepare_image(image)
        #: This process's variables, with those of our own MinIO where no server is named.
        self.environment = dict(os.environ)
        if not any(os.environ.get(name) for name in NAMES_A_SERVER):
            self.environment |= self._own_minio()
        elif not os.environ.get("AWS_ACCESS_KEY_ID"):
            # A container sees neither this machine's files nor its identity.
            self.environment |= as_variables(s3_credentials("the store", os.environ).retrieve())
        self._network, self._endpoint = self._way_to(s3_endpoint(self.environment))
        if store:
            check_store(store, needs_champion=request.needs_champion, environment=self.environment)

    def store_for(self, folder: RunFolder) -> str:
        """See `Backend.store_for`."""
        return self.arguments["store"] or f"s3://driftloop/{folder.id}"

    def execute(
        self, arguments: Mapping[str, Any], folder: RunFolder, show: Callable[[LogEvent], None], echo: Callable[[str], None] | None
    ) -> Failure | None:
        """See `Backend.execute`; a step that succeeded without leaving its outputs counts as failed, too."""
        folder.parameters.write_text(json.dumps(arguments, indent=1))
        gpus = int(arguments.get("gpus", "0"))
        sandbox = Sandbox(folder.id, self._network, _mounted(arguments.get("data_source", "")), gpus, _own(folder))
        environment = child_environment(folder, self.environment) | {"AWS_ENDPOINT_URL": self._endpoint}
        module = ["driftloop.backends.docker_child", self.pipeline, str(folder.parameters), str(folder.artifacts), sandbox.to_json()]
        silent: list[str] = []

        def check(event: LogEvent) -> None:
            # KFP's runner takes a container that is gone before its status was read for a success.
            if event.kind == "succeeded" and self._left_nothing(event.step, folder):
                silent.append(event.step)
                event = LogEvent("failed", step=event.step)
            show(event)

        try:
            failure = follow(module, environment, folder, check, echo)
        finally:
            self._end_containers(folder.id)
        if silent and (failure is None or not failure.ours):
            return Failure("its container ended without leaving its outputs", ours=False)
        return failure

    def _left_nothing(self, step: str, folder: RunFolder) -> bool:
        return folder.find(f"{step}/executor_output.json") is None

    def _end_containers(self, run_id: str) -> None:
        """End what an interrupted run left running: the engine, not this process, is its parent."""
        for container in self._client.containers.list(filters={"label": f"{RUN_LABEL}={run_id}"}):
            with contextlib.suppress(Exception):
                container.kill()

    def _prepare_image(self, image: str) -> None:
        name = image.partition(":")[0].removeprefix("driftloop-")
        if not BUILD.exists() or os.environ.get("DRIFTLOOP_BUILD_IMAGES") == "0":
            if not self._client.images.list(name=image):
                raise InputError(f"there is no image {image} here; build it in a checkout of driftloop with `make images`")
            return
        if not self._client.images.list(name=image):
            self._tell(f"building {image}, once")
        built = subprocess.run([BUILD, name], capture_output=True, text=True, check=False)
        if built.returncode != 0:
            last = (built.stderr.strip().splitlines() or ["no output"])[-1]
            raise InputError(f"{image} could not be built: {last} (see it all with docker/build.sh {name})")

    def _own_minio(self) -> dict[str, str]:
        """The AWS_* variables of a MinIO in a container here, which is started where none runs."""
        container = self._running(COMPOSE_MINIO) or self._running(OWN_MINIO) or self._start_minio()
        login = dict(entry.split("=", 1) for entry in container.attrs["Config"]["Env"])
        address = container.attrs["NetworkSettings"]["Ports"][CONTAINER_PORT][0]
        variables = {
            "AWS_ENDPOINT_URL": f"http://{address['HostIp']}:{address['HostPort']}",
            "AWS_ACCESS_KEY_ID": login["MINIO_ROOT_USER"],
            "AWS_SECRET_ACCESS_KEY": login["MINIO_ROOT_PASSWORD"],
            "AWS_REGION": os.environ.get("AWS_REGION", "us-east-1"),
        }
        _await_ready(variables["AWS_ENDPOINT_URL"])
        _keep_keys(RUNS / "minio.env", variables)
        self._tell(f"store in MinIO at {variables['AWS_ENDPOINT_URL']} (container {container.name}, keys in {RUNS / 'minio.env'})")
        return variables

    def _running(self, name: str) -> Any:
        """The container of that name, started if it was stopped; None if there is none."""
        containers = self._client.containers.list(all=True, filters={"name": f"^{name}$"})
        if not containers:
            return None
        if containers[0].status != "running":
            containers[0].start()
            containers[0].reload()
        return containers[0]

    def _start_minio(self) -> Any:
        self._prepare_image(MINIO_IMAGE)
        if OWN_NETWORK not in [network.name for network in self._client.networks.list()]:
            self._client.networks.create(OWN_NETWORK, internal=True)
        container = self._client.containers.run(
            MINIO_IMAGE,
            name=OWN_MINIO,
            detach=True,
            read_only=True,
            tmpfs={"/tmp": ""},  # noqa: S108
            cap_drop=["ALL"],
            security_opt=["no-new-privileges:true"],
            volumes={OWN_MINIO: {"bind": "/data", "mode": "rw"}},
            ports={CONTAINER_PORT: ("127.0.0.1", None)},
            environment={"MINIO_ROOT_USER": "driftloop", "MINIO_ROOT_PASSWORD": secrets.token_urlsafe(24)},
        )
        self._client.networks.get(OWN_NETWORK).connect(container)
        container.reload()
        return container

    def _way_to(self, server: str) -> tuple[str, str]:
        """The network on which containers reach a server, and its URL there.

        A server in a container of this engine is reached on that container's network, an internal one if it has one. One that
        listens on this machine's loopback address is only reached on this machine's own network.
        """
        parts = urlsplit(server)
        if parts.hostname not in LOOPBACK:
            return "bridge", server
        for container in self._client.containers.list():
            for inside, outside in container.attrs["NetworkSettings"]["Ports"].items():
                if any(int(binding["HostPort"]) == parts.port for binding in outside or ()):
                    return self._network_of(container), f"{parts.scheme}://{container.name}:{inside.partition('/')[0]}"
        return "host", server

    def _network_of(self, container: Any) -> str:
        names = sorted(container.attrs["NetworkSettings"]["Networks"])
        internal = [name for name in names if self._client.networks.get(name).attrs["Internal"]]
        return (internal + [name for name in names if name != "bridge"] + names)[0]


def connect_to_engine() -> Any:
    """A client of the Docker engine that answers here.

    Raises:
        InputError: no Python package for it, or no engine.
    """
    try:
        import docker
    except ImportError:
        raise InputError("--on docker needs the Python package docker: pip install 'driftloop[docker]'") from None
    try:
        client = docker.from_env(timeout=120)
        client.ping()
    except docker.errors.DockerException as error:
        raise InputError(f"no Docker engine answers ({str(error)[:120]}); start it, or run with --on local") from None
    return client


def _checked(store: str) -> str:
    """The store, if steps in containers can reach it."""
    if not store.startswith("s3://"):
        raise InputError(f"--store {store}: in Docker the store is in MinIO or S3; write s3://bucket/prefix, or leave --store out")
    return store


def _mounted(source: str) -> str:
    """The path that has to be mounted for a source; none for those that are built in or on S3."""
    return source if os.path.isabs(source) else ""


def _own(folder: RunFolder) -> str:
    """The user of the containers, after giving it the folder of the artifacts: root's runs get the image's own, others their own."""
    folder.artifacts.mkdir(exist_ok=True)
    if os.getuid() != 0:
        return f"{os.getuid()}:{os.getgid()}"
    os.chown(folder.artifacts, IMAGE_USER, IMAGE_USER)
    return f"{IMAGE_USER}:{IMAGE_USER}"


def _keep_keys(path: Path, variables: Mapping[str, str]) -> None:
    """Write the store's address and keys to a file that only its owner reads: for `set -a; . runs/minio.env`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.writelines(f"{name}={value}\n" for name, value in variables.items())


def _await_ready(url: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            urllib.request.urlopen(f"{url}/minio/health/ready", timeout=2).close()  # noqa: S310
            return
        except OSError:
            if time.monotonic() > deadline:
                raise StoreError(f"MinIO at {url} did not start within {START_TIMEOUT_S} s; see `docker logs {OWN_MINIO}`") from None
            time.sleep(0.1)
