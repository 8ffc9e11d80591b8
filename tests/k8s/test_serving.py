"""k8s/serving: no request is lost while pods come and go, and the service is told the same as everywhere else."""

from typing import Any

import pytest
import yaml

from driftloop.exporting import kserve
from tests.k8s.rendering import ROOT, Manifest, environment, one, pod, render


@pytest.fixture(scope="module")
def deployment() -> Manifest:
    return one(render("k8s/serving"), "Deployment", "driftloop-serve")


@pytest.fixture
def container(deployment: Manifest) -> Manifest:
    (container,) = pod(deployment)["containers"]
    return container


def test_a_rollout_never_takes_a_pod_before_another_is_ready(deployment: Manifest) -> None:
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert one(render("k8s/serving"), "PodDisruptionBudget", "driftloop-serve")["spec"]["maxUnavailable"] == 1


def test_the_autoscaler_alone_says_how_many_and_never_fewer_than_two(deployment: Manifest) -> None:
    scaler = one(render("k8s/serving"), "HorizontalPodAutoscaler", "driftloop-serve")["spec"]
    assert "replicas" not in deployment["spec"]
    assert scaler["minReplicas"] == 2
    assert scaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]


def test_a_pod_gets_the_time_it_needs_to_end(deployment: Manifest, container: Manifest) -> None:
    serve = (ROOT / "docker" / "compose.yaml").read_text()
    spare = pod(deployment)["terminationGracePeriodSeconds"] - container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spare >= int(yaml.safe_load(serve)["services"]["serve"]["stop_grace_period"].removesuffix("s"))


def test_only_readiness_asks_for_a_champion(container: Manifest) -> None:
    paths = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert paths == {"startupProbe": "/v2/health/live", "readinessProbe": "/v2/health/ready", "livenessProbe": "/v2/health/live"}


def test_pods_are_spread_over_nodes_and_zones(deployment: Manifest) -> None:
    keys = {spread["topologyKey"] for spread in pod(deployment)["topologySpreadConstraints"]}
    assert keys == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}


def test_what_selects_pods_selects_these(deployment: Manifest) -> None:
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    rendered = render("k8s/serving")
    for kind in ("PodDisruptionBudget", "NetworkPolicy"):
        selector = one(rendered, kind, "driftloop-serve")["spec"]
        chosen: dict[str, Any] = selector.get("selector", selector.get("podSelector"))["matchLabels"]
        assert chosen.items() <= labels.items()
    assert one(rendered, "Service", "driftloop-serve")["spec"]["selector"].items() <= labels.items()


def test_the_spool_lies_on_a_volume_of_limited_size(deployment: Manifest, container: Manifest) -> None:
    folder = container["args"][container["args"].index("--spool") + 1]
    (name,) = [mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == folder]
    (volume,) = [volume for volume in pod(deployment)["volumes"] if volume["name"] == name]
    assert volume == {"name": "spool", "emptyDir": {"sizeLimit": "2Gi"}}


def test_prometheus_finds_the_pods_by_annotation_and_by_its_operator_s_monitor(deployment: Manifest, container: Manifest) -> None:
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(container["ports"][0]["containerPort"])
    monitor = yaml.safe_load((ROOT / "k8s" / "serving" / "monitoring" / "servicemonitor.yaml").read_text())
    service = one(render("k8s/serving"), "Service", "driftloop-serve")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["metadata"]["namespace"] == service["metadata"]["namespace"]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert endpoint["path"] == annotations["prometheus.io/path"] == "/metrics"
    (job,) = [rule["replacement"] for rule in endpoint["relabelings"] if rule["targetLabel"] == "job"]
    assert f'up{{job="{job}"}}' in (ROOT / "k8s" / "serving" / "monitoring" / "rules.yaml").read_text()


def test_the_dashboard_has_the_label_by_which_grafana_finds_it() -> None:
    rendered = render("k8s/serving/monitoring")
    assert one(rendered, "ConfigMap", "driftloop-dashboard")["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert one(rendered, "ConfigMap", "driftloop-prometheus-rules")["data"].keys() == {"rules.yaml"}


def test_kserve_runs_it_as_it_runs_here(deployment: Manifest, container: Manifest) -> None:
    predictor = kserve.service("s3://driftloop/demo", "")["spec"]["predictor"]
    (theirs,) = predictor["containers"]
    ours = environment(container)
    assert ours.pop("DRIFTLOOP_STORE") == {"configMapKeyRef": {"name": kserve.CONFIG_MAP, "key": "store"}}
    assert environment(theirs) == ours
    assert theirs["args"] == [arg.replace("$(DRIFTLOOP_STORE)", "s3://driftloop/demo") for arg in container["args"]]
    for name in ("resources", "securityContext", "volumeMounts", "lifecycle", "image", "imagePullPolicy"):
        assert theirs[name] == container[name], name
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert theirs[name] | {"httpGet": {}} == container[name] | {"httpGet": {}}
        assert theirs[name]["httpGet"]["path"] == container[name]["httpGet"]["path"]
    for name in ("securityContext", "volumes", "terminationGracePeriodSeconds", "automountServiceAccountToken"):
        assert predictor[name] == pod(deployment)[name], name
    assert predictor["labels"] == deployment["spec"]["template"]["metadata"]["labels"]
