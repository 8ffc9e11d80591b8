"""What a cluster lacks is said before anything is uploaded."""

import pytest

from driftloop.backends.cluster.connection import API
from driftloop.backends.cluster.uploads import equals_filter
from tests.cluster.conftest import OnCluster

TRAINING = ("run", "training", "--on", "cluster", "--source", "digits", "--gpus", "0", "--no-wait")


@pytest.fixture
def experiment(cluster: OnCluster) -> str:
    """The name of an experiment that a run would make, and that must not be there after a refusal."""
    return f"{cluster.name}-never"


def assert_nothing_was_started(cluster: OnCluster, experiment: str) -> None:
    query = {"filter": equals_filter("display_name", experiment)} | cluster.connection.scope
    assert cluster.connection.call("GET", f"{API}/experiments", query).get("experiments", []) == []


def test_a_namespace_without_the_stores_secret(cluster: OnCluster, experiment: str, kubernetes: None) -> None:
    refused = cluster(*TRAINING, "--experiment", experiment, status=2, KFP_NAMESPACE="driftloop-not-there")
    assert "there is no Secret driftloop-store in namespace driftloop-not-there" in refused.stderr
    assert "there is no ConfigMap driftloop-store in namespace driftloop-not-there" in refused.stderr
    assert_nothing_was_started(cluster, experiment)


def test_an_image_that_is_on_no_node(cluster: OnCluster, experiment: str, kubernetes: None) -> None:
    refused = cluster(*TRAINING, "--experiment", experiment, status=2, DRIFTLOOP_IMAGE_PREFIX="nobody/")
    lines = refused.stderr.strip().splitlines()
    assert [line.split(" is on no node")[0].split(":")[1] for line in lines] == [
        " image nobody/driftloop-train",
        " image nobody/driftloop-watch",
    ]
    assert_nothing_was_started(cluster, experiment)


def test_a_label_that_no_node_has(cluster: OnCluster, experiment: str, kubernetes: None) -> None:
    refused = cluster(*TRAINING, "--experiment", experiment, "--set", "train_nodes.driftloop/nowhere=yes", status=2)
    assert refused.stderr.startswith("driftloop: train_nodes: no node with driftloop/nowhere=yes takes pods")
    assert_nothing_was_started(cluster, experiment)


def test_images_of_this_machine(cluster: OnCluster, experiment: str) -> None:
    refused = cluster("run", "training", "--on", "cluster", "--source", str(cluster.folder), "--experiment", experiment, status=2)
    assert "a cluster does not see this machine's files" in refused.stderr
    assert_nothing_was_started(cluster, experiment)
