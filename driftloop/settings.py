"""Every setting, declared once: name, type, default, range and one line of description.

What people turn between runs is a typed parameter of the pipelines and is not repeated here. Everything else is reached through
one `<group>_config` dictionary of overrides per group, which `complete` checks and fills in.
"""

import difflib
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from driftloop.errors import SettingError


class Settings(BaseModel):
    """A group of settings; frozen, and closed to names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    group: ClassVar[str]

    @classmethod
    def complete(cls, overrides: dict[str, Any] | None = None) -> Self:
        """The group with `overrides` applied to its defaults.

        KFP's local runners hand integers over as floats (3.0), which are taken as the integers they are.

        Raises:
            SettingError: an unknown name, or a value of the wrong type or out of range; one line, with the cure.
        """
        try:
            return cls(**(overrides or {}))
        except ValidationError as invalid:
            problem = invalid.errors()[0]
            name = ".".join(str(part) for part in problem["loc"])
            raise SettingError(cls._explain(name, problem)) from None

    @classmethod
    def _explain(cls, name: str, problem: Any) -> str:
        key = f"{cls.group}_config.{name}"
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(name, cls.model_fields, n=1, cutoff=0.5)
            hint = f"did you mean {cls.group}_config.{near[0]}?" if near else f"known: {', '.join(cls.model_fields)}"
            return f"{key}: no such setting ({hint})"
        description = cls.model_fields[name].description if name in cls.model_fields else ""
        message = problem["msg"].removeprefix("Input").removeprefix("Value error,").strip()
        return f"{key}: {problem['input']!r} {message} ({description})"


class DataSettings(Settings):
    """Theme 1: reading, splitting and packing a source of labelled images."""

    group: ClassVar[str] = "data"

    train_share: float = Field(0.50, gt=0, le=1, description="share of the groups used for training, where the source has no such split")
    val_share: float = Field(0.10, gt=0, le=1, description="share for model choice and calibration")
    test_share: float = Field(0.15, gt=0, le=1, description="share for the gate, touched by nothing else")
    reference_share: float = Field(0.10, ge=0, le=1, description="share held out as the drift reference")
    stream_share: float = Field(0.15, ge=0, le=1, description="share kept for traffic replay")
    max_broken_share: float = Field(0.05, ge=0, le=1, description="stop when more than this share of the image files is broken")
    group_pattern: str = Field(
        "", description="regular expression on the file name whose first group is the patient or site; empty: patterns of the known layouts"
    )
    workers: int = Field(0, ge=0, le=64, description="decoding processes; 0 takes one per core, at most 8")


class TrainSettings(Settings):
    """Themes 2 and 3: baseline and optimised training."""

    group: ClassVar[str] = "train"


class DeploySettings(Settings):
    """Theme 4: export, quantisation and benchmark."""

    group: ClassVar[str] = "deploy"


class TrafficSettings(Settings):
    """Traffic replay: the demo's and the rehearsal's production."""

    group: ClassVar[str] = "traffic"

    clean_windows: int = Field(2, ge=0, le=1000, description="windows of clean traffic before the drift sets in")
    drifted_windows: int = Field(8, ge=0, le=1000, description="windows of drifted traffic after them")
    window_size: int = Field(200, ge=10, le=100_000, description="requests per window; the stream split may hold fewer")
    labels: int = Field(660, ge=0, le=1_000_000, description="labels that arrive for uniformly drawn drifted requests")


class MonitorSettings(Settings):
    """Theme 5: service and model metrics over the inference log."""

    group: ClassVar[str] = "monitor"


class DriftSettings(Settings):
    """Theme 6: detectors, verdict and policy."""

    group: ClassVar[str] = "drift"

    window_size: int = Field(200, ge=20, le=100_000, description="requests judged together; at most a quarter of the reference is used")


class RetrainSettings(Settings):
    """Theme 7: the mix of old and new images and the fine-tuning from the champion."""

    group: ClassVar[str] = "retrain"


class GateSettings(Settings):
    """Theme 7: what a candidate must show before it is promoted."""

    group: ClassVar[str] = "gate"


GROUPS: dict[str, type[Settings]] = {
    model.group: model
    for model in (
        DataSettings,
        TrainSettings,
        DeploySettings,
        TrafficSettings,
        MonitorSettings,
        DriftSettings,
        RetrainSettings,
        GateSettings,
    )
}
