"""What no workload of driftloop may ever lose: a user that is not root, limits, a pinned image, a closed root, no secret's value."""

import re

import pytest

from driftloop import __version__
from tests.k8s.rendering import Manifest, environment, one, pod, render

BASES = ("k8s/minio", "k8s/driftloop", "k8s/serving", "k8s/alerts", "k8s/tracking")
ON_KIND = ("k8s/minio", "k8s/driftloop")
WORKLOADS = {
    (folder, kind, name)
    for base in BASES
    for folder in (base, *([base.replace("k8s/", "k8s/kind/")] if base in ON_KIND else []))
    for kind, name in {
        "k8s/minio": [("StatefulSet", "minio"), ("CronJob", "setup")],
        "k8s/driftloop": [("Deployment", "driftloop-tensorboard")],
        "k8s/serving": [("Deployment", "driftloop-serve")],
        "k8s/alerts": [("CronJob", "driftloop-alerts")],
        "k8s/tracking": [("CronJob", "driftloop-tracking")],
    }[base]
}
SECRET = re.compile(r"PASSWORD|SECRET|ACCESS_KEY|ROOT_USER|TOKEN")
RESOURCES = {"cpu", "memory", "ephemeral-storage"}
VOLUMES = {"configMap", "secret", "emptyDir", "projected", "persistentVolumeClaim"}


def containers(manifest: Manifest) -> list[Manifest]:
    spec = pod(manifest) or {}
    return [*spec["containers"], *spec.get("initContainers", [])]


@pytest.fixture(params=sorted(WORKLOADS), ids=lambda workload: "-".join(workload))
def manifest(request: pytest.FixtureRequest) -> Manifest:
    """Each workload of driftloop, as it is on any cluster and as it is on kind."""
    folder, kind, name = request.param
    return one(render(folder), kind, name)


def test_no_workload_is_forgotten() -> None:
    folders = {folder for folder, _, _ in WORKLOADS}
    found = {(folder, m["kind"], m["metadata"]["name"]) for folder in folders for m in render(folder) if pod(m)}
    assert found == WORKLOADS


class TestEveryWorkload:
    def test_runs_as_a_user_that_is_not_root(self, manifest: Manifest) -> None:
        security = pod(manifest)["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] == security["runAsGroup"] == 10001
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers(manifest):
            assert not {"runAsUser", "runAsNonRoot", "seccompProfile"} & container["securityContext"].keys()

    def test_cannot_gain_rights_nor_write_its_root(self, manifest: Manifest) -> None:
        for container in containers(manifest):
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert not security.get("privileged")

    def test_sees_nothing_of_its_node(self, manifest: Manifest) -> None:
        spec = pod(manifest)
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        for volume in spec.get("volumes", []):
            assert volume.keys() - {"name"} <= VOLUMES
            assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"]

    def test_gets_no_token_of_kubernetes(self, manifest: Manifest) -> None:
        assert pod(manifest)["automountServiceAccountToken"] is False
        assert pod(manifest)["serviceAccountName"] != "default"

    def test_has_requests_and_limits(self, manifest: Manifest) -> None:
        for container in containers(manifest):
            assert container["resources"]["requests"].keys() == RESOURCES
            assert container["resources"]["limits"].keys() == RESOURCES

    def test_runs_an_image_of_this_release(self, manifest: Manifest) -> None:
        for container in containers(manifest):
            assert re.fullmatch(rf"driftloop-(minio|watch|tensorboard|serve):{re.escape(__version__)}", container["image"])
            assert container["imagePullPolicy"] == "IfNotPresent"

    def test_gets_secrets_by_reference(self, manifest: Manifest) -> None:
        for container in containers(manifest):
            for name, value in environment(container).items():
                assert not SECRET.search(name) or list(value) == ["secretKeyRef"], name

    def test_is_probed_if_it_serves(self, manifest: Manifest) -> None:
        for container in containers(manifest):
            if container.get("ports"):
                assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()


def test_no_manifest_of_ours_brings_a_secret() -> None:
    for folder in {folder for folder, _, _ in WORKLOADS}:
        assert not [manifest for manifest in render(folder) if manifest["kind"] == "Secret"]


@pytest.mark.parametrize("namespace", ["minio", "serving"])
def test_our_own_namespaces_admit_nothing_less(namespace: str) -> None:
    labels = one(render(f"k8s/{namespace}"), "Namespace", namespace)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_containers_that_state_no_limits_get_some() -> None:
    (limits,) = one(render("k8s/driftloop"), "LimitRange", "driftloop")["spec"]["limits"]
    assert limits["type"] == "Container"
    assert limits["default"].keys() == limits["defaultRequest"].keys() == RESOURCES


def test_the_device_plugin_is_pinned_and_limited(copies: object) -> None:
    (daemon,) = [manifest for manifest in render("k8s/gpu", copies) if manifest["kind"] == "DaemonSet"]
    (container,) = containers(daemon)
    assert re.fullmatch(r"nvcr\.io/nvidia/k8s-device-plugin:v\d+\.\d+\.\d+", container["image"])
    assert container["resources"]["limits"].keys() == {"cpu", "memory"}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
