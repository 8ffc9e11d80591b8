"""What a run needs in the cluster itself: the secret and the ConfigMap, the images, a node with a GPU.

Asked of Kubernetes where KUBECONFIG, or the usual ~/.kube/config, names a cluster: by its current context, or the one that
DRIFTLOOP_KUBE_CONTEXT names. What may not be looked at, or what no answer proves, is reported as not checked.
"""

import base64
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from driftloop.errors import StoreError
from driftloop.store import open_store
from pipelines.placement import GPU, STORE_CONFIG, STORE_SECRET

#: Names one of the kubeconfig's contexts where it is not to be the current one.
CONTEXT = "DRIFTLOOP_KUBE_CONTEXT"
SECRET_KEYS, CONFIG_KEYS = ("accesskey", "secretkey"), ("endpoint", "region")
TIMEOUT_S = (5, 20)
#: A kubelet reports the largest of its images, and no more than these.
IMAGES_REPORTED = 50
MANIFESTS = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in ("oci.image.index.v1", "oci.image.manifest.v1", "docker.distribution.manifest.list.v2", "docker.distribution.manifest.v2")
)
#: An address that only pods know.
INSIDE = re.compile(r"://[^/:]+(\.svc(\.[a-z.]+)?)(:\d+)?/?$|://[^./:]+(:\d+)?/?$")
#: What a store says of keys that its server does not take.
REFUSED = re.compile(r"(refuses the credentials|denies access) \(\w+\)")
LOCAL = re.compile(r"^(docker\.io/library/|docker\.io/|localhost/)")


@dataclass
class PreflightFindings:
    """What the checks found."""

    failures: list[str] = field(default_factory=list)
    """Each a line with its cure."""
    not_checked: list[str] = field(default_factory=list)
    """What could not be looked at, and why."""
    doubts: list[str] = field(default_factory=list)
    """What is probably wrong, each with its cure; a run may go well all the same."""


def inspect_cluster(
    namespace: str, images: Iterable[str], gpus: int, train_nodes: Mapping[str, str] | None = None, store: str = ""
) -> PreflightFindings:
    """Look for everything that a run in `namespace` needs.

    Args:
        images: as the pipeline names them.
        gpus: that a training step asks for.
        train_nodes: labels that its node must have.
        store: the URI of the store, on which the keys in the Secret are tried; "" tries none.
    """
    findings = PreflightFindings()
    local = [image for image in images if not registry_of(image)]
    for image in images:
        if registry_of(image):
            _check_in_registry(image, findings)
    core = _connect(findings)
    if core is None:
        return findings
    access = _check_store_access(core, namespace, findings)
    if store.startswith("s3://") and access.keys() >= {*SECRET_KEYS, *CONFIG_KEYS}:
        _try_keys(store, access, namespace, findings)
    nodes = _nodes(core, findings)
    if nodes is not None:
        _check_on_nodes(nodes, local, findings)
        _check_training_nodes(nodes, gpus, train_nodes or {}, findings)
    return findings


def registry_of(image: str) -> str:
    """The registry's host in an image's name; "" for an image that is expected on the nodes themselves."""
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else ""


def _connect(findings: PreflightFindings) -> Any:
    """Kubernetes' core API, or None, which is noted."""
    what = f"secret, ConfigMap, images and GPU nodes in Kubernetes ({STORE_SECRET}, {STORE_CONFIG})"
    files = os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
    if not any(Path(file).exists() for file in files.split(os.pathsep)):
        findings.not_checked.append(f"{what}: KUBECONFIG names no file")
        return None
    from kubernetes import client, config
    from urllib3.exceptions import HTTPError

    context = os.environ.get(CONTEXT, "").strip() or None
    try:
        names = [entry["name"] for entry in config.list_kube_config_contexts(files)[0]]
        if context is not None and context not in names:
            findings.failures.append(f"{CONTEXT}: {files} has no context {context!r}; it has {', '.join(names) or 'none'}")
            return None
        api = config.new_client_from_config(config_file=files, context=context)
        api.configuration.retries = False
        core = client.CoreV1Api(client.ApiClient(api.configuration))
        core.get_api_resources(_request_timeout=TIMEOUT_S)
    except (config.ConfigException, client.ApiException, HTTPError, OSError) as error:
        findings.not_checked.append(f"{what}: {_why(error)}")
        return None
    return core


def _check_store_access(core: Any, namespace: str, findings: PreflightFindings) -> dict[str, str]:
    """What the Secret and the ConfigMap say, as far as they are there."""
    access: dict[str, str] = {}
    for kind, name, read, keys in (
        ("Secret", STORE_SECRET, core.read_namespaced_secret, SECRET_KEYS),
        ("ConfigMap", STORE_CONFIG, core.read_namespaced_config_map, CONFIG_KEYS),
    ):
        answer = _read(lambda read=read, name=name: read(name, namespace, _request_timeout=TIMEOUT_S), f"{kind} {name}", findings)
        if answer == "absent":
            findings.failures.append(
                f"there is no {kind} {name} in namespace {namespace}: steps wait for it; make it (k8s/README.md), or set KFP_NAMESPACE"
            )
        elif answer is not None:
            missing = [key for key in keys if not (answer.data or {}).get(key)]
            if missing:
                findings.failures.append(
                    f"{kind} {name} in namespace {namespace} lacks {' and '.join(missing)}; make it again as k8s/README.md says"
                )
            # Kubernetes hands out the values of a Secret in base64.
            encoded = kind == "Secret"
            access |= {
                key: base64.b64decode(value).decode(errors="replace") if encoded else value for key, value in (answer.data or {}).items()
            }
    return access


def _try_keys(store: str, access: Mapping[str, str], namespace: str, findings: PreflightFindings) -> None:
    """Ask the store's server whether it takes the keys in the Secret: by its address in the cluster, or by the one that is set here."""
    inside, here = access["endpoint"], os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
    where = f"the keys in Secret {STORE_SECRET}, namespace {namespace}"
    endpoint = here if INSIDE.search(inside) else inside
    if not endpoint:
        findings.not_checked.append(f"{where}: {inside} is reached in the cluster alone; set AWS_ENDPOINT_URL to its address from here")
        return
    environment = {"AWS_ENDPOINT_URL": endpoint, "AWS_REGION": access["region"]}
    environment |= {"AWS_ACCESS_KEY_ID": access["accesskey"], "AWS_SECRET_ACCESS_KEY": access["secretkey"]}
    if authorities := os.environ.get("AWS_CA_BUNDLE"):
        environment["AWS_CA_BUNDLE"] = authorities
    try:
        open_store(store, environment).check()
    except StoreError as error:
        reason = REFUSED.search(str(error))
        if reason is None:
            findings.not_checked.append(f"{where}: {error}")
            return
        line = f"{endpoint} {reason[0]}: {where}; put the store's accesskey and secretkey into it as k8s/README.md says"
        # The address that is set here may be another server's.
        (findings.failures if endpoint == inside else findings.doubts).append(line)


def _nodes(core: Any, findings: PreflightFindings) -> list[Any] | None:
    answer = _read(lambda: core.list_node(_request_timeout=TIMEOUT_S), "images and GPUs of the nodes", findings)
    return None if answer is None or answer == "absent" else answer.items


def _check_on_nodes(nodes: list[Any], images: list[str], findings: PreflightFindings) -> None:
    lists = [node.status.images or [] for node in nodes]
    names = {LOCAL.sub("", name) for images_of in lists for image in images_of for name in image.names or []}
    for image in images:
        if image in names:
            continue
        if any(len(images_of) >= IMAGES_REPORTED for images_of in lists):
            findings.not_checked.append(f"image {image}: the nodes report only {IMAGES_REPORTED} of their images")
        else:
            findings.failures.append(
                f"image {image} is on no node (they report a new one after a minute); load it with `make cluster-images`, "
                "or push it to a registry and set DRIFTLOOP_IMAGE_PREFIX"
            )


def _check_training_nodes(nodes: list[Any], gpus: int, labels: Mapping[str, str], findings: PreflightFindings) -> None:
    """A node with these labels that takes pods, and offers as many GPUs at once."""
    able = [node for node in nodes if not node.spec.unschedulable and labels.items() <= (node.metadata.labels or {}).items()]
    named = " with " + ", ".join(f"{key}={value}" for key, value in labels.items()) if labels else ""
    if labels and not able:
        findings.failures.append(f"train_nodes: no node{named} takes pods; see kubectl get nodes --show-labels")
        return
    offered = max((int((node.status.allocatable or {}).get(GPU, 0)) for node in able), default=0)
    if offered < gpus:
        has = f"the most that a node{named} offers is {offered}" if offered else f"no node{named} offers one"
        findings.failures.append(
            f"gpus is {gpus}, but {has} ({GPU}); train on the CPU with --gpus 0, or install the device plugin (k8s/gpu)"
        )


def _check_in_registry(image: str, findings: PreflightFindings) -> None:
    """Ask the image's registry for its manifest, as the node will."""
    host, (path, _, tag) = registry_of(image), image.partition("/")[2].rpartition(":")
    name = path.rpartition("/")[2]
    scheme = "http" if host.partition(":")[0] in ("localhost", "127.0.0.1") else "https"
    request = urllib.request.Request(f"{scheme}://{host}/v2/{path}/manifests/{tag}", method="HEAD", headers={"Accept": MANIFESTS})  # noqa: S310
    try:
        urllib.request.urlopen(request, timeout=TIMEOUT_S[0]).close()  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code == 404:
            findings.failures.append(
                f"image {image} is not in its registry; build it with docker/build.sh {name.removeprefix('driftloop-')}, push it with "
                f"`docker tag {name}:{tag} {image}` and `docker push {image}`, or check DRIFTLOOP_IMAGE_PREFIX"
            )
        else:
            findings.not_checked.append(f"image {image}: its registry answers {error.code}")
    except OSError as error:
        findings.not_checked.append(f"image {image}: its registry is not reached from here ({_why(error)})")


def _read(read: Any, what: str, findings: PreflightFindings) -> Any:
    """The answer, "absent" for a 404, or None where there was none, which is noted."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        return read()
    except (ApiException, HTTPError, OSError) as error:
        if getattr(error, "status", 0) == 404:
            return "absent"
        findings.not_checked.append(f"{what}: {_why(error)}")
        return None


def _why(error: Exception) -> str:
    status = getattr(error, "status", None)
    if status in (401, 403):
        return "Kubernetes does not allow it"
    return f"Kubernetes answers {status}" if status else (" ".join(str(getattr(error, "reason", "") or error).split())[:120] or "no answer")
