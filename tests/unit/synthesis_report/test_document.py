"""The report is whole whatever a run left behind, and says what is missing."""

from dataclasses import replace
from typing import Any

import pytest

from components.synthesis_report.document import build_document
from components.synthesis_report.end_matter import UNKNOWN_PARAMETERS, environment_appendix, parameters_appendix
from components.synthesis_report.front_matter import introduction, passed_stages, recommendations
from components.synthesis_report.lessons import EXPECTED, expectations, lessons, practices
from components.synthesis_report.material import DRIFT_WATCH, FULL_LOOP, TRAINING, RunMaterial
from components.synthesis_report.synthesis import performance_rows
from driftloop.bundle import ONNX_FP32
from driftloop.contracts import (
    AUTOMATED_RETRAINING,
    DATA_ANALYSIS,
    DRIFT_DETECTION,
    MODEL_OPTIMIZATION,
    ONNX_DEPLOYMENT,
    PRODUCTION_MONITORING,
    VALIDATION_GATE,
)
from driftloop.evaluation.calibration import CALIBRATION_ERROR
from driftloop.reporting.chapter import Chapter, Table, Text
from driftloop.reporting.document import document_html
from driftloop.summary import ChampionSummary, DriftSummary, GateSummary, Summary


def material(pipeline: str, **changes: Any) -> RunMaterial:
    made = RunMaterial(pipeline, Summary(run_id="r1", seed=1), "2026-01-02T03:04:05+00:00", facts={}, chapters={})
    return replace(made, **changes)


@pytest.mark.parametrize("pipeline", [TRAINING, FULL_LOOP])
def test_a_run_that_left_nothing_still_gets_every_part(pipeline: str) -> None:
    document = build_document(material(pipeline))
    titles = [part.chapter.title for part in document.parts]
    assert titles[:2] == ["Executive summary", "Introduction"]
    assert {"Theme 1: Data", "Theme 8: Synthesis", "Limits", "Conclusion", "Glossary", "How to reproduce"} <= set(titles)
    assert "This step did not run." in document_html(document)


def test_a_failure_is_said_where_the_chapter_would_be() -> None:
    failed = Summary(run_id="r1", seed=1, error="data/chest: no class folders found")
    html = document_html(build_document(material(FULL_LOOP, summary=failed)))
    assert html.count("data/chest: no class folders found") >= 3


def test_a_first_model_that_the_gate_refused_is_no_error_to_mend() -> None:
    gate = GateSummary(decision="reject", reasons=["better than the commonest class: 37.1 %"], evidence=[])
    refused = Summary(run_id="r1", seed=1, gate=gate, error="the gate says reject, and there is no champion to go on with")
    (said,) = recommendations(material(TRAINING, summary=refused))
    assert said.startswith("Find out why nothing was promoted")
    (broken,) = recommendations(material(TRAINING, summary=Summary(run_id="r1", seed=1, error="the disk is full")))
    assert broken.startswith("Mend what the error says")


def test_a_verdict_that_retrains_nothing_is_why_there_is_no_retraining() -> None:
    stable = Summary(run_id="r1", seed=1, drift=DriftSummary(verdict="stable", p_values={}, reason="No confirmed change."))
    assert "the verdict was stable" in document_html(build_document(material(FULL_LOOP, summary=stable)))


@pytest.mark.parametrize(("pipeline", "passed"), [(FULL_LOOP, True), (DRIFT_WATCH, False)])
def test_the_first_gate_of_a_full_loop_is_told_where_nothing_was_retrained(pipeline: str, passed: bool) -> None:
    """A full loop watches the champion that its own first gate let pass; the champion of a watch was judged before it."""
    stable = Summary(run_id="r1", seed=1, drift=DriftSummary(verdict="stable", p_values={}, reason="No confirmed change."))
    run = material(pipeline, summary=stable)
    assert ("gate" in passed_stages(run)) is passed
    assert {practice.name: practice.done for practice in practices(run)}["A gate before promotion"] is (passed or None)


def test_what_steps_used_is_told_of_those_that_measured_it() -> None:
    def used(peak: float, gpu: float | None) -> dict[str, Any]:
        return {"seconds": 10.0, "cpu_seconds": 15.0, "peak_mb": peak, "gpu_peak_mb": gpu}

    of_champion = {DATA_ANALYSIS: used(300.0, None), MODEL_OPTIMIZATION: used(900.0, 2048.0)}
    appendix = environment_appendix(material(FULL_LOOP, used=of_champion, candidate_used={ONNX_DEPLOYMENT: used(950.0, None)}))
    said = " ".join(block.text for block in appendix.blocks if isinstance(block, Text))
    assert "most memory was taken by onnx deployment (candidate) (950 MB)" in said
    assert "A GPU was used by model optimization." in said
    assert not any(isinstance(block, Text) for block in environment_appendix(material(FULL_LOOP)).blocks)


def test_the_command_that_does_it_again_has_what_the_run_was_given() -> None:
    given = {"train_epochs": 4, "gate_margin": 0.02, "train_config": {"sweep_trials": 2}, "traffic_drift": "blur:1.0", "seed": 1}
    html = document_html(build_document(material(FULL_LOOP, parameters=given)))
    assert "driftloop run full-loop --drift blur:1.0 --seed 1 --set train_epochs=4 --set train_config.sweep_trials=2<" in html
    assert UNKNOWN_PARAMETERS not in html.replace("&#39;", "'")


def test_a_step_claims_nothing_of_what_the_run_was_given() -> None:
    """It is not told; the pages of a pipeline's UI are written by a step."""
    appendix = parameters_appendix(material(FULL_LOOP))
    assert all([column.name for column in block.columns][1] == "default" for block in appendix.blocks if isinstance(block, Table))
    assert document_html(build_document(material(FULL_LOOP))).replace("&#39;", "'").count(UNKNOWN_PARAMETERS) == 2


def test_a_watch_shows_only_what_is_essential() -> None:
    blocks = [Text(text="the detail"), Text(text="the essence", essential=True)]
    chapters = {PRODUCTION_MONITORING: Chapter(title="Monitoring", blocks=list(blocks))}
    document = build_document(material(DRIFT_WATCH, chapters=chapters))
    html = document_html(document)
    assert document.short
    assert "the essence" in html
    assert "the detail" not in html


def optimised(low: float, high: float) -> dict[str, Any]:
    compared = {"estimate": (low + high) / 2, "low": low, "high": high, "n": 100}
    return {MODEL_OPTIMIZATION: {"compared_with_baseline": compared, "ablation": []}}


@pytest.mark.parametrize(("low", "high", "verdict"), [(0.01, 0.03, "worked"), (-0.03, -0.01, "did not work"), (-0.01, 0.02, "not decided")])
def test_a_lesson_says_what_its_interval_shows(low: float, high: float, verdict: str) -> None:
    assert [lesson.verdict for lesson in lessons(material(TRAINING, facts=optimised(low, high)))] == [verdict]


def test_a_surprise_is_what_lies_outside_of_the_range_written_down_before() -> None:
    _, greatest = EXPECTED["accuracy lost by INT8"]
    for lost, reading in ((greatest + 0.01, "surprise: above"), (greatest, "as expected")):
        facts = {ONNX_DEPLOYMENT: {"int8_drop": {"value": lost}}}
        rows = {row["result"]: row["reading"] for row in expectations(material(TRAINING, facts=facts))}
        assert rows["accuracy lost by INT8"] == reading
        assert rows["accuracy lost to the drift"] == "not measured in this run"


def test_the_calibration_as_served_is_that_of_the_served_graph_as_in_the_table_of_variants() -> None:
    facts = {ONNX_DEPLOYMENT: {"calibration": {"ece_after": 0.07}, "measures": {"overall": {CALIBRATION_ERROR: {"value": 0.02}}}}}
    rows = {row["result"]: row for row in expectations(material(TRAINING, facts=facts))}
    assert rows["calibration error as served on the test split"]["reading"] == "as expected"


def test_the_graphs_of_a_retrained_champion_are_not_those_of_the_network_that_was_optimised() -> None:
    share = {"value": 0.9, "low": 0.88, "high": 0.92, "n": 1000}
    deployed = {"accuracy_fp32": share, "sizes_mb": {"model.pth": 1.0, ONNX_FP32: 0.9}}
    facts = {MODEL_OPTIMIZATION: {"accuracy": share}, ONNX_DEPLOYMENT: deployed}
    first = performance_rows(material(TRAINING, facts=facts))
    assert [(row["variant"], row["MB"]) for row in first] == [("optimised, PyTorch", 1.0), ("optimised, ONNX FP32", 0.9)]
    again = performance_rows(material(DRIFT_WATCH, facts=facts | {AUTOMATED_RETRAINING: {"seconds": 9}}))
    assert [(row["variant"], row["MB"]) for row in again] == [("optimised, PyTorch", None), ("champion, ONNX FP32", 0.9)]


def test_many_classes_are_counted_in_the_introduction_not_listed() -> None:
    def begins(count: int) -> str:
        data = {"source": "leaves", "classes": [f"leaf{number}" for number in range(count)], "image_size": 64, "counts": {"train": 9}}
        written = introduction(material(TRAINING, facts={DATA_ANALYSIS: data}))
        return next(block.text for block in written.blocks if isinstance(block, Text) and "leaves" in block.text)

    assert " images of the classes leaf0, leaf1, leaf2, scaled to 64 pixels." in begins(3)
    assert " images of 100 classes, scaled to 64 pixels." in begins(100)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"images": 20}, "Have the listed images labelled"),
        ({"images": 0}, "Wait for the next windows"),
        ({"images": 20, "in_vain": True}, "Do what the drift's chapter says under Next: labels alone cannot say"),
        (None, "Have the listed images labelled"),
    ],
)
def test_labels_are_recommended_where_there_are_any_to_give_and_they_can_tell(asked: dict[str, Any] | None, said: str) -> None:
    drift = DriftSummary(verdict="needs_labels", p_values={}, reason="")
    watched = Summary(run_id="r1", seed=1, drift=drift, champion=ChampionSummary(before="1", after="1"))
    facts = {DRIFT_DETECTION: {} if asked is None else {"asked": asked}}
    assert recommendations(material(DRIFT_WATCH, summary=watched, facts=facts))[-1].startswith(said)


def test_images_that_would_decide_are_told_with_their_patients() -> None:
    gate = {
        "labels_needed": {"clean test": 19_696, "drifted hold-out": 700},
        "criteria": [
            {"name": "clean test", "n": 455, "groups": 10, "labels": 19_696},
            {"name": "drifted hold-out", "n": 300, "groups": 300, "labels": 700},
            {"name": "size", "labels": None},
        ],
    }
    undecided = Summary(run_id="r1", seed=1, gate=GateSummary(decision="inconclusive", reasons=[], evidence=[]))
    said = recommendations(material(DRIFT_WATCH, summary=undecided, candidate_facts={VALIDATION_GATE: gate}))[0]
    assert said.endswith("Labelled images that would: 19,696 of about 433 groups for clean test, 700 for drifted hold-out.")
