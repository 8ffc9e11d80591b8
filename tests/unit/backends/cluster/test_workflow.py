"""How far a run is, from workflows in the shape in which KFP 2.17 keeps them, with and without retries; and how that is shown."""

import base64
import gzip
import json
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from driftloop.backends.cluster.live_table import LiveTable, StepProgress
from driftloop.backends.cluster.workflow import nodes_of, progress_of, waiting_for_pods
from driftloop.backends.compiled_pipeline import Branch, Step

RETRAIN, REST = Branch("condition-1", "drifted: retrain"), Branch("condition-4", "no retraining")
STEPS = [
    Step("drift-detection", "6 drift verdict"),
    Step("automated-retraining", "7 retraining", RETRAIN),
    Step("synthesis-report-3", "8 report", REST),
]
BEGAN = datetime(2026, 11, 21, 8, 33, 46, tzinfo=UTC)


def time(seconds: int | None) -> str | None:
    return None if seconds is None else (BEGAN + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def node(path: str, kind: str, phase: str, began: int = 0, ended: int | None = None, **more: Any) -> dict[str, Any]:
    name = f"watch-76srh{path}"
    number = sum(name.encode()) + 1_000_000
    times = {"startedAt": time(began), "finishedAt": time(ended)}
    return {"id": f"watch-76srh-{number}", "name": name, "type": kind, "phase": phase, **times, **more}


def workflow(*nodes: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "watch-76srh"}, "status": {"nodes": {node["id"]: node for node in nodes}}}


def step(
    name: str,
    phase: str,
    began: int,
    ended: int | None,
    *,
    cached: str = "false",
    retried: bool = True,
    item: int | None = None,
    **pod: Any,
) -> list[dict[str, Any]]:
    """The nodes of a step: its driver, itself, and its pod; where failures are retried, an attempt below each; in an item of a loop."""
    inside = "" if item is None else f".for-loop-1.iteration-iterations({item}:{item}).iteration-item"
    outputs = {"parameters": [{"name": "pod-spec-patch", "value": "{}"}, {"name": "cached-decision", "value": cached}]}
    first = "(0)" if retried else ""
    template = "retry-system-container-impl" if retried else "system-container-impl"
    nodes = [
        node(
            f"{first}.root{first}{inside}.{name}-driver{first}",
            "Pod",
            "Succeeded",
            began,
            began + 5,
            templateName="system-container-driver",
            outputs=outputs,
        ),
        node(f"{first}.root{first}{inside}.{name}{first}", "DAG", phase, began + 5, ended),
    ]
    if cached == "true":
        return [*nodes, node(f"{first}.root{first}{inside}.{name}{first}.executor", "Skipped", "Skipped", began + 5, began + 5)]
    executor = node(
        f"{first}.root{first}{inside}.{name}{first}.executor{first}",
        "Pod",
        pod.pop("pod_phase", phase),
        began + 5,
        ended,
        templateName=template,
        **pod,
    )
    wrappers = [
        node(f"{first}.root{first}{inside}.{name}-driver", "Retry", "Succeeded", began, began + 5),
        node(f"{first}.root{first}{inside}.{name}", "Retry", phase, began + 5, ended),
        node(f"{first}.root{first}{inside}.{name}{first}.executor", "Retry", phase, began + 5, ended),
    ]
    return [*nodes, executor, *(wrappers if retried else [])]


def progress(*nodes: dict[str, Any], ended: bool = False, succeeded: bool = False) -> dict[str, StepProgress]:
    return progress_of(STEPS, nodes_of(workflow(*nodes)), {}, BEGAN + timedelta(seconds=100), ended=ended, succeeded=succeeded)


@pytest.mark.parametrize("retried", [True, False])
def test_a_step_is_told_from_its_driver_and_its_attempts(retried: bool) -> None:
    nodes = nodes_of(workflow(*step("drift-detection", "Succeeded", 10, 40, retried=retried)))
    template = "retry-system-container-impl" if retried else "system-container-impl"
    assert nodes["drift-detection"].pod.startswith(f"watch-76srh-{template}-")
    assert progress(*step("drift-detection", "Succeeded", 10, 40, retried=retried))["drift-detection"] == StepProgress("done", 30.0)


def test_nodes_that_argo_has_compressed_are_read_as_well() -> None:
    plain = workflow(*step("drift-detection", "Succeeded", 10, 40))
    packed = base64.b64encode(gzip.compress(json.dumps(plain["status"].pop("nodes")).encode())).decode()
    compressed = {"metadata": plain["metadata"], "status": {"compressedNodes": packed}}
    assert nodes_of(compressed) == nodes_of(workflow(*step("drift-detection", "Succeeded", 10, 40)))
    assert "drift-detection" in nodes_of(compressed)


def test_a_step_that_runs_counts_its_seconds() -> None:
    assert progress(*step("drift-detection", "Running", 10, None))["drift-detection"] == StepProgress("running", 90.0)


def test_a_pod_that_waits_says_why() -> None:
    message = "Unschedulable: 0/1 nodes are available:\n1 Insufficient cpu."
    nodes = step("drift-detection", "Running", 10, None, pod_phase="Pending", message=message)
    waiting = progress(*nodes)["drift-detection"]
    assert waiting.text == waiting.waits == "Unschedulable: 0/1 nodes are available: 1 Insufficient cpu."
    assert progress(*step("drift-detection", "Running", 10, None, message="still going"))["drift-detection"].waits == ""
    starting = progress(*step("drift-detection", "Running", 10, None, pod_phase="Pending", message="PodInitializing"))["drift-detection"]
    assert (starting.text, starting.waits) == ("PodInitializing", "")
    assert waiting_for_pods(STEPS, nodes_of(workflow(*nodes)))
    assert not waiting_for_pods(STEPS, nodes_of(workflow(*step("drift-detection", "Running", 10, None))))


SEARCH = Step("trial-search", "3 search", Branch("for-loop-1", "3 searches"))


def looped(*nodes: dict[str, Any]) -> dict[str, StepProgress]:
    return progress_of([SEARCH], nodes_of(workflow(*nodes)), {}, BEGAN + timedelta(seconds=100), ended=False, succeeded=False)


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        (("Succeeded", 30), StepProgress("done", 30.0)),
        (("Running", None), StepProgress("running", 90.0)),
        (("Failed", 20), StepProgress("failed", 30.0)),
    ],
)
def test_a_step_of_a_loop_is_as_far_as_its_items_together(others: tuple[str, int | None], expected: StepProgress) -> None:
    loop = node(".root.for-loop-1", "DAG", "Running", 5)
    first = step("trial-search", "Succeeded", 10, 40, item=0)
    for items in (
        [*first, *step("trial-search", *others[:1], 20, others[1], item=1)],
        [*step("trial-search", others[0], 20, others[1], item=1), *first],
    ):
        assert looped(loop, *items) == {"for-loop-1": StepProgress("running"), "trial-search": expected}


def test_a_loop_over_nothing_was_not_taken() -> None:
    driver = node(".root.for-loop-1.iteration-driver", "Pod", "Succeeded", 5, 9)
    assert looped(driver, node(".root.for-loop-1", "DAG", "Running", 5)) == {"for-loop-1": StepProgress("running")}
    assert looped(driver, node(".root.for-loop-1", "DAG", "Succeeded", 5, 12)) == {"for-loop-1": StepProgress("not taken")}


def test_a_cached_step_is_told_from_one_that_ran() -> None:
    assert progress(*step("drift-detection", "Succeeded", 10, 16, cached="true", retried=False))["drift-detection"].state == "cached"


def test_a_second_attempt_gives_the_pod_and_the_first_ones_message_is_kept() -> None:
    nodes = step("drift-detection", "Running", 10, None)
    again = node("(0).root(0).drift-detection(0).executor(1)", "Pod", "Running", 60, None, templateName="retry-system-container-impl")
    merged = nodes_of(workflow(*nodes, again))
    assert merged["drift-detection"].pod == f"watch-76srh-retry-system-container-impl-{again['id'].rpartition('-')[2]}"
    assert merged["drift-detection"].phase == "Running"


def test_a_branch_is_taken_or_not() -> None:
    skipped = node("(0).root(0).condition-1", "Skipped", "Skipped", 41, 41, message="when 'false != false' evaluated false")
    taken = node("(0).root(0).condition-4", "Retry", "Running", 41)
    states = progress(*step("drift-detection", "Succeeded", 10, 40), skipped, taken, *step("synthesis-report-3", "Running", 45, None))
    assert states["condition-1"].state == "not taken"
    assert states["condition-4"].state == "running"
    assert "automated-retraining" not in states


def test_what_a_failure_left_undone_waits_and_is_not_called_not_taken() -> None:
    omitted = node("(0).root(0).condition-1", "Skipped", "Omitted", 41, 41, message="omitted: depends condition not met")
    states = progress(*step("drift-detection", "Failed", 10, 40), omitted, ended=True)
    assert states["drift-detection"].state == "failed"
    assert "condition-1" not in states


def test_a_step_whose_driver_fails_has_failed() -> None:
    assert progress(node("(0).root(0).drift-detection-driver", "Retry", "Error", 10, 20), ended=True)["drift-detection"].state == "failed"


def shown(*states: dict[str, StepProgress]) -> list[str]:
    """What is printed where there is no terminal."""
    console = Console(file=StringIO(), width=120, highlight=False)
    with LiveTable(console, STEPS) as display:
        for state in states:
            display.show(state)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_without_a_terminal_a_step_is_printed_when_it_begins_and_when_it_ends() -> None:
    running = {"drift-detection": StepProgress("running", 3.0)}
    further = {"drift-detection": StepProgress("running", 9.0, "40% testing windows")}
    ended = {
        "drift-detection": StepProgress("done", 12.0, "stable [p 0.4]"),
        "condition-1": StepProgress("not taken"),
        "condition-4": StepProgress("running"),
    }
    report = ended | {"synthesis-report-3": StepProgress("cached", 2.0)}
    assert shown(running, running, further, ended, ended, report) == [
        "▸ 6 drift verdict    3.0 s  ",
        "✓ 6 drift verdict   12.0 s  stable [p 0.4]",
        "– drifted: retrain        not taken",
        "✓ 8 report           2.0 s  cached  ",
    ]


def test_without_a_terminal_each_reason_why_a_pod_waits_is_printed_once() -> None:
    def waiting(seconds: float, reason: str) -> dict[str, StepProgress]:
        return {"drift-detection": StepProgress("running", seconds, reason, reason)}

    pull = "ImagePullBackOff: Back-off pulling image"
    started = {"drift-detection": StepProgress("running", 90.0, "3% reading")}
    assert shown(waiting(0, ""), waiting(4, pull), waiting(8, pull), waiting(30, "ErrImagePull"), waiting(40, pull), started) == [
        "▸ 6 drift verdict    0.0 s  ",
        f"▸ 6 drift verdict    4.0 s  {pull}",
        "▸ 6 drift verdict   30.0 s  ErrImagePull",
        "▸ 6 drift verdict   90.0 s  3% reading",
    ]
    ended = {"drift-detection": StepProgress("done", 95.0, "stable")}
    assert shown(waiting(4, pull), started, ended)[-1] == "✓ 6 drift verdict   95.0 s  stable"


def test_the_summary_gets_the_seconds_and_the_step_that_failed() -> None:
    display = LiveTable(Console(file=StringIO()), STEPS)
    display.show(
        {
            "drift-detection": StepProgress("done", 12.0),
            "condition-1": StepProgress("running"),
            "automated-retraining": StepProgress("failed", 7.25),
        }
    )
    assert display.seconds == {"drift-detection": 12.0, "automated-retraining": 7.25}
    assert display.titles[display.failed] == "7 retraining"
