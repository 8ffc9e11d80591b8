"""The decision as a table: arrays in, decision and reasons out; then its level and power on simulated candidates."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from components.validation_gate.answers import Answers
from components.validation_gate.class_criterion import ClassDifference, compare_classes, could_hold, not_excluded, worst_class
from components.validation_gate.criteria import Criterion
from components.validation_gate.decision import GateInputs, decide, headline, open_reason, spent
from components.validation_gate.latency import Latency
from driftloop.evaluation.paired import compare, labels_needed, tango_lower_bound, tango_upper_bound
from driftloop.reporting.translation import Translator
from driftloop.settings import GateSettings

CLASSES = ["NORMAL", "PNEUMONIA"]
SETTINGS = GateSettings()


def answers(n: int, *, gained: int, lost: int, wrong: int = 0, sure: float = 0.8, candidate_sure: float | None = None) -> Answers:
    """`gained` images only the candidate has right, `lost` only the champion; each gives its answer the probability `sure`."""
    labels = np.arange(n) % 2
    kinds = np.random.default_rng(n).permutation(np.repeat([0, 1, 2, 3], [n - gained - lost - wrong, gained, lost, wrong]))
    return Answers(
        labels,
        probabilities(labels, kinds <= 1, candidate_sure or sure),
        probabilities(labels, (kinds == 0) | (kinds == 2), sure),
    )


def probabilities(labels: np.ndarray, right: np.ndarray, sure: float) -> np.ndarray:
    answer = np.where(right, labels, 1 - labels)
    return np.column_stack([np.where(answer == 0, sure, 1 - sure), np.where(answer == 1, sure, 1 - sure)])


def latency(ratio: float, low: float, high: float, champion_ms: float = 10.0) -> Latency:
    return Latency(champion_ms * ratio, champion_ms * ratio, champion_ms, champion_ms, ratio, low, high, 200)


def good(**changes: Any) -> GateInputs:
    """A candidate that deserves promotion, changed as a test wants."""
    inputs = GateInputs(
        answers(1500, gained=30, lost=30, wrong=100),
        CLASSES,
        drifted=answers(300, gained=42, lost=18, wrong=60),
        latency=latency(1.0, 0.9, 1.1),
        sizes=(1_000_000, 1_000_000),
    )
    return replace(inputs, **changes)


def decided(inputs: GateInputs, margin: float = 0.02, **settings: Any) -> str:
    return decide(inputs, margin=margin, settings=GateSettings(**settings)).decision


def test_a_candidate_that_repairs_the_drift_and_loses_nothing_is_promoted() -> None:
    decision = decide(good(), margin=0.02, settings=SETTINGS)
    assert decision.decision == "promote"
    assert [criterion.name for criterion in decision.criteria] == [
        "clean test",
        "drifted hold-out",
        "class PNEUMONIA",
        "Brier score",
        "p95 latency",
        "size",
        "schema",
        "uses of the test split",
    ]
    assert decision.labels_needed == {}
    assert decision.reasons[-1] == "all 8 criteria hold"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"clean": answers(1500, gained=30, lost=90)}, "reject"),  # -4.0 pt: the upper bound lies below -2
        ({"clean": answers(1500, gained=30, lost=55)}, "inconclusive"),  # -1.7 pt
        ({"clean": answers(1500, gained=30, lost=40)}, "promote"),  # -0.7 pt, bound -1.6
        ({"drifted": answers(300, gained=20, lost=30)}, "reject"),  # -3.3 pt: the upper bound lies below +2
        ({"drifted": answers(300, gained=30, lost=24)}, "inconclusive"),  # +2.0 pt
        ({"drifted": answers(2000, gained=30, lost=28)}, "reject"),  # +0.1 pt at best +0.8: no gain worth having
        ({"drifted": None}, "promote"),  # a training by hand: not worse is enough
        ({"latency": latency(2.0, 1.8, 2.2)}, "reject"),
        ({"latency": latency(1.6, 1.3, 1.9)}, "inconclusive"),
        ({"latency": latency(2.0, 1.8, 2.2, champion_ms=1.0)}, "promote"),  # one millisecond more
        ({"sizes": (50_000_000, 10_000_000)}, "reject"),
        ({"sizes": (8_000_000, 2_000_000)}, "promote"),  # four times as large, and small
        ({"schema": ["the candidate knows A, B, and the champion has A, C"]}, "reject"),
        ({"identical": True}, "reject"),
        ({"test_uses": 9}, "promote"),
        ({"test_uses": 10}, "inconclusive"),
    ],
)
def test_one_thing_at_a_time_decides(changes: dict[str, Any], expected: str) -> None:
    assert decided(good(**changes)) == expected


def test_a_better_average_does_not_pay_for_a_class() -> None:
    labels = np.arange(1500) % 2
    champion = np.ones(1500, bool)
    champion[labels == 1] = np.arange(750) >= 130
    candidate = np.ones(1500, bool)
    candidate[labels == 0] = np.arange(750) >= 80
    clean = Answers(labels, probabilities(labels, candidate, 0.8), probabilities(labels, champion, 0.8))
    decision = decide(good(clean=clean), margin=0.02, settings=SETTINGS)
    assert decision.decision == "reject"
    assert decision.reasons == ["class NORMAL: -10.7 pt, at best -9.0 pt, where more than -5.0 pt is asked for"]


def test_a_small_class_vetoes_only_when_shown_worse() -> None:
    labels = np.concatenate([np.zeros(1400, int), np.ones(100, int)])

    def with_losses(losses: int) -> GateInputs:
        candidate = np.ones(1500, bool)
        candidate[1400 : 1400 + losses] = False
        both = probabilities(labels, candidate, 0.8), probabilities(labels, np.ones(1500, bool), 0.8)
        return good(clean=Answers(labels, *both))

    assert decided(with_losses(4)) == "promote"
    decision = decide(with_losses(10), margin=0.02, settings=SETTINGS)
    assert decision.decision == "reject"
    assert decision.reasons == ["class PNEUMONIA: shown worse, -10.0 pt on 100 images (p = 0.00098 after Holm)"]


def many_classes(count: int, each: int, lost: int = 0, psi: float = 0.05, seed: int = 0) -> GateInputs:
    """An equal candidate, `psi` of whose images are coin tosses, that loses `lost` images of class 0 on top."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(count), each)
    kinds = rng.choice(4, len(labels), p=[0.9 - psi, psi / 2, psi / 2, 0.1])
    kinds[:each] = np.where(np.arange(each) < lost, 2, 0)
    both = [
        np.where((np.arange(count) == np.where(right, labels, (labels + 1) % count)[:, None]), 0.7, 0.3 / (count - 1))
        for right in (kinds <= 1, (kinds == 0) | (kinds == 2))
    ]
    return good(clean=Answers(labels, *both), classes=[f"kind {index}" for index in range(count)])


@pytest.mark.parametrize(("count", "each"), [(10, 200), (20, 200), (50, 200), (100, 200), (100, 20)])
def test_an_equal_candidate_is_not_stopped_by_the_number_of_its_classes(count: int, each: int) -> None:
    decisions = [decide(many_classes(count, each, seed=seed), margin=0.02, settings=SETTINGS) for seed in range(6)]
    assert sum(decision.decision == "promote" for decision in decisions) >= 5


def test_one_class_of_fifty_that_loses_a_fifth_is_found() -> None:
    decision = decide(many_classes(50, 200, lost=40), margin=0.02, settings=SETTINGS)
    assert decision.decision == "reject"
    assert "class kind 0" in decision.reasons[0]


def test_what_a_small_class_cannot_exclude_is_said() -> None:
    decision = decide(many_classes(20, 100), margin=0.02, settings=SETTINGS)
    assert decision.decision == "promote"
    loose = decision.reasons[-1]
    assert loose.startswith("not excluded, for lack of images: class kind ")
    assert "pt (n = 100, about " in loose
    assert loose.count(" between ") == 3
    low, high = (float(part.split()[0]) for part in loose.partition(" between ")[2].split(" and ")[:2])
    assert -20 < low < -5 < high < 10
    compared = compare_classes(many_classes(20, 100).clean, [f"kind {index}" for index in range(20)], 0.05)
    opened = [item for item in compared if not item.held and item.difference.low <= -0.05]
    assert 3 < len(opened) < sum(not item.held for item in compared), "of the others the images do exclude such a loss"
    others = sorted((item.difference.low, item.name) for item in opened)
    assert low == pytest.approx(100 * others[0][0], abs=0.06)
    assert high == pytest.approx(100 * next(item.difference.high for item in compared if item.name == others[0][1]), abs=0.06)
    assert all(item.held == could_hold(item.difference, 0.05, 0.9 ** (1 / 20)) for item in compared)
    assert others[0][1] == loose.partition("class ")[2].partition(" between")[0]
    assert loose.endswith(f", {len(others) - 3} more classes (gate.json)")
    assert not_excluded(opened[:3], 0.05).count(" between ") == 3
    assert "more" not in not_excluded(opened[:3], 0.05)
    larger = decide(many_classes(20, 200), margin=0.02, settings=SETTINGS)
    (held,) = [criterion for criterion in larger.criteria if criterion.name.startswith("class ")]
    assert held.note.endswith(" classes with images enough, of 20")


def test_of_a_small_class_that_gained_nothing_is_left_open() -> None:
    labels = np.repeat([0, 1], [300, 700])
    candidate, champion = np.ones(1000, bool), np.ones(1000, bool)
    champion[:30] = False
    gained = [probabilities(labels, right, 0.8) for right in (candidate, champion)]
    decision = decide(good(clean=Answers(labels, *gained)), margin=0.02, settings=SETTINGS)
    compared, other = compare_classes(Answers(labels, *gained), CLASSES, 0.05)
    assert [criterion.note for criterion in worst_class([compared, other], 0.05)] == ["the only class with images enough, of 2"]
    assert not compared.held, "of so many discordant images an equal candidate would not pass"
    assert compared.difference.low > 0
    assert not any("not excluded" in reason for reason in decision.reasons)


def test_a_class_without_images_is_not_compared() -> None:
    clean = answers(1500, gained=30, lost=30)
    assert clean.champion is not None
    wider = [np.column_stack([given, np.zeros(1500)]) for given in (clean.candidate, clean.champion)]
    compared = compare_classes(Answers(clean.labels, *wider), [*CLASSES, "NEVER SEEN"], 0.05)
    assert [(item.name, int(item.rows.sum()), item.held) for item in compared] == [("NORMAL", 750, True), ("PNEUMONIA", 750, True)]


@pytest.mark.parametrize(
    ("n", "discordant", "held"), [(200, 2, True), (200, 7, True), (200, 8, False), (200, 24, False), (40, 0, False), (60, 0, True)]
)
def test_a_class_is_held_to_its_bound_where_an_equal_candidate_would_pass(n: int, discordant: int, held: bool) -> None:
    assert could_hold(compare(np.arange(n) < n - discordant, np.ones(n, bool)), 0.05, 0.95) == held
    assert could_hold(compare(np.ones(n, bool), np.arange(n) < n - discordant), 0.05, 0.95) == held


@pytest.mark.parametrize("n", [100, 200, 750])
def test_a_held_class_passes_about_as_often_as_promised_by_exact_counts(n: int) -> None:
    for discordant in range(n // 5):
        if could_hold(compare(np.arange(n) < n - discordant, np.ones(n, bool)), 0.05, 0.95):
            passing = [tango_lower_bound(gained, discordant - gained, n) > -0.05 for gained in range(discordant + 1)]
            assert stats.binom.pmf(np.arange(discordant + 1), discordant, 0.5) @ passing >= 0.93


def test_who_won_the_discordant_images_does_not_choose_the_classes_that_are_held() -> None:
    for gained, lost in ((0, 12), (6, 6), (12, 0)):
        (compared, _) = compare_classes(answers(1500, gained=gained, lost=lost), CLASSES, 0.05)
        assert compared.held


@pytest.mark.parametrize(("count", "most"), [(5, 27), (10, 23), (20, 20)])
def test_the_more_classes_the_surer_each_must_be_to_pass_so_that_together_nine_in_ten_do(count: int, most: int) -> None:
    """400 images of each, with one discordant image more than an equal candidate of so many classes may have."""
    for discordant, held in ((most, True), (most + 1, False)):
        labels = np.repeat(np.arange(count), 400)
        champion = np.eye(count + 1)[labels]
        candidate = np.eye(count + 1)[np.where(np.arange(len(labels)) % 400 < discordant, count, labels)]
        compared = compare_classes(Answers(labels, candidate, champion), [f"kind {index}" for index in range(count)], 0.05)
        assert [item.held for item in compared] == [held] * count
    passing = [tango_lower_bound(gained, most - gained, 400) > -0.05 for gained in range(most + 1)]
    assert (stats.binom.pmf(np.arange(most + 1), most, 0.5) @ passing) ** count > 0.87


@pytest.mark.parametrize(("one_sided", "held"), [(0.95, True), (0.97, False)])
def test_a_class_is_held_by_the_bound_that_its_groups_ask_for(one_sided: float, held: bool) -> None:
    difference = replace(compare(np.arange(200) < 193, np.ones(200, bool)), one_sided=one_sided)
    assert could_hold(difference, 0.05, 0.95) == held


def test_a_class_that_is_shown_to_lose_stands_for_all_though_another_might_lose_more() -> None:
    many, few = (compare(np.arange(n) < n - lost, np.ones(n, bool)) for n, lost in ((20_000, 1_100), (200, 7)))
    assert many.low > few.low
    assert many.high < -0.05 < few.high
    compared = [ClassDifference(name, np.ones(0, bool), difference, True) for name, difference in (("few", few), ("many", many))]
    (worst,) = worst_class(compared, 0.05)
    assert (worst.name, worst.refuted) == ("class many", True)
    (worst,) = worst_class(compared, 0.2)
    assert (worst.name, worst.holds) == ("class few", True)


def test_a_slice_vetoes_when_shown_worse_by_more_than_the_margin() -> None:
    clean = answers(1500, gained=40, lost=40)
    worse = clean.champion_right & ~clean.candidate_right
    site = worse | (np.arange(1500) % 5 == 0)
    assert decided(good(clean=replace(clean, slices={"site north": site}))) == "reject"
    large = np.arange(1500) != 0
    assert decided(good(clean=replace(clean, slices={"site north": large}))) == "promote"


def test_worse_probabilities_at_equal_accuracy_are_found_by_the_brier_score() -> None:
    clean = answers(1500, gained=30, lost=30, wrong=100, candidate_sure=0.55)
    decision = decide(good(clean=clean), margin=0.02, settings=SETTINGS)
    assert decision.decision == "reject"
    assert decision.reasons[0].startswith("Brier score: +0.1")


def test_a_loss_against_the_best_earlier_champion_rejects() -> None:
    clean = answers(1500, gained=30, lost=30, wrong=100)
    best = np.ones(1500, bool)
    decision = decide(good(clean=clean, best_earlier=best, best_earlier_version="3"), margin=0.02, settings=SETTINGS)
    assert decision.decision == "reject"
    assert decision.reasons[0].startswith("best earlier champion (version 3): -8.7 pt")
    assert decided(good(clean=clean, best_earlier=clean.candidate_right, best_earlier_version="3")) == "promote"


def test_several_images_a_patient_widen_the_bounds() -> None:
    once = answers(300, gained=6, lost=6)
    assert once.champion is not None
    five_each = Answers(np.repeat(once.labels, 5), np.repeat(once.candidate, 5, axis=0), np.repeat(once.champion, 5, axis=0))
    assert decided(good(clean=five_each)) == "promote"
    assert decided(good(clean=replace(five_each, groups=np.repeat(np.arange(300), 5)))) == "inconclusive"


def test_what_is_undecided_names_the_labels_that_would_decide() -> None:
    decision = decide(good(clean=answers(1000, gained=25, lost=35)), margin=0.02, settings=SETTINGS)
    assert decision.decision == "inconclusive"
    assert decision.labels_needed["clean test"] == labels_needed(-0.01, math.sqrt(0.06), 1000, -0.02) == 8116
    assert decision.reasons[0] == (
        "clean test: -1.0 pt on 1,000 labelled images leaves -2.3 pt possible, where more than -2.0 pt is asked for; "
        "about 8,116 would decide"
    )


def test_few_patients_are_told_how_many_would_do() -> None:
    clean = answers(1000, gained=25, lost=25)
    decision = decide(good(clean=replace(clean, groups=np.arange(1000) % 25)), margin=0.02, settings=SETTINGS)
    assert decision.decision == "inconclusive"
    assert decision.reasons[0].endswith(" groups (now 25)")
    assert decision.criteria[0].stands_on == "1,000 clean images of 25 groups"
    brier = next(criterion for criterion in decision.criteria if criterion.unit == "brier")
    assert brier.stands_on == "1,000 clean images of 25 groups"


@pytest.mark.parametrize("use", [1, 2, 3])
def test_labels_for_the_drift_are_counted_by_what_the_next_use_costs(use: int) -> None:
    decision = decide(good(drifted=answers(300, gained=30, lost=24), drifted_uses=use), margin=0.02, settings=SETTINGS)
    assert decision.labels_needed == {
        "drifted hold-out": labels_needed(0.02, math.sqrt(54 / 300), 300, 0.0, hopeless=0.02, confidence=1 - spent(0.05, use + 1))
    }
    drift = next(criterion for criterion in decision.criteria if criterion.name == "drifted hold-out")
    assert drift.low == tango_lower_bound(30, 24, 300, confidence=1 - spent(0.05, use))
    assert drift.high == tango_upper_bound(30, 24, 300, confidence=0.95)
    assert drift.regime == "new drift"
    assert drift.note == f"use {use} of this hold-out: low is at {100 * (1 - spent(0.05, use)):.4g} %"


def test_one_use_is_the_first_and_one_patient_is_told() -> None:
    clean = answers(1000, gained=25, lost=25)
    decision = decide(good(clean=replace(clean, groups=np.zeros(1000))), margin=0.02, settings=SETTINGS)
    assert decision.criteria[-1].estimate == 1
    assert decision.reasons[0].endswith(" groups (now 1)")


def test_what_int8_costs_is_told_and_decides_nothing() -> None:
    measured = {"int8_drop": {"value": 0.3, "low": 0.2, "high": 0.4}, "served_reason": "FP32 is served: INT8 loses too much"}
    decision = decide(good(int8=measured), margin=0.02, settings=SETTINGS)
    fact = next(criterion for criterion in decision.criteria if criterion.name == "INT8 drop")
    assert (fact.estimate, fact.low, fact.high, fact.note) == (0.3, 0.2, 0.4, "FP32 is served: INT8 loses too much")
    assert decision.decision == "promote"
    unmeasured = decide(good(int8={}), margin=0.02, settings=SETTINGS)
    assert [(fact.estimate, fact.note) for fact in unmeasured.criteria if fact.name == "INT8 drop"] == [(None, "")]


def test_a_test_split_that_was_used_up_says_so_without_a_warning() -> None:
    (reason,) = decide(good(test_uses=10), margin=0.02, settings=SETTINGS).reasons
    assert reason.startswith("this test split has been used 10 times: no automatic promotion until it is refreshed")
    assert "(limit 10)" in reason


def test_more_uses_warn_before_they_forbid() -> None:
    assert not any("warning" in reason for reason in decide(good(test_uses=4), margin=0.02, settings=SETTINGS).reasons)
    assert any("warning: this was use 5" in reason for reason in decide(good(test_uses=5), margin=0.02, settings=SETTINGS).reasons)


@pytest.mark.parametrize(
    ("right", "n", "expected"),
    [
        (1350, 1500, "promote"),
        (760, 1500, "reject"),
        (750, 1500, "reject"),
        (400, 1500, "reject"),
        (17, 30, "inconclusive"),
        (29, 30, "promote"),
    ],
)
def test_a_first_candidate_must_beat_the_commonest_class(right: int, n: int, expected: str) -> None:
    labels = np.arange(n) % 2
    clean = Answers(labels, probabilities(labels, np.arange(n) < right, 0.8))
    assert decided(GateInputs(clean, CLASSES)) == expected


def test_a_first_candidate_is_promoted_with_its_accuracy_and_the_share_that_it_beats() -> None:
    labels = np.arange(1500) % 2
    decision = decide(
        GateInputs(Answers(labels, probabilities(labels, np.arange(1500) < 1350, 0.8)), CLASSES), margin=0.02, settings=SETTINGS
    )
    at_least = proportion_confint(1350, 1500, alpha=0.1, method="wilson")[0]
    expected = f"better than the commonest class 90.0 % (at least {100 * at_least:.1f} %, more than 50.0 % was asked for)"
    assert decision.reasons == [expected, f"all {len(decision.criteria)} criteria hold"]


def test_ninety_percent_is_no_achievement_where_ninety_percent_are_normal() -> None:
    labels = (np.arange(1000) % 10 == 0).astype(int)
    clean = Answers(labels, probabilities(labels, labels == 0, 0.8))
    assert decided(GateInputs(clean, CLASSES)) == "reject"


def test_a_refused_first_candidate_is_told_what_naming_the_commonest_class_gives() -> None:
    labels = np.arange(1500) % 2
    inputs = GateInputs(Answers(labels, probabilities(labels, np.arange(1500) < 750, 0.8)), CLASSES)
    at_best = proportion_confint(750, 1500, alpha=0.1, method="wilson")[1]
    assert decide(inputs, margin=0.02, settings=SETTINGS).reasons[0] == (
        f"better than the commonest class: accuracy 50.0 % (at best {100 * at_best:.1f} %), "
        "while always naming the commonest class gives 50.0 %"
    )


@pytest.mark.parametrize(
    ("n", "gained", "lost", "expected"),
    [
        (200, 5, 5, "promote"),
        (2000, 20, 20, "promote"),
        (100, 4, 7, "inconclusive"),  # -3 pt: more than 5 may be lost, and less than 2
        (3000, 30, 120, "reject"),  # -3 pt, at best -2.3: more than the margin, though not below the floor
        (300, 2, 40, "reject"),
    ],
)
def test_a_candidate_of_the_calendar_must_not_lose_on_what_came_in_lately(n: int, gained: int, lost: int, expected: str) -> None:
    recent = answers(n, gained=gained, lost=lost)
    decision = decide(good(drifted=None, recent=recent), margin=0.02, settings=GateSettings(floor=0.05))
    assert decision.decision == expected
    criterion = decision.criteria[1]
    assert (criterion.name, criterion.regime, criterion.n, criterion.bound) == ("recent hold-out", "recent", n, -0.05)
    assert (criterion.holds, criterion.refuted) == (expected == "promote", expected == "reject")
    assert criterion.note == "use 1 of this hold-out: low is at 96.96 %"
    needed = labels_needed(-0.03, math.sqrt(0.11), 100, -0.05, hopeless=-0.02, confidence=1 - spent(0.05, 2))
    assert decision.labels_needed == ({"recent hold-out": needed} if expected == "inconclusive" else {})


def test_slow_and_large_candidates_are_told_their_figures_and_limits() -> None:
    settings = GateSettings(latency_limit=1.5, size_limit=2.0)

    def reasons(**changes: Any) -> list[str]:
        return decide(good(**changes), margin=0.02, settings=settings).reasons

    assert reasons(latency=latency(2.0, 1.8, 2.2)) == ["p95 latency: 20.00 ms against 10.00 ms, a ratio of 2.00 (limit 1.50)"]
    assert reasons(latency=latency(1.6, 1.3, 1.9)) == [
        "p95 latency: 16.00 ms against 10.00 ms; a ratio of 1.60 is over 1.50, but not beyond doubt"
    ]
    assert reasons(sizes=(50_000_000, 10_000_000)) == ["size: 50.00 MB against 10.00 MB, a ratio of 5.00 (limit 2.00)"]


def test_of_the_brier_score_the_bound_on_the_wrong_side_is_named() -> None:
    worse = decide(good(clean=answers(1500, gained=30, lost=30, wrong=100, candidate_sure=0.55)), margin=0.02, settings=SETTINGS)
    brier = next(criterion for criterion in worse.criteria if criterion.unit == "brier")
    assert brier.low is not None
    assert worse.reasons == [
        f"Brier score: {brier.estimate:+.4f}, at least {brier.low:+.4f}, where less than {SETTINGS.brier_limit:+.4f} is asked for"
    ]
    equal = decide(good(), margin=0.02, settings=GateSettings(brier_limit=0.001))
    brier = next(criterion for criterion in equal.criteria if criterion.unit == "brier")
    assert equal.decision == "inconclusive"
    assert equal.reasons[0].startswith(
        f"Brier score: {brier.estimate:+.4f} on 1,500 labelled images leaves {brier.high:+.4f} possible, "
        "where less than +0.0010 is asked for; about "
    )


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (None, "no number of labels would decide"),
        (1_000_001, "no number of labels would decide"),
        (1_000_000, "about 1,000,000 would decide"),
    ],
)
def test_a_number_of_labels_that_nobody_gives_is_not_asked_for(labels: int | None, says: str) -> None:
    criterion = Criterion("clean test", False, False, 0.01, -0.01, 0.03, 0.0, 100, unit="points", labels=labels)
    assert open_reason(criterion) == (
        f"clean test: +1.0 pt on 100 labelled images leaves -1.0 pt possible, where more than +0.0 pt is asked for; {says}"
    )


def test_the_headline_has_the_accuracies_or_why_there_are_none() -> None:
    decision = decide(good(), margin=0.02, settings=SETTINGS)
    assert headline("promote", decision.criteria) == "promote: clean test +0.0 pt (> -2.0 pt), drifted hold-out +8.0 pt (> +0.0 pt)"
    refused = decide(good(schema=["the candidate knows A, B"]), margin=0.02, settings=SETTINGS)
    assert headline("reject", refused.criteria) == "reject: schema: the candidate knows A, B"


def test_the_headline_of_a_refusal_does_not_show_only_what_holds() -> None:
    criteria = [
        Criterion("better than the commonest class", True, False, 0.40, 0.35, 0.50, 0.34, 112, unit="share"),
        Criterion("every class known", False, True, note="not recognised: 'cross'"),
    ]
    assert headline("reject", criteria) == "reject: better than the commonest class 40.0 % (> 34.0 %); does not hold: every class known"


def simulated(rng: np.random.Generator, n: int, difference: float, psi: float) -> Answers:
    labels = rng.integers(0, 2, n)
    kinds = rng.choice(4, n, p=[0.9 - psi, (psi + difference) / 2, (psi - difference) / 2, 0.1])
    return Answers(labels, probabilities(labels, kinds <= 1, 0.7), probabilities(labels, (kinds == 0) | (kinds == 2), 0.7))


def promoted(seed: int, repeats: int, clean: tuple[int, float, float], drifted: tuple[int, float, float]) -> float:
    rng = np.random.default_rng(seed)
    candidates = (GateInputs(simulated(rng, *clean), CLASSES, drifted=simulated(rng, *drifted)) for _ in range(repeats))
    return float(np.mean([decided(inputs) == "promote" for inputs in candidates]))


@pytest.mark.parametrize(
    ("clean", "drifted"),
    [((1500, -0.02, 0.05), (300, 0.18, 0.2)), ((100, -0.02, 0.05), (300, 0.18, 0.2)), ((1500, 0.0, 0.02), (300, 0.0, 0.2))],
)
def test_a_candidate_exactly_at_a_limit_is_promoted_about_one_time_in_twenty_or_less(
    clean: tuple[int, float, float], drifted: tuple[int, float, float]
) -> None:
    # 600 repeats: 7.3 % is what a true 5 % exceeds once in two hundred such tests.
    assert promoted(2, 600, clean, drifted) <= 0.073


def test_a_candidate_that_repairs_eight_points_is_promoted_at_the_default_sizes() -> None:
    assert promoted(3, 300, (1500, 0.0, 0.05), (300, 0.08, 0.2)) >= 0.85


def promoted_by_calendar(seed: int, repeats: int, clean: tuple[int, float, float], recent: tuple[int, float, float]) -> float:
    rng = np.random.default_rng(seed)
    candidates = (GateInputs(simulated(rng, *clean), CLASSES, recent=simulated(rng, *recent)) for _ in range(repeats))
    return float(np.mean([decided(inputs) == "promote" for inputs in candidates]))


@pytest.mark.parametrize(("clean", "recent"), [(0.0, -0.05), (-0.02, 0.0)])
def test_a_candidate_of_the_calendar_at_a_limit_is_promoted_one_time_in_twenty_or_less(clean: float, recent: float) -> None:
    assert promoted_by_calendar(4, 600, (1500, clean, 0.05), (197, recent, 0.08)) <= 0.073


def test_an_equal_candidate_of_the_calendar_is_promoted_with_the_labels_that_the_policy_waits_for() -> None:
    assert promoted_by_calendar(5, 300, (1500, 0.0, 0.03), (197, 0.0, 0.05)) >= 0.75


def test_a_first_model_of_skewed_classes_that_count_alike_is_not_held_against_the_commonest_one() -> None:
    labels = np.repeat([0, 1], [380, 20])
    named = np.concatenate([np.arange(380) >= 304, np.arange(20) < 15]).astype(int)
    said = np.where(named[:, None] == [0, 1], 0.9, 0.1) * [0.95, 0.05]
    said /= said.sum(axis=1, keepdims=True)
    alike = Answers(labels, said, candidate_shares=(0.95, 0.05))
    decision = decide(GateInputs(alike, ["whole", "cracked"]), margin=0.02, settings=GateSettings())
    assert decision.decision == "promote"
    assert decision.reasons[0].startswith("better than naming one class 77.5 % (at least ")
    likeliest = decide(GateInputs(Answers(labels, np.eye(2)[named]), ["whole", "cracked"]), margin=0.02, settings=GateSettings())
    assert likeliest.decision == "reject"
    blind = Answers(labels, np.tile([0.96, 0.04], (400, 1)), candidate_shares=(0.95, 0.05))
    refused = decide(GateInputs(blind, ["whole", "cracked"]), margin=0.02, settings=GateSettings(first_gain=0.5))
    assert refused.decision == "reject"
    translator = Translator("fr", frozenset({"whole", "cracked"}))
    for reason in (*decision.reasons, *refused.reasons):
        translator(reason)
    assert translator.missing == []
    assert any("balanced accuracy 50.0 %" in reason and "naming any one class gives 50.0 %" in reason for reason in refused.reasons)
