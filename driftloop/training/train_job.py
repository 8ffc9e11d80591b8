"""A `TrainJob` of Kubeflow Trainer v2, made from inside a step: several pods like the step's own, with another command.

Image, credentials (by reference), certificate, resources and placement are read from the step's own pod, so that no setting repeats them.
Written against Kubeflow Trainer 2.3.
"""

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from driftloop.errors import RunFailed, SettingError

GROUP, VERSION, KIND, PLURAL = "trainer.kubeflow.org", "v1alpha1", "TrainJob", "trainjobs"
#: The runtime whose pods get torchrun's environment, which Kubeflow Trainer brings; its only job and its only container.
RUNTIME, REPLICATED_JOB, CONTAINER = "torch-distributed", "node", "node"
#: k8s/nodes: the account of the pods, and the label by which their NetworkPolicy finds them.
POD_ACCOUNT, POD_LABELS = "driftloop-nodes", {"app.kubernetes.io/name": "driftloop-nodes"}
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
#: Of the step's own pod: KFP's container, and where shared memory is mounted.
STEP_CONTAINER, SHARED_MEMORY = "main", "/dev/shm"  # noqa: S108 - the place of shared memory, not a temporary file
#: Where Kubernetes puts a pod's account.
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
#: Seconds that a job may be active: what the step itself has (pipelines/placement.py).
DEADLINE_S = 720 * 60
#: Seconds between two looks at a job, of one request, and that Kubernetes' API may be away.
POLL_S, REQUEST_S, AWAY_S = 5, 30, 600
INSTALL = "https://github.com/kubeflow/trainer.git/manifests/overlays"
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class NodeWork:
    """What the pods of a job do."""

    name: str
    """Of the job; an RFC 1035 label."""
    nodes: int
    """Pods."""
    processes: int
    """Of each pod, one a GPU."""
    arguments: list[str]
    """Of torchrun: the module, and what it is given."""
    queue: str = ""
    """Kueue's queue; empty for none."""

    def manifest(self, pod: dict[str, Any]) -> dict[str, Any]:
        """The job, whose pods are like `pod`, the step's own, as Kubernetes' API gives it."""
        spec = pod["spec"]
        (own,) = [container for container in spec["containers"] if container["name"] == STEP_CONTAINER]
        environment = [entry for entry in own.get("env", []) if entry["name"].startswith("AWS_")]
        certificate = os.environ.get("AWS_CA_BUNDLE")
        wanted = {SHARED_MEMORY, *([str(Path(certificate).parent)] if certificate else [])}
        mounts = [mount for mount in own.get("volumeMounts", []) if mount["mountPath"] in wanted]
        mounted = {mount["name"] for mount in mounts}
        labels = {"app.kubernetes.io/part-of": "driftloop"} | ({QUEUE_LABEL: self.queue} if self.queue else {})
        patch = {
            "serviceAccountName": POD_ACCOUNT,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "volumes": [volume for volume in spec.get("volumes", []) if volume["name"] in mounted],
            "containers": [
                {
                    "name": CONTAINER,
                    "volumeMounts": mounts,
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }
            ],
        } | {key: spec[key] for key in ("nodeSelector", "tolerations", "imagePullSecrets") if spec.get(key)}
        # A proxy beside the processes would outlive them, and does not know their protocol.
        metadata = {"labels": POD_LABELS, "annotations": {"sidecar.istio.io/inject": "false"}}
        template = {"spec": {"template": {"metadata": metadata, "spec": patch}}}
        return {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "metadata": {"name": self.name, "namespace": pod["metadata"]["namespace"], "labels": labels},
            "spec": {
                "runtimeRef": {"name": RUNTIME},
                "activeDeadlineSeconds": DEADLINE_S,
                "trainer": {
                    "image": own["image"],
                    "command": ["python", "-m", "torch.distributed.run"],
                    "args": self.arguments,
                    "env": environment,
                    "resourcesPerNode": own.get("resources", {}),
                    "numNodes": self.nodes,
                    "numProcPerNode": self.processes,
                },
                "runtimePatches": [
                    {
                        "manager": "driftloop/model-optimization",
                        "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [{"name": REPLICATED_JOB, "template": template}]}}},
                    }
                ],
            },
        }


class TrainJobs:
    """The jobs of this pod's namespace, as its account may see and make them.

    Raises:
        SettingError: this is no pod with an account, its cluster has no TrainJobs, or the account may not see them.
        RunFailed: Kubernetes' API is away.
    """

    def __init__(self) -> None:
        # Only a step that asks for several machines waits for this import.
        from kubernetes import client, config
        from kubernetes.config.incluster_config import InClusterConfigLoader

        configuration = client.Configuration()
        try:
            InClusterConfigLoader(str(ACCOUNT / "token"), str(ACCOUNT / "ca.crt")).load_and_set(configuration)
            self.namespace = (ACCOUNT / "namespace").read_text().strip()
        except (config.ConfigException, OSError):
            raise SettingError(
                "train_config.nodes: only a pod on Kubernetes gets several machines, and this process has no service account of one; "
                "run it --on cluster, or set nodes=1"
            ) from None
        self._client = client.ApiClient(configuration)
        self._core, self._objects = client.CoreV1Api(self._client), client.CustomObjectsApi(self._client)
        self._refused, self._where = client.ApiException, (GROUP, VERSION, self.namespace, PLURAL)
        if _patiently(lambda: self._ask(self._objects.get_api_resources, GROUP, VERSION)) is None:
            raise SettingError(
                f"train_config.nodes: this cluster has no {KIND} of {GROUP}/{VERSION}; kubectl apply --server-side -k "
                f"'{INSTALL}/manager?ref=v2.3.0', then the same with '{INSTALL}/runtimes?ref=v2.3.0', installs Kubeflow Trainer"
            )
        _patiently(lambda: self.find("driftloop"))  # an account without the right is told before anything is trained

    def own_pod(self) -> dict[str, Any]:
        """The pod that this process runs in, as Kubernetes' API gives it."""
        name = os.environ.get("KFP_POD_NAME") or platform.node()
        pod = _patiently(lambda: self._ask(self._core.read_namespaced_pod, name, self.namespace))
        if pod is None:
            raise SettingError(
                f"train_config.nodes: no pod {name} in namespace {self.namespace}: its TrainJob would be like nothing; set nodes=1"
            )
        return self._client.sanitize_for_serialization(pod)

    def find(self, name: str) -> dict[str, Any] | None:
        """The job of that name, or None."""
        return self._ask(self._objects.get_namespaced_custom_object, *self._where, name)

    def begin(self, manifest: dict[str, Any], *, begun: Callable[[dict[str, Any]], bool]) -> None:
        """Have a job of that name: the one that is there where `begun` says that it will do, else a new one in its place."""
        name = manifest["metadata"]["name"]
        there = _patiently(lambda: self.find(name))
        if there is not None:
            if "deletionTimestamp" not in there["metadata"] and begun(there):
                print(f"{KIND} {name}: begun before; its checkpoint is waited for", flush=True)
                return
            self.remove(name, wait=True)
        created = _patiently(lambda: self._ask(self._objects.create_namespaced_custom_object, *self._where, manifest))
        if created is None:
            raise SettingError(f"train_config.nodes: namespace {self.namespace} is gone")
        print(f"{KIND} {name}: made", flush=True)

    def wait(self, name: str, on_look: Callable[[], None]) -> None:
        """Return when the job is complete.

        Args:
            name: of the job.
            on_look: called with every look at a job that is not complete.

        Raises:
            RunFailed: the job failed, or is gone, or Kubernetes' API is away for long.
        """
        said = ""
        while True:
            job = _patiently(lambda: self.find(name))
            if job is None:
                raise RunFailed(
                    f"{KIND} {name} is gone: somebody removed it; the step that is run again makes another, from the last epoch"
                )
            state, message = condition(job)
            if state == "Complete":
                return
            if state == "Failed":
                raise RunFailed(
                    f"{KIND} {name} failed ({message or 'no reason given'}), and the step that is run again makes another; see kubectl "
                    f"--namespace {self.namespace} logs --tail=50 --selector jobset.sigs.k8s.io/jobset-name={name}"
                )
            if state != said:
                queued = f"{KIND} {name} is suspended: it waits for its queue, or for whoever suspended it"
                print(queued if state == "Suspended" else f"{KIND} {name} is under way", flush=True)
            said = state
            on_look()
            time.sleep(POLL_S)

    def remove(self, name: str, *, wait: bool) -> None:
        """Remove the job; with `wait`, return when its pods are gone, too: those of two jobs would write to one checkpoint."""
        policy = "Foreground" if wait else "Background"
        _patiently(lambda: self._ask(self._objects.delete_namespaced_custom_object, *self._where, name, propagation_policy=policy))
        while wait and _patiently(lambda: self.find(name)) is not None:
            time.sleep(1)

    def _ask(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """What Kubernetes answers, or None where it knows no such thing."""
        try:
            return call(*arguments, _request_timeout=REQUEST_S, **options)
        except self._refused as refused:
            if refused.status == 404:
                return None
            if refused.status in (401, 403):
                raise SettingError(
                    f"train_config.nodes: this step's account may not do what a {KIND} needs in namespace {self.namespace}; "
                    "kubectl apply -k k8s/nodes gives it the right (k8s/README.md)"
                ) from None
            if refused.status == 409:  # an answer was lost, and what was asked for has been done
                return {}
            if refused.status == 429 or refused.status >= 500:
                raise _Away(f"it answers {refused.status}") from refused
            reason = " ".join(str(refused.body or refused.reason).split())[:300]
            raise RunFailed(f"{KIND}: Kubernetes refuses it with {refused.status}: {reason}") from refused


class _Away(Exception):
    """Kubernetes' API does not answer, or not properly."""


def _patiently(ask: Callable[[], _Answer]) -> _Answer:
    """What is answered, asked again for some time where nobody does: an API server that is updated is away for minutes."""
    from urllib3.exceptions import HTTPError

    began = time.monotonic()
    while True:
        try:
            return ask()
        except (_Away, HTTPError, OSError) as away:
            if time.monotonic() - began > AWAY_S:
                reason = " ".join(str(away).split())[:200]
                raise RunFailed(f"Kubernetes' API has been away for {AWAY_S} s: {reason}; run the step again, its job goes on") from away
        time.sleep(POLL_S)


def condition(job: dict[str, Any]) -> tuple[str, str]:
    """How a job stands, "Complete", "Failed", "Suspended" or "", and what Kubernetes says of it."""
    holding = {
        entry["type"]: f"{entry.get('reason', '')}: {entry.get('message', '')}".strip(": ")
        for entry in job.get("status", {}).get("conditions", [])
        if entry["status"] == "True"
    }
    return next(((state, holding[state]) for state in ("Complete", "Failed", "Suspended") if state in holding), ("", ""))
