"""The job for Kubeflow Trainer, held against its own schemas where they are at hand.

DRIFTLOOP_TRAINER_CRD names Trainer's `manifests/base/crds/trainer.kubeflow.org_trainjobs.yaml` (2.3 or later), which is large and not ours
to ship; `pip install kubeflow-trainer-api` brings its models.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from driftloop.contracts import MODEL_OPTIMIZATION
from driftloop.errors import RunFailed
from driftloop.training import train_job
from driftloop.training.train_job import DEADLINE_S, NodeWork, TrainJobs, condition
from pipelines.placement import NEEDS
from tests.trainer_api import AWS, NAMESPACE, STEP_POD, TrainerApi
from tests.unit.exporting.test_kserve import closed

WORK = NodeWork("driftloop-" + "ab" * 12, 4, 2, ["-m", "a.module", "s3://bucket/store", "a/key.json"], "team-queue")


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/etc/driftloop-store/ca.crt")
    return WORK.manifest(STEP_POD)


def test_trainer_s_own_schema_takes_it(job: dict[str, Any]) -> None:
    path = os.environ.get("DRIFTLOOP_TRAINER_CRD")
    if not path:
        pytest.skip("Kubeflow Trainer's CRD is not at hand: name a copy with DRIFTLOOP_TRAINER_CRD (tests/unit/training/test_train_job.py)")
    (version,) = [entry for entry in yaml.safe_load(Path(path).read_text())["spec"]["versions"] if entry["name"] == "v1alpha1"]
    schema = closed(version["schema"]["openAPIV3Schema"]["properties"]["spec"])
    jsonschema.validate(job["spec"], schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(job["spec"] | {"nodes": 2}, schema)


def test_the_models_of_trainer_s_client_take_it(job: dict[str, Any]) -> None:
    api = pytest.importorskip("kubeflow_trainer_api.models", reason="kubeflow-trainer-api is not installed")
    read = api.TrainerV1alpha1TrainJob.from_dict(job)
    assert read.to_dict()["spec"]["trainer"]["numNodes"] == WORK.nodes
    assert read.to_dict()["spec"]["runtimePatches"] == job["spec"]["runtimePatches"]


def test_its_pods_are_like_the_step_s_own(job: dict[str, Any]) -> None:
    own, trainer = STEP_POD["spec"]["containers"][1], job["spec"]["trainer"]
    assert (trainer["image"], trainer["resourcesPerNode"]) == (own["image"], own["resources"])
    assert (trainer["numNodes"], trainer["numProcPerNode"], trainer["args"]) == (4, 2, WORK.arguments)
    assert [entry["name"] for entry in trainer["env"]] == list(AWS)
    assert all(entry.keys() == {"name", "valueFrom"} for entry in trainer["env"])
    (patch,) = job["spec"]["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod = patch["template"]["spec"]["template"]["spec"]
    assert [mount["name"] for mount in pod["containers"][0]["volumeMounts"]] == ["shared-memory", "store-ca"]
    assert [volume["name"] for volume in pod["volumes"]] == ["shared-memory", "store-ca"]
    assert {key: pod[key] for key in ("nodeSelector", "tolerations", "imagePullSecrets")}.items() <= STEP_POD["spec"].items()
    assert job["metadata"]["namespace"] == NAMESPACE


def test_it_may_take_as_long_as_the_step_that_waits_for_it() -> None:
    assert NEEDS[MODEL_OPTIMIZATION].timeout == DEADLINE_S


def test_a_condition_that_no_longer_holds_is_none() -> None:
    suspended = {"type": "Suspended", "status": "False", "reason": "Resumed", "message": ""}
    assert condition({"status": {"conditions": [suspended]}}) == ("", "")
    failed = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "too long"}
    assert condition({"status": {"conditions": [suspended, failed]}}) == ("Failed", "DeadlineExceeded: too long")
    assert condition({}) == ("", "")


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrainerApi]:
    api = TrainerApi(tmp_path, dict.fromkeys(AWS, "a value"))
    api.play(monkeypatch, poll_s=0.1)
    yield api
    api.close()


@pytest.fixture
def idle(job: dict[str, Any]) -> dict[str, Any]:
    """A job whose pods wait for a minute and a half."""
    job["spec"]["trainer"] |= {"command": ["sleep"], "args": ["90"]}
    return job


def test_an_api_that_is_away_for_a_moment_is_asked_again(api: TrainerApi, idle: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    api.away["GET"] = 3
    jobs = TrainJobs()
    assert api.answers[:4] == [*[("GET", 503)] * 3, ("GET", 200)]
    assert jobs.own_pod()["metadata"]["name"] == STEP_POD["metadata"]["name"]
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1
        api.away["GET"] = 2
        if looks == 2:
            api.jobs[WORK.name]["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}

    jobs.begin(idle, begun=lambda _: False)
    jobs.wait(WORK.name, look)
    assert (looks, api.away["GET"]) == (2, 0)
    assert capsys.readouterr().out == f"TrainJob {WORK.name}: made\n"


def test_a_job_whose_making_was_not_answered_is_not_made_twice(api: TrainerApi, idle: dict[str, Any]) -> None:
    jobs = TrainJobs()
    api.away["POST"] = 1
    jobs.begin(idle, begun=lambda _: False)
    assert api.answers[-2:] == [("POST", 503), ("POST", 409)]
    assert len(api.made) == 1


def test_an_api_that_stays_away_is_said(api: TrainerApi, idle: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = TrainJobs()
    jobs.begin(idle, begun=lambda _: False)
    monkeypatch.setattr(train_job, "AWAY_S", 1)
    api.away["GET"] = 10_000
    with pytest.raises(RunFailed, match=r"API has been away for 1 s: it answers 503; run the step again, its job goes on"):
        jobs.wait(WORK.name, lambda: None)
    assert list(api.jobs) == [WORK.name]


def test_a_job_that_somebody_removes_is_said(api: TrainerApi, idle: dict[str, Any]) -> None:
    jobs = TrainJobs()
    jobs.begin(idle, begun=lambda _: False)
    with pytest.raises(RunFailed, match=f"TrainJob {WORK.name} is gone: somebody removed it"):
        jobs.wait(WORK.name, lambda: api.remove(WORK.name))


def test_what_kubernetes_refuses_is_said_in_its_words(api: TrainerApi, idle: dict[str, Any]) -> None:
    jobs = TrainJobs()
    api.invalid = "spec.trainer.numNodes: must be at most 3"
    with pytest.raises(RunFailed, match=r"TrainJob: Kubernetes refuses it with 422: .*must be at most 3"):
        jobs.begin(idle, begun=lambda _: False)
    assert not api.jobs
