"""What the report says of its own accord is all French, whatever a run came to, settings and all."""

import re
from dataclasses import replace
from typing import Any

import pytest

from components.synthesis_report.document import build_document, names_of
from components.synthesis_report.lessons import EXPECTED
from components.synthesis_report.material import DRIFT_WATCH, FULL_LOOP, TRAINING, RunMaterial
from driftloop.contracts import AUTOMATED_RETRAINING, DATA_ANALYSIS, DRIFT_DETECTION, MODEL_OPTIMIZATION, ONNX_DEPLOYMENT, VALIDATION_GATE
from driftloop.reporting.document import document_html
from driftloop.reporting.translation import Translator, translate
from driftloop.summary import DriftSummary, GateSummary, Summary


def material(pipeline: str, **changes: Any) -> RunMaterial:
    made = RunMaterial(pipeline, Summary(run_id="r1", seed=1, pipeline=pipeline), "2026-01-02T03:04:05+00:00", facts={}, chapters={})
    return replace(made, **changes)


def share(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.02, "high": value + 0.02, "n": 1500}


FACTS = {
    DATA_ANALYSIS: {
        "source": "synthetic:xray",
        "classes": ["A", "B"],
        "counts": {"train": 10, "test": 5},
        "groups": 12,
        "image_size": 64,
        "manifest_hash": "ab12" * 8,
    },
    MODEL_OPTIMIZATION: {
        "accuracy": share(0.9),
        "compared_with_baseline": {"estimate": 0.05, "low": 0.02, "high": 0.08, "n": 1500},
        "ablation": [{"name": "without augmentation", "change": -0.01, "low": -0.03, "high": 0.01}],
        "ablation_epochs": 4,
        "device": "CPU, 2 of 2 cores",
    },
    ONNX_DEPLOYMENT: {
        "served": "model.onnx",
        "speedup": {"onnx_fp32": 4.5, "onnx_int8": 9.0},
        "int8_drop": {"value": 0.002, "low": -0.001, "high": 0.005},
        "calibration": {"ece_before": 0.04, "ece_after": 0.02, "n": 1500},
        "temperature": 1.3,
    },
}
DRIFT = {DRIFT_DETECTION: {"windows": [], "detectors": {}, "confirmed": True, "alpha": 0.003}}
HARM = "Drift is confirmed and harmful: on 94 random labels accuracy fell by 18.2 points, at least 7.0 points."
STABLE = DriftSummary(verdict="stable", p_values={}, reason=HARM)
RETRAIN = DriftSummary(verdict="retrain", p_values={}, reason=HARM)


def gated(decision: str, drift: DriftSummary | None) -> Summary:
    gate = GateSummary(decision=decision, reasons=["all 8 criteria hold"], evidence=[])
    return Summary(run_id="r1", seed=1, drift=drift, gate=gate, champion={"before": "1", "after": "2" if decision == "promote" else "1"})


@pytest.mark.parametrize(
    "run",
    [
        material(TRAINING),
        material(FULL_LOOP),
        material(FULL_LOOP, facts=FACTS),
        material(TRAINING, facts=FACTS, summary=gated("promote", None)),
        material(TRAINING, facts=FACTS, summary=gated("reject", None)),
        material(FULL_LOOP, facts=FACTS | DRIFT, summary=Summary(run_id="r1", seed=1, drift=STABLE)),
        *(
            material(
                FULL_LOOP,
                facts=FACTS | DRIFT,
                summary=gated(decision, RETRAIN),
                candidate_facts={AUTOMATED_RETRAINING: {"seconds": 3}, VALIDATION_GATE: {"labels_needed": {"clean test": 300}}},
            )
            for decision in ("promote", "inconclusive", "reject")
        ),
        *(material(pipeline, summary=Summary(run_id="r1", seed=1, error="the disk is full")) for pipeline in (FULL_LOOP, DRIFT_WATCH)),
        material(DRIFT_WATCH, facts=FACTS | DRIFT, summary=gated("promote", RETRAIN)),
    ],
)
def test_every_part_of_its_own_is_french(run: RunMaterial) -> None:
    document = build_document(run)
    named = frozenset(names_of(run))
    for part in document.parts:
        translator = Translator("fr", named)
        translator.chapter(part.chapter)
        assert translator.missing == [], part.chapter.title
    made, missing = translate(document, "fr", named)
    assert missing == []
    html = document_html(made)
    assert not re.findall(r'<section id="([\w-]+)" lang="en"', html)
    assert "n&#39;ont pas encore de traduction" not in html


def test_what_was_expected_of_a_run_has_its_words_alone_and_in_a_list() -> None:
    translator = Translator("fr")
    assert [name for name in EXPECTED if translator(name) == name] == []
    translator(f"5 of 8 results were measured in this run, and 8 of them are surprises: {', '.join(EXPECTED)}.")
    assert translator.missing == []
