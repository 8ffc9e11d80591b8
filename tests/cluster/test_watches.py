"""Watches that come twice, whose step is killed, and that die, with real pods: one record each, and nothing is trained twice."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from driftloop import registry
from driftloop.backends.cluster.backend import ENDED
from driftloop.backends.cluster.connection import API
from driftloop.backends.cluster.workflow import read_workflow
from driftloop.contracts import RETRAIN
from driftloop.store import open_store
from driftloop.watch_record import CLOSED, FAILED, STARTED, WatchRecord
from driftloop.watch_store import read_records
from tests.cluster.conftest import TIMEOUT_S, OnCluster
from tests.cluster.namespaces import kubectl
from tests.pipelines.command import DRIFTLOOP
from tests.pipelines.test_full_loop import DRIFT, SMALL

WATCH = (
    *("drift-watch", "--on", "cluster", "--gpus", "0", "--set", "gate_margin=0.1"),
    *("--set", "drift_config.gate_power=0", "--set", "drift_config.harm_labels=50"),
)
DETECTION, RETRAINING = "drift-detection", "automated-retraining"
#: Run in the pod of a detection: when the run has its record, everything is killed that Argo has started there, the launcher too, so
#: that nothing of this try is delivered.
KILL = """
import os, signal, sys, time
from driftloop.store import open_store
from driftloop.watch_store import read_records
home = open_store(sys.argv[1])
while not any(record.run_id == os.environ["DRIFTLOOP_RUN_ID"] for record in read_records(home)):
    time.sleep(0.05)
print("killed", flush=True)
for process in filter(str.isdecimal, os.listdir("/proc")):
    if int(process) not in (1, os.getpid()):
        os.kill(int(process), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def store(cluster: OnCluster, kubernetes: None) -> str:
    """A store with a champion, and traffic of its own for it, which has drifted; trained here, which is quicker."""
    uri = f"{cluster.store}-watches"
    cluster("run", "training", *SMALL, "--store", uri)
    cluster("replay", "--drift", DRIFT, "--count", "360", "--labels", "180", "--store", uri)
    return uri


class Waiting:
    """`driftloop run drift-watch --on cluster` in a process of its own, which follows its run to the end."""

    def __init__(self, cluster: OnCluster, folder: Path, store: str) -> None:
        folder.mkdir()
        self.cluster, self.folder, self.store = cluster, folder, store
        self.process = subprocess.Popen(
            [DRIFTLOOP, "run", *WATCH, "--store", store],
            cwd=folder,
            env=os.environ | {"COLUMNS": "160", "NO_COLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.output = self.error = ""

    def run_id(self) -> str:
        """KFP's, as soon as there is one."""
        while not (found := list(self.folder.glob("runs/*/cluster_run.json"))) or not found[0].read_text().endswith("\n"):
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.2)
        return json.loads(found[0].read_text())["run_id"]

    def kill_detection_once_recorded(self) -> str:
        """What the killer in this run's detection has printed: "" where the record became another run's."""
        run_id, printed = self.run_id(), ""
        while self.process.poll() is None and not printed:
            node = read_workflow(self.cluster.connection, run_id).get(DETECTION)
            if node is not None and node.phase == "Running" and node.pod:
                inside = ("exec", node.pod, "--container", "main", "--", "python", "-c", KILL, self.store)
                namespace = self.cluster.connection.namespace
                printed = subprocess.run(
                    ["kubectl", "--namespace", namespace, *inside], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
                ).stdout
            time.sleep(0.2)
        return printed.strip()

    def end(self) -> int:
        """The command's exit status, after its end."""
        self.output, self.error = self.process.communicate(timeout=TIMEOUT_S)
        return self.process.returncode

    def tries(self, step: str) -> int:
        """How many pods this run has had for a step, without its driver."""
        return len([name for name in pods_of(self.cluster, self.run_id()) if f".{step}.executor(" in name])


def pods_of(cluster: OnCluster, run_id: str, *selected: str) -> dict[str, str]:
    """A run's pods, or those that kubectl's options select: Argo's name of the node -> the pod's."""
    label = ("-l", f"pipeline/runid={run_id}")
    found = json.loads(kubectl("-n", cluster.connection.namespace, "get", "pods", *label, *selected, "-o", "json"))
    return {pod["metadata"]["annotations"]["workflows.argoproj.io/node-name"]: pod["metadata"]["name"] for pod in found["items"]}


@pytest.fixture(scope="module")
def doubled(cluster: OnCluster, store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Waiting]]:
    """Two watches submitted at the same moment, the one that got the record killed right after it: winner and loser."""
    folder = tmp_path_factory.mktemp("doubled")
    watches = [Waiting(cluster, folder / name, store) for name in ("first", "second")]
    with ThreadPoolExecutor(2) as threads:
        printed = list(threads.map(Waiting.kill_detection_once_recorded, watches))
    statuses = [watch.end() for watch in watches]
    told = "\n".join(watch.output + watch.error for watch in watches)
    assert sorted(printed) == ["", "killed"], told
    assert sorted(statuses) == [0, 2], told
    yield sorted(watches, key=lambda watch: watch.process.returncode)
    for watch in watches:
        watch.process.kill()


def records(store: str) -> list[WatchRecord]:
    return read_records(open_store(store))


def test_of_two_watches_at_once_one_has_the_record_and_the_other_says_whose_it_is(store: str, doubled: list[Waiting]) -> None:
    winner, loser = doubled
    (record,) = records(store)
    assert (record.run_id, record.sequence) == (winner.run_id(), 1)
    assert f"watch 1 belongs to run {winner.run_id()}" in loser.error
    assert f"run {loser.run_id()} came second and stops here, with nothing trained" in loser.error
    assert len(loser.error.strip().splitlines()) == 1


def test_a_step_killed_after_its_record_goes_on_with_it_and_the_report_closes_it(store: str, doubled: list[Waiting]) -> None:
    winner, _ = doubled
    (record,) = records(store)
    assert winner.tries(DETECTION) == 2
    assert (record.state, record.verdict, record.failure) == (CLOSED, RETRAIN, "")
    assert record.decision in ("promote", "reject")
    assert record.finished > record.started


def test_nothing_is_trained_twice(store: str, doubled: list[Waiting]) -> None:
    winner, loser = doubled
    assert (winner.tries(RETRAINING), loser.tries(RETRAINING)) == (1, 0)
    (record,) = records(store)
    assert len(registry.versions(open_store(store))) == (2 if record.decision == "promote" else 1)


def test_a_watch_that_died_is_closed_as_failed_by_the_next(cluster: OnCluster, store: str) -> None:
    """Nobody waits for it here, so that the next watch alone can find out; a step whose pod is deleted is not repeated."""
    cluster("replay", "--drift", DRIFT, "--count", "120", "--labels", "0", "--store", store)
    run_id = json.loads(cluster("run", *WATCH, "--store", store, "--no-wait", "--json").stdout)["run"].rpartition("/")[2]
    deadline = time.monotonic() + TIMEOUT_S
    while (state := cluster.connection.call("GET", f"{API}/runs/{run_id}")["state"]) not in ENDED:
        assert time.monotonic() < deadline, state
        # Argo makes a pod anew that is deleted before it runs.
        running = pods_of(cluster, run_id, "--field-selector", "status.phase=Running")
        after = [pod for name, pod in running.items() if "condition" in name and ".executor(" in name]
        if after:
            kubectl("-n", cluster.connection.namespace, "delete", "pod", "--force", "--grace-period=0", "--ignore-not-found", *after)
        time.sleep(0.2)
    assert state == "FAILED"
    died = records(store)[-1]
    assert (died.run_id, died.state) == (run_id, STARTED)

    cluster("replay", "--drift", DRIFT, "--count", "60", "--labels", "0", "--store", store, "--seed", "2")
    cluster("run", *WATCH, "--store", store)
    *_, died, following = records(store)
    assert (died.run_id, died.state, died.outcome) == (run_id, FAILED, "")
    assert died.failure.startswith(f"run {run_id} had not closed it when watch {following.sequence} came: a step failed or was killed")
    assert following.state == CLOSED
