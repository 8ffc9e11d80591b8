"""The names of a pipeline's steps as people see them: the display names in the compiled pipeline, by KFP's component name."""

from typing import Any


def dags_of(pipeline: Any) -> list[Any]:
    """The graphs of a pipeline: the outermost, and those of its branches."""
    spec = pipeline.pipeline_spec
    return [spec.root.dag, *(component.dag for component in spec.components.values() if component.WhichOneof("implementation") == "dag")]


def step_titles(pipeline: Any) -> dict[str, str]:
    """Component name (as in the local runner's log) -> display name."""
    return {task.component_ref.name.removeprefix("comp-"): task.task_info.name for dag in dags_of(pipeline) for task in dag.tasks.values()}
