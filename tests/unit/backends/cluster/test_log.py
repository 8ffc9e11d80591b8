"""The logs of pods, as KFP's API hands them out: with its launcher's and Argo's lines around a step's own."""

from collections.abc import Iterator
from io import StringIO

import pytest

from driftloop.backends.base import Failure
from driftloop.backends.cluster.connection import ClusterConnection
from driftloop.backends.cluster.live_table import StepProgress
from driftloop.backends.cluster.pod_logs import PodLogs
from driftloop.backends.cluster.workflow import WorkflowNode
from tests.unit.cli.answering import Answers, answering

POD = "watch-76srh-retry-system-container-impl-1"
#: KFP's UI in front of the API knows the first, the API itself the second.
FROM_UI, FROM_API = "/k8s/pod/logs", f"/apis/v1alpha1/runs/r1/nodes/{POD}/log"
NODES = {"drift-detection": WorkflowNode("Running", None, None, POD)}
AROUND = (
    'time=2026-11-21T08:34:39.850Z level=INFO msg="capturing logs" argo=true',
    "I1121 08:34:27.581508      16 launcher_v2.go:206] publish success.",
    "F1121 08:34:27.581508      16 main.go:57] failed to execute component: exit status 1",
)


@pytest.fixture
def kfp() -> Iterator[Answers]:
    with answering() as answers:
        yield answers


def pod_says(kfp: Answers, *lines: str) -> None:
    kfp.add(FROM_UI, "\n".join([AROUND[0], *lines, *AROUND[1:], ""]).encode())


def read(kfp: Answers, state: str, file: StringIO | None = None) -> PodLogs:
    log = PodLogs(ClusterConnection(kfp.url), "r1", file or StringIO(), None)
    log.read(NODES, {"drift-detection": StepProgress(state)})  # type: ignore[arg-type]
    return log


def test_a_running_step_says_how_far_it_is_and_one_that_has_ended_its_figures(kfp: Answers) -> None:
    pod_says(kfp, "[driftloop progress] 0.250 epoch 3/12", "[driftloop progress] 0.500 epoch 6/12")
    assert read(kfp, "running").texts["drift-detection"] == "50% epoch 6/12"
    pod_says(kfp, "[driftloop progress] 1.000", "[driftloop figures] stable: 0 of 10 windows drifted")
    assert read(kfp, "done").texts["drift-detection"] == "stable: 0 of 10 windows drifted"


def test_where_the_endpoint_is_the_api_itself_the_log_comes_from_there(kfp: Answers) -> None:
    kfp.add(FROM_API, b"[driftloop figures] version 2 serves")
    assert read(kfp, "done").texts["drift-detection"] == "version 2 serves"


def test_the_log_of_a_step_that_has_ended_is_kept_once(kfp: Answers) -> None:
    pod_says(kfp, "a line")
    file = StringIO()
    log = read(kfp, "done", file)
    log.read(NODES, {"drift-detection": StepProgress("done")})
    assert file.getvalue().count("--- drift-detection") == 1
    assert file.getvalue().count("a line") == 1
    assert len(kfp.asked) == 1


def test_our_own_line_explains_a_failure_before_any_other(kfp: Answers) -> None:
    pod_says(kfp, "ValueError: inner", "driftloop.InputError: chest: no class folders", "RuntimeError: KFP's own")
    log = read(kfp, "failed")
    assert log.failure("drift-detection") == Failure("chest: no class folders", ours=True)
    assert log.last_lines("drift-detection", 2) == ["driftloop.InputError: chest: no class folders", "RuntimeError: KFP's own"]


def test_another_exception_is_the_reason_where_none_of_ours_is_there(kfp: Answers) -> None:
    pod_says(kfp, "Traceback (most recent call last):", "torch.OutOfMemoryError: CUDA out of memory")
    assert read(kfp, "failed").failure("drift-detection") == Failure("OutOfMemoryError: CUDA out of memory", ours=False)


def test_what_the_launcher_could_not_do_is_the_reason_where_the_step_itself_was_fine(kfp: Answers) -> None:
    put = 'failed to upload output artifact "window" to remote storage URI "minio://mlpipeline/' + "v2/" * 100 + '": dial tcp: i/o timeout'
    pod_says(
        kfp,
        "[driftloop figures] 400 requests",
        f"F1121 11:50:29.090098      15 main.go:59] failed to execute component: {put}",
        'time=2026-11-21T11:50:29.214Z level=INFO msg="sub-process exited" argo=true error="exit status 1"',
        "Error: exit status 1",
    )
    failure = read(kfp, "failed").failure("drift-detection")
    assert failure is not None
    assert failure.text.startswith('failed to upload output artifact "window" to remote storage URI "minio://mlpipeline/')
    assert failure.text.endswith("dial tcp: i/o timeout")
    assert len(failure.text) < 320
    assert not failure.ours


def test_a_step_that_only_ended_badly_leaves_no_reason(kfp: Answers) -> None:
    pod_says(kfp, "Error: exit status 137")
    assert read(kfp, "failed").failure("drift-detection") is None


def test_logs_that_a_token_alone_does_not_open_are_told_of(kfp: Answers) -> None:
    kfp.add(FROM_UI, b"", 403)
    assert "let KFP_ENDPOINT name Kubeflow's gateway" in read(kfp, "done").refused
    kfp.add(FROM_API, b"[driftloop figures] version 2 serves")
    assert read(kfp, "done").refused == ""


def test_a_pod_without_a_log_leaves_no_reason(kfp: Answers) -> None:
    kfp.add(FROM_API, b'{"error_message":"BadRequestError: Failed to read logs for run r1"}')
    log = read(kfp, "failed")
    assert log.failure("drift-detection") is None
    assert log.last_lines("drift-detection", 5) == []
