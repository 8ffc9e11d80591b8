"""The scalars that people turn between runs: description and range, declared once.

The pipelines' descriptions (KFP's form shows no text beside a field), `--help`, the README's table and the checks before a run derive
from here. Everything else is reached through the `<group>_config` dictionaries of `driftloop.settings`.
"""

import difflib
import re
from dataclasses import dataclass
from typing import Any

from driftloop.errors import SettingError
from driftloop.settings import GROUPS


@dataclass(frozen=True)
class Parameter:
    """A pipeline parameter: what it is for, and the range its value must lie in (None: unbounded)."""

    description: str
    low: float | None = None
    high: float | None = None


PARAMETERS: dict[str, Parameter] = {
    "data_source": Parameter(
        "images to learn from: a folder or zip of <class>/ or <split>/<class>/, s3://..., digits, synthetic:xray or synthetic:roof"
    ),
    "data_image_size": Parameter("side in pixels that images are resized to", 32, 512),
    "train_epochs": Parameter("epochs of the optimised training; the baseline takes a share of them", 1, 1000),
    "traffic_drift": Parameter("drift of the replayed traffic: none, or <kind>[+<kind>]:<severity 0-1>, such as blur+noise:0.6"),
    "until": Parameter("the watch judges the traffic up to this UTC time (ISO 8601); empty: now"),
    "drift_alpha": Parameter("false-alarm rate of a window's drift test", 1e-4, 0.2),
    "gate_margin": Parameter("non-inferiority margin: the loss of clean accuracy that the gate accepts", 0.001, 0.2),
    "seed": Parameter("seed of everything random", 0, 2**31 - 1),
    "store": Parameter("the model's home: s3://bucket/prefix or a folder"),
    "gpus": Parameter("GPUs for the training steps; 0 trains on the CPU", 0, 8),
    "train_nodes": Parameter('labels of the nodes that training steps run on, as JSON, such as {"nvidia.com/gpu.product": "NVIDIA-L4"}'),
}
#: What Kubernetes takes as a label.
LABEL_KEY = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")

GROUP_TEXTS = {
    "data": "reading, splitting and packing images",
    "train": "baseline and optimised training",
    "deploy": "export, quantisation, benchmark",
    "traffic": "replayed traffic",
    "monitor": "production monitoring",
    "drift": "drift detection and retraining policy",
    "retrain": "retraining",
    "gate": "validation gate",
}


def describe(what: str, *names: str) -> str:
    """A pipeline's description: what it does, then each of its parameters."""
    lines = [what, "", "Parameters:"]
    lines += [f"- {name}: {PARAMETERS[name].description}" for name in names if name in PARAMETERS]
    lines += [f"- {name}: settings of {GROUP_TEXTS[name.removesuffix('_config')]}, as JSON" for name in names if name not in PARAMETERS]
    return "\n".join(lines)


def check(name: str, value: Any, known: dict[str, Any]) -> Any:
    """The value of parameter `name` in the type of its default in `known`, checked.

    Raises:
        SettingError: an unknown name, a value of the wrong type, or one out of range; the message says how to mend it.
    """
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        raise SettingError(f"{name}: no such parameter ({f'did you mean {near[0]}?' if near else 'known: ' + ', '.join(known)})")
    default = known[name]
    if name == "train_nodes":
        return _labels(name, value)
    if isinstance(default, dict):
        if not isinstance(value, dict):
            raise SettingError(f"{name}: {value!r} is not a group of settings; give {name}.<setting>=<value>")
        GROUPS[name.removesuffix("_config")].complete(value)
        return value
    parameter = PARAMETERS[name]
    converted = _convert(name, value, type(default), parameter)
    number = float(converted) if parameter.low is not None else None
    if number is not None and not (parameter.low <= number <= (parameter.high or number)):  # type: ignore[operator]
        raise SettingError(f"{name}: {value} is outside {parameter.low}..{parameter.high} ({parameter.description})")
    return converted


def _labels(name: str, value: Any) -> dict[str, str]:
    """Labels of Kubernetes."""
    if not isinstance(value, dict):
        raise SettingError(f"{name}: {value!r} are no labels; give {name}.<label>=<value>")
    for key, text in value.items():
        if not isinstance(text, str):
            raise SettingError(f"{name}: {key} is {text!r}, not a text; put it in quotation marks")
        if not LABEL_KEY.fullmatch(key) or not LABEL_VALUE.fullmatch(text):
            raise SettingError(f"{name}: {key}={text} is no label of a node; see kubectl get nodes --show-labels")
    return value


def _convert(name: str, value: Any, kind: type, parameter: Parameter) -> Any:
    wanted: type = int if name == "gpus" else kind
    try:
        if wanted is int and float(value) != int(float(value)):
            raise ValueError
        converted = wanted(float(value)) if wanted is int else wanted(value)
    except (TypeError, ValueError):
        raise SettingError(
            f"{name}: {value!r} is not a {'whole number' if wanted is int else 'number'} ({parameter.description})"
        ) from None
    return kind(converted)
