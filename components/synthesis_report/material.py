"""What the report is made of: summary, facts and chapters of a run, from the directories that its steps left."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from driftloop.bundle import ONNX_FP16, ONNX_FP32, ONNX_INT8
from driftloop.contracts import (
    AUTOMATED_RETRAINING,
    BASELINE_TRAINING,
    DATA_ANALYSIS,
    DRIFT_DETECTION,
    MODEL_OPTIMIZATION,
    ONNX_DEPLOYMENT,
    PRODUCTION_MONITORING,
    VALIDATION_GATE,
)
from driftloop.evaluation.intervals import Proportion
from driftloop.reporting.chapter import Chapter
from driftloop.summary import Summary

TRAINING, DRIFT_WATCH, FULL_LOOP = "training", "drift-watch", "full-loop"
#: Steps whose chapters tell how a champion was made, and what a watch and its candidate have to tell.
MAKING = (DATA_ANALYSIS, BASELINE_TRAINING, MODEL_OPTIMIZATION, ONNX_DEPLOYMENT)
WATCHING = (PRODUCTION_MONITORING, DRIFT_DETECTION)
RENEWING = (AUTOMATED_RETRAINING, ONNX_DEPLOYMENT, VALIDATION_GATE)
#: Of the chapters.
TITLES = {
    DATA_ANALYSIS: "Theme 1: Data",
    BASELINE_TRAINING: "Theme 2: Baseline",
    MODEL_OPTIMIZATION: "Theme 3: Optimisation",
    ONNX_DEPLOYMENT: "Theme 4: Deployment",
    PRODUCTION_MONITORING: "Theme 5: Monitoring",
    DRIFT_DETECTION: "Theme 6: Drift",
    AUTOMATED_RETRAINING: "Theme 7: Retraining",
    VALIDATION_GATE: "Theme 7: The gate",
}
VARIANT_NAMES = {"onnx_fp32": "ONNX FP32", "onnx_int8": "ONNX INT8", "onnx_fp16": "ONNX FP16"}
GRAPH_FILES = {"onnx_fp32": ONNX_FP32, "onnx_int8": ONNX_INT8, "onnx_fp16": ONNX_FP16}


@dataclass(frozen=True)
class RunMaterial:
    """All that is known about a run."""

    pipeline: str
    """training, drift-watch or full-loop"""
    summary: Summary
    date: str
    """when the report was made, or the run ended: ISO 8601"""
    facts: Mapping[str, Any]
    """by step: of the champion that the run began with, or made, and of the watch"""
    chapters: Mapping[str, Chapter]
    """by step, likewise"""
    used: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """by step: its seconds, processor time and memory"""
    candidate_facts: Mapping[str, Any] = field(default_factory=dict)
    """by step: of the candidate that was judged, and of its gate"""
    candidate_used: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """by step, likewise"""
    candidate_chapters: Mapping[str, Chapter] = field(default_factory=dict)
    """by step, likewise"""
    libraries: Mapping[str, str] = field(default_factory=dict)
    """versions of what the model was made with"""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """of the run; empty where they are not known, as in a pod"""

    @property
    def short(self) -> bool:
        """Whether a few pages do: a watch is read every day."""
        return self.pipeline == DRIFT_WATCH

    @property
    def deployed(self) -> Mapping[str, Any]:
        """Facts of the deployment of the first champion."""
        return self.facts.get(ONNX_DEPLOYMENT, {})

    @property
    def verdict(self) -> str:
        """Of the watch; empty without one."""
        return self.summary.drift.verdict if self.summary.drift else ""

    @property
    def gate(self) -> Mapping[str, Any]:
        """Facts of the gate; empty where no candidate was judged."""
        return self.candidate_facts.get(VALIDATION_GATE, {})

    @property
    def first_gate_passed(self) -> bool:
        """Whether a gate let the champion pass that this run made and watched: a full loop watches none that did not."""
        return self.pipeline == FULL_LOOP and self.summary.drift is not None

    def proportion(self, step: str, name: str = "accuracy") -> Proportion | None:
        """An accuracy among the facts."""
        value = self.facts.get(step, {}).get(name)
        return Proportion(**value) if value else None

    def number(self, step: str, name: str) -> float | None:
        """A number of a chapter."""
        chapter = self.chapters.get(step)
        return chapter.numbers.get(name) if chapter else None
