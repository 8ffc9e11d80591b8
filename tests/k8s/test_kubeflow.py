"""Kubeflow Pipelines as it is rendered: MinIO in all four places, nothing of SeaweedFS, and retries for steps that ask for them."""

import re

import pytest
import yaml

from tests.k8s.rendering import Manifest, environment, one, pod, render

HOST = "minio.minio.svc.cluster.local"
SECRET = "mlpipeline-minio-artifact"


@pytest.fixture
def controller(kubeflow: list[Manifest]) -> dict[str, object]:
    """The settings of Argo's workflow controller, each one YAML of its own."""
    data = one(kubeflow, "ConfigMap", "workflow-controller-configmap")["data"]
    return {key: yaml.safe_load(value) for key, value in data.items()}


def test_it_is_the_release_that_driftloop_is_written_for(kubeflow: list[Manifest]) -> None:
    images = {container["image"] for manifest in kubeflow if pod(manifest) for container in pod(manifest)["containers"]}
    ours = {image for image in images if "/kubeflow/" in image}
    assert len(ours) >= 8
    assert all(image.endswith(":2.17.0") for image in ours)
    assert all(re.search(r":v?\d[\w.-]*$", image) for image in images)


def test_the_api_server_stores_in_minio(kubeflow: list[Manifest]) -> None:
    (container,) = pod(one(kubeflow, "Deployment", "ml-pipeline"))["containers"]
    variables = environment(container)
    assert variables["OBJECTSTORECONFIG_HOST"] == HOST
    assert variables["OBJECTSTORECONFIG_PORT"] == "9000"
    assert variables["OBJECTSTORECONFIG_SECURE"] == "false"
    assert variables["OBJECTSTORECONFIG_ACCESSKEY"] == {"secretKeyRef": {"key": "accesskey", "name": SECRET}}
    assert variables["OBJECTSTORECONFIG_SECRETACCESSKEY"] == {"secretKeyRef": {"key": "secretkey", "name": SECRET}}


def test_the_launcher_of_every_step_stores_in_minio(kubeflow: list[Manifest]) -> None:
    data = one(kubeflow, "ConfigMap", "kfp-launcher")["data"]
    assert data["defaultPipelineRoot"].startswith("minio://mlpipeline/")
    provider = yaml.safe_load(data["providers"])["minio"]["default"]
    assert provider["endpoint"] == f"{HOST}:9000"
    assert provider["disableSSL"] is True
    assert provider["credentials"] == {
        "fromEnv": False,
        "secretRef": {"secretName": SECRET, "accessKeyKey": "accesskey", "secretKeyKey": "secretkey"},
    }


def test_argo_s_own_repository_is_minio_too(controller: dict[str, dict]) -> None:
    repository = controller["artifactRepository"]
    assert repository["s3"]["endpoint"] == f"{HOST}:9000"
    assert repository["s3"]["bucket"] == "mlpipeline"
    assert repository["s3"]["accessKeySecret"]["name"] == repository["s3"]["secretKeySecret"]["name"] == SECRET


def test_the_ui_reads_from_minio(kubeflow: list[Manifest]) -> None:
    (container,) = pod(one(kubeflow, "Deployment", "ml-pipeline-ui"))["containers"]
    variables = environment(container)
    assert f"{variables['MINIO_HOST']}.{variables['MINIO_NAMESPACE']}" == "minio.minio"
    assert variables["MINIO_PORT"] == "9000"
    assert variables["MINIO_ACCESS_KEY"]["secretKeyRef"]["name"] == SECRET


def test_nothing_of_seaweedfs_is_left(kubeflow: list[Manifest]) -> None:
    assert "seaweed" not in yaml.safe_dump_all(kubeflow).casefold()


def test_the_only_secret_it_brings_is_the_database_s_empty_password(kubeflow: list[Manifest]) -> None:
    found = {manifest["metadata"]["name"]: manifest["stringData"] for manifest in kubeflow if manifest["kind"] == "Secret"}
    assert found == {"mysql-secret": {"username": "root", "password": ""}}


def test_no_template_is_retried_that_did_not_ask_for_it(controller: dict[str, dict]) -> None:
    """A default here would be merged into graphs and into steps without a retry; without one, Argo's OnFailure holds for the others."""
    spec = controller["workflowDefaults"]["spec"]
    assert "retryStrategy" not in spec
    assert "templateDefaults" not in spec
    assert spec["ttlStrategy"]["secondsAfterCompletion"] == 3600


def test_a_driver_that_ends_while_the_store_is_away_does_not_fail(controller: dict[str, dict]) -> None:
    """Argo's own copy of a pod's log would need the store then; the launcher keeps the steps' logs."""
    assert controller["artifactRepository"]["archiveLogs"] is False


def test_everything_else_of_the_controller_is_kubeflow_s_own(controller: dict[str, dict]) -> None:
    assert controller.keys() == {"artifactRepository", "executor", "workflowDefaults"}
    assert controller["executor"]["securityContext"]["runAsNonRoot"] is True


def test_on_kind_the_ui_has_its_door_and_only_v1_rests(kubeflow: list[Manifest], copies: object) -> None:
    kind = render("k8s/kind/kubeflow", copies)
    (port,) = one(kind, "Service", "ml-pipeline-ui")["spec"]["ports"]
    assert port["nodePort"] == 30080
    resting = {manifest["metadata"]["name"] for manifest in kind if manifest.get("spec", {}).get("replicas") == 0}
    assert resting == {
        *("ml-pipeline-viewer-crd", "ml-pipeline-visualizationserver", "metadata-writer"),
        *("cache-server", "cache-deployer-deployment"),
    }
    assert len(kind) == len(kubeflow)
