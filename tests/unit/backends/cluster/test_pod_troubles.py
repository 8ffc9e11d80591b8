"""What keeps a pod from starting, told from what may pass, and errors in the words of the cluster."""

import pytest

from driftloop.backends.cluster.live_table import StepProgress
from driftloop.backends.cluster.pod_troubles import GRACE_S, HopelessWaits, cure_of_wait, in_the_clusters_words, twice

#: As kubelet 1.34 and Argo 4.0 word it.
SECRET = "CreateContainerConfigError: couldn't find key accesskey in Secret kubeflow/driftloop-store"
NEVER = 'ErrImageNeverPull: Container image "driftloop-watch:1" is not present with pull policy of Never'
NAME = 'InvalidImageName: Failed to apply default image tag "Registry/driftloop-watch:1": couldn\'t parse image name'


def waiting(reason: str) -> dict[str, StepProgress]:
    return {"source": StepProgress("running", 1.0, reason, reason)}


@pytest.mark.parametrize("reason", [SECRET, NEVER, NAME])
def test_what_nobody_but_a_person_can_mend_is_given_up_after_a_while(reason: str) -> None:
    waits = HopelessWaits()
    assert waits.longest(waiting(reason), 100.0) == ""
    assert waits.longest(waiting(reason), 100.0 + GRACE_S) == ""
    assert waits.longest(waiting(reason), 100.1 + GRACE_S) == "source"


def test_a_reason_that_has_gone_meanwhile_counts_anew() -> None:
    waits = HopelessWaits()
    waits.longest(waiting(SECRET), 100.0)
    waits.longest(waiting(""), 110.0)
    assert waits.longest(waiting(SECRET), 101.0 + GRACE_S) == ""
    assert waits.longest(waiting(SECRET), 102.0 + 2 * GRACE_S) == "source"


@pytest.mark.parametrize(
    "reason", ["", "Unschedulable: 0/1 nodes are available", "ImagePullBackOff: Back-off pulling image", "ErrImagePull", "PodInitializing"]
)
def test_what_may_pass_is_waited_for(reason: str) -> None:
    waits = HopelessWaits()
    waits.longest(waiting(reason), 0.0)
    assert waits.longest(waiting(reason), 10_000.0) == ""


def test_each_reason_has_its_cure() -> None:
    assert "Secret driftloop-store" in cure_of_wait(SECRET)
    assert "make cluster-images" in cure_of_wait(NEVER)
    assert "DRIFTLOOP_IMAGE_PREFIX" in cure_of_wait(NAME)


def test_a_steps_variables_are_called_by_where_they_come_from() -> None:
    line = "s3://b/x: http://m:9000 refuses the credentials (InvalidAccessKeyId); check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    said = in_the_clusters_words(line, "team")
    assert said.endswith("(InvalidAccessKeyId); check accesskey and secretkey of Secret driftloop-store in namespace team")
    assert in_the_clusters_words("check AWS_ENDPOINT_URL and AWS_REGION", "team") == (
        "check endpoint and region of ConfigMap driftloop-store in namespace team"
    )
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_REGION"):
        assert "AWS_" not in in_the_clusters_words(f"check {variable} and what it may do", "team")
    assert in_the_clusters_words("digits: no such source", "team") == "digits: no such source"


def test_twice_the_memory() -> None:
    assert (twice("768Mi"), twice("2Gi")) == ("1536Mi", "4Gi")
