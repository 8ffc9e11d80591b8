"""Objects for KServe: driftloop's own service, and beside it the bare graph in KServe's Triton runtime.

    inferenceservice.yaml  triton.yaml  repository/<version>/champion/...  README.md

Only the second can have a canary: KServe (0.20, in "Standard" mode) takes `spec.canary` where the predictor has a model in a storage.
Our own service needs none: it follows the champion pointer, and the gate has compared the candidate before that moves.
"""

from pathlib import Path
from typing import Any

import yaml

from driftloop import __version__
from driftloop.contracts import MODEL_NAME
from driftloop.errors import InputError
from driftloop.exporting.folder import FetchedVersion
from driftloop.exporting.triton import write_repository

#: Share of the requests, in percent, that a version which is not the champion gets beside it.
CANARY_PERCENT = 10
NAME = "driftloop"
#: KServe calls it so since 0.16, and takes a canary under no other name; before, it was RawDeployment.
STANDARD = {"serving.kserve.io/deploymentMode": "Standard"}
#: The label by which MinIO's NetworkPolicy knows the service (k8s/minio/network.yaml).
LABEL = {"app.kubernetes.io/name": "driftloop-serve"}
STORE_SECRET, KEYS_SECRET, CONFIG_MAP, S3_SECRET = "driftloop-service", "driftloop-serving-keys", "driftloop-serving", "driftloop-kserve-s3"
POD_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "runAsGroup": 10001,
    "fsGroup": 10001,
    "seccompProfile": {"type": "RuntimeDefault"},
}
SECURITY = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


def check_store(uri: str) -> None:
    """See that pods can reach the store.

    Raises:
        InputError: it is a folder of this machine.
    """
    if not uri.startswith("s3://"):
        raise InputError(f"{uri}: a pod cannot read a folder of this machine; name a store like s3://bucket/prefix with --store")


def write_kserve(folder: Path, fetched: FetchedVersion, champion: FetchedVersion, image_prefix: str) -> None:
    """Write the objects, and the model repositories that the second of them reads once they are in the bucket.

    Args:
        folder: where to.
        fetched: the version that was asked for.
        champion: the version that serves; where it is another, `fetched` becomes its canary.
        image_prefix: of the registry that has driftloop's images, with the slash at its end; empty for images on the nodes.
    """
    versions = {version.version: version for version in (champion, fetched)}
    for version in versions.values():
        write_repository(folder / "repository" / version.version, version)
    _write(folder / "inferenceservice.yaml", service(fetched.store, image_prefix))
    _write(folder / "triton.yaml", service_account(), triton(fetched.store, list(versions)))
    (folder / "README.md").write_text(_readme(fetched.store, list(versions)))


def service(store: str, image_prefix: str) -> dict[str, Any]:
    """The InferenceService of driftloop's own service: two replicas that follow the champion of `store`."""
    container = {
        "name": "kserve-container",
        "image": f"{image_prefix}driftloop-serve:{__version__}",
        "imagePullPolicy": "IfNotPresent",
        "args": ["driftloop", "serve", "--store", store, "--host", "0.0.0.0", "--port", "8080", "--spool", "/spool"],  # noqa: S104 - in its pod
        "env": environment(),
        "ports": [{"name": "http1", "containerPort": 8080}],
        **probes("http1"),
        # Kubernetes takes the pod out of its lists and stops it at the same time: requests that are on their way are still taken.
        "lifecycle": {"preStop": {"sleep": {"seconds": 10}}},
        "resources": {
            "requests": {"cpu": "500m", "memory": "1Gi", "ephemeral-storage": "256Mi"},
            "limits": {"cpu": "2", "memory": "2Gi", "ephemeral-storage": "3Gi"},
        },
        "securityContext": SECURITY,
        "volumeMounts": [{"name": "spool", "mountPath": "/spool"}, {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - a volume of its own
    }
    predictor = {
        "minReplicas": 2,
        "maxReplicas": 8,
        "scaleMetric": "cpu",
        "scaleTarget": 70,
        "labels": LABEL,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 60,
        "securityContext": POD_SECURITY,
        "containers": [container],
        "volumes": [{"name": "spool", "emptyDir": {"sizeLimit": "2Gi"}}, {"name": "tmp", "emptyDir": {"sizeLimit": "512Mi"}}],
    }
    return _object(NAME, {"predictor": predictor})


def environment() -> list[dict[str, Any]]:
    """Where the service finds its store and its keys: by reference, as in k8s/serving."""

    def of(kind: str, name: str, key: str) -> dict[str, Any]:
        return {f"{kind}KeyRef": {"name": name, "key": key}}

    return [
        {"name": "AWS_ENDPOINT_URL", "valueFrom": of("configMap", CONFIG_MAP, "endpoint")},
        {"name": "AWS_REGION", "valueFrom": of("configMap", CONFIG_MAP, "region")},
        {"name": "AWS_ACCESS_KEY_ID", "valueFrom": of("secret", STORE_SECRET, "accesskey")},
        {"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": of("secret", STORE_SECRET, "secretkey")},
        {"name": "DRIFTLOOP_API_KEY", "valueFrom": of("secret", KEYS_SECRET, "api")},
        {"name": "DRIFTLOOP_FEEDBACK_KEY", "valueFrom": of("secret", KEYS_SECRET, "feedback")},
    ]


def probes(port: str) -> dict[str, Any]:
    """Startup and liveness ask for no champion: a pod that waits for one is unready, not broken."""
    live, ready = ({"path": f"/v2/health/{name}", "port": port} for name in ("live", "ready"))
    return {
        "startupProbe": {"httpGet": live, "periodSeconds": 2, "failureThreshold": 60, "timeoutSeconds": 5},
        "readinessProbe": {"httpGet": ready, "periodSeconds": 5, "timeoutSeconds": 5},
        "livenessProbe": {"httpGet": live, "periodSeconds": 20, "timeoutSeconds": 10},
    }


def triton(store: str, versions: list[str]) -> dict[str, Any]:
    """The InferenceService of the bare graph: the champion's, and where there is a second version, that as its canary."""
    champion, *others = (
        {
            "name": f"version-{version}",
            "minReplicas": 1,
            "serviceAccountName": f"{NAME}-triton",
            "model": {
                # KServe's default, which the schema of a canary (0.20) does not fill in.
                "name": "kserve-container",
                "modelFormat": {"name": "triton"},
                "protocolVersion": "v2",
                "runtime": "kserve-tritonserver",
                "storageUri": repository_uri(store, version),
            },
        }
        for version in versions
    )
    canary = {"canary": [{"trafficPercent": CANARY_PERCENT, "predictor": predictor} for predictor in others]} if others else {}
    return _object(f"{NAME}-triton", {"predictor": champion | {"maxReplicas": 4}, **canary})


def repository_uri(store: str, version: str) -> str:
    """Where a version's model repository has to lie: beside the stores, whose `versions/` hold nothing but driftloop's own files."""
    bucket, _, prefix = store.removeprefix("s3://").partition("/")
    return "s3://" + "/".join(part for part in (bucket, "exports", prefix, version) if part)


def service_account() -> dict[str, Any]:
    """Whom KServe's storage initialiser is, with the Secret that the README makes."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": f"{NAME}-triton"},
        "automountServiceAccountToken": False,
        "secrets": [{"name": S3_SECRET}],
    }


def _object(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "annotations": STANDARD}
    return {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": metadata, "spec": spec}


class _PlainDumper(yaml.SafeDumper):
    """Without anchors and references, which people read badly."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _write(path: Path, *objects: dict[str, Any]) -> None:
    path.write_text(yaml.dump_all(objects, Dumper=_PlainDumper, sort_keys=False, width=140))


def _readme(store: str, versions: list[str]) -> str:
    copies = "\n".join(f"aws s3 cp --recursive repository/{version} {repository_uri(store, version)}" for version in versions)
    canary = (
        f"\nVersion {versions[1]} gets {CANARY_PERCENT} % of the requests as a canary; that needs KServe 0.20 with the Gateway API.\n"
        if len(versions) > 1
        else ""
    )
    return f"""\
# {store} on KServe

**`inferenceservice.yaml`**: driftloop's own service. It follows every promotion and rollback, and its log is what the watch reads.
Before it, in its namespace:

```sh
kubectl create configmap {CONFIG_MAP} --from-literal=endpoint=http://minio.minio.svc.cluster.local:9000 --from-literal=region=us-east-1
kubectl create secret generic {STORE_SECRET} --from-env-file=/dev/stdin      # accesskey=..., secretkey=...: MinIO's user driftloop-service
kubectl create secret generic {KEYS_SECRET} --from-env-file=/dev/stdin # api=..., feedback=...
kubectl apply -f inferenceservice.yaml
```

**`triton.yaml`**: the bare graph, by KServe's own Triton runtime, from S3. A store's `versions/<n>/` is no model repository, and nothing
but driftloop may write there: `repository/` holds the layout that Triton reads, and is copied to a place beside the stores. It follows
no promotion, it answers `/v2/models/{MODEL_NAME}/infer` alone, clients decode as driftloop does, and **no watch sees its requests**.
{canary}
```sh
{copies}
# AWS_ACCESS_KEY_ID=..., AWS_SECRET_ACCESS_KEY=...: of a user who reads exports/
kubectl create secret generic {S3_SECRET} --from-env-file=/dev/stdin
kubectl annotate secret {S3_SECRET} serving.kserve.io/s3-endpoint=minio.minio.svc.cluster.local:9000 serving.kserve.io/s3-usehttps=0
kubectl apply -f triton.yaml
```
"""
