"""What a rehearsal plays is what the pipelines do: the same steps, with the same inputs, on every branch.

It searches in theme 3 alone, which does what no task before it has done: loops over nothing stand in the pipelines, too.
"""

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from driftloop.cli.compile import COMPILED
from driftloop.contracts import DRIFT_DETECTION, MODEL_OPTIMIZATION, TRAFFIC_REPLAY, TRIAL_SEARCH, VALIDATION_GATE
from driftloop.rehearsal import steps
from driftloop.rehearsal.steps import StepCaller, champion_stage, data_stage, watch_stage
from driftloop.settings import PARAMETERS, TrainingParameters, WatchParameters

TRAINING, WATCH = "training", "watch"


class Value(NamedTuple):
    """Where an input of a step comes from: a parameter of the pipeline, a constant, or an output of another step in a stage."""

    stage: str
    origin: str
    key: Any


class Call(NamedTuple):
    """A step that is called, in a stage."""

    stage: str
    component: str


class CompiledGraph:
    """The full-loop as it is compiled."""

    def __init__(self) -> None:
        self.spec = next(yaml.safe_load_all((COMPILED / "full-loop.yaml").read_text()))
        training = next(yaml.safe_load_all((COMPILED / "training.yaml").read_text()))
        self.training_titles = {task["taskInfo"]["name"] for task in training["root"]["dag"]["tasks"].values()}
        self.titles: dict[Call, str] = {}

    def calls(self, verdict: str, decision: str) -> dict[Call, dict[str, Value]]:
        """The steps that run for this verdict and this decision of the gate, and the inputs of each."""
        self.answers = {DRIFT_DETECTION: verdict, VALIDATION_GATE: decision}
        inputs = {name: Value("", "parameter", name) for name in self.spec["root"]["inputDefinitions"]["parameters"]}
        return dict(self._walk(self.spec["root"]["dag"], inputs))

    def _walk(self, dag: dict[str, Any], inputs: dict[str, Value]) -> Iterator[tuple[Call, dict[str, Value]]]:
        for task in dag["tasks"].values():
            if "parameterIterator" in task:
                continue
            given = {name: self._resolve(source, inputs, dag) for name, source in _sources(task)}
            if not self._is_taken(task, given):
                continue
            component = self.spec["components"][task["componentRef"]["name"]]
            if "dag" in component:
                yield from self._walk(component["dag"], given)
            else:
                call = self._call(task)
                self.titles[call] = task["taskInfo"]["name"]
                # KFP hands placement's parameters (gpus, train_nodes) to the task besides.
                yield call, {name: value for name, value in given.items() if name in _inputs(component)}

    def _resolve(self, source: dict[str, Any], inputs: dict[str, Value], dag: dict[str, Any]) -> Value:
        (kind, content), *_ = source.items()
        if kind in ("componentInputParameter", "componentInputArtifact"):
            return inputs[content]
        if kind == "runtimeValue":
            return Value("", "constant", content["constant"])
        producer = self._call(dag["tasks"][content["producerTask"]])
        return Value(producer.stage, producer.component, content.get("outputParameterKey") or content["outputArtifactKey"])

    def _call(self, task: dict[str, Any]) -> Call:
        component = _component(task)
        stage = TRAINING if task["taskInfo"]["name"] in self.training_titles else WATCH
        return Call(TRAFFIC_REPLAY if component == TRAFFIC_REPLAY else stage, component)

    def _is_taken(self, task: dict[str, Any], given: dict[str, Value]) -> bool:
        condition = task.get("triggerPolicy", {}).get("condition")
        if condition is None:
            return True
        parts = re.fullmatch(r"inputs\.parameter_values\['([^']+)'\] (==|!=) '([^']*)'", condition)
        assert parts, condition
        name, operator, wanted = parts.groups()
        return (self.answers[given[name].origin] == wanted) == (operator == "==")


def _inputs(component: dict[str, Any]) -> set[str]:
    return {name for definitions in component.get("inputDefinitions", {}).values() for name in definitions}


def _sources(task: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for kind in ("parameters", "artifacts"):
        yield from task.get("inputs", {}).get(kind, {}).items()


def _component(task: dict[str, Any]) -> str:
    return re.sub(r"-\d+$", "", task["componentRef"]["name"].removeprefix("comp-")).replace("-", "_")


@dataclass
class Rehearsed:
    """Plays the stages with steps that only write down what they are given."""

    artifacts: Path
    verdict: str = "retrain"
    decision: str = "promote"
    stage: str = TRAINING
    title: str = ""
    recorded: dict[Call, dict[str, Value]] = field(default_factory=dict)
    titles: dict[Call, str] = field(default_factory=dict)

    def play(self, monkeypatch: pytest.MonkeyPatch) -> dict[Call, dict[str, Value]]:
        for name, step in steps.STEPS.items():
            monkeypatch.setitem(steps.STEPS, name, steps.Step(self._recorder(name, step), step.outputs, step.metrics))
        arguments = {name: Value("", "parameter", name) for name in PARAMETERS}
        call, parameters = StepCaller(self.artifacts / TRAINING), TrainingParameters.of(arguments)
        champion_stage(call, parameters, data_stage(call, parameters, self.announce), self.announce)
        self.stage = WATCH
        until: Any = Value(TRAFFIC_REPLAY, TRAFFIC_REPLAY, "Output")
        watch_stage(StepCaller(self.artifacts / WATCH), WatchParameters.of(arguments), until)
        return self.recorded

    @contextmanager
    def announce(self, title: str) -> Iterator[None]:
        self.title = title
        yield

    def _recorder(self, name: str, step: steps.Step) -> Any:
        answers = {DRIFT_DETECTION: self.verdict, VALIDATION_GATE: self.decision}

        def run(**given: Any) -> Any:
            call = Call(self.stage, name)
            assert call not in self.recorded
            self.titles[call] = self.title
            inputs = {key: value for key, value in given.items() if key not in (*step.outputs, *step.metrics)}
            self.recorded[call] = {key: self._value(value) for key, value in inputs.items()}
            return answers.get(name, Value(self.stage, name, "Output"))

        return run

    def _value(self, given: Any) -> Value:
        if isinstance(given, Value):
            return given
        if isinstance(given, str) and Path(given).is_relative_to(self.artifacts):
            stage, component, output = Path(given).relative_to(self.artifacts).parts
            return Value(stage, component.replace("-", "_"), output)
        return Value("", "constant", given)


BRANCHES = [
    *(("retrain", decision) for decision in ("promote", "reject", "inconclusive")),
    *((verdict, "") for verdict in ("stable", "alert", "needs_labels")),
]


@pytest.mark.parametrize(("verdict", "decision"), BRANCHES)
def test_a_rehearsal_calls_the_steps_of_the_full_loop_with_their_inputs(
    verdict: str, decision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = CompiledGraph().calls(verdict, decision)
    replayed = compiled.pop(Call(TRAFFIC_REPLAY, TRAFFIC_REPLAY))
    assert replayed["champion_version"] == Value(TRAINING, "model_promotion", "Output")
    rehearsed = Rehearsed(tmp_path, verdict, decision).play(monkeypatch)
    assert rehearsed.keys() == compiled.keys()
    for call, inputs in compiled.items():
        assert rehearsed[call] == inputs, call


def test_the_branches_are_all_that_the_full_loop_has() -> None:
    graph = CompiledGraph()
    seen = {call for verdict, decision in BRANCHES for call in graph.calls(verdict, decision)}
    leaves = [task for component in graph.spec["components"].values() for task in component.get("dag", {}).get("tasks", {}).values()]
    everything = {_component(task) for task in [*leaves, *graph.spec["root"]["dag"]["tasks"].values()]}
    steps_of_it = {name for name in everything if not name.startswith(("condition", "for_loop"))}
    assert steps_of_it == {call.component for call in seen} | {TRIAL_SEARCH}


def test_the_steps_of_the_training_are_announced_by_the_pipelines_titles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, rehearsed = CompiledGraph(), Rehearsed(tmp_path)
    graph.calls("stable", "")
    rehearsed.play(monkeypatch)
    announced = {call: title for call, title in rehearsed.titles.items() if call.stage == TRAINING}
    assert announced == {call: title for call, title in graph.titles.items() if call.stage == TRAINING}


def test_a_step_takes_the_inputs_and_outputs_of_its_component_by_their_names() -> None:
    spec = CompiledGraph().spec
    components = {name: component for name, component in spec["components"].items() if "executorLabel" in component}
    for label, component in components.items():
        name = re.sub(r"-\d+$", "", label.removeprefix("comp-")).replace("-", "_")
        names = _inputs(component) | component.get("outputDefinitions", {}).get("artifacts", {}).keys()
        # A task of theme 3's search is theme 3's as well.
        module = f"components.{name}.step" if name != TRIAL_SEARCH else f"components.{MODEL_OPTIMIZATION}.{name}"
        assert set(inspect.signature(import_module(module).run).parameters) == names, name


@pytest.mark.parametrize("name", list(steps.STEPS))
def test_a_rehearsed_step_gets_the_outputs_of_its_component(name: str) -> None:
    component = CompiledGraph().spec["components"][f"comp-{name.replace('_', '-')}"]
    outputs = component.get("outputDefinitions", {}).get("artifacts", {})
    logged = {key for key, content in outputs.items() if content["artifactType"]["schemaTitle"] in METRICS}
    assert (set(steps.STEPS[name].metrics), set(steps.STEPS[name].outputs)) == (logged, outputs.keys() - logged)


METRICS = {"system.Metrics", "system.ClassificationMetrics"}
