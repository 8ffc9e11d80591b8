"""A pipeline as KFP compiles it: its YAML, its parameters, and its steps by the names that people see.

A step has two names of KFP's: that of its task, which a cluster reports, and that of its component, which the local runner logs.
"""

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from driftloop.errors import InputError


def compile_to_yaml(pipeline: Any) -> str:
    """The pipeline's YAML."""
    from kfp import compiler  # takes a second to import

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pipeline.yaml")
        compiler.Compiler().compile(pipeline, str(path))
        return path.read_text()


def with_placement(text: str, placement: Mapping[str, Mapping[str, str]]) -> str:
    """A pipeline's YAML whose steps ask for this memory and these processors; as it was where nothing is named.

    Args:
        text: the YAML.
        placement: component -> `memory` or `cpu` -> as Kubernetes writes it, checked.

    Raises:
        InputError: the pipeline has no such step.
    """
    if not placement:
        return text
    head = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    spec, *others = yaml.safe_load_all(text)
    components = {component["executorLabel"]: name for name, component in spec["components"].items() if "executorLabel" in component}
    for step, wanted in placement.items():
        # A component that stands in several places has a number behind its name in all but one.
        own = re.compile(rf"comp-{step.replace('_', '-')}(-\d+)?")
        labels = [label for label, component in components.items() if own.fullmatch(component)]
        if not labels:
            raise InputError(f"placement.{step}: the {spec['pipelineInfo']['name']} pipeline has no such step")
        for label in labels:
            spec["deploymentSpec"]["executors"][label]["container"]["resources"] |= _resources(wanted)
    return head + yaml.safe_dump_all([spec, *others], sort_keys=True)


def _resources(wanted: Mapping[str, str]) -> dict[str, Any]:
    """KFP's fields, each amount as it is written and as a number."""
    from pipelines.placement import at_most, gigabytes, most_cpu, processors  # brings KFP along

    resources: dict[str, Any] = {}
    if memory := wanted.get("memory"):
        limit = at_most(memory)
        resources |= {"resourceMemoryRequest": memory, "resourceMemoryLimit": limit}
        resources |= {"memoryRequest": gigabytes(memory), "memoryLimit": gigabytes(limit)}
    if cpu := wanted.get("cpu"):
        limit = most_cpu(cpu)
        resources |= {"resourceCpuRequest": cpu, "resourceCpuLimit": limit, "cpuRequest": processors(cpu), "cpuLimit": processors(limit)}
    return resources


def default_arguments(pipeline: Any) -> dict[str, Any]:
    """The parameters of a pipeline and their defaults, in the order of its signature."""
    inputs = pipeline.component_spec.inputs or {}
    return {name: spec.default for name, spec in inputs.items()}


def dags_of(pipeline: Any) -> list[Any]:
    """The graphs of a pipeline: the outermost, and those of its branches."""
    spec = pipeline.pipeline_spec
    return [spec.root.dag, *(component.dag for component in spec.components.values() if component.WhichOneof("implementation") == "dag")]


def step_titles(pipeline: Any) -> dict[str, str]:
    """Component name (as in the local runner's log) -> display name."""
    return {task.component_ref.name.removeprefix("comp-"): task.task_info.name for dag in dags_of(pipeline) for task in dag.tasks.values()}


@dataclass(frozen=True)
class Branch:
    """A branch of the pipeline."""

    name: str
    """KFP's name of its task."""
    title: str
    """The name that people see."""
    parent: "Branch | None" = None
    """The branch that it is in, if any."""


@dataclass(frozen=True)
class Step:
    """A step of the pipeline."""

    name: str
    """KFP's name of the task."""
    title: str
    """The name that people see."""
    branch: Branch | None = None
    """The branch that it is in, if any."""
    component: str = ""
    """The component's name, as `pipelines.placement` knows it."""


def steps_of(text: str) -> list[Step]:
    """The steps in a pipeline's YAML, in the order in which they run; a branch's stand where the branch is."""
    spec = next(yaml.safe_load_all(text))
    return _steps(spec, spec["root"]["dag"]["tasks"], None)


def branches_of(step: Step) -> list[Branch]:
    """The branches that lead to a step, the outermost first."""
    branches: list[Branch] = []
    branch = step.branch
    while branch is not None:
        branches.insert(0, branch)
        branch = branch.parent
    return branches


def _steps(spec: dict[str, Any], tasks: dict[str, Any], branch: Branch | None) -> list[Step]:
    steps = []
    for name in _ordered(tasks):
        title, component = tasks[name]["taskInfo"]["name"], spec["components"][tasks[name]["componentRef"]["name"]]
        if "dag" in component:
            steps += _steps(spec, component["dag"]["tasks"], Branch(name, title, branch))
        else:
            label = re.sub(r"^comp-|-\d+$", "", tasks[name]["componentRef"]["name"])
            steps.append(Step(name, title, branch, label.replace("-", "_")))
    return steps


def _ordered(tasks: dict[str, Any]) -> list[str]:
    """The tasks' names, each after those it depends on."""
    ordered: list[str] = []
    waiting = sorted(tasks)
    while waiting:
        ready = [name for name in waiting if set(tasks[name].get("dependentTasks", [])) <= set(ordered)]
        ordered.append(ready[0])
        waiting.remove(ready[0])
    return ordered
