"""The names of a pipeline's steps as people see them: the display names in the compiled pipeline, by KFP's component name."""

from typing import Any


def step_titles(pipeline: Any) -> dict[str, str]:
    """Component name (as in the local runner's log) -> display name."""
    spec = pipeline.pipeline_spec
    dags = [spec.root.dag, *(component.dag for component in spec.components.values() if component.WhichOneof("implementation") == "dag")]
    return {task.component_ref.name.removeprefix("comp-"): task.task_info.name for dag in dags for task in dag.tasks.values()}
