"""k8s/serving on a real Kubernetes: rights, an update and killed pods under load, and a log that is whole."""

import io
import json
import os
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from driftloop.inference.log_files import LOGS_PREFIX, SUFFIX
from driftloop.store import open_store
from tests.cluster.namespaces import KNOWN_TO_MINIO, image_of, kubectl, overlay, secret_of
from tests.factories.serving_store import build_serving_store, textured_squares
from tests.serving.service_process import png, wait_for

CALLERS = Path(__file__).with_name("callers.py")
SELECTED = "app.kubernetes.io/name=driftloop-serve"


class Production:
    """k8s/serving in a namespace of its own, on a store of its own, and a namespace beside it that calls."""

    def __init__(self, folder: Path) -> None:
        self.namespace = f"driftloop-e2e-{secrets.token_hex(4)}"
        self.outside = f"{self.namespace}-callers"
        uri = f"s3://driftloop/{self.namespace}"
        self.store, self.key = open_store(uri), secrets.token_urlsafe(16)
        made, _ = build_serving_store(folder, stream=10)
        for entry in made.list():
            self.store.put(entry.key, made.read(entry.key))
        caller = image_of("watch")
        self.caller_image = f"{caller['newName']}:{caller['newTag']}"
        changed = [
            {"kind": "ConfigMap", "metadata": {"name": "driftloop-serving"}, "data": {"store": uri}},
            {"kind": "Namespace", "metadata": {"name": "serving", "labels": KNOWN_TO_MINIO}},
        ]
        patches = [{"patch": json.dumps({"apiVersion": "v1"} | change)} for change in changed]
        overlay(folder, "k8s/serving", self.namespace, images=[image_of("serve")], patches=patches)
        self.folder = folder

    def start(self) -> None:
        """Returns when two pods are ready."""
        for name in (self.namespace, self.outside):
            kubectl("create", "namespace", name)
        secret_of("driftloop-service", self.namespace)
        self(
            "create",
            "secret",
            "generic",
            "driftloop-serving-keys",
            f"--from-literal=api={self.key}",
            f"--from-literal=feedback={self.key}f",
        )
        kubectl("apply", "--server-side", "--force-conflicts", "-k", str(self.folder))
        self.rollout()  # of the one pod that a Deployment without a number begins with; the autoscaler makes two of it
        wait_for(lambda: len(self.ready()) >= 2, 180, lambda: self("get", "pods,hpa"))

    def __call__(self, *arguments: str, given: str = "", status: int = 0) -> str:
        """kubectl in the namespace of the service."""
        return kubectl("--namespace", self.namespace, *arguments, given=given, status=status)

    def rollout(self) -> None:
        self("rollout", "status", "deployment/driftloop-serve", "--timeout=240s")

    def pods(self) -> list[dict[str, Any]]:
        return json.loads(self("get", "pods", "-l", SELECTED, "-o", "json"))["items"]

    def ready(self) -> list[str]:
        """Names of the pods that get requests."""
        return [
            one["metadata"]["name"]
            for one in self.pods()
            if "deletionTimestamp" not in one["metadata"]
            and any(c["type"] == "Ready" and c["status"] == "True" for c in one["status"].get("conditions", []))
        ]

    def under_load(self, meanwhile: Callable[[], None], seconds: int = 240) -> dict[str, Any]:
        """Callers in a pod while something happens; what came of their requests."""
        name = f"callers-{secrets.token_hex(3)}"
        image = png(textured_squares(1, seed=5)[0][0]).hex()
        told = {"URL": f"http://driftloop-serve.{self.namespace}:8080/predict", "KEY": self.key, "IMAGE": image}
        told |= {"CALLERS": "4", "PAUSE": "0.02", "SECONDS": str(seconds)}
        container = {
            "name": "callers",
            "image": self.caller_image,
            "command": ["python", "-c", CALLERS.read_text()],
            "env": [{"name": key, "value": value} for key, value in told.items()],
            "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}},
        }
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {"restartPolicy": "Never", "containers": [container]},
        }
        kubectl("-n", self.outside, "create", "-f", "-", given=json.dumps(body))
        kubectl("-n", self.outside, "wait", "--for=condition=Ready", f"pod/{name}", "--timeout=120s")
        time.sleep(3)
        meanwhile()
        time.sleep(3)
        kubectl("-n", self.outside, "exec", name, "--", "touch", "/tmp/stop")
        kubectl("-n", self.outside, "wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{name}", "--timeout=60s")
        return json.loads(kubectl("-n", self.outside, "logs", name))

    def logged(self) -> Counter[str]:
        """How often each request is in the log."""
        files = [entry.key for entry in self.store.list(LOGS_PREFIX) if entry.key.endswith(SUFFIX)]
        tables = [pq.read_table(io.BytesIO(self.store.read(key)), columns=["request_id"]) for key in files]
        return Counter(name for table in tables for name in table.column("request_id").to_pylist())


@pytest.fixture(scope="module")
def production(kubernetes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    if not os.environ.get("AWS_ENDPOINT_URL"):
        pytest.skip("AWS_ENDPOINT_URL does not say where the cluster's MinIO is reached from here")
    running = Production(tmp_path_factory.mktemp("production"))
    try:
        running.start()
        yield running
    finally:
        for name in (running.namespace, running.outside):
            kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")
        for entry in list(running.store.list()):
            running.store.delete(entry.key)


def assert_answered_and_logged(production: Production, found: dict[str, Any], *, twice: int = 0) -> None:
    answers: dict[str, int] = found["answers"]
    assert len(answers) > 100
    assert Counter(answers.values()) == {200: len(answers)}, found["broken"]
    wait_for(lambda: production.logged().keys() >= answers.keys(), 60, lambda: f"missing: {answers.keys() - production.logged().keys()}")
    logged = production.logged()
    assert sum(logged[name] > 1 for name in answers) <= twice


def test_two_pods_whose_root_cannot_be_written_to(production: Production) -> None:
    assert len(production.ready()) == 2
    pod = production.ready()[0]
    said = production("exec", pod, "--", "python", "-c", "import os; print(os.getuid(), os.statvfs('/').f_flag & os.ST_RDONLY)")
    assert said.split() == ["10001", "1"]
    assert production("get", "pdb", "driftloop-serve", "-o", "jsonpath={.status.disruptionsAllowed}") == "1"


def test_a_rolling_update_loses_no_request(production: Production) -> None:
    def update() -> None:
        before = set(production.ready())
        production("rollout", "restart", "deployment/driftloop-serve")
        production.rollout()
        wait_for(lambda: not before & {pod["metadata"]["name"] for pod in production.pods()}, 120)

    found = production.under_load(update)
    assert_answered_and_logged(production, found)
    assert found["broken"] == {}


def test_a_drained_pod_loses_no_request(production: Production) -> None:
    def drain() -> None:
        gone = production.ready()[0]
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": gone, "namespace": production.namespace}}
        kubectl("create", "--raw", f"/api/v1/namespaces/{production.namespace}/pods/{gone}/eviction", "-f", "-", given=json.dumps(eviction))
        wait_for(lambda: len(production.ready()) == 2 and gone not in {pod["metadata"]["name"] for pod in production.pods()}, 180)

    found = production.under_load(drain)
    assert_answered_and_logged(production, found)
    assert found["broken"] == {}


def test_a_killed_container_loses_no_row(production: Production) -> None:
    """Its spool outlives it. Requests that were on their way to it are the callers' to send again."""

    def kill() -> None:
        victim = production.ready()[0]
        # Not process 1, which Kubernetes' own signals alone reach: its children, and it with them.
        code = "import os, signal; [os.kill(int(n), 9) for n in os.listdir('/proc') if n.isdigit() and int(n) not in (1, os.getpid())]"
        production("exec", victim, "--", "python", "-c", code)
        wait_for(lambda: len(production.ready()) == 2, 120)

    found = production.under_load(kill)
    assert_answered_and_logged(production, found, twice=sum(found["broken"].values()))
