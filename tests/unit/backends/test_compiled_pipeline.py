"""The steps of the compiled pipelines, by the names that people see."""

import pytest
import yaml

from driftloop.backends.compiled_pipeline import branches_of, compile_to_yaml, steps_of, with_placement
from driftloop.errors import InputError
from pipelines import PIPELINES
from pipelines.placement import NEEDS


def test_steps_come_in_the_order_in_which_they_run() -> None:
    titles = [step.title for step in steps_of(compile_to_yaml(PIPELINES["training"]))]
    making = ["source", "1 data analysis", "2 baseline", "3 search", "3 optimization", "4 ONNX", "first gate"]
    assert titles == [*making, "8 report", "first champion", "8 report"], "the first report is that of a model which the gate refused"


def test_a_step_knows_the_branches_that_lead_to_it() -> None:
    reports = [step for step in steps_of(compile_to_yaml(PIPELINES["drift-watch"])) if step.title == "8 report"]
    assert [[branch.title for branch in branches_of(step)] for step in reports] == [
        ["drifted: retrain", "better: promote"],
        ["drifted: retrain", "keep champion"],
        ["no retraining"],
    ]
    assert len({step.name for step in reports}) == 3


def test_a_steps_memory_and_processors_are_set_in_each_of_its_places() -> None:
    plain = compile_to_yaml(PIPELINES["full-loop"])
    placed = with_placement(plain, {"onnx_deployment": {"memory": "3Gi", "cpu": "500m"}, "automated_retraining": {"cpu": "12"}})
    assert placed.startswith("# PIPELINE DEFINITION\n# Name: full-loop\n")
    before, after = (next(yaml.safe_load_all(text))["deploymentSpec"]["executors"] for text in (plain, placed))
    changed = {name: executor["container"].pop("resources") for name, executor in after.items() if executor != before[name]}
    assert {name: executor["container"].pop("resources") for name, executor in before.items() if name in changed} != changed
    assert before == after
    assert changed.keys() == {"exec-onnx-deployment", "exec-onnx-deployment-2", "exec-automated-retraining"}
    assert changed["exec-onnx-deployment"] == {
        "cpuLimit": 8.0,
        "cpuRequest": 0.5,
        "memoryLimit": 12.884901888,
        "memoryRequest": 3.221225472,
        "resourceCpuLimit": "8",
        "resourceCpuRequest": "500m",
        "resourceMemoryLimit": "12Gi",
        "resourceMemoryRequest": "3Gi",
    }
    retraining = changed["exec-automated-retraining"]
    assert (retraining["resourceCpuRequest"], retraining["resourceCpuLimit"], retraining["resourceMemoryRequest"]) == ("12", "12", "2Gi")
    assert retraining["accelerator"]["resourceType"] == "nvidia.com/gpu"
    assert list(yaml.safe_load_all(placed))[1:] == list(yaml.safe_load_all(plain))[1:]


@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_amounts_are_written_as_kfp_writes_them(name: str) -> None:
    """Asking for what a step asks for anyway changes nothing."""
    text = compile_to_yaml(PIPELINES[name])
    steps = {step for step, needs in NEEDS.items() if f"comp-{step.replace('_', '-')}" in text}
    placement = {step: {"memory": NEEDS[step].memory, "cpu": NEEDS[step].cpu} for step in steps}
    assert list(yaml.safe_load_all(with_placement(text, placement))) == list(yaml.safe_load_all(text))


def test_a_step_that_the_pipeline_has_not_is_one_clear_line() -> None:
    with pytest.raises(InputError, match=r"placement\.traffic_replay: the training pipeline has no such step"):
        with_placement(compile_to_yaml(PIPELINES["training"]), {"traffic_replay": {"memory": "1Gi"}})
