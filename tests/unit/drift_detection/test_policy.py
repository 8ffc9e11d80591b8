"""The verdict table, exhaustively."""

from dataclasses import replace
from itertools import product

import pytest

from components.drift_detection.harm import AccuracyDrop
from components.drift_detection.policy import Situation, decide, labels_for_the_gate
from driftloop.settings import DriftSettings, RetrainSettings

SETTINGS = DriftSettings()
RETRAIN = RetrainSettings()
HARMFUL = AccuracyDrop(0.10, 0.04, 0.16, 150)
HARMLESS = AccuracyDrop(0.01, -0.02, 0.04, 300)
OPEN = AccuracyDrop(0.04, -0.01, 0.09, 150)
FEW_AND_BAD = AccuracyDrop(0.30, 0.20, 0.40, 99)
DROPS = {"none": None, "harmful": HARMFUL, "harmless": HARMLESS, "open": OPEN, "few": FEW_AND_BAD}
CONFIRMED = Situation(tested=3, drifted=2, confirmed=True, labels=10_000)


def expected_verdict(drop: str, age: float | None, retrainings: int, suggest_only: bool) -> str:
    if drop == "harmful":
        free = (age is None or age >= 1) and retrainings < 4 and not suggest_only
        return "retrain" if free else "alert"
    return {"harmless": "alert", "none": "needs_labels", "open": "needs_labels", "few": "needs_labels"}[drop]


@pytest.mark.parametrize(
    ("drop", "age", "retrainings", "suggest_only"), list(product(DROPS, [None, 0.5, 1.0, 9.0], [0, 3, 4], [False, True]))
)
def test_confirmed_drift(drop: str, age: float | None, retrainings: int, suggest_only: bool) -> None:
    situation = replace(CONFIRMED, drop=DROPS[drop], days_since_retraining=age, recent_retrainings=retrainings)
    verdict = decide(situation, DriftSettings(suggest_only=suggest_only), RETRAIN)
    assert verdict.name == expected_verdict(drop, age, retrainings, suggest_only)
    assert verdict.reason.endswith(".")
    assert "\n" not in verdict.reason


@pytest.mark.parametrize(("tested", "drifted", "estimate"), list(product([0, 1, 5], [0, 1], [None, 0.0, 0.09, 0.1, 0.5])))
def test_unconfirmed_drift(tested: int, drifted: int, estimate: float | None) -> None:
    drifted = min(drifted, tested)
    situation = Situation(tested=tested, drifted=drifted, confirmed=False, label_free_drop=estimate, drop=None)
    escalates = drifted > 0 and estimate is not None and estimate >= 0.1
    assert decide(situation, SETTINGS, RETRAIN).name == ("needs_labels" if escalates else "stable")


def test_the_label_free_estimate_never_calms() -> None:
    for drop in DROPS.values():
        plain = decide(replace(CONFIRMED, drop=drop), SETTINGS, RETRAIN)
        assert decide(replace(CONFIRMED, drop=drop, label_free_drop=-0.05), SETTINGS, RETRAIN) == plain


@pytest.mark.parametrize(
    ("drop", "name"),
    [
        (AccuracyDrop(0.03, 0.001, 0.06, 100), "retrain"),
        (AccuracyDrop(0.0299, 0.001, 0.06, 100), "needs_labels"),
        (AccuracyDrop(0.03, 0.0, 0.06, 100), "needs_labels"),
        (AccuracyDrop(0.03, 0.001, 0.06, 99), "needs_labels"),
        (AccuracyDrop(0.0, -0.05, 0.05, 100), "needs_labels"),
        (AccuracyDrop(0.0, -0.05, 0.0499, 100), "alert"),
        (AccuracyDrop(0.0, -0.05, 0.0499, 99), "needs_labels"),
        (AccuracyDrop(0.0, -0.05, 0.0499, 100, recent=0.03), "needs_labels"),
        (AccuracyDrop(0.0, -0.05, 0.0499, 100, recent=0.0299), "alert"),
        (AccuracyDrop(0.04, 0.03, 0.049, 9000), "retrain"),
    ],
)
def test_thresholds_hold_to_the_digit(drop: AccuracyDrop, name: str) -> None:
    assert decide(replace(CONFIRMED, drop=drop), SETTINGS, RETRAIN).name == name


def test_a_retraining_waits_until_the_gate_could_tell() -> None:
    drop = AccuracyDrop(0.15, 0.10, 0.20, 120)
    # By hand: n = (1.645 + 0.842)^2 * 0.15 / 0.075^2 = 165 for the gate, which gets 300 of 660 labels.
    assert labels_for_the_gate(drop, SETTINGS, RETRAIN) == 363
    assert decide(replace(CONFIRMED, drop=drop, labels=362), SETTINGS, RETRAIN).name == "needs_labels"
    assert decide(replace(CONFIRMED, drop=drop, labels=363), SETTINGS, RETRAIN).name == "retrain"
    assert decide(replace(CONFIRMED, drop=drop, labels=120), DriftSettings(gate_power=0), RETRAIN).name == "retrain"


def test_the_gates_part_is_that_of_the_retraining_that_follows() -> None:
    drop = AccuracyDrop(0.15, 0.10, 0.20, 120)
    # All but 60 of 660 labels for the gate instead of 300: 165 there take fewer in all.
    generous = RetrainSettings(gate_parts=600, train_parts=30, val_parts=30)
    assert labels_for_the_gate(drop, SETTINGS, generous) == 182
    assert decide(replace(CONFIRMED, drop=drop, labels=182), SETTINGS, generous).name == "retrain"
    assert decide(replace(CONFIRMED, drop=drop, labels=182), SETTINGS, RETRAIN).name == "needs_labels"


def test_a_retraining_that_could_not_begin_is_not_ordered_and_the_reason_says_what_is_missing() -> None:
    missing = "90 labelled images of the confirmed drift, 200 are needed: 110 more"
    verdict = decide(replace(CONFIRMED, drop=HARMFUL, missing_for_retraining=missing), SETTINGS, RETRAIN)
    assert verdict.name == "needs_labels"
    assert missing in verdict.reason
    assert decide(replace(CONFIRMED, drop=HARMLESS, missing_for_retraining=missing), SETTINGS, RETRAIN).name == "alert"


def test_a_shown_harm_is_retrained_with_what_there_is_when_no_more_can_come() -> None:
    drop = AccuracyDrop(0.105, 0.075, 0.135, 495)
    # A real change of scanner: 544 wanted, 495 there, and none that anybody could still label.
    wanted = labels_for_the_gate(drop, SETTINGS, RETRAIN)
    assert wanted > 495
    assert decide(replace(CONFIRMED, drop=drop, labels=495), SETTINGS, RETRAIN).name == "needs_labels"
    assert decide(replace(CONFIRMED, drop=drop, labels=495, obtainable=495), SETTINGS, RETRAIN).name == "retrain"
    waits = decide(replace(CONFIRMED, drop=drop, labels=495, obtainable=510), SETTINGS, RETRAIN)
    assert (waits.name, waits.purpose) == ("needs_labels", "gate")
    assert "about 510 would do" in waits.reason
    assert f"about {wanted} would do" in decide(replace(CONFIRMED, drop=drop, labels=495, obtainable=9000), SETTINGS, RETRAIN).reason


CALM = Situation(tested=3, drifted=0, confirmed=False, labels=10_000)


def test_a_drop_that_labels_show_without_any_drift_confirms_itself() -> None:
    verdict = decide(replace(CALM, concept_drop=HARMFUL), SETTINGS, RETRAIN)
    assert (verdict.name, verdict.purpose) == ("retrain", "gate")
    assert "concept drift" in verdict.reason
    assert "at least 4.0 points" in verdict.reason
    for drop in (None, HARMLESS, OPEN, FEW_AND_BAD):
        assert decide(replace(CALM, concept_drop=drop), SETTINGS, RETRAIN).name == "stable"
    # Where drift is confirmed, that is what is judged.
    assert decide(replace(CONFIRMED, concept_drop=HARMFUL, drop=HARMLESS), SETTINGS, RETRAIN).name == "alert"
    assert decide(replace(CALM, concept_drop=HARMFUL, days_since_retraining=0.5), SETTINGS, RETRAIN).name == "alert"
    assert decide(replace(CALM, concept_drop=HARMFUL, labels=10), SETTINGS, RETRAIN).name == "needs_labels"


@pytest.mark.parametrize(("growth", "name"), [(None, "alert"), (0.0999, "alert"), (0.1, "needs_labels"), (0.4, "needs_labels")])
def test_a_drift_that_grows_on_top_of_a_harmless_one_asks_for_labels(growth: float | None, name: str) -> None:
    verdict = decide(replace(CONFIRMED, drop=HARMLESS, label_free_growth=growth), SETTINGS, RETRAIN)
    assert (verdict.name, verdict.purpose) == (name, "harm" if name == "needs_labels" else "")
    assert ("more than those that were labelled" in verdict.reason) == (name == "needs_labels")


@pytest.mark.parametrize(
    ("situation", "purpose"),
    [
        (CALM, ""),
        (replace(CONFIRMED, drop=HARMLESS), ""),
        (replace(CONFIRMED, drop=OPEN), "harm"),
        (CONFIRMED, "harm"),
        (replace(CALM, drifted=1, label_free_drop=0.2), "harm"),
        (replace(CONFIRMED, drop=HARMFUL), "gate"),
        (replace(CONFIRMED, drop=HARMFUL, recent_retrainings=9), "gate"),
        (replace(CONFIRMED, drop=HARMFUL, days_since_retraining=0.1), "gate"),
    ],
)
def test_labels_are_asked_for_with_a_purpose(situation: Situation, purpose: str) -> None:
    assert decide(situation, SETTINGS, RETRAIN).purpose == purpose
    suggesting = DriftSettings(suggest_only=True)
    assert decide(situation, suggesting, RETRAIN).purpose == purpose


def test_it_never_waits_for_more_labels_than_one_list_asks_for() -> None:
    assert labels_for_the_gate(AccuracyDrop(0.03, 0.01, 0.05, 900), SETTINGS, RETRAIN) == SETTINGS.random_requests


@pytest.mark.parametrize(("labels", "name"), [(660, "needs_labels"), (759, "needs_labels"), (760, "retrain")])
def test_a_refused_candidate_is_tried_again_on_new_labels_only(labels: int, name: str) -> None:
    situation = replace(CONFIRMED, drop=HARMFUL, labels=labels, labels_at_refusal=660, days_since_retraining=3.0)
    verdict = decide(situation, SETTINGS, RETRAIN)
    assert verdict.name == name
    assert ("refused on 660 labels" in verdict.reason) == (name == "needs_labels")


def test_the_cooldown_comes_before_labels() -> None:
    situation = replace(CONFIRMED, drop=HARMFUL, labels=10, labels_at_refusal=10, days_since_retraining=0.1)
    assert decide(situation, SETTINGS, RETRAIN).name == "alert"


def test_thresholds_are_settings() -> None:
    settings = DriftSettings(harm_labels=200, retrain_drop=0.2, harmless_drop=0.2, cooldown_days=0, retrainings_per_30_days=0)
    assert decide(replace(CONFIRMED, drop=replace(HARMFUL, n=200)), settings, RETRAIN).name == "alert"
    assert decide(replace(CONFIRMED, drop=AccuracyDrop(0.25, 0.2, 0.3, 199)), settings, RETRAIN).name == "needs_labels"
    assert decide(replace(CONFIRMED, drop=AccuracyDrop(0.25, 0.2, 0.3, 200)), settings, RETRAIN).reason.endswith(
        "0 retrainings in 30 days is spent."
    )


@pytest.mark.parametrize(
    ("situation", "says"),
    [
        (Situation(tested=0, drifted=0, confirmed=False), "no new requests"),
        (
            Situation(tested=0, drifted=0, confirmed=False, waiting=30, waiting_groups=20, minimum=50),
            "30 requests of 20 distinct groups wait",
        ),
        (Situation(tested=1, drifted=0, confirmed=False), "The window fits"),
        (Situation(tested=4, drifted=0, confirmed=False), "All 4 windows fit"),
        (Situation(tested=4, drifted=1, confirmed=False), "1 of 4 windows drifted, not confirmed"),
        (replace(CONFIRMED, drop=None), "0 of at least 100 random labels"),
        (replace(CONFIRMED, drop=FEW_AND_BAD), "99 of at least 100 random labels"),
        (replace(CONFIRMED, drop=OPEN, labels_to_decide=400), "about 400 random labels in all would decide"),
        (replace(CONFIRMED, drop=replace(OPEN, n=100)), "but 100 random labels show neither"),
        (replace(CONFIRMED, drop=HARMFUL, labels=670, labels_at_refusal=660), "refused on 660 labels and 10 came since"),
        (replace(CONFIRMED, drop=OPEN), "more random labels are needed"),
        (replace(CONFIRMED, drop=OPEN, skipped=12), "150 random labels (12 were skipped) show neither"),
        (replace(CONFIRMED, skipped=12), "0 of at least 100 random labels are there (12 were skipped)"),
        (replace(CONFIRMED, drop=HARMLESS), "harmless"),
        (replace(CONFIRMED, drop=HARMFUL), "accuracy fell by 10.0 points, at least 4.0 points"),
        (replace(CONFIRMED, drop=HARMFUL, days_since_retraining=0.25), "0.2 days ago and the cooldown lasts 1"),
        (replace(CONFIRMED, drop=HARMFUL, recent_retrainings=4), "budget of 4 retrainings in 30 days is spent"),
    ],
)
def test_the_reason_says_what_decided(situation: Situation, says: str) -> None:
    assert says in decide(situation, SETTINGS, RETRAIN).reason


def test_copies_of_few_images_are_an_alert_unless_drift_says_more() -> None:
    stuck = Situation(tested=0, drifted=0, confirmed=False, waiting=500, waiting_groups=1, minimum=50, stuck=True)
    assert decide(stuck, SETTINGS, RETRAIN).name == "alert"
    assert decide(replace(CONFIRMED, stuck=True), SETTINGS, RETRAIN).name == "needs_labels"
