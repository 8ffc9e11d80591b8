"""What a step reaches, and what it does not: pods of the product's own image knock on doors, as a step would that was taken over."""

import json
import os
import secrets
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from kubernetes import client, config

from driftloop.backends.cluster.uploads import content_tags, image_prefix
from pipelines.placement import STORE_CONFIG

STEP = {"workflows.argoproj.io/workflow": "none"}
#: Run in the pod: knocks until the doors are as expected, at most 30 s, because a network learns of a new pod only after it has started;
#: prints which doors opened the last time, as one line of JSON.
KNOCK = """
import json, os, socket, time
doors, expected = json.loads(os.environ["DOORS"]), json.loads(os.environ["EXPECTED"])
def opens(host, port):
    try:
        socket.create_connection((host, port), timeout=3).close()
    except OSError:
        return False
    return True
until = time.monotonic() + 30
while True:
    found = {name: opens(*door) for name, door in doors.items()}
    if found == expected or time.monotonic() > until:
        break
    time.sleep(1)
print(json.dumps(found))
"""
KUBERNETES = ("kubernetes.default.svc.cluster.local", 443)
WAIT_S = 180


class Namespace:
    """The namespace that runs belong to, through Kubernetes' API."""

    def __init__(self) -> None:
        config.load_kube_config()
        self.name = os.environ.get("KFP_NAMESPACE", "kubeflow")
        self.core, self.networking = client.CoreV1Api(), client.NetworkingV1Api()
        self.image = f"{image_prefix()}driftloop-watch:{content_tags(['watch'])['watch']}"

    def knock(self, labels: dict[str, str], doors: dict[str, tuple[str, int]], expected: dict[str, bool]) -> dict[str, bool]:
        """Which of the doors (host and port by name) open to a pod with these labels."""
        name = f"driftloop-knock-{secrets.token_hex(4)}"
        closed = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
        container: dict[str, Any] = {
            "name": "knock",
            "image": self.image,
            "command": ["python", "-c", KNOCK],
            "env": [{"name": "DOORS", "value": json.dumps(doors)}, {"name": "EXPECTED", "value": json.dumps(expected)}],
            "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"cpu": "1", "memory": "128Mi"}},
            "securityContext": closed,
        }
        body = {
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": False,
                "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [container],
            },
        }
        self.core.create_namespaced_pod(self.name, body)
        try:
            until = time.monotonic() + WAIT_S
            while self.core.read_namespaced_pod(name, self.name).status.phase in ("Pending", "Running"):
                assert time.monotonic() < until, f"pod {name} has not ended after {WAIT_S} s"
                time.sleep(1)
            # As text: the client would make a dictionary's Python form of JSON.
            log = self.core.read_namespaced_pod_log(name, self.name, _preload_content=False).data
            return json.loads(log)
        finally:
            self.core.delete_namespaced_pod(name, self.name, grace_period_seconds=0)


@pytest.fixture(scope="module")
def namespace(kubernetes: None) -> Iterator[Namespace]:
    """Where NetworkPolicies count: a pod that may call nobody reaches nobody."""
    here, control = Namespace(), f"driftloop-control-{secrets.token_hex(4)}"
    spec = {"podSelector": {"matchLabels": {"app": control}}, "policyTypes": ["Egress"]}
    here.networking.create_namespaced_network_policy(here.name, {"metadata": {"name": control}, "spec": spec})
    try:
        if here.knock({"app": control}, {"kubernetes": KUBERNETES}, {"kubernetes": False})["kubernetes"]:
            pytest.skip("this cluster's network does not know NetworkPolicies")
        yield here
    finally:
        here.networking.delete_namespaced_network_policy(control, here.name)


def service(name: str, port: int) -> tuple[str, int]:
    return f"{name}.kubeflow.svc.cluster.local", port


def minio(namespace: Namespace) -> tuple[str, int]:
    """Where the steps find their store."""
    endpoint = urlsplit(namespace.core.read_namespaced_config_map(STORE_CONFIG, namespace.name).data["endpoint"])
    return endpoint.hostname or "", endpoint.port or 80


def test_a_step_reaches_what_it_needs_and_nothing_else(namespace: Namespace) -> None:
    needed = {
        "store": minio(namespace),
        "cache": service("ml-pipeline", 8887),
        "metadata": service("metadata-grpc-service", 8080),
        "kubernetes": KUBERNETES,
    }
    others = {
        "database": service("mysql", 3306),
        "page": service("ml-pipeline-ui", 80),
        "tensorboard": service("driftloop-tensorboard", 6006),
    }
    expected = dict.fromkeys(needed, True) | dict.fromkeys(others, False)
    assert namespace.knock(STEP, needed | others, expected) == expected


def test_only_steps_and_services_reach_the_store(namespace: Namespace) -> None:
    doors = {"store": minio(namespace), "page": service("ml-pipeline-ui", 80), "tensorboard": service("driftloop-tensorboard", 6006)}
    expected = {"store": False, "page": True, "tensorboard": False}
    assert namespace.knock({"app": "somebody"}, doors, expected) == expected
