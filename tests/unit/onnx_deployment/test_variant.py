"""The fastest graph is served of those that are shown to lose less than a point: level, power, and the reason in words."""

import numpy as np
import pytest

from components.onnx_deployment.variant import (
    Admission,
    GraphOutcomes,
    accuracy_drop,
    by_class,
    by_tag,
    choose_variant,
    judge_accuracy,
)
from driftloop.bundle import ONNX_FP16, ONNX_FP32, ONNX_INT8
from driftloop.evaluation.paired import compare


def right(n: int, *, gained: int, lost: int) -> tuple[np.ndarray, np.ndarray]:
    """FP32 and INT8 on n images, of which INT8 alone has `gained` right and FP32 alone `lost`; the rest both."""
    fp32, int8 = np.ones(n, bool), np.ones(n, bool)
    fp32[:gained] = False
    int8[gained : gained + lost] = False
    return fp32, int8


def judged(n: int, *, gained: int, lost: int, groups: np.ndarray | None = None) -> Admission:
    fp32, reduced = right(n, gained=gained, lost=lost)
    whose = np.arange(n) if groups is None else groups
    return judge_accuracy(GraphOutcomes(one_hot(fp32), one_hot(reduced), np.zeros(n, np.int64), whose), max_drop=0.01)


def test_no_loss_on_many_images_is_admissible() -> None:
    admission = judged(1100, gained=3, lost=3)
    assert admission.holds
    assert admission.figures.startswith("+0.00 points against FP32 on 1,100 held-out images, 95 % lower bound -0.")


def test_a_bound_of_few_patients_says_how_many_they_are() -> None:
    admission = judged(538, gained=2, lost=0, groups=np.arange(538) % 12)
    assert not admission.holds
    assert "+0.37 points against FP32 on 538 held-out images of 12 groups, 95 % lower bound -" in admission.figures


def test_accuracy_by_tag_is_that_of_its_images() -> None:
    tags = np.array(['{"site": "A"}'] * 6 + ['{"site": "B", "ward": "1"}'] * 4 + [""] * 2)
    found = by_tag(np.arange(12) % 3 > 0, tags, np.array([0] * 6 + [1, 2, 3, 4, 5, 5]))
    assert {level: (share.value, share.n, share.groups) for level, share in found.items()} == {
        "site=A": (pytest.approx(4 / 6), 6, 1),
        "site=B": (0.5, 4, 4),
        "ward=1": (0.5, 4, 4),
    }
    assert [share.independent for share in found.values()] == [pytest.approx(0, abs=0.01), 4, 4], "site A is one patient"


def test_an_accuracy_by_class_says_of_how_many_groups_its_images_are() -> None:
    labels = np.repeat([0, 1], 30)
    outcomes = GraphOutcomes(np.eye(2)[labels], np.eye(2)[1 - labels], labels, np.r_[np.arange(30) // 10, np.arange(30)])
    rows = by_class({ONNX_INT8: outcomes}, ["whole", "cracked"])
    assert [str(row["FP32"]).rpartition(", ")[2] for row in rows] == ["n=30 of 3 groups)", "n=30)"]
    assert str(rows[0]["FP32"]).startswith("1.000 (0.139-")


def test_a_shown_loss_is_not() -> None:
    admission = judged(1100, gained=0, lost=30)
    assert not admission.holds
    assert admission.figures.startswith("-2.73 points")
    assert "not above -1" in admission.figures


def test_too_few_images_admit_nothing_even_without_any_loss() -> None:
    assert not judged(100, gained=0, lost=0).holds
    assert judged(400, gained=0, lost=0).holds


def test_images_of_one_patient_count_as_fewer() -> None:
    assert judged(1000, gained=0, lost=4).holds
    assert not judged(1000, gained=0, lost=4, groups=np.arange(1000) // 20).holds


def test_the_fastest_admissible_graph_is_served() -> None:
    good, bad = judged(1100, gained=0, lost=0), judged(1100, gained=0, lost=30)
    fast, slow = {ONNX_FP32: 3.0, ONNX_INT8: 1.0}, {ONNX_FP32: 1.0, ONNX_INT8: 3.0}
    assert choose_variant({ONNX_INT8: good}, fast).served == ONNX_INT8
    assert choose_variant({ONNX_INT8: bad}, fast).served == ONNX_FP32
    assert choose_variant({ONNX_INT8: good}, slow).served == ONNX_FP32
    assert choose_variant({ONNX_FP16: good}, {ONNX_FP32: 1.0, ONNX_FP16: 0.5}).served == ONNX_FP16


def test_the_reason_names_speeds_and_accuracies() -> None:
    good, bad = judged(1100, gained=0, lost=0), judged(1100, gained=0, lost=30)
    speeds = {ONNX_FP32: 3.0, ONNX_INT8: 1.25}
    assert choose_variant({ONNX_INT8: good}, speeds).reason.startswith(
        "INT8 is served, the fastest admissible graph (FP32 3 ms, INT8 1.25 ms a call); INT8: +0.00 points against FP32"
    )
    assert choose_variant({ONNX_INT8: bad}, speeds).reason.startswith("FP32 is served; INT8: -2.73 points")


def test_where_nothing_could_be_timed_accuracy_decides_and_that_is_said() -> None:
    good, bad = judged(1100, gained=0, lost=0), judged(1100, gained=0, lost=30)
    choice = choose_variant({ONNX_FP16: good}, {})
    assert choice.served == ONNX_FP16
    assert "speed was not measured here" in choice.reason
    assert choose_variant({ONNX_FP16: bad}, {}).served == ONNX_FP32


def one_hot(right: np.ndarray) -> np.ndarray:
    """Probabilities (N, 2) that classify images of class 0 as given."""
    return np.stack([right, ~right], axis=1).astype(np.float32)


def test_the_interval_of_the_drop_counts_images_of_one_patient_as_fewer() -> None:
    fp32, int8 = right(1000, gained=2, lost=40)
    labels, patients = np.zeros(1000, np.int64), np.arange(1000) // 20
    apart = accuracy_drop(GraphOutcomes(one_hot(fp32), one_hot(int8), labels, np.arange(1000)))
    together = accuracy_drop(GraphOutcomes(one_hot(fp32), one_hot(int8), labels, patients))
    expected = compare(fp32, int8, confidence=0.975, groups=patients)
    assert together == {"value": expected.estimate, "low": expected.low, "high": expected.high}
    assert together["value"] == apart["value"] == pytest.approx(0.038)
    assert together["low"] < apart["low"] < apart["high"] < together["high"]


@pytest.mark.parametrize(
    ("drop", "discordance", "lowest", "highest"),
    [(0.010, 0.012, 0.0, 0.06), (0.010, 0.03, 0.0, 0.06), (0.001, 0.007, 0.85, 0.93), (0.001, 0.010, 0.76, 0.86), (0.0, 0.007, 0.9, 1.0)],
)
def test_level_and_power_at_1000_images(drop: float, discordance: float, lowest: float, highest: float) -> None:
    """A loss of a point passes 5 % of the time at most; one of .1 point 89 % at .7 % discordant images, 80 % at 1 %."""
    rng = np.random.default_rng(0)
    counts = rng.multinomial(1000, [(discordance - drop) / 2, (discordance + drop) / 2, 1 - discordance], size=1000)
    passed = {(gained, lost): judged(1000, gained=gained, lost=lost).holds for gained, lost in {(int(a), int(b)) for a, b, _ in counts}}
    rate = np.mean([passed[int(gained), int(lost)] for gained, lost, _ in counts])
    assert lowest <= rate <= highest
