"""Each criterion by itself: its limit, both bounds, what it asks for and how its numbers read."""

import math

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from components.validation_gate.criteria import (
    CLEAN,
    NEW,
    Criterion,
    better_than_commonest,
    better_than_one_class,
    brier_below,
    difference_above,
    latency_within,
    other_graph,
    quantisation,
    schema_fits,
    size_within,
    uses_left,
    without_images,
)
from components.validation_gate.latency import Latency
from driftloop.evaluation.intervals import wilson
from driftloop.evaluation.paired import BrierIncrease, PairedDifference, labels_needed


def difference(estimate: float, low: float, high: float, n: int = 400, effective_n: float = 400, groups: int = 400) -> PairedDifference:
    return PairedDifference(estimate, low, high, n, 20, 20, effective_n, groups)


@pytest.mark.parametrize(
    ("low", "high", "holds", "refuted"),
    [(-0.019, 0.01, True, False), (-0.02, 0.01, False, False), (-0.05, -0.02, False, False), (-0.05, -0.021, False, True)],
)
def test_a_difference_holds_above_its_limit_and_is_refuted_below(low: float, high: float, holds: bool, refuted: bool) -> None:
    criterion = difference_above("clean test", difference((low + high) / 2, low, high), -0.02)
    assert (criterion.holds, criterion.refuted, criterion.open) == (holds, refuted, not holds and not refuted)
    assert (criterion.labels is None) == (holds or refuted)
    assert (criterion.unit, criterion.regime, criterion.bound) == ("points", CLEAN, -0.02)


def test_what_is_hopeless_may_lie_above_the_limit() -> None:
    assert difference_above("new", difference(0.0, -0.01, 0.019), 0.0, regime=NEW, hopeless_below=0.02).refuted
    assert difference_above("new", difference(0.01, -0.01, 0.02), 0.0, regime=NEW, hopeless_below=0.02).open
    assert difference_above("new", difference(0.01, 0.001, 0.019), 0.0, regime=NEW, hopeless_below=0.02).holds


def test_the_labels_that_would_decide_go_by_what_is_hopeless_and_by_the_bound_that_was_taken() -> None:
    strict = PairedDifference(0.01, -0.01, 0.02, 400, 20, 20, 400, 400, one_sided=0.98)
    criterion = difference_above("new", strict, 0.0, regime=NEW, hopeless_below=0.02)
    assert criterion.labels == labels_needed(0.01, 0.1**0.5, 400, 0.0, hopeless=0.02, confidence=0.98)


def test_clustered_images_ask_for_as_many_more() -> None:
    clustered = difference_above("clean test", difference(-0.005, -0.03, 0.02, effective_n=100, groups=50), -0.02)
    assert clustered.labels == labels_needed(-0.005, (40 / 400 * 4) ** 0.5, 400, -0.02)
    assert clustered.stands_on == "400 clean images of 50 groups"
    none_discordant = PairedDifference(0.0, -0.05, 0.05, 50, 0, 0, 50, 50)
    assert difference_above("clean test", none_discordant, -0.02).labels == labels_needed(0.0, (1 / 50) ** 0.5, 50, -0.02)


@pytest.mark.parametrize(
    ("low", "high", "holds", "refuted"),
    [(-0.01, 0.009, True, False), (0.0, 0.01, False, False), (0.01, 0.03, False, False), (0.011, 0.03, False, True)],
)
def test_the_brier_score_holds_below_its_limit(low: float, high: float, holds: bool, refuted: bool) -> None:
    criterion = brier_below(BrierIncrease(0.004, low, high, 300, 0.005, 100), 0.01)
    assert (criterion.holds, criterion.refuted) == (holds, refuted)
    expected = None if holds or refuted else labels_needed(-0.004, 0.005 * 300**0.5, 300, -0.01)
    assert criterion.labels == expected
    assert criterion.stands_on == "300 clean images of 100 groups"


@pytest.mark.parametrize(
    ("ratio", "low", "champion_ms", "holds", "refuted"),
    [
        (1.5, 1.4, 10.0, True, False),
        (1.51, 1.4, 10.0, False, False),
        (1.7, 1.5, 10.0, False, False),
        (1.7, 1.51, 10.0, False, True),
        (3.0, 2.5, 1.0, True, False),
        (3.01, 2.5, 1.0, False, True),
    ],
)
def test_latency_holds_up_to_its_ratio_or_within_the_slack(
    ratio: float, low: float, champion_ms: float, holds: bool, refuted: bool
) -> None:
    latency = Latency(1.0, ratio * champion_ms, 1.0, champion_ms, ratio, low, 4.0, 200)
    criterion = latency_within(latency, 1.5, 2.0)
    assert (criterion.holds, criterion.refuted) == (holds, refuted)
    assert criterion.note.startswith(f"{ratio * champion_ms:.2f} ms against {champion_ms:.2f} ms")
    assert ("an increase up to 2 ms is tolerated" in criterion.note) == (holds and ratio > 1.5)
    assert criterion.stands_on == "200"


def test_a_slow_request_within_its_ratio_is_not_called_tolerated() -> None:
    assert "tolerated" not in latency_within(Latency(1, 1.4, 1, 1, 1.4, 1, 2, 200), 1.5, 2.0).note
    assert "tolerated" not in latency_within(Latency(1, 1.5, 1, 1, 1.5, 1, 2, 200), 1.5, 2.0).note


@pytest.mark.parametrize(
    ("candidate", "champion", "holds"),
    [
        (20_000_000, 10_000_000, True),
        (20_000_001, 10_000_000, False),
        (10_000_000, 0, True),
        (15_000_000, 5_000_000, True),
        (40_000_000, 20_000_000, True),
    ],
)
def test_size_holds_up_to_its_ratio_or_within_the_slack(candidate: int, champion: int, holds: bool) -> None:
    criterion = size_within(candidate, champion, 2.0, 10.0)
    assert (criterion.holds, criterion.refuted) == (holds, not holds)
    assert criterion.note.startswith(f"{candidate / 1e6:.2f} MB against {champion / 1e6:.2f} MB")
    assert criterion.estimate == candidate / max(1, champion)
    assert ("an increase up to 10 MB is tolerated" in criterion.note) == (holds and candidate > 2 * champion)


def test_a_first_candidate_is_held_against_the_commonest_class() -> None:
    labels = np.repeat([0, 1], [60, 40])
    criterion = better_than_commonest(np.arange(100) < 66, labels, 0.1)
    interval = wilson(66, 100, confidence=0.90)
    assert (criterion.estimate, criterion.low, criterion.high, criterion.bound) == (0.66, interval.low, interval.high, 0.6)
    assert criterion.open
    assert criterion.labels == labels_needed(0.66, (0.6 * 0.4) ** 0.5, 100, 0.6, hopeless=0.64)
    assert criterion.stands_on == "100 clean images"
    assert better_than_commonest(np.arange(100) < 69, labels, 0.1).holds
    hopeless = better_than_commonest(np.arange(100) < 50, labels, 0.1)
    assert (hopeless.refuted, hopeless.labels) == (True, None)


def test_a_first_candidate_that_has_every_image_right_is_never_hopeless() -> None:
    for commonest, n in ((19, 20), (29, 30), (49, 50)):
        perfect = better_than_commonest(np.ones(n, bool), np.arange(n) >= commonest, 0.1)
        assert (perfect.open, perfect.high) == (True, 1.0)
        assert perfect.labels is not None
        assert perfect.labels > n


def test_what_a_first_candidate_must_gain_is_a_share_of_what_the_commonest_class_gets_wrong() -> None:
    """With 97 of 100 images of one class three points are all there is: two wrong images do not yet show a tenth of that out of reach."""
    rare = np.arange(100) >= 97
    assert better_than_commonest(np.arange(100) < 98, rare, 0.1).open
    assert better_than_commonest(np.arange(100) < 95, rare, 0.1).open
    assert better_than_commonest(np.arange(100) < 94, rare, 0.1).refuted
    assert wilson(95, 100, confidence=0.90).high > 0.97 + 0.1 * 0.03 > wilson(94, 100, confidence=0.90).high


@pytest.mark.parametrize(("right", "refuted"), [(20, False), (19, True)])
def test_images_of_one_class_alone_never_show_a_first_candidate_to_be_better(right: int, refuted: bool) -> None:
    criterion = better_than_commonest(np.arange(20) < right, np.zeros(20, int), 0.1)
    assert (criterion.holds, criterion.refuted, criterion.labels) == (False, refuted, None)


def test_a_few_patients_do_not_show_a_first_candidate_to_be_better_and_the_labels_asked_for_count_patients() -> None:
    labels, right = np.repeat([0, 1], [240, 160]), np.arange(400) % 100 < 75
    assert better_than_commonest(right, labels, 0.1, np.arange(400)).holds
    few = better_than_commonest(right, labels, 0.1, np.arange(400) // 25)
    assert few.open
    assert (few.n, few.groups, few.stands_on) == (400, 16, "400 clean images of 16 groups")
    assert few.labels is not None
    assert few.labels > 2 * 400


def test_a_critical_class_without_images_is_open_and_shows_nothing() -> None:
    criterion = without_images("critical class rare")
    assert (criterion.name, criterion.holds, criterion.refuted, criterion.critical) == ("critical class rare", False, False, True)
    assert (criterion.unit, criterion.regime, criterion.n, criterion.labels) == ("points", CLEAN, 0, None)


def shown(criterion: Criterion) -> list[str]:
    return [criterion.show(value) for value in (criterion.estimate, criterion.low, criterion.high, criterion.bound)]


def test_what_was_measured_its_bounds_and_its_limit_are_shown_as_people_read_them() -> None:
    assert shown(brier_below(BrierIncrease(0.0041, -0.0012, 0.0093, 300, 0.005, 100), 0.01)) == ["+0.0041", "-0.0012", "+0.0093", "+0.0100"]
    assert shown(latency_within(Latency(1, 12.34, 1, 10, 1.234, 1.111, 1.357, 200), 1.5, 2.0)) == ["1.23", "1.11", "1.36", "1.50"]
    assert shown(size_within(12_345_678, 10_000_000, 2.0, 10.0)) == ["1.23", "–", "–", "2.00"]
    assert shown(difference_above("clean test", difference(-0.005, -0.031, 0.02), -0.02)) == ["-0.5 pt", "-3.1 pt", "+2.0 pt", "-2.0 pt"]
    first = better_than_commonest(np.arange(100) < 66, np.repeat([0, 1], [60, 40]), 0.1)
    low, high = proportion_confint(66, 100, alpha=0.1, method="wilson")
    assert shown(first) == ["66.0 %", f"{100 * low:.1f} %", f"{100 * high:.1f} %", "60.0 %"]
    assert shown(uses_left(3, 10)) == ["3", "–", "–", "10"]
    assert uses_left(3, 10).note == "this one included"
    measured = quantisation({"value": 0.0012, "low": -0.0011, "high": 0.0034}, "served")
    assert shown(measured) == ["+0.1 pt", "-0.1 pt", "+0.3 pt", "–"]
    assert measured.note == "served"


def test_each_criterion_is_called_by_what_it_is_about() -> None:
    criteria = [
        brier_below(BrierIncrease(0.0, -0.01, 0.005, 300, 0.005, 300), 0.01),
        latency_within(Latency(1, 1, 1, 1, 1, 1, 1, 200), 1.5, 2.0),
        size_within(1, 1, 2.0, 10.0),
        schema_fits([]),
        better_than_commonest(np.ones(100, bool), np.repeat([0, 1], [60, 40]), 0.1),
        other_graph(True),
        quantisation(None, "not made"),
        uses_left(3, 10),
    ]
    assert [(criterion.name, criterion.unit) for criterion in criteria] == [
        ("Brier score", "brier"),
        ("p95 latency", "ratio"),
        ("size", "ratio"),
        ("schema", ""),
        ("better than the commonest class", "share"),
        ("differs from the champion", ""),
        ("INT8 drop", "points"),
        ("uses of the test split", "count"),
    ]
    assert criteria[5].note == "it serves the very same graph"


def test_plain_facts_hold_or_are_refuted() -> None:
    assert (other_graph(True).holds, other_graph(True).refuted, other_graph(False).holds) == (False, True, True)
    assert other_graph(False).note == ""
    assert (schema_fits([]).holds, schema_fits([]).refuted) == (True, False)
    assert (schema_fits(["a", "b"]).holds, schema_fits(["a", "b"]).refuted, schema_fits(["a", "b"]).note) == (False, True, "a; b")
    assert (uses_left(9, 10).holds, uses_left(10, 10).holds, uses_left(10, 10).refuted, uses_left(10, 10).open) == (
        True,
        False,
        False,
        True,
    )
    measured = quantisation({"value": 0.001, "low": -0.001, "high": 0.003}, "served")
    assert (measured.holds, measured.refuted, measured.estimate, measured.low, measured.high) == (True, False, 0.001, -0.001, 0.003)
    assert quantisation(None, "not made").estimate is None


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [
        ("points", 0.0123, "+1.2 pt"),
        ("share", 0.943, "94.3 %"),
        ("brier", -0.00456, "-0.0046"),
        ("ratio", 1.234, "1.23"),
        ("count", 7.0, "7"),
        ("", 0.25, "0.25"),
        ("points", None, "–"),
    ],
)
def test_numbers_read_in_their_unit(unit: str, value: float | None, text: str) -> None:
    assert Criterion("any", True, False, unit=unit).show(value) == text


def test_what_stands_on_no_images_says_nothing() -> None:
    assert Criterion("size", True, False).stands_on == ""
    assert Criterion("clean test", True, False, n=30, regime=CLEAN, groups=30).stands_on == "30 clean images"
    assert Criterion("clean test", True, False, n=30, regime=CLEAN, groups=1).stands_on == "30 clean images of 1 group"


@pytest.mark.parametrize("named", [0.05, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("rare", [20, 60])
def test_naming_a_rare_class_at_random_passes_for_a_model_no_oftener_than_promised(named: float, rare: int) -> None:
    rng = np.random.default_rng(int(100 * named) + rare)
    labels = np.repeat([0, 1], [380, rare])
    held = sum(better_than_one_class((rng.random(len(labels)) < named).astype(int) == labels, labels, 0.1).holds for _ in range(1000))
    assert held <= 1000 * 0.05 + 2.6 * math.sqrt(1000 * 0.05 * 0.95)


def test_who_finds_the_rare_class_is_better_than_naming_one_and_who_does_not_is_refuted_or_told_how_many_labels() -> None:
    labels = np.repeat([0, 1], [380, 20])

    def recalls(common: float, rare: float) -> np.ndarray:
        return np.concatenate([np.arange(380) < common * 380, np.arange(20) < rare * 20])

    found = better_than_one_class(recalls(0.8, 0.75), labels, 0.1)
    assert (found.holds, found.refuted, found.n, found.groups, found.bound) == (True, False, 400, 400, 0.5)
    assert found.estimate == pytest.approx(0.775)
    accuracy = better_than_commonest(recalls(0.8, 0.75), labels, 0.1)
    assert (accuracy.holds, accuracy.refuted) == (False, True)  # .7975, where naming the commonest alone gives .95
    # By hand: Wilson's bounds of each recall, one-sided 95 %, their distances joined at right angles.
    bounds = [wilson(round(share * n), n, confidence=0.90) for share, n in ((0.8, 380), (0.75, 20))]
    assert found.low == pytest.approx(0.775 - math.hypot(*(one.value - one.low for one in bounds)) / 2)
    assert found.high == pytest.approx(0.775 + math.hypot(*(one.high - one.value for one in bounds)) / 2)
    blind = better_than_one_class(recalls(1.0, 0.0), labels, 0.5)
    assert (blind.holds, blind.refuted, blind.labels) == (False, True, None)
    unsure = better_than_one_class(recalls(0.8, 0.3), labels, 0.1)
    assert (unsure.holds, unsure.refuted) == (False, False)
    assert unsure.labels is not None
    assert unsure.labels > 400
    alone = better_than_one_class(np.ones(30, bool), np.zeros(30, int), 0.1)
    assert (alone.holds, alone.refuted, alone.labels) == (False, False, None)
    # Of few patients less is known.
    grouped = better_than_one_class(recalls(0.8, 0.75), labels, 0.1, np.arange(400) // 20)
    assert grouped.groups == 20
    assert grouped.low is not None
    assert found.low is not None
    assert grouped.low < found.low
