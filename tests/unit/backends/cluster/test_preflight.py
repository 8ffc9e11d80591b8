"""What is looked for in the cluster: against a server that answers as Kubernetes and a registry do."""

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from driftloop.backends.cluster.preflight import IMAGES_REPORTED, PreflightFindings, inspect_cluster, registry_of
from driftloop.cli.doctor.check import CheckState
from driftloop.cli.doctor.cluster import _check_kubernetes
from tests.minio_server import MinioServer
from tests.unit.cli.answering import Answers, answering

WATCH = "driftloop-watch:918dd4b6689d"
NAMESPACE = "/api/v1/namespaces/kubeflow"


def kubeconfig(url: str) -> str:
    named = {"clusters": [{"name": "c", "cluster": {"server": url}}], "users": [{"name": "u", "user": {"token": "t"}}]}
    contexts = [{"name": "x", "context": {"cluster": "c", "user": "u"}}]
    return json.dumps({"apiVersion": "v1", "kind": "Config", **named, "contexts": contexts, "current-context": "x"})


def node(*images: str, gpus: int = 0) -> dict[str, Any]:
    listed = [{"names": [f"docker.io/library/{image}"], "sizeBytes": 1} for image in images] + [{"sizeBytes": 1}]
    return {"metadata": {"name": "n"}, "spec": {}, "status": {"allocatable": {"cpu": "2", "nvidia.com/gpu": str(gpus)}, "images": listed}}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    """A cluster that has everything."""
    with answering() as answers:
        answers.add("/api/v1/", {"kind": "APIResourceList", "groupVersion": "v1", "resources": []})
        answers.add(f"{NAMESPACE}/secrets/driftloop-store", {"data": {"accesskey": "YQ==", "secretkey": "Yg=="}})
        answers.add(f"{NAMESPACE}/configmaps/driftloop-store", {"data": {"endpoint": "http://minio:9000", "region": "us-east-1"}})
        answers.add("/api/v1/nodes", {"kind": "NodeList", "items": [node(WATCH, gpus=1)]})
        (tmp_path / "kubeconfig").write_text(kubeconfig(answers.url))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield answers


def test_a_cluster_that_has_everything_passes(cluster: Answers) -> None:
    assert inspect_cluster("kubeflow", [WATCH], gpus=1) == PreflightFindings()


def test_each_thing_that_is_missing_is_one_line_with_its_cure(cluster: Answers) -> None:
    del cluster.by_path[f"{NAMESPACE}/secrets/driftloop-store"]
    cluster.add(f"{NAMESPACE}/configmaps/driftloop-store", {"data": {"endpoint": "http://minio:9000"}})
    cluster.add("/api/v1/nodes", {"items": [node("something-else:1")]})
    findings = inspect_cluster("kubeflow", [WATCH], gpus=1)
    secret, config, image, gpu = findings.failures
    assert "no Secret driftloop-store in namespace kubeflow" in secret
    assert "ConfigMap driftloop-store in namespace kubeflow lacks region" in config
    assert f"image {WATCH} is on no node (they report a new one after a minute); load it with `make cluster-images`" in image
    assert "gpus is 1, but no node offers one" in gpu
    assert not findings.not_checked


def test_what_one_may_not_look_at_is_told_as_not_checked(cluster: Answers) -> None:
    cluster.add(f"{NAMESPACE}/secrets/driftloop-store", {"kind": "Status", "code": 403}, 403)
    cluster.add("/api/v1/nodes", {"kind": "Status", "code": 403}, 403)
    findings = inspect_cluster("kubeflow", [WATCH], gpus=1)
    assert findings.failures == []
    assert findings.not_checked == [
        "Secret driftloop-store: Kubernetes does not allow it",
        "images and GPUs of the nodes: Kubernetes does not allow it",
    ]


def test_a_node_that_reports_only_some_of_its_images_proves_nothing(cluster: Answers) -> None:
    cluster.add("/api/v1/nodes", {"items": [node(*(f"image:{number}" for number in range(IMAGES_REPORTED)))]})
    findings = inspect_cluster("kubeflow", [WATCH], gpus=0)
    assert findings.failures == []
    assert f"image {WATCH}" in findings.not_checked[0]


def test_a_gpu_on_a_node_that_takes_no_pods_does_not_count(cluster: Answers) -> None:
    cluster.add("/api/v1/nodes", {"items": [node(WATCH, gpus=4) | {"spec": {"unschedulable": True}}, node(gpus=1)]})
    assert "the most that a node offers is 1" in inspect_cluster("kubeflow", [WATCH], gpus=2).failures[0]


def test_a_gpu_counts_on_a_node_with_the_labels_that_training_asks_for(cluster: Answers) -> None:
    old, new = ({"name": "n", "labels": {"gpu": kind, "zone": "a"}} for kind in ("old", "new"))
    cluster.add("/api/v1/nodes", {"items": [node(WATCH, gpus=4) | {"metadata": old}, node(gpus=1) | {"metadata": new}]})
    assert inspect_cluster("kubeflow", [WATCH], gpus=2, train_nodes={"gpu": "old"}) == PreflightFindings()
    (few,) = inspect_cluster("kubeflow", [WATCH], gpus=2, train_nodes={"gpu": "new", "zone": "a"}).failures
    assert "the most that a node with gpu=new, zone=a offers is 1" in few
    (none,) = inspect_cluster("kubeflow", [WATCH], gpus=0, train_nodes={"gpu": "new", "zone": "b"}).failures
    assert none == "train_nodes: no node with gpu=new, zone=b takes pods; see kubectl get nodes --show-labels"


def test_without_a_kubeconfig_nothing_is_checked_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    findings = inspect_cluster("kubeflow", [WATCH], gpus=1)
    assert findings.failures == []
    assert "KUBECONFIG names no file" in findings.not_checked[0]


def test_a_cluster_that_does_not_answer_is_not_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kubeconfig").write_text(kubeconfig("http://127.0.0.1:9"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    findings = inspect_cluster("kubeflow", [WATCH], gpus=1)
    assert findings.failures == []
    assert len(findings.not_checked) == 1


def test_an_image_with_a_registry_is_asked_for_there(cluster: Answers) -> None:
    host = cluster.url.removeprefix("http://")
    cluster.add("/v2/me/driftloop-watch/manifests/918dd4b6689d", b"")
    assert inspect_cluster("kubeflow", [f"{host}/me/driftloop-watch:918dd4b6689d"], gpus=0) == PreflightFindings()
    assert cluster.asked[0][0] == "HEAD"
    absent = inspect_cluster("kubeflow", [f"{host}/me/driftloop-watch:000000000000"], gpus=0)
    assert "is not in its registry; build it with docker/build.sh watch, push it with `docker tag driftloop-watch:0" in absent.failures[0]
    cluster.add("/v2/me/driftloop-watch/manifests/918dd4b6689d", b"", 401)
    private = inspect_cluster("kubeflow", [f"{host}/me/driftloop-watch:918dd4b6689d"], gpus=0)
    assert private.failures == []
    assert "its registry answers 401" in private.not_checked[0]


@pytest.mark.parametrize(
    ("image", "host"),
    [
        ("driftloop-watch:1", ""),
        ("me/driftloop-watch:1", ""),
        ("localhost:5001/driftloop-watch:1", "localhost:5001"),
        ("ghcr.io/me/w:1", "ghcr.io"),
    ],
)
def test_the_registry_is_told_from_a_folder(image: str, host: str) -> None:
    assert registry_of(image) == host


def give(cluster: Answers, access: str, secret: str, endpoint: str) -> None:
    data = {"accesskey": b64encode(access.encode()).decode(), "secretkey": b64encode(secret.encode()).decode()}
    cluster.add(f"{NAMESPACE}/secrets/driftloop-store", {"data": data})
    cluster.add(f"{NAMESPACE}/configmaps/driftloop-store", {"data": {"endpoint": endpoint, "region": "us-east-1"}})


def test_the_keys_in_the_secret_are_tried_on_the_store(cluster: Answers, minio_server: MinioServer) -> None:
    give(cluster, minio_server.access_key, minio_server.secret_key, minio_server.endpoint)
    assert inspect_cluster("kubeflow", [WATCH], gpus=0, store="s3://driftloop/default") == PreflightFindings()
    for access, secret in (("wrong", minio_server.secret_key), (minio_server.access_key, "wrong-and-secret")):
        give(cluster, access, secret, minio_server.endpoint)
        findings = inspect_cluster("kubeflow", [WATCH], gpus=0, store="s3://driftloop/default")
        (line,) = findings.failures
        assert "refuses the credentials" in line
        assert "the keys in Secret driftloop-store, namespace kubeflow; put the store's accesskey and secretkey into it" in line
        assert "wrong-and-secret" not in line


def test_a_server_inside_the_cluster_is_tried_by_its_address_from_here(
    cluster: Answers, minio_server: MinioServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    inside = "http://minio.minio.svc.cluster.local:9000"
    give(cluster, minio_server.access_key, "wrong", inside)
    findings = inspect_cluster("kubeflow", [WATCH], gpus=0, store="s3://driftloop/default")
    assert not findings.failures + findings.doubts
    assert f"{inside} is reached in the cluster alone; set AWS_ENDPOINT_URL to its address from here" in findings.not_checked[0]
    monkeypatch.setenv("AWS_ENDPOINT_URL", minio_server.endpoint)
    findings = inspect_cluster("kubeflow", [WATCH], gpus=0, store="s3://driftloop/default")
    assert (findings.failures, findings.not_checked) == ([], [])
    assert f"{minio_server.endpoint} refuses the credentials (SignatureDoesNotMatch): the keys in Secret" in findings.doubts[0]
    give(cluster, minio_server.access_key, minio_server.secret_key, inside)
    assert inspect_cluster("kubeflow", [WATCH], gpus=0, store="s3://driftloop/default") == PreflightFindings()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    findings = inspect_cluster("kubeflow", [WATCH], gpus=0, store="s3://driftloop/default")
    assert "cannot reach http://127.0.0.1:1" in findings.not_checked[0]


def test_doctor_fails_where_the_keys_in_the_secret_are_refused(
    cluster: Answers, minio_server: MinioServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", minio_server.endpoint)
    give(cluster, minio_server.access_key, minio_server.secret_key, "http://minio.minio.svc.cluster.local:9000")
    assert _check_kubernetes("kubeflow", [WATCH], 1, None)[0].state is CheckState.ok
    give(cluster, "wrong", minio_server.secret_key, "http://minio.minio.svc.cluster.local:9000")
    (check,) = _check_kubernetes("kubeflow", [WATCH], 1, None)
    assert (check.state, check.cure) == (CheckState.failed, "put the store's accesskey and secretkey into it as k8s/README.md says")


def test_another_context_than_the_current_one_can_be_named(cluster: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = json.loads((tmp_path / "kubeconfig").read_text())
    settings["clusters"].append({"name": "gone", "cluster": {"server": "http://127.0.0.1:1"}})
    settings["contexts"].append({"name": "y", "context": {"cluster": "gone", "user": "u"}})
    settings["current-context"] = "y"
    (tmp_path / "kubeconfig").write_text(json.dumps(settings))
    assert inspect_cluster("kubeflow", [WATCH], gpus=0).not_checked
    monkeypatch.setenv("DRIFTLOOP_KUBE_CONTEXT", "x")
    assert inspect_cluster("kubeflow", [WATCH], gpus=0) == PreflightFindings()
    monkeypatch.setenv("DRIFTLOOP_KUBE_CONTEXT", "z")
    (line,) = inspect_cluster("kubeflow", [WATCH], gpus=0).failures
    assert line == f"DRIFTLOOP_KUBE_CONTEXT: {tmp_path / 'kubeconfig'} has no context 'z'; it has x, y"
