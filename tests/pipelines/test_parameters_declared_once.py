"""A parameter is declared in `driftloop.settings` and nowhere else: the pipelines and the steps say what stands there."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler, dsl

from components.data_analysis import step as data_analysis
from components.drift_detection.windows import level_of
from components.validation_gate import step as validation_gate
from driftloop.cli.compile import COMPILED
from driftloop.errors import SettingError
from driftloop.settings import (
    GROUPS,
    PARAMETERS,
    DriftSettings,
    Parameter,
    TrafficParameters,
    TrainingParameters,
    WatchParameters,
    check_parameter,
)
from pipelines import PIPELINES
from pipelines.signature import pipeline

TAKEN = {
    "training": {*TrainingParameters.names()},
    "drift-watch": {"until", *WatchParameters.names()},
    "full-loop": {*TrainingParameters.names(), *TrafficParameters.names(), *WatchParameters.names()},
    "ingest": {"data_source", "data_image_size", "store", "data_config"},
}
#: Defaults that are a pipeline's own.
OWN_DEFAULTS = {"full-loop": {"drift_config": {"teaching": True}}}
TYPES = {"STRING": str, "NUMBER_INTEGER": int, "NUMBER_DOUBLE": float, "STRUCT": dict}


def _default(name: str, parameter: str) -> Any:
    return OWN_DEFAULTS.get(name, {}).get(parameter, PARAMETERS[parameter].default)


@pytest.mark.parametrize("name", list(PIPELINES))
def test_signatures_are_those_that_the_settings_declare(name: str) -> None:
    arguments = inspect.signature(PIPELINES[name].pipeline_func).parameters
    assert list(arguments) == [parameter for parameter in PARAMETERS if parameter in TAKEN[name]]
    for parameter, argument in arguments.items():
        assert argument.default == _default(name, parameter)
        assert argument.annotation is type(PARAMETERS[parameter].default)


@pytest.mark.parametrize("name", list(PIPELINES))
def test_compiled_defaults_types_and_descriptions_are_those_that_the_settings_declare(name: str) -> None:
    spec = next(yaml.safe_load_all((COMPILED / f"{name}.yaml").read_text()))
    inputs = spec["root"]["inputDefinitions"]["parameters"]
    assert inputs.keys() == TAKEN[name]
    lines = spec["pipelineInfo"]["description"].splitlines()
    for parameter, definition in inputs.items():
        assert definition["defaultValue"] == _default(name, parameter)
        assert TYPES[definition["parameterType"]] is type(PARAMETERS[parameter].default)
        assert f"- {parameter}: {PARAMETERS[parameter].description}" in lines
    assert sum(line.startswith("- ") for line in lines) == len(inputs)


def test_every_declared_parameter_belongs_to_a_pipeline() -> None:
    assert set().union(*TAKEN.values()) == PARAMETERS.keys()
    assert {f"{group}_config" for group in GROUPS} <= PARAMETERS.keys()


@pytest.mark.parametrize("bundle", [TrainingParameters, TrafficParameters, WatchParameters])
def test_the_fields_of_the_bundles_have_the_types_of_the_defaults(bundle: type) -> None:
    for name, annotation in inspect.get_annotations(bundle).items():
        assert (getattr(annotation, "__origin__", None) or annotation) is type(PARAMETERS[name].default)


def test_every_default_lies_within_its_range() -> None:
    for name, parameter in PARAMETERS.items():
        assert check_parameter(name, parameter.default) == parameter.default


@dsl.component(base_image="toy", install_kfp_package=False)
def play(days: int, until: str) -> None:
    print(days, until)


def test_a_new_parameter_is_an_entry_and_a_field(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(PARAMETERS, "toy_days", Parameter(3, "days of a toy", 1, 5))

    @dataclass(frozen=True)
    class ToyParameters(TrafficParameters):
        toy_days: int

    @pipeline("toy", "A toy.")
    def toy(until: str, parameters: ToyParameters) -> None:
        play(days=parameters.toy_days, until=until)

    compiler.Compiler().compile(toy, str(tmp_path / "toy.yaml"))
    spec = yaml.safe_load((tmp_path / "toy.yaml").read_text())
    assert spec["root"]["inputDefinitions"]["parameters"]["toy_days"] == {
        "defaultValue": 3.0,
        "isOptional": True,
        "parameterType": "NUMBER_INTEGER",
    }
    assert "- toy_days: days of a toy" in spec["pipelineInfo"]["description"]
    (task,) = spec["root"]["dag"]["tasks"].values()
    assert task["inputs"]["parameters"]["days"] == {"componentInputParameter": "toy_days"}
    with pytest.raises(SettingError, match=r"toy_days: 6 is outside 1\.\.5 \(days of a toy\)"):
        check_parameter("toy_days", 6)


class ReachedError(Exception):
    """The step went on behind its check."""


def stop(*arguments: Any) -> Any:
    raise ReachedError


def analyse(image_size: Any) -> None:
    data_analysis.run("digits", "0" * 64, "dataset", "report.html", image_size=image_size, seed=1, store="store", replayed=True)


def gate(margin: Any) -> None:
    validation_gate.run("dataset", "candidate", "evidence", "summary.md", margin=margin)


def detect(alpha: Any) -> None:
    level_of(alpha, DriftSettings(), windows=1)
    raise ReachedError


CHECKED: dict[str, Callable[[Any], None]] = {"data_image_size": analyse, "gate_margin": gate, "drift_alpha": detect}
NEXT = {"data_image_size": 1, "gate_margin": 1e-6, "drift_alpha": 1e-6}


@pytest.mark.parametrize("name", list(CHECKED))
def test_a_step_takes_what_the_pipelines_promise_and_nothing_beyond(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_analysis, "open_store", stop)
    monkeypatch.setattr(validation_gate, "read_description", stop)
    parameter = PARAMETERS[name]
    assert parameter.low is not None
    assert parameter.high is not None
    for value in (parameter.low, parameter.default, parameter.high):
        with pytest.raises(ReachedError):
            CHECKED[name](value)
    for value in (parameter.low - NEXT[name], parameter.high + NEXT[name]):
        with pytest.raises(SettingError, match=f"{name}: .* is outside {parameter.low}..{parameter.high}"):
            CHECKED[name](value)
        with pytest.raises(SettingError, match=name):
            check_parameter(name, value)
