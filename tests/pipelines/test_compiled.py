"""The committed YAML is what the code compiles to, and has the structure that a cluster and its users rely on."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from driftloop import __version__
from driftloop.backends.compiled_pipeline import compile_to_yaml
from driftloop.cli.compile import COMPILED
from driftloop.contracts import INGEST_SHARD
from pipelines import PIPELINES
from pipelines.ingest import PARALLELISM
from pipelines.placement import GPU, NEEDS, RETRIES

NAMES = list(PIPELINES)
TRAINING = ["baseline-training", "trial-search", "model-optimization", "automated-retraining"]


def documents(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The pipeline spec and its Kubernetes part."""
    spec, platform = yaml.safe_load_all((COMPILED / f"{name}.yaml").read_text())
    return spec, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def component_of(task: dict[str, Any]) -> str:
    """The name of the task's component, as `driftloop.contracts` has it; of a branch, KFP's own."""
    return re.sub(r"-\d+$", "", task["componentRef"]["name"].removeprefix("comp-")).replace("-", "_")


def tasks(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every task of every (nested) graph, by graph and task name."""
    graphs = {"root": spec["root"]} | {name: component for name, component in spec["components"].items() if "dag" in component}
    return {f"{graph}/{name}": task for graph, content in graphs.items() for name, task in content["dag"]["tasks"].items()}


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_yaml_is_fresh(name: str) -> None:
    assert (COMPILED / f"{name}.yaml").read_text() == compile_to_yaml(PIPELINES[name]), "run `make compile` and commit the result"


@pytest.mark.parametrize("name", NAMES)
def test_images_are_ours_and_named_by_the_release(name: str) -> None:
    spec, _ = documents(name)
    images = {executor["container"]["image"] for executor in spec["deploymentSpec"]["executors"].values()}
    assert images <= {f"driftloop-train:{__version__}", f"driftloop-watch:{__version__}"}


@pytest.mark.parametrize("name", NAMES)
def test_every_task_has_a_timeout_requests_and_limits(name: str) -> None:
    spec, platform = documents(name)
    for label, executor in spec["deploymentSpec"]["executors"].items():
        resources = executor["container"]["resources"]
        assert {"resourceCpuRequest", "resourceCpuLimit", "resourceMemoryRequest", "resourceMemoryLimit"} <= resources.keys(), label
        assert int(platform[label]["activeDeadlineSeconds"]) > 0, label


@pytest.mark.parametrize("name", NAMES)
def test_every_step_is_repeated_when_it_fails_and_knows_its_run(name: str) -> None:
    spec, platform = documents(name)
    steps = [task for task in tasks(spec).values() if component_of(task) in NEEDS]
    assert len(steps) == len(platform)
    assert {task["retryPolicy"]["maxRetryCount"] for task in steps} == {RETRIES}
    for task in steps:
        longest = int(task["retryPolicy"]["backoffMaxDuration"].removesuffix("s"))
        step = component_of(task)
        assert longest > (RETRIES + 1) * NEEDS[step].timeout, step
    for label, executor in platform.items():
        assert executor["fieldPathAsEnv"] == [{"name": "DRIFTLOOP_RUN_ID", "fieldPath": "metadata.labels['pipeline/runid']"}], label
        assert executor["imagePullPolicy"] == "IfNotPresent", label


@pytest.mark.parametrize("name", NAMES)
def test_on_a_persons_machine_nothing_is_repeated(name: str) -> None:
    script = (
        "import sys; from driftloop.backends.local_child import tried_once; from pipelines import PIPELINES;"
        "pipeline = tried_once(PIPELINES[sys.argv[1]]); assert 'retry_policy' not in str(pipeline.pipeline_spec)"
    )
    subprocess.run([sys.executable, "-c", script, name], check=True, capture_output=True)


@pytest.mark.parametrize("name", NAMES)
def test_only_training_steps_ask_for_a_gpu_and_its_number_and_node_are_parameters(name: str) -> None:
    spec, platform = documents(name)
    for label, executor in spec["deploymentSpec"]["executors"].items():
        accelerator = executor["container"]["resources"].get("accelerator")
        trains = any(label.startswith(f"exec-{step}") for step in TRAINING)
        assert (accelerator is not None) == trains, label
        if accelerator:
            assert accelerator["resourceType"] == GPU
            assert re.fullmatch(r"\{\{\$\.inputs\.parameters\['.*gpus'\]\}\}", accelerator["resourceCount"])
            assert {"key": GPU, "operator": "Exists", "effect": "NoSchedule"} in platform[label]["tolerations"]
        chosen = platform[label].get("nodeSelector", {}).get("nodeSelectorJson", {}).get("componentInputParameter", "")
        assert chosen.endswith("train_nodes") == trains, label


@pytest.mark.parametrize("name", NAMES)
def test_credentials_are_references_and_nothing_secret_is_inside(name: str) -> None:
    text = (COMPILED / f"{name}.yaml").read_text()
    _, platform = documents(name)
    for label, executor in platform.items():
        assert {entry["secretName"] for entry in executor["secretAsEnv"]} == {"driftloop-store"}, label
    assert not re.search(
        r"(?i)(minioadmin|aws_secret_access_key\s*[:=]\s*\S|password\s*[:=])", text.replace("envVar: AWS_SECRET_ACCESS_KEY", "")
    )


@pytest.mark.parametrize("name", ["drift-watch", "full-loop"])
def test_the_branches_are_named_ifs_and_every_leaf_ends_with_the_report(name: str) -> None:
    spec, _ = documents(name)
    everything = tasks(spec)
    conditions = {task["taskInfo"]["name"]: task for task in everything.values() if "condition" in task.get("triggerPolicy", {})}
    assert conditions.keys() == {"drifted: retrain", "no retraining", "better: promote", "keep champion"}
    reports = [task for task in everything.values() if task["taskInfo"]["name"] == "8 report"]
    assert len(reports) == 3
    assert not [key for key, task in everything.items() if key.startswith("root/") and task["taskInfo"]["name"] == "8 report"]


def test_a_training_ends_with_its_report_and_a_refused_one_does_not_wait_for_the_promotion_that_fails() -> None:
    spec, _ = documents("training")
    everything = tasks(spec)
    branches = {task["taskInfo"]["name"]: task for task in everything.values() if "condition" in task.get("triggerPolicy", {})}
    assert branches.keys() == {"accepted", "not accepted"}
    assert "model-promotion" in branches["accepted"]["dependentTasks"]
    assert set(branches["not accepted"]["dependentTasks"]) == {"onnx-deployment", "validation-gate"}
    reports = [task for task in everything.values() if task["taskInfo"]["name"] == "8 report"]
    outcomes = {task["inputs"]["parameters"]["outcome"]["runtimeValue"]["constant"]: task["inputs"] for task in reports}
    assert outcomes.keys() == {"promoted", "kept"}
    assert "version" in outcomes["promoted"]["parameters"]
    assert "version" not in outcomes["kept"]["parameters"]


@pytest.mark.parametrize("name", NAMES)
def test_steps_that_read_the_store_or_the_clock_are_never_cached(name: str) -> None:
    spec, _ = documents(name)
    for key, task in tasks(spec).items():
        component = component_of(task)
        if component in NEEDS:
            assert bool(task["cachingOptions"].get("enableCache")) == NEEDS[component].cached, key


@pytest.mark.parametrize("name", NAMES)
def test_names_fit_the_boxes_of_the_ui(name: str) -> None:
    spec, _ = documents(name)
    for task in tasks(spec).values():
        assert len(task["taskInfo"]["name"]) <= 18


def test_there_is_nothing_else_among_the_compiled_files() -> None:
    assert {path.stem for path in Path(COMPILED).iterdir()} == set(NAMES)


def test_shards_of_a_source_are_read_side_by_side_so_many_at_once() -> None:
    spec, _ = documents("ingest")
    root = spec["root"]["dag"]["tasks"]
    assert root["for-loop-1"]["iteratorPolicy"] == {"parallelismLimit": PARALLELISM}
    assert root["for-loop-1"]["dependentTasks"] == ["ingest-plan"]
    assert {component_of(task) for key, task in tasks(spec).items() if "for-loop-1/" in key} == {INGEST_SHARD}
