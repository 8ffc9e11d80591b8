"""`driftloop run --on cluster` as a person sees it, against a server that answers as KFP 2.17 does: no cluster is needed for that."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from driftloop.backends.base import RunRequest
from driftloop.backends.cluster import backend, pod_troubles
from driftloop.backends.cluster.backend import ClusterBackend
from driftloop.backends.cluster.connection import API
from driftloop.backends.run_folder import RunFolder
from driftloop.store import open_store
from driftloop.watch_record import FAILED
from driftloop.watch_store import read_records, start_watch
from tests.factories.records import watch_record
from tests.pipelines.command import DRIFTLOOP, Command
from tests.unit.cli.answering import Answers, answering

TRAINING = ("run", "training", "--on", "cluster", "--source", "digits", "--gpus", "0")
TOKEN = "secret-of-a-person"
LOG = (
    "[KFP Executor 2026-11-21 08:34:39,946 INFO]: Looking for component\n"
    "I1121 08:34:27.581508      16 launcher_v2.go:206] publish success.\n"
)


def workflow(phase: str, message: str = "") -> dict[str, Any]:
    """Of a run whose first step is in that phase, or has ended in it."""
    times = {"startedAt": "2026-11-21T08:33:53Z", "finishedAt": "2026-11-21T08:34:06Z"}
    nodes = [
        {"id": "w-1", "name": "w.root.source-resolution-driver", "type": "Pod", "phase": "Succeeded", "templateName": "driver", **times},
        {"id": "w-2", "name": "w.root.source-resolution", "type": "DAG", "phase": phase, **times},
        {"id": "w-3", "name": "w.root.source-resolution.executor", "type": "Pod", "phase": phase, "templateName": "impl", **times},
    ]
    nodes[-1] |= {"message": message} if message else {}
    return {"metadata": {"name": "w"}, "status": {"nodes": {node["id"]: node for node in nodes}}}


def ends(kfp: Answers, state: str, phase: str, log: str, message: str = "") -> None:
    """Let the run end so."""
    kfp.add(f"{API}/runs/r1", {"run_id": "r1", "state": state, "run_details": {}})
    kfp.add("/apis/v1beta1/runs/r1", {"pipeline_runtime": {"workflow_manifest": json.dumps(workflow(phase, message))}})
    kfp.add("/k8s/pod/logs", (LOG + log).encode())


@pytest.fixture
def kfp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    with answering() as answers:
        answers.add(f"{API}/healthz", {"tag_name": "2.17.0", "multi_user": False})
        answers.add(f"{API}/experiments", {"experiments": [{"experiment_id": "e1", "display_name": "driftloop"}]})
        answers.add(f"{API}/pipelines", {"pipelines": [{"pipeline_id": "p1", "display_name": "training"}]})
        answers.add(f"{API}/pipelines/p1/versions", {})
        answers.add(f"{API}/pipelines/upload_version", {"pipeline_version_id": "v1"})
        answers.add(f"{API}/runs", {"run_id": "r1"})
        for name, value in {"KFP_ENDPOINT": answers.url, "KFP_TOKEN": TOKEN, "HOME": str(tmp_path)}.items():
            monkeypatch.setenv(name, value)
        for name in ("KUBECONFIG", "AWS_ACCESS_KEY_ID", "DRIFTLOOP_IMAGE_PREFIX", "KFP_NAMESPACE"):
            monkeypatch.delenv(name, raising=False)
        yield answers


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


def posted(kfp: Answers, path: str) -> list[bytes]:
    return [sent for method, url, sent, _ in kfp.asked if method == "POST" and url.partition("?")[0] == f"{API}/{path}"]


def test_a_run_that_succeeds_is_shown_to_its_end(kfp: Answers, command: Command) -> None:
    ends(kfp, "SUCCEEDED", "Succeeded", "[driftloop figures] digits: content b6d015f5f9df\n")
    shown = command(*TRAINING).stdout
    assert "✓ source            13.0 s  digits: content b6d015f5f9df" in shown
    assert f"not fetched: {kfp.url} does not lead to KFP's metadata store" in shown
    assert shown.splitlines()[-1].split() == ["run", f"{kfp.url}/#/runs/details/r1"]
    summary = command.summary()
    assert (summary["error"], summary["steps"]) == (None, {"source-resolution": 13.0})
    (run,) = posted(kfp, "runs")
    sent = json.loads(run)
    assert sent["pipeline_version_reference"] == {"pipeline_id": "p1", "pipeline_version_id": "v1"}
    assert sent["runtime_config"]["parameters"]["store"] == "s3://driftloop/default"
    assert TOKEN not in shown + (command.folder / "runs" / "latest" / "run.log").read_text()


def test_a_pipeline_that_trains_nothing_asks_for_no_gpu(kfp: Answers, command: Command) -> None:
    kfp.add(f"{API}/pipelines", {"pipelines": [{"pipeline_id": "p1", "display_name": "ingest"}]})
    shown = command("run", "ingest", "--on", "cluster", "--source", "s3://bucket/images", "--no-wait").stdout
    assert "ingest started: " in shown
    (run,) = posted(kfp, "runs")
    sent = json.loads(run)["runtime_config"]["parameters"]
    assert sent == {"data_source": "s3://bucket/images", "data_image_size": 64, "store": "s3://driftloop/default", "data_config": {}}


def test_a_step_that_stops_with_a_line_of_ours_shows_that_line_and_no_traceback(kfp: Answers, command: Command) -> None:
    ends(kfp, "FAILED", "Failed", "Traceback (most recent call last):\ndriftloop.InputError: digits: no such thing [here]\n")
    failed = command(*TRAINING, status=2)
    assert failed.stderr.startswith("driftloop: source: digits: no such thing [here] (log: runs/")
    assert "Traceback" not in failed.stdout + failed.stderr
    assert "publish success" not in failed.stdout
    assert f"{kfp.url}/#/runs/details/r1" in failed.stdout
    assert command.summary()["error"] == "digits: no such thing [here]"


def test_a_failure_that_is_not_the_users_shows_the_end_of_its_log_and_ends_with_another_status(kfp: Answers, command: Command) -> None:
    ends(kfp, "FAILED", "Failed", "MemoryError\nValueError: inner\n")
    failed = command(*TRAINING, status=1)
    assert "source: ValueError: inner" in failed.stderr
    assert "  MemoryError\n  ValueError: inner\n" in failed.stdout


#: What a launcher prints of an executor's input before it starts the step.
LAUNCHER_JSON = 'I1121 08:34:27.581508      16 launcher_v2.go:151] input ComponentSpec:{\n  "inputDefinitions": {\n'


@pytest.mark.parametrize(
    ("message", "log"),
    [
        ("OOMKilled (exit code 137)", ""),
        ("Error (exit code 1)", "F1121 08:34:39.946000      16 main.go:59] failed to execute component: signal: killed\n"),
    ],
)
def test_a_step_that_ran_out_of_memory_says_what_it_had_and_how_to_give_it_more(
    kfp: Answers, command: Command, message: str, log: str
) -> None:
    ends(kfp, "FAILED", "Failed", LAUNCHER_JSON + log, message)
    failed = command(*TRAINING, status=2)
    assert "source: it ran out of memory: it asks for 512Mi and may take 2048Mi; give it more with" in failed.stderr
    assert "--set placement.source_resolution.memory=1024Mi (then it may take 4096Mi)" in failed.stderr
    assert "inputDefinitions" not in failed.stdout + failed.stderr
    again = command(*TRAINING, "--set", "placement.source_resolution.memory=3Gi", status=2).stderr
    assert "it asks for 3Gi and may take 12Gi; give it more with --set placement.source_resolution.memory=6Gi" in again


def test_a_wrong_key_in_the_secret_is_told_as_that(kfp: Answers, command: Command) -> None:
    line = "s3://driftloop/default: http://minio:9000 refuses the credentials (InvalidAccessKeyId); check AWS_ACCESS_KEY_ID and"
    ends(kfp, "FAILED", "Failed", f"driftloop.StoreError: {line} AWS_SECRET_ACCESS_KEY\n")
    said = command(*TRAINING, status=2).stderr
    assert "(InvalidAccessKeyId); check accesskey and secretkey of Secret driftloop-store in namespace kubeflow" in said
    assert "AWS_" not in said


def test_a_pod_that_cannot_start_ends_the_run_with_its_reason(kfp: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "CreateContainerConfigError: couldn't find key accesskey in Secret kubeflow/driftloop-store"
    ends(kfp, "RUNNING", "Pending", "", reason)
    kfp.add(f"{API}/runs/r1:terminate", {})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pod_troubles, "GRACE_S", 0.1)
    monkeypatch.setattr(backend, "POLL_S", 0.2)
    opened = ClusterBackend(RunRequest("training", {"data_source": "digits", "gpus": "0"}), lambda line: None)
    console = Console(file=StringIO(), width=200, highlight=False)
    display = opened.display(console)
    with display:
        failure = opened.execute(opened.arguments, RunFolder.create("training"), display.show, None)
    assert failure is not None
    assert failure.text == (
        f"its pod cannot start: {reason}; make Secret driftloop-store and ConfigMap driftloop-store as k8s/README.md says; "
        "the run was ended"
    )
    assert display.failed == "source-resolution"
    assert posted(kfp, "runs/r1:terminate")
    shown = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line[0] for line in shown] == ["▸", "✗"]
    assert all(reason in line for line in shown)


def test_a_run_that_somebody_terminates_is_told_as_that(kfp: Answers, command: Command) -> None:
    ends(kfp, "CANCELED", "Failed", "")
    assert "the run was terminated in the cluster" in command(*TRAINING, status=1).stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_the_run_running_and_says_how_to_stop_it(
    kfp: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.delenv("KFP_TOKEN")
    ends(kfp, "RUNNING", "Running", "")
    # A suite that a shell started in the background passes on that Ctrl-C is ignored.
    listening = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    waiting = subprocess.Popen(
        [DRIFTLOOP, *TRAINING], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=listening
    )
    deadline = time.monotonic() + 60
    while not any(path == f"{API}/runs/r1" for _, path, _, _ in kfp.asked):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    waiting.send_signal(number)
    shown, _ = waiting.communicate(timeout=60)
    assert waiting.returncode != 0
    stop = f"the run goes on in the cluster; stop it on its page, or with: curl --request POST {kfp.url}{API}/runs/r1:terminate"
    assert stop in shown
    assert not any(path.endswith(":terminate") for _, path, _, _ in kfp.asked)
    assert json.loads((tmp_path / "runs" / "latest" / "summary.json").read_text())["error"] == "interrupted"


def test_the_watch_of_a_run_that_failed_gets_its_reason_at_once(kfp: Answers, command: Command, s3_uri: str) -> None:
    """On a cluster its record has KFP's name of the run, not that of the folder here."""
    home = open_store(s3_uri)
    start_watch(home, watch_record(1, run_id="r1", verdict="retrain"))
    ends(kfp, "FAILED", "Failed", "driftloop.InputError: no such thing\n")
    command("run", "full-loop", "--on", "cluster", "--source", "digits", "--gpus", "0", "--store", s3_uri, status=2)
    (record,) = read_records(home)
    assert (record.state, record.failure) == (FAILED, "no such thing")


def test_an_interrupt_leaves_the_watch_of_its_run_open(kfp: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends(kfp, "RUNNING", "Running", "")
    monkeypatch.chdir(tmp_path)
    opened = ClusterBackend(RunRequest("training", {"data_source": "digits", "gpus": "0"}), lambda line: None)
    folder = RunFolder.create("training")

    def interrupted(progress: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opened.execute(opened.arguments, folder, interrupted, None)
    assert opened.ended_run(folder) == ""
    ends(kfp, "FAILED", "Failed", "")
    opened.execute(opened.arguments, folder, lambda progress: None, None)
    assert opened.ended_run(folder) == "r1"


def test_without_waiting_only_the_address_is_told(kfp: Answers, command: Command) -> None:
    shown = command(*TRAINING, "--no-wait", "--experiment", "mine").stdout
    assert f"training started: {kfp.url}/#/runs/details/r1" in shown
    assert not (command.folder / "runs").exists()


def test_a_version_that_is_there_is_not_uploaded_again(kfp: Answers, command: Command) -> None:
    command(*TRAINING, "--no-wait")
    (upload,) = [url for _, url, _, _ in kfp.asked if "upload_version" in url]
    name = upload.partition("name=")[2].partition("&")[0]
    kfp.add(f"{API}/pipelines/p1/versions", {"pipeline_versions": [{"display_name": name, "pipeline_version_id": "v7"}]})
    assert "uploaded" not in command(*TRAINING, "--no-wait").stdout
    assert len(posted(kfp, "pipelines/upload_version")) == 1
    assert json.loads(posted(kfp, "runs")[-1])["pipeline_version_reference"]["pipeline_version_id"] == "v7"


def test_another_pipeline_under_the_same_name_is_not_overwritten(kfp: Answers, command: Command) -> None:
    spec = {"pipeline_spec": {"pipelineInfo": {"name": "of-somebody-else"}}}
    kfp.add(
        f"{API}/pipelines/p1/versions", {"pipeline_versions": [{"display_name": "1", "pipeline_version_id": "v1", "pipeline_spec": spec}]}
    )
    assert "the pipeline training there holds versions of of-somebody-else" in command(*TRAINING, status=2).stderr
    assert not posted(kfp, "runs")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--source", "."), "a cluster does not see this machine's files"),
        (("--store", "runs/store"), "write s3://bucket/prefix"),
        (("--source", "digit"), "a cluster does not see this machine's files"),
    ],
)
def test_what_a_cluster_cannot_reach_is_refused_at_once(kfp: Answers, command: Command, arguments: tuple[str, ...], said: str) -> None:
    assert said in command(*TRAINING, *arguments, status=2).stderr
    assert not kfp.asked


def test_its_options_are_for_clusters_only(command: Command) -> None:
    assert "--no-wait is for runs on a cluster" in command("run", "training", "--no-wait", status=2).stderr
    assert "--experiment is for runs on a cluster" in command("run", "training", "--experiment", "mine", status=2).stderr
