"""The names of a pipeline's steps as people see them: the display names in the compiled pipeline, by KFP's component name.

The steps of a compiled pipeline, in the order in which they run, each with its display name and the branches that lead to it.
"""

from dataclasses import dataclass
from typing import Any

import yaml


def dags_of(pipeline: Any) -> list[Any]:
    """The graphs of a pipeline: the outermost, and those of its branches."""
    spec = pipeline.pipeline_spec
    return [spec.root.dag, *(component.dag for component in spec.components.values() if component.WhichOneof("implementation") == "dag")]


def step_titles(pipeline: Any) -> dict[str, str]:
    """Component name (as in the local runner's log) -> display name."""
    return {task.component_ref.name.removeprefix("comp-"): task.task_info.name for dag in dags_of(pipeline) for task in dag.tasks.values()}


@dataclass(frozen=True)
class Branch:
    """A branch of the pipeline: KFP's name of it, the name that people see, and the branch it is in, if any."""

    name: str
    title: str
    parent: "Branch | None" = None


@dataclass(frozen=True)
class Step:
    """A step: KFP's name of the task, the name that people see, and the branch it is in, if any."""

    name: str
    title: str
    branch: Branch | None = None


def steps_of(text: str) -> list[Step]:
    """The steps in a pipeline's YAML; a branch's stand where the branch is."""
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
            steps.append(Step(name, title, branch))
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
