"""The verdict table, exhaustively."""

import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path

import pandas as pd
import pytest

from components.drift_detection.harm import AccuracyDrop
from components.drift_detection.policy import (
    Situation,
    Verdict,
    decide,
    gravest,
    labels_for_the_gate,
    missing_for_retraining,
    verdict_of_tag,
)
from driftloop.dataset import write_dataset
from driftloop.dataset.group_names import GroupNames
from driftloop.inference.traffic import Traffic
from driftloop.settings import DriftSettings, RetrainSettings
from driftloop.store import open_store
from tests.factories.datasets import random_split
from tests.factories.records import model_description, traffic_info
from tests.factories.retraining import confirmed_windows, labelled_requests

SETTINGS = DriftSettings()
RETRAIN = RetrainSettings()
HARMFUL = AccuracyDrop(0.10, 0.04, 0.16, 150)
HARMLESS = AccuracyDrop(0.01, -0.02, 0.04, 300)
OPEN = AccuracyDrop(0.04, -0.01, 0.09, 150)
FEW_AND_BAD = AccuracyDrop(0.30, 0.20, 0.40, 99)
DROPS = {"none": None, "harmful": HARMFUL, "harmless": HARMLESS, "open": OPEN, "few": FEW_AND_BAD}
CONFIRMED = Situation(tested=3, drifted=2, confirmed=True, labels=10_000, gate_labels=4_000)


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
    assert labels_for_the_gate(drop, SETTINGS, RETRAIN) == 165
    waits = decide(replace(CONFIRMED, drop=drop, gate_labels=164), SETTINGS, RETRAIN)
    assert waits.name == "needs_labels"
    assert "with the 164 labels kept for it" in waits.reason
    assert "about 165 would do (about 3 more random labels, of which it gets its part)" in waits.reason
    assert decide(replace(CONFIRMED, drop=drop, gate_labels=165), SETTINGS, RETRAIN).name == "retrain"
    assert "could hardly tell a better candidate" in waits.reason
    assert decide(replace(CONFIRMED, drop=drop, gate_labels=50), DriftSettings(gate_power=0), RETRAIN).name == "retrain"
    # A power of .2: n = (1.6449 - 0.8416)^2 * 0.15 / 0.075^2 = 17.2; below the level chance alone is enough.
    assert labels_for_the_gate(drop, DriftSettings(gate_power=0.2), RETRAIN) == 18
    assert labels_for_the_gate(drop, DriftSettings(gate_power=0.04), RETRAIN) == 0


def test_the_gates_part_is_that_of_the_retraining_that_follows() -> None:
    drop = AccuracyDrop(0.15, 0.10, 0.20, 120)
    # All but 60 of 660 labels for the gate instead of 300: what is missing there takes fewer in all.
    generous = RetrainSettings(gate_parts=600, train_parts=30, val_parts=30)
    assert generous.gate_share == pytest.approx(600 / 660)
    few = replace(CONFIRMED, drop=drop, gate_labels=65)
    assert "about 110 more random labels" in decide(few, SETTINGS, generous).reason
    assert "about 220 more random labels" in decide(few, SETTINGS, RETRAIN).reason


def test_a_retraining_that_could_not_begin_is_not_ordered_and_the_reason_says_what_is_missing() -> None:
    missing = "90 labelled images of the confirmed drift, 200 are needed: 110 more"
    verdict = decide(replace(CONFIRMED, drop=HARMFUL, missing_for_retraining=missing), SETTINGS, RETRAIN)
    assert verdict.name == "needs_labels"
    assert missing in verdict.reason
    assert decide(replace(CONFIRMED, drop=HARMLESS, missing_for_retraining=missing), SETTINGS, RETRAIN).name == "alert"


def test_a_shown_harm_is_retrained_with_what_there_is_when_no_more_can_come() -> None:
    drop = AccuracyDrop(0.105, 0.075, 0.135, 495)
    # A real change of scanner: 236 wanted for the gate, 225 of 495 there, and none that anybody could still label.
    wanted = labels_for_the_gate(drop, SETTINGS, RETRAIN)
    assert wanted > 225
    there = replace(CONFIRMED, drop=drop, labels=495, gate_labels=225)
    assert decide(there, SETTINGS, RETRAIN).name == "needs_labels"
    assert decide(replace(there, gate_obtainable=225), SETTINGS, RETRAIN).name == "retrain"
    waits = decide(replace(there, gate_obtainable=232), SETTINGS, RETRAIN)
    assert (waits.name, waits.purpose) == ("needs_labels", "gate")
    assert "about 232 would do" in waits.reason
    assert f"about {wanted} would do" in decide(replace(there, gate_obtainable=9000), SETTINGS, RETRAIN).reason


def test_the_gate_waits_for_independent_labels_and_says_how_many_of_such_that_takes() -> None:
    drop = AccuracyDrop(0.15, 0.10, 0.20, 120)
    # 165 independent ones: two thirds of them are worth as many as 247.5 such labels.
    waits = decide(replace(CONFIRMED, drop=drop, gate_labels=165, gate_independent=110), SETTINGS, RETRAIN)
    assert waits.name == "needs_labels"
    assert "with the 165 labels kept for it" in waits.reason
    assert "about 248 would do (about 183 more random labels, of which it gets its part)" in waits.reason
    assert decide(replace(CONFIRMED, drop=drop, gate_labels=248, gate_independent=165), SETTINGS, RETRAIN).name == "retrain"
    # A label of each of 33 lots would be as many as can be had: several of each of 32 are more than that.
    lots = replace(CONFIRMED, drop=drop, gate_labels=168, gate_obtainable=33)
    assert decide(replace(lots, gate_independent=74.3), SETTINGS, RETRAIN).name == "retrain"
    assert decide(replace(lots, gate_independent=32), SETTINGS, RETRAIN).name == "needs_labels"
    assert "about 165 would do" in decide(replace(CONFIRMED, drop=drop, gate_labels=0, gate_independent=0), SETTINGS, RETRAIN).reason


CALM = Situation(tested=3, drifted=0, confirmed=False, labels=10_000, gate_labels=4_000)


def test_a_drift_is_not_harmless_while_a_critical_class_may_be_lost() -> None:
    unknown = ("recall of rare is between 0.00 and 0.70 (accepted: 0.90); about 3,100 random labels in all would tell",)
    verdict = decide(replace(CONFIRMED, drop=HARMLESS, unknown_recalls=unknown), SETTINGS, RETRAIN)
    assert (verdict.name, verdict.purpose, verdict.harmless) == ("needs_labels", "harm", False)
    assert unknown[0] in verdict.reason
    assert "; but a critical class: recall of rare" in verdict.reason
    fallen = ("recall of rare is between 0.00 and 0.31 (accepted: 0.90)",)
    for drop, accepted in ((HARMLESS, ""), (OPEN, ""), (HARMLESS, "accepted on 2025-03-01 by me (it is winter)")):
        verdict = decide(replace(CONFIRMED, drop=drop, fallen_recalls=fallen, accepted=accepted), SETTINGS, RETRAIN)
        assert (verdict.name, verdict.purpose, verdict.harmless) == ("alert", "gate", False)
        assert fallen[0] in verdict.reason
    assert decide(replace(CONFIRMED, drop=HARMFUL, fallen_recalls=fallen), SETTINGS, RETRAIN).name == "retrain"


def test_a_drift_is_not_harmless_while_the_level_of_a_tag_may_be_harmed() -> None:
    unknown = ("site=B between -2.0 and 21.0 points (n = 20)", "site=C between -3.0 and 30.0 points (n = 9)")
    verdict = decide(replace(CONFIRMED, drop=HARMLESS, unknown_levels=unknown), SETTINGS, RETRAIN)
    assert (verdict.name, verdict.purpose, verdict.harmless) == ("needs_labels", "harm", False)
    assert "; ".join(unknown) in verdict.reason
    assert "on 300 random labels accuracy fell by 1.0 points" in verdict.reason
    assert decide(replace(CONFIRMED, drop=HARMFUL, unknown_levels=unknown), SETTINGS, RETRAIN).name == "retrain"


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
    assert decide(replace(CALM, concept_drop=HARMFUL, labels=10, gate_labels=4), SETTINGS, RETRAIN).name == "needs_labels"


def test_a_changed_meaning_is_not_learned_again_where_a_candidate_was_rejected_for_it() -> None:
    """By the labels of the test split, which have the old meaning, the next would be worse as well: each try would use the split up."""
    rejected = replace(CALM, concept_drop=HARMFUL, concept_rejected=True)
    for more in (0, 10_000):
        verdict = decide(replace(rejected, labels=10_000 + more, labels_at_refusal=10_000), SETTINGS, RETRAIN)
        assert (verdict.name, verdict.purpose) == ("alert", "")
        assert "the labels of the test split are those of before: look at them" in verdict.reason
    # A drift that is confirmed is another matter.
    assert decide(replace(rejected, confirmed=True, drifted=3, drop=HARMFUL), SETTINGS, RETRAIN).name == "retrain"


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
    assert labels_for_the_gate(AccuracyDrop(0.03, 0.01, 0.05, 900), SETTINGS, RETRAIN) == 270
    assert SETTINGS.random_requests * RETRAIN.gate_share == pytest.approx(300), "but for bad luck"


@pytest.mark.parametrize(("labels", "name"), [(660, "needs_labels"), (759, "needs_labels"), (760, "retrain")])
def test_a_refused_candidate_is_tried_again_on_new_labels_only(labels: int, name: str) -> None:
    situation = replace(CONFIRMED, drop=HARMFUL, labels=labels, labels_at_refusal=660, days_since_retraining=3.0)
    verdict = decide(situation, SETTINGS, RETRAIN)
    assert verdict.name == name
    assert ("refused on 660 labels" in verdict.reason) == (name == "needs_labels")


def test_a_candidate_that_a_person_rolled_back_was_not_refused() -> None:
    situation = replace(CONFIRMED, drop=HARMFUL, labels=670, labels_at_refusal=660, rolled_back=True)
    verdict = decide(situation, SETTINGS, RETRAIN)
    assert verdict.name == "needs_labels"
    assert verdict.reason.endswith("; a candidate of 660 labels was rolled back and 10 came since, 100 make another try worth it.")
    assert decide(replace(situation, labels=760), SETTINGS, RETRAIN).name == "retrain"


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
        (replace(CONFIRMED, drop=replace(OPEN, n=100)), "but 100 random labels (4,000 more are kept for the gate) show neither"),
        (replace(CONFIRMED, drop=HARMFUL, labels=670, labels_at_refusal=660), "refused on 660 labels and 10 came since"),
        (replace(CONFIRMED, drop=OPEN), "more random labels are needed"),
        (
            replace(CONFIRMED, drop=OPEN, too_few_accepted=9.3),
            "no number of labels would decide, since the images that told the accuracy that was accepted are worth 9 independent ones.",
        ),
        (replace(CONFIRMED, drop=OPEN, skipped=12, gate_labels=0), "150 random labels (12 were skipped) show neither"),
        (replace(CONFIRMED, drop=OPEN, gate_labels=125), "150 random labels (125 more are kept for the gate) show neither"),
        (replace(CONFIRMED, skipped=12, gate_labels=0), "0 of at least 100 random labels are there (12 were skipped)"),
        (
            replace(CONFIRMED, drop=HARMLESS),
            "on 300 random labels accuracy fell by 1.0 points, at most 4.0 points (bound of harm: 5.0 points).",
        ),
        (
            replace(CONFIRMED, drop=HARMFUL),
            "Drift is confirmed and harmful: on 150 random labels accuracy fell by 10.0 points, at least 4.0 ",
        ),
        (Situation(tested=4, drifted=1, confirmed=False, label_free_drop=0.2), "suggests an accuracy drop of 20.0 points: label some"),
        (Situation(tested=0, drifted=0, confirmed=False, waiting=1500, stuck=True), "The last 1,500 requests are mostly copies"),
        (replace(CONFIRMED, gate_labels=0), "0 of at least 100 random labels are there to tell"),
        (replace(CONFIRMED, drop=HARMFUL, days_since_retraining=0.25), "the last retraining was 6 h ago and the cooldown lasts 1 d"),
        (replace(CONFIRMED, drop=HARMFUL, recent_retrainings=4), "budget of 4 retrainings in 30 days is spent"),
    ],
)
def test_the_reason_says_what_decided(situation: Situation, says: str) -> None:
    assert says in decide(situation, SETTINGS, RETRAIN).reason


def test_copies_of_few_images_are_an_alert_unless_drift_says_more() -> None:
    stuck = Situation(tested=0, drifted=0, confirmed=False, waiting=500, waiting_groups=1, minimum=50, stuck=True)
    assert decide(stuck, SETTINGS, RETRAIN).name == "alert"
    assert decide(replace(CONFIRMED, stuck=True), SETTINGS, RETRAIN).name == "needs_labels"


@pytest.mark.parametrize(
    ("drop", "growth", "name"),
    [
        (None, None, "stable"),
        (HARMLESS, None, "stable"),
        (AccuracyDrop(0.0299, -0.01, 0.07, 900), None, "stable"),
        (AccuracyDrop(0.03, -0.01, 0.07, 900, low_now=0.001), None, "needs_labels"),
        (AccuracyDrop(0.0299, -0.01, 0.07, 900, low_now=0.001), None, "stable"),
        (AccuracyDrop(0.03, -0.01, 0.07, 900, low_now=0.0), None, "stable"),
        (AccuracyDrop(0.2, -0.01, 0.4, 99, low_now=0.1), None, "stable"),
        (AccuracyDrop(0.2, -0.01, 0.4, 100, low_now=0.1), None, "needs_labels"),
        (replace(HARMLESS, recent=0.03, recent_low=0.001), None, "needs_labels"),
        (replace(HARMLESS, recent=0.0299, recent_low=0.001), None, "stable"),
        (replace(HARMLESS, recent=0.03, recent_low=0.0), None, "stable"),
        (HARMLESS, 0.0999, "stable"),
        (HARMLESS, 0.1, "needs_labels"),
        (HARMFUL, None, "retrain"),
    ],
)
def test_an_accepted_drift_is_quiet_until_labels_or_confidence_say_otherwise(
    drop: AccuracyDrop | None, growth: float | None, name: str
) -> None:
    situation = replace(CONFIRMED, drop=drop, label_free_growth=growth, accepted="accepted on 2025-03-01 by ada (the new scanner)")
    verdict = decide(situation, SETTINGS, RETRAIN)
    assert verdict.name == name
    if name == "stable":
        assert (verdict.purpose, verdict.harmless) == ("", False)
        so_far = f"; on {drop.n} random labels it costs {100 * drop.value:.1f} points so far" if drop else ""
        assert verdict.reason == f"Drift is confirmed, and was accepted on 2025-03-01 by ada (the new scanner){so_far}."


@pytest.mark.parametrize(("growth", "name"), [(None, "stable"), (0.0999, "stable"), (0.1, "needs_labels")])
def test_a_drift_after_an_accepted_one_is_quiet_unless_confidence_has_fallen_below_it(growth: float | None, name: str) -> None:
    said = "accepted on 2025-03-01 by ada (the new scanner), which stands for drifts that begin until 2025-03-29"
    assert decide(replace(CONFIRMED, accepted=said, accepted_growth=growth), SETTINGS, RETRAIN).name == name


@pytest.mark.parametrize(("grown", "name"), [(0.0499, "alert"), (0.05, "needs_labels"), (1.7, "needs_labels")])
def test_a_drift_that_may_have_grown_since_its_labels_is_not_harmless(grown: float, name: str) -> None:
    verdict = decide(replace(CONFIRMED, drop=replace(HARMLESS, high_if_grown=grown), labels_to_decide=301), SETTINGS, RETRAIN)
    assert (verdict.name, verdict.harmless) == (name, name == "alert")
    if name == "needs_labels":
        assert verdict.purpose == "harm"
        assert f"the newest window might lose up to {min(100.0, 100 * grown):.1f} points: labels of newer windows" in verdict.reason


def test_labels_that_do_not_show_harmlessness_are_not_called_old() -> None:
    at_the_bound = replace(HARMLESS, high=0.05, high_if_grown=0.07)
    assert "show neither harm nor harmlessness" in decide(replace(CONFIRMED, drop=at_the_bound), SETTINGS, RETRAIN).reason


def test_only_a_drift_that_labels_show_to_be_harmless_says_so() -> None:
    assert decide(replace(CONFIRMED, drop=HARMLESS), SETTINGS, RETRAIN).harmless
    for situation in (replace(CONFIRMED, drop=OPEN), CONFIRMED, CALM, replace(CONFIRMED, drop=HARMFUL, recent_retrainings=9)):
        assert not decide(situation, SETTINGS, RETRAIN).harmless


CALENDAR = DriftSettings(retrain_every_days=30)
DUE = replace(CALM, calendar_due=True, days_since_retraining=30.0)


def test_the_calendar_retrains_without_any_drift_and_says_that_it_asked() -> None:
    verdict = decide(DUE, CALENDAR, RETRAIN)
    assert (verdict.name, verdict.purpose, verdict.nothing_to_win) == ("retrain", "gate", True)
    assert verdict.reason == "The calendar asks for a retraining every 30 days: 10,000 random labels are there."
    assert decide(replace(DUE, calendar_due=False), CALENDAR, RETRAIN).name == "stable"


def test_what_is_calm_stays_calm_without_a_calendar() -> None:
    assert DriftSettings().retrain_every_days == 0
    assert decide(CALM, SETTINGS, RETRAIN) == decide(CALM, DriftSettings(retrain_on="alarm"), RETRAIN)


@pytest.mark.parametrize(
    ("changes", "settings"),
    [({"recent_retrainings": 4}, {}), ({"recent_retrainings": 1}, {"retrainings_per_30_days": 1}), ({}, {"cooldown_days": 31})],
)
def test_cooldown_and_budget_hold_for_the_calendar_too(changes: dict[str, int], settings: dict[str, float]) -> None:
    assert decide(replace(DUE, **changes), DriftSettings(retrain_every_days=30, **settings), RETRAIN).name == "stable"


def test_the_calendar_waits_for_labels_to_train_on_and_to_exclude_a_loss_by() -> None:
    few = decide(replace(DUE, missing_for_retraining="20 labelled images, 90 are needed: 70 more"), CALENDAR, RETRAIN)
    assert (few.name, few.purpose) == ("needs_labels", "gate")
    assert "20 labelled images, 90 are needed" in few.reason
    # By hand: (1.8750 * sqrt(0.075) + 0.8416 * sqrt(0.05))^2 / 0.05^2 = 196.9 for the gate.
    assert decide(replace(DUE, gate_labels=197), CALENDAR, RETRAIN).name == "retrain"
    waits = decide(replace(DUE, gate_labels=196), CALENDAR, RETRAIN)
    assert waits.name == "needs_labels"
    assert "could hardly tell that a candidate is no worse, about 197 would do" in waits.reason
    assert decide(replace(DUE, gate_labels=40, gate_obtainable=40), CALENDAR, RETRAIN).name == "retrain", "no more can come"
    for_no_power = DriftSettings(retrain_every_days=30, gate_power=0)
    assert decide(replace(DUE, gate_labels=0), for_no_power, RETRAIN).name == "retrain"
    # Candidates of a drift are refused on its labels; where none is confirmed these are others.
    assert decide(replace(DUE, labels=210, labels_at_refusal=200), CALENDAR, RETRAIN).name == "retrain"
    # What is asked for must not hide an alarm of another kind.
    stuck = replace(DUE, tested=0, waiting=500, waiting_groups=1, minimum=50, stuck=True, gate_labels=0)
    assert decide(stuck, CALENDAR, RETRAIN).name == "alert"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"drop": HARMLESS}, ("retrain", True)),
        ({"accepted": "accepted on 2025-03-01 by ada (the new scanner)"}, ("retrain", True)),
        ({"drop": OPEN}, ("retrain", False)),
        ({"drop": None}, ("retrain", False)),
        ({"drop": OPEN, "gate_labels": 20}, ("retrain", False)),
        ({"confirmed": False, "drifted": 0, "concept_drop": HARMFUL}, ("retrain", False)),
        ({"confirmed": False, "drifted": 0, "concept_drop": OPEN}, ("retrain", True)),
        ({"drop": HARMFUL}, ("retrain", False)),
        ({"drop": HARMFUL, "gate_labels": 20}, ("needs_labels", False)),
        ({"drop": OPEN, "labels": 110, "labels_at_refusal": 100}, ("needs_labels", False)),
    ],
)
def test_the_gate_asks_for_a_gain_where_a_confirmed_drift_may_do_harm(changes: dict, expected: tuple[str, bool]) -> None:
    situation = replace(CONFIRMED, calendar_due=True, days_since_retraining=30.0, **changes)
    verdict = decide(situation, CALENDAR, RETRAIN)
    assert (verdict.name, verdict.nothing_to_win) == expected


def test_a_calendar_alone_retrains_for_harm_on_its_days_only() -> None:
    only = DriftSettings(retrain_every_days=30, suggest_only=True)
    harmful = replace(CONFIRMED, drop=HARMFUL, days_since_retraining=29.0)
    assert decide(harmful, only, RETRAIN).name == "alert"
    verdict = decide(replace(harmful, calendar_due=True, days_since_retraining=30.0), only, RETRAIN)
    assert (verdict.name, verdict.nothing_to_win) == ("retrain", False)


def test_a_policy_for_every_alarm_retrains_whether_it_matters_or_not() -> None:
    every = DriftSettings(retrain_on="alarm", gate_power=0)
    for drop in DROPS.values():
        verdict = decide(replace(CONFIRMED, drop=drop), every, RETRAIN)
        assert (verdict.name, verdict.nothing_to_win) == ("retrain", False)
    assert decide(replace(CONFIRMED, drifted=1, confirmed=False), every, RETRAIN).name == "stable"
    assert decide(replace(CONFIRMED, missing_for_retraining="none there"), every, RETRAIN).name == "needs_labels"
    assert decide(replace(CONFIRMED, accepted="accepted by ada"), every, RETRAIN).name == "stable"
    assert decide(CONFIRMED, DriftSettings(retrain_on="alarm", suggest_only=True), RETRAIN).name == "needs_labels"
    assert decide(replace(CONFIRMED, labels=110, labels_at_refusal=100), every, RETRAIN).name == "needs_labels"


def test_the_verdict_that_asks_for_most_counts_and_of_equal_ones_the_first() -> None:
    stable, alert, labels, retrain = (Verdict(name, f"{name}.") for name in ("stable", "alert", "needs_labels", "retrain"))
    assert gravest([stable, retrain, alert, labels]) == 1
    assert gravest([alert, labels, stable, labels]) == 1
    assert gravest([stable, alert]) == 1
    assert gravest([stable, stable]) == 0


def test_the_verdict_on_a_level_of_a_tag_names_it() -> None:
    verdict = Verdict("alert", "Drift is confirmed but harmless.", harmless=True)
    assert verdict_of_tag("", verdict) == verdict
    assert verdict_of_tag("site=B", verdict) == replace(verdict, reason="Of the requests with site=B: drift is confirmed but harmless.")


def missing(
    store: Path, rows: pd.DataFrame, needed: int, *, dataset: str = "0" * 64, confirmed: bool = True, calendar: bool = False
) -> str:
    watch = Traffic(rows, traffic_info(store=str(store), rows=len(rows)))
    coverage, model = confirmed_windows(rows, confirmed=confirmed), model_description(dataset=dataset)
    return missing_for_retraining(watch, coverage, model, RetrainSettings(needed_labels=needed), since_decision=calendar)


def test_a_retraining_can_begin_with_as_many_labels_as_it_needs_of_the_confirmed_windows(tmp_path: Path) -> None:
    rows, _ = labelled_requests(200, 120)
    assert missing(tmp_path, rows, 120) == ""
    assert missing(tmp_path, rows, 121).startswith("120 labelled images of the confirmed drift (")
    assert missing(tmp_path, rows, 121).endswith("121 are needed: 1 more")
    assert missing(tmp_path, rows, 121, calendar=True).startswith("120 labelled images since the last decision (")
    assert missing(tmp_path, rows, 120, confirmed=False).startswith("0 labelled images of the confirmed drift (")


def test_patients_and_requests_that_the_dataset_knows_keep_their_part_also_by_a_hash_and_in_a_store_that_was_moved(tmp_path: Path) -> None:
    rows, _ = labelled_requests(120, 120)
    store = open_store(str(tmp_path / "before"))
    names = GroupNames.of(store)
    images, labels, samples = random_split(120, seed=1)
    samples = samples.assign(group=rows["group"])
    samples.loc[:19, "path"] = rows["request_id"][:20]
    parts = {"train": (images, labels, samples)} | {split: random_split(10, seed=seed) for seed, split in enumerate(("val", "test"), 2)}
    known = write_dataset(store, parts, classes=["NORMAL", "PNEUMONIA"], source="tiny").manifest_hash
    shutil.move(tmp_path / "before", tmp_path / "after")
    logged = rows.assign(group=[names.hashed(group) for group in rows["group"]])
    assert missing(tmp_path / "after", logged, 200, dataset=known) == (
        "100 labelled images of the confirmed drift (100 for training, 0 for early stopping, 0 for the gate), 200 are needed: 100 more"
    )
    # Without that dataset each patient has the part that his name's hash gives.
    assert "(100 for training" not in missing(tmp_path / "after", logged, 200)
