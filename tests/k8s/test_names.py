"""The same names, ports and keys in manifests, scripts and pipelines."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from driftloop import __version__
from driftloop.alerts.receivers import ADDRESSES, ALERTMANAGER
from driftloop.alerts.rules import DEFAULT_RULES
from pipelines import placement
from tests.k8s.rendering import ROOT, environment, one, pod, render

KIND = ROOT / "k8s" / "kind"
USERS = {"driftloop-pipelines", "driftloop-kfp", "driftloop-service", "driftloop-tensorboard", "driftloop-alerts", "driftloop-tracking"}


def test_the_config_map_of_the_store_is_the_one_that_steps_get() -> None:
    config = one(render("k8s/driftloop"), "ConfigMap", placement.STORE_CONFIG)
    assert config["metadata"]["namespace"] == "kubeflow"
    assert config["data"] == {"endpoint": "http://minio.minio.svc.cluster.local:9000", "region": "us-east-1"}


def test_the_secret_of_the_store_is_the_one_that_steps_get() -> None:
    script = (KIND / "up").read_text()
    assert f"copy_key pipelines {placement.STORE_SECRET}\n" in script
    assert "accesskey=driftloop-%s\\nsecretkey=%s\\n" in script


@pytest.mark.parametrize(
    ("folder", "service", "port", "node_port", "host_port"),
    [("k8s/kind/minio", "minio", 9000, 30910, 9010), ("k8s/kind/driftloop", "driftloop-tensorboard", 6006, 30616, 6016)],
)
def test_doors_of_the_kind_node_lead_to_a_service(folder: str, service: str, port: int, node_port: int, host_port: int) -> None:
    (found,) = one(render(folder), "Service", service)["spec"]["ports"]
    assert (found["port"], found["nodePort"]) == (port, node_port)
    assert (host_port, node_port) in doors()


def doors() -> set[tuple[int, int]]:
    (node,) = yaml.safe_load((KIND / "cluster.yaml").read_text())["nodes"]
    return {(mapping["hostPort"], mapping["containerPort"]) for mapping in node["extraPortMappings"]}


def test_the_kind_node_listens_on_the_loopback_address_only() -> None:
    (node,) = yaml.safe_load((KIND / "cluster.yaml").read_text())["nodes"]
    assert {mapping["listenAddress"] for mapping in node["extraPortMappings"]} == {"127.0.0.1"}
    assert doors() == {(8080, 30080), (9010, 30910), (6016, 30616)}
    assert re.fullmatch(r"kindest/node:v[\d.]+@sha256:[0-9a-f]{64}", node["image"])


def test_the_script_checks_every_door_before_it_creates_the_cluster() -> None:
    checked = {int(port) for port in re.findall(r"need_port (\d+)", (KIND / "up").read_text())}
    assert checked == {host for host, _ in doors()}


def test_every_user_of_minio_has_a_policy_and_a_key() -> None:
    policies = {file.stem for file in (ROOT / "k8s" / "minio" / "policies").glob("*.json")}
    (rendered,) = [m for m in render("k8s/minio") if m["kind"] == "ConfigMap" and m["metadata"]["name"].startswith("policies-")]
    assert policies == {name.removesuffix(".json") for name in rendered["data"]} == USERS
    made = re.search(r"for user in ([a-z ]+); do echo \"driftloop-\$user=", (KIND / "up").read_text())
    assert {f"driftloop-{user}" for user in made[1].split()} == USERS


def test_alerts_read_the_store_that_steps_write_by_the_usual_rules() -> None:
    rendered = render("k8s/alerts")
    (container,) = pod(one(rendered, "CronJob", "driftloop-alerts"))["containers"]
    assert environment(container)["AWS_ENDPOINT_URL"] == {"configMapKeyRef": {"name": placement.STORE_CONFIG, "key": "endpoint"}}
    assert (ROOT / "k8s" / "alerts" / "rules.yaml").read_bytes() == DEFAULT_RULES.read_bytes()
    assert {ADDRESSES, ALERTMANAGER} <= environment(container).keys()


def test_what_mlflow_is_shown_is_in_the_store_that_steps_write() -> None:
    (container,) = pod(one(render("k8s/tracking"), "CronJob", "driftloop-tracking"))["containers"]
    assert environment(container)["AWS_ENDPOINT_URL"] == {"configMapKeyRef": {"name": placement.STORE_CONFIG, "key": "endpoint"}}
    assert container["args"][:4] == ["driftloop", "track", "--to", "mlflow"]
    watch = (ROOT / "requirements" / "watch.txt").read_text()
    assert re.search(r"^mlflow-skinny==", watch, re.MULTILINE), "the image that it runs has MLflow's client"


def test_tensorboard_reads_the_store_that_steps_write() -> None:
    (container,) = pod(one(render("k8s/driftloop"), "Deployment", "driftloop-tensorboard"))["containers"]
    variables = environment(container)
    assert (
        variables["S3_ENDPOINT"]
        == variables["AWS_ENDPOINT_URL"]
        == {"configMapKeyRef": {"name": placement.STORE_CONFIG, "key": "endpoint"}}
    )


def test_the_settings_file_is_ignored_by_git() -> None:
    assert "/k8s/kind/store.env" in (ROOT / ".gitignore").read_text().splitlines()


def test_manifests_are_of_this_release() -> None:
    for folder in ("minio", "driftloop", "serving"):
        images = yaml.safe_load((ROOT / "k8s" / folder / "kustomization.yaml").read_text())["images"]
        assert {image["newTag"] for image in images} == {__version__}


def test_a_profile_s_namespace_gets_all_that_kubeflow_gets(tmp_path: Path) -> None:
    folder = tmp_path / "k8s" / "team"
    folder.mkdir(parents=True)
    shutil.copytree(ROOT / "k8s" / "driftloop", tmp_path / "k8s" / "driftloop")
    told = re.search(r"printf '(namespace: team.*)' >", (ROOT / "k8s" / "README.md").read_text())
    (folder / "kustomization.yaml").write_text(told[1].replace("\\n", "\n"))
    rendered = render("k8s/team", tmp_path)
    assert {manifest["metadata"]["namespace"] for manifest in rendered} == {"team"}
    assert len(rendered) == len(render("k8s/driftloop"))
    steps = one(rendered, "NetworkPolicy", "driftloop-steps")["spec"]["egress"]
    kubeflow = {"matchLabels": {"kubernetes.io/metadata.name": "kubeflow"}}
    assert sum(peer.get("namespaceSelector") == kubeflow for rule in steps for peer in rule["to"]) == 3
