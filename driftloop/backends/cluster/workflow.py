"""How far a run on a cluster is, read from its workflow: the steps by their names in the pipeline, without drivers and inner nodes.

In the workflow a step `x` is a node `x-driver`, which decides whether it runs, and then a node `x` with a pod `executor` in it; where
failures are retried, each of them has its attempts below it, `x(0)`, `x(1)`. A loop has all of that once for each of its items, below
`iterations(0:...)`: its step is as far as they are together. Only KFP's older API shows the workflow; the newer one
shows neither a step's pod nor why it waits.
"""

import base64
import gzip
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from driftloop.backends.cluster.connection import ClusterConnection
from driftloop.backends.cluster.live_table import StepProgress, StepState
from driftloop.backends.compiled_pipeline import Branch, Step, branches_of

ATTEMPT = re.compile(r"\(\d+\)")
FAILED = ("Failed", "Error")
WORST_FIRST = (*FAILED, "Running", "Pending", "Succeeded", "Skipped", "Omitted")
#: What Kubernetes calls a pod's first seconds, in which it waits for nothing.
STARTING = ("PodInitializing", "ContainerCreating")


@dataclass(frozen=True)
class WorkflowNode:
    """A step, a driver or a branch in the workflow."""

    phase: str
    """Argo's: Pending, Running, Succeeded, Skipped, Failed, Error, Omitted."""
    began: datetime | None
    """None where it has not."""
    ended: datetime | None
    """None where it has not."""
    pod: str = ""
    """The pod of its last attempt, "" for none."""
    message: str = ""
    """What Argo or Kubernetes reports of it, such as why its pod does not start."""
    cached: bool = False
    """For drivers: whether the step's outputs came from the cache."""


def read_workflow(connection: ClusterConnection, run_id: str) -> dict[str, WorkflowNode]:
    """The nodes of a run's workflow by the names of steps, drivers and branches.

    Raises:
        ClusterError: KFP does not show it.
    """
    run = connection.call("GET", f"/apis/v1beta1/runs/{run_id}")
    return nodes_of(json.loads((run.get("pipeline_runtime") or {}).get("workflow_manifest") or "{}"))


def nodes_of(workflow: Mapping[str, Any]) -> dict[str, WorkflowNode]:
    """As `read_workflow`, from the workflow itself."""
    name = workflow.get("metadata", {}).get("name", "")
    parts: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for node in _nodes(workflow.get("status") or {}).values():
        path = ATTEMPT.sub("", node["name"]).split(".")
        if path[-1] == "executor" and len(path) > 1:
            del path[-1]
        parts.setdefault(path[-1], {}).setdefault(".".join(path), []).append(node)
    return {title: _together([_node(nodes, name) for nodes in items.values()]) for title, items in parts.items()}


def progress_of(
    steps: Sequence[Step], nodes: Mapping[str, WorkflowNode], texts: Mapping[str, str], now: datetime, *, ended: bool, succeeded: bool
) -> dict[str, StepProgress]:
    """The state of each step and branch that has begun or will not.

    Args:
        steps: of the pipeline.
        nodes: of the workflow.
        texts: what to show beside a step.
        now: for steps that are running.
        ended: whether the run will not change any more.
        succeeded: whether it has ended well.
    """
    progress = {}
    for branch in {branch for step in steps for branch in branches_of(step)}:
        node = nodes.get(branch.name)
        if (node is None and succeeded) or (node is not None and (node.phase == "Skipped" or _is_empty(branch, node, steps, nodes))):
            progress[branch.name] = StepProgress("not taken")
        elif node is not None and node.phase != "Omitted":
            progress[branch.name] = StepProgress("running")
    for step in steps:
        driver, node = nodes.get(f"{step.name}-driver"), nodes.get(step.name)
        state = _state(driver, node, ended)
        first, last = driver or node, node or driver
        if state != "waiting" and first is not None and last is not None:
            # A pod that has not started says why; one that runs says more in its log.
            waits = last.message if state == "running" else ""
            pending = waits if last.phase == "Pending" and waits not in STARTING else ""
            progress[step.name] = StepProgress(state, _seconds(first.began, last.ended, now), texts.get(step.name) or waits, pending)
    return progress


def waiting_for_pods(steps: Iterable[Step], nodes: Mapping[str, WorkflowNode]) -> bool:
    """Whether a step has begun whose pod does not run yet."""
    phases = [nodes[name].phase for step in steps for name in (step.name, f"{step.name}-driver") if name in nodes]
    return "Pending" in phases or not phases


def _nodes(status: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The workflow's nodes by id; Argo compresses them where they take more than a megabyte, which a full loop's do."""
    if compressed := status.get("compressedNodes"):
        return json.loads(gzip.decompress(base64.b64decode(compressed)))
    return status.get("nodes") or {}


def _state(driver: WorkflowNode | None, node: WorkflowNode | None, ended: bool) -> StepState:
    phases = [part.phase for part in (driver, node) if part is not None]
    if any(phase in FAILED for phase in phases):
        return "failed"
    if node is not None and node.phase == "Succeeded":
        return "cached" if driver is not None and driver.cached else "done"
    begun = any(phase in ("Pending", "Running", "Succeeded") for phase in phases)
    return "running" if begun and not ended else "waiting"


def _seconds(began: datetime | None, ended: datetime | None, now: datetime) -> float:
    return 0.0 if began is None else max(0.0, ((ended or now) - began).total_seconds())


def _is_empty(branch: Branch, node: WorkflowNode, steps: Sequence[Step], nodes: Mapping[str, WorkflowNode]) -> bool:
    """Whether this is a loop that has ended without an item."""
    return node.phase == "Succeeded" and not any(f"{step.name}-driver" in nodes for step in steps if branch in branches_of(step))


def _together(items: list[WorkflowNode]) -> WorkflowNode:
    """A single node for a step of a loop: in the state of the item that is furthest from a good end."""
    if len(items) == 1:
        return items[0]
    worst = min(items, key=lambda item: WORST_FIRST.index(item.phase) if item.phase in WORST_FIRST else len(WORST_FIRST))
    return replace(
        worst,
        began=min((item.began for item in items if item.began), default=None),
        ended=max((item.ended for item in items if item.ended), default=None) if all(item.ended for item in items) else None,
        cached=all(item.cached for item in items),
    )


def _node(nodes: list[dict[str, Any]], workflow: str) -> WorkflowNode:
    """A single node for all that belong to it: the outermost for its state, the last attempt's pod for the rest."""
    outermost = min(nodes, key=lambda node: len(node["name"]))
    pods = sorted((node for node in nodes if node.get("type") == "Pod"), key=lambda node: node.get("startedAt") or "")
    messages = [node["message"] for node in [*reversed(pods), outermost] if node.get("message")]
    outputs = [output for node in pods for output in (node.get("outputs") or {}).get("parameters") or []]
    phase = outermost.get("phase", "")
    if phase == "Running" and pods and pods[-1].get("phase") == "Pending":
        phase = "Pending"
    return WorkflowNode(
        phase,
        _time(outermost.get("startedAt")),
        _time(outermost.get("finishedAt")),
        _pod_name(pods[-1], workflow) if pods else "",
        " ".join(messages[0].split()) if messages else "",
        any(output.get("name") == "cached-decision" and output.get("value") == "true" for output in outputs),
    )


def _pod_name(node: dict[str, Any], workflow: str) -> str:
    """Argo names pods by workflow, template and the number that ends the node's id."""
    return f"{workflow}-{node.get('templateName', '')}-{node['id'].rpartition('-')[2]}"


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
