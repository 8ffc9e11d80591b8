"""The summary takes its figures from the facts, leaves null what was not measured, and judges targets as declared."""

from typing import Any

import pytest

from driftloop.evaluation.intervals import wilson
from driftloop.summary import Summary, summarise


def share(successes: int, n: int = 1000) -> dict[str, Any]:
    return wilson(successes, n).model_dump()


def training_facts(**deployment: Any) -> dict[str, Any]:
    deployed = {
        "accuracy_fp32": share(900),
        "accuracy_int8": share(897),
        "served": "model.int8.onnx",
        "speedup": {"onnx_fp32": 2.0, "onnx_int8": 4.0},
    }
    return {
        "data_analysis": {"source": "synthetic:xray"},
        "baseline_training": {"accuracy": share(780)},
        "model_optimization": {"accuracy": share(901)},
        "onnx_deployment": deployed | deployment,
    }


DRIFT = {
    "verdict": "retrain",
    "p_values": {"statistics": 0.001, "embedding": 0.002},
    "reason": "drift confirmed",
    "confirmed": True,
    "windows": [],
}


def judged(champion_drifted: int, candidate_drifted: int, low: float = -0.01) -> dict[str, Any]:
    return {
        "decision": "promote",
        "reasons": ["all criteria hold"],
        "criteria": [{"name": "clean test", "holds": True, "estimate": 0.0, "low": low, "high": 0.01, "bound": -0.02, "n": 1500}],
        "accuracy": {
            "candidate_clean": share(899),
            "champion_clean": share(897),
            "candidate_drifted": share(candidate_drifted),
            "champion_drifted": share(champion_drifted),
        },
    }


def test_a_whole_loop_fills_every_field() -> None:
    summary = summarise(training_facts() | {"drift_detection": DRIFT}, candidate=judged(700, 820), before="1", after="2")
    assert all(share is not None for share in summary.accuracy.model_dump().values())
    assert summary.champion.model_dump() == {"before": "1", "after": "2"}
    assert all(target.met for target in summary.targets.values())
    assert summary.targets["drift_recovered"].measured == pytest.approx((0.820 - 0.700) / (0.897 - 0.700))


def test_what_a_branch_did_not_produce_is_null() -> None:
    summary = summarise(training_facts() | {"drift_detection": DRIFT | {"verdict": "stable", "confirmed": False}}, before="1", after="1")
    assert summary.gate is None
    assert summary.accuracy.retrained is None
    assert summary.targets["drift_recovered"].met is None
    assert summary.targets["clean_non_inferior"].met is None
    assert summary.targets["drift_confirmed"].met is False


def test_a_first_gate_without_a_champion_counts_as_no_retraining() -> None:
    first = judged(0, 0) | {
        "accuracy": {"candidate_clean": share(899), "champion_clean": None, "candidate_drifted": None, "champion_drifted": None}
    }
    summary = summarise(training_facts(), candidate=first, after="1")
    assert summary.gate is not None
    assert summary.accuracy.retrained is None
    assert summary.targets["clean_non_inferior"].met is None


@pytest.mark.parametrize(
    ("int8", "served", "met"), [(891, "model.int8.onnx", True), (880, "model.int8.onnx", False), (880, "model.onnx", True)]
)
def test_an_int8_drop_of_a_point_is_missed_unless_fp32_is_served(int8: int, served: str, met: bool) -> None:
    assert summarise(training_facts(accuracy_int8=share(int8), served=served)).targets["int8_drop"].met is met


def test_a_recovery_of_less_than_half_is_missed() -> None:
    summary = summarise(training_facts() | {"drift_detection": DRIFT}, candidate=judged(700, 760))
    assert summary.targets["drift_recovered"].met is False


@pytest.mark.parametrize(
    ("baseline", "optimised", "measured", "met"),
    [(1000, 1000, "nothing left to gain", None), (1000, 990, -0.01, False), (990, 990, 0.0, False), (990, 1000, 0.01, True)],
)
def test_where_the_baseline_has_all_right_there_is_nothing_left_to_gain(
    baseline: int, optimised: int, measured: float | str, met: bool | None
) -> None:
    facts = {"baseline_training": {"accuracy": share(baseline)}, "model_optimization": {"accuracy": share(optimised)}}
    target = summarise(facts).targets["optimized_over_baseline"]
    assert target.met is met
    assert target.measured == (measured if isinstance(measured, str) else pytest.approx(measured))


def test_nothing_at_all_is_a_summary_too() -> None:
    summary = summarise({})
    assert Summary.model_validate_json(summary.model_dump_json()) == summary
    assert all(target.met is None for target in summary.targets.values())
