"""Who may call whom."""

import ipaddress

import pytest

from driftloop.training.train_job import GROUP, PLURAL, POD_ACCOUNT, POD_LABELS
from tests.k8s.rendering import Manifest, one, pod, render

STEPS = {"matchExpressions": [{"key": "workflows.argoproj.io/workflow", "operator": "Exists"}]}
TENSORBOARD = {"matchLabels": {"app": "driftloop-tensorboard"}}
ALERTS = {"matchLabels": {"app.kubernetes.io/name": "driftloop-alerts"}}
TRACKING = {"matchLabels": {"app.kubernetes.io/name": "driftloop-tracking"}}
NODES = {"matchLabels": POD_LABELS}
SERVE = {"matchLabels": {"app.kubernetes.io/name": "driftloop-serve"}}


def policy(folder: str, name: str) -> Manifest:
    return one(render(folder), "NetworkPolicy", name)["spec"]


def callees(spec: Manifest) -> set[tuple[str, str, int]]:
    """(namespace, what selects the pods there, port) of every rule that names pods."""
    return {
        (peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], "".join(*labels), port["port"])
        for rule in spec["egress"]
        for peer in rule["to"]
        if "namespaceSelector" in peer
        for labels in [[list(peer.get("podSelector", {}).get("matchLabels", {}).values())]]
        for port in rule["ports"]
    }


def test_steps_call_what_kubeflow_and_driftloop_need_and_nothing_else() -> None:
    spec = policy("k8s/driftloop", "driftloop-steps")
    assert spec["podSelector"] == STEPS
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in spec
    assert callees(spec) == {
        ("kube-system", "", 53),
        ("minio", "minio", 9000),
        ("kubeflow", "seaweedfs", 8333),
        ("kubeflow", "ml-pipeline", 8887),
        ("kubeflow", "ml-pipeline", 8888),
        ("kubeflow", "metadata-grpc-server", 8080),
    }


def test_no_step_reaches_a_public_address() -> None:
    rules = policy("k8s/driftloop", "driftloop-steps")["egress"]
    assert all(rule["to"] and rule["ports"] for rule in rules)
    blocks = [
        (peer["ipBlock"]["cidr"], port["port"]) for rule in rules for peer in rule["to"] if "ipBlock" in peer for port in rule["ports"]
    ]
    assert blocks
    assert {port for _, port in blocks} == {443, 6443}
    assert all(ipaddress.ip_network(block).is_private for block, _ in blocks)


@pytest.mark.parametrize(
    ("name", "pods", "called", "ports"),
    [("alerts", ALERTS, ("monitoring", "alertmanager", 9093), {443, 465, 587}), ("tracking", TRACKING, ("mlflow", "", 5000), {443})],
)
def test_a_cron_job_goes_out_to_the_store_and_those_that_it_tells_alone(
    name: str, pods: Manifest, called: tuple[str, str, int], ports: set[int]
) -> None:
    spec = policy(f"k8s/{name}", f"driftloop-{name}")
    assert spec["podSelector"] == pods
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in spec
    assert callees(spec) == {("kube-system", "", 53), ("minio", "minio", 9000), called}
    assert public_ports(spec) == ports


def public_ports(spec: Manifest) -> set[int]:
    """Those that are open to addresses outside, of which none is private."""
    (outside,) = [rule for rule in spec["egress"] if "ipBlock" in rule["to"][0]]
    (peer,) = outside["to"]
    closed = [ipaddress.ip_network(block) for block in peer["ipBlock"]["except"]]
    for private in ("10.1.2.3", "172.20.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"):
        assert any(ipaddress.ip_address(private) in block for block in closed), private
    return {port["port"] for port in outside["ports"]}


@pytest.mark.parametrize(("name", "pods"), [("alerts", ALERTS), ("tracking", TRACKING)])
def test_the_pods_of_a_cron_job_are_those_that_its_policy_means(name: str, pods: Manifest) -> None:
    job = one(render(f"k8s/{name}"), "CronJob", f"driftloop-{name}")["spec"]
    assert job["jobTemplate"]["spec"]["template"]["metadata"]["labels"].items() >= pods["matchLabels"].items()
    assert job["concurrencyPolicy"] == "Forbid"


def test_the_pods_of_a_shared_training_call_one_another_and_the_store() -> None:
    spec = policy("k8s/nodes", "driftloop-nodes")
    assert spec["podSelector"] == NODES
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    among = [{"protocol": "TCP", "port": 1024, "endPort": 65535}]
    assert spec["ingress"] == [{"ports": among, "from": [{"podSelector": NODES}]}]
    assert {"ports": among, "to": [{"podSelector": NODES}]} in spec["egress"]
    assert callees(spec) == {("kube-system", "", 53), ("minio", "minio", 9000)}
    assert len(spec["egress"]) == 3


def test_a_step_may_make_look_at_and_remove_train_jobs_and_nothing_else() -> None:
    rules = one(render("k8s/nodes"), "Role", "driftloop-nodes")["rules"]
    assert rules == [
        {"apiGroups": [GROUP], "resources": [PLURAL], "verbs": ["create", "get", "delete"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
    ]
    assert one(render("k8s/nodes"), "ServiceAccount", POD_ACCOUNT)["automountServiceAccountToken"] is False


def test_tensorboard_calls_minio_only() -> None:
    spec = policy("k8s/driftloop", "driftloop-tensorboard")
    assert spec["podSelector"] == TENSORBOARD
    assert "ingress" not in spec
    assert callees(spec) == {("kube-system", "", 53), ("minio", "minio", 9000)}


def test_the_service_is_called_by_http_and_calls_the_store_and_nothing_else() -> None:
    spec = policy("k8s/serving", "driftloop-serve")
    assert spec["podSelector"] == SERVE
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["ingress"] == [{"ports": [{"protocol": "TCP", "port": 8080}]}]
    assert callees(spec) == {("kube-system", "", 53), ("minio", "minio", 9000)}
    assert not [peer for rule in spec["egress"] for peer in rule["to"] if "ipBlock" in peer]
    assert policy("k8s/serving", "nothing-by-default") == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_the_service_is_called_by_grpc_only_where_it_listens_for_it() -> None:
    (container,) = pod(one(render("k8s/serving-grpc"), "Deployment", "driftloop-serve"))["containers"]
    port = container["args"][container["args"].index("--grpc-port") + 1]
    assert {named["name"]: str(named["containerPort"]) for named in container["ports"]} == {"http": "8080", "grpc": port}
    offered = one(render("k8s/serving-grpc"), "Service", "driftloop-serve")["spec"]["ports"]
    assert [(named["port"], named["targetPort"]) for named in offered] == [(8080, "http"), (int(port), "grpc")]
    (rule,) = policy("k8s/serving-grpc", "driftloop-serve")["ingress"]
    assert rule == {"ports": [{"protocol": "TCP", "port": 8080}, {"protocol": "TCP", "port": int(port)}]}
    assert "--grpc-port" not in pod(one(render("k8s/serving"), "Deployment", "driftloop-serve"))["containers"][0]["args"]


def test_minio_accepts_those_who_call_it() -> None:
    spec = policy("k8s/minio", "minio")
    (rule,) = spec["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 9000}]
    assert all("podSelector" in peer for peer in rule["from"])
    for caller in (STEPS, TENSORBOARD):
        namespaces = [peer["namespaceSelector"]["matchLabels"] for peer in rule["from"] if peer["podSelector"] == caller]
        assert namespaces == [{"kubernetes.io/metadata.name": "kubeflow"}, {"app.kubernetes.io/part-of": "kubeflow-profile"}]
    services = [peer["podSelector"] for peer in rule["from"] if peer["podSelector"].get("matchExpressions", [{}])[0].get("key") == "app"]
    assert services == [{"matchExpressions": [{"key": "app", "operator": "In", "values": ["ml-pipeline", "ml-pipeline-ui"]}]}]
    serving = [peer["namespaceSelector"]["matchLabels"] for peer in rule["from"] if peer["podSelector"] == SERVE]
    assert serving == [{"kubernetes.io/metadata.name": "serving"}, {"app.kubernetes.io/part-of": "kubeflow-profile"}]
    assert {"podSelector": {"matchLabels": {"app": "minio-setup"}}} in rule["from"]
    names = ["driftloop-alerts", "driftloop-tracking", "driftloop-nodes"]
    cron_jobs = {"matchExpressions": [{"key": "app.kubernetes.io/name", "operator": "In", "values": names}]}
    callers = [peer["namespaceSelector"]["matchLabels"] for peer in rule["from"] if peer["podSelector"] == cron_jobs]
    assert callers == [{"kubernetes.io/metadata.name": "kubeflow"}, {"app.kubernetes.io/part-of": "kubeflow-profile"}]
    assert len(rule["from"]) == 10


def test_in_the_namespace_of_minio_nothing_is_open_by_default() -> None:
    spec = policy("k8s/minio", "nothing-by-default")
    assert spec == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_callers_select_labels_that_kubeflow_s_pods_have(kubeflow: list[Manifest]) -> None:
    labels = [m["spec"]["template"]["metadata"]["labels"] for m in kubeflow if m["kind"] == "Deployment"]
    for key, value in (("app", "ml-pipeline"), ("app", "ml-pipeline-ui"), ("component", "metadata-grpc-server")):
        assert [found for found in labels if found.get(key) == value], (key, value)


def test_on_kind_the_doors_open_to_the_machine_and_not_to_pods() -> None:
    for folder, name, port in (
        ("k8s/kind/minio", "from-outside", 9000),
        ("k8s/kind/driftloop", "driftloop-tensorboard-from-outside", 6006),
    ):
        (rule,) = policy(folder, name)["ingress"]
        assert rule["ports"] == [{"protocol": "TCP", "port": port}]
        assert rule["from"][0]["ipBlock"]["except"] == ["10.244.0.0/16"]
        assert rule["from"][1:] == [{"ipBlock": {"cidr": "10.244.0.1/32"}}]
