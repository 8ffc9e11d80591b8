"""The job for Kubeflow Trainer, held against its own schemas where they are at hand.

DRIFTLOOP_TRAINER_CRD names Trainer's `manifests/base/crds/trainer.kubeflow.org_trainjobs.yaml` (2.3 or later), which is large and not ours
to ship; `pip install kubeflow-trainer-api` brings its models.
"""

import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from driftloop.contracts import MODEL_OPTIMIZATION
from driftloop.training.train_job import DEADLINE_S, NodeWork, condition
from pipelines.placement import NEEDS
from tests.trainer_api import AWS, NAMESPACE, STEP_POD
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
