"""Promotion by the traffic as it is now: its weights, its bound, and what it leaves alone."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from components.validation_gate.answers import Answers
from components.validation_gate.criteria import ACCEPTED, CLEAN, NEW
from components.validation_gate.decision import Decision, GateInputs, decide, spent
from components.validation_gate.latency import Latency
from components.validation_gate.traffic_rule import below_floor, share_of_new, shares_of_regimes, weighted_gain, weightings
from driftloop.evaluation.paired import tango_lower_bound
from driftloop.settings import GateSettings
from driftloop.watch_record import RecordedTagWindow, RecordedWindow, TagPart
from tests.factories.records import watch_record

CLASSES = ["MONO", "POLY"]


def answers(n: int, *, gained: int, lost: int, right: int) -> Answers:
    """Two classes in turn; `right` images that both have right, the rest neither."""
    labels = np.arange(n) % 2
    kinds = np.random.default_rng(n).permutation(np.repeat([0, 1, 2, 3], [right, gained, lost, n - right - gained - lost]))
    candidate, champion = (np.where(right, labels, 1 - labels) for right in (kinds <= 1, (kinds == 0) | (kinds == 2)))
    return Answers(labels, 0.2 + 0.6 * np.eye(2)[candidate], 0.2 + 0.6 * np.eye(2)[champion])


def solar_cells(**changes: Any) -> GateInputs:
    """Photographs of solar cells, mono to poly: the champion is right on 43.6 % of what comes in, the candidate on 79.3 %."""
    inputs = GateInputs(
        answers(155, gained=1, lost=3, right=140),
        CLASSES,
        drifted=answers(314, gained=124, lost=12, right=125),
        latency=Latency(1.0, 1.0, 1.0, 1.0, 1.0, 0.9, 1.1, 200),
        sizes=(1_000_000, 1_000_000),
        new_share=0.9,
    )
    return replace(inputs, **changes)


def decided(inputs: GateInputs, **settings: Any) -> Decision:
    return decide(inputs, margin=0.02, settings=GateSettings(**settings))


def test_a_champion_that_fails_on_what_comes_in_is_replaced_and_what_is_open_is_named() -> None:
    decision = decided(solar_cells())
    assert (decision.decision, decision.by_traffic) == ("promote", True)
    gain, loose, canary = decision.reasons
    assert gain.startswith("traffic as it is now +32.0 pt (at least +25.8 pt, more than +0.0 pt was asked for): ")
    assert gain.endswith(": 90 % new drift, 10 % clean; bounds at 98.5 %")
    assert loose.startswith("not excluded, for lack of images: clean test between -4.2 pt and ")
    assert "(155 clean images)" in loose
    assert "class MONO between " in loose
    assert canary.startswith("roll it out as a canary first")
    assert "clean test" in decision.labels_needed


def test_the_accepted_drift_is_a_regime_of_its_own() -> None:
    decision = decided(solar_cells(accepted=answers(200, gained=4, lost=5, right=180)))
    assert decision.by_traffic
    assert "85 % new drift" not in decision.reasons[0]
    assert "90 % new drift" in decision.reasons[0]
    assert ", accepted drift between -3.3 pt and +2.2 pt (200 images)" in decision.reasons[1]
    assert decision.criteria[-1].n == 155 + 314 + 200
    assert [part.name for part in decision.slices if part.n == 200] == ["drifted images that the champion was accepted for"]


def test_without_the_watch_records_nothing_is_weighted() -> None:
    decision = decided(solar_cells(new_share=None))
    assert (decision.decision, decision.by_traffic) == ("inconclusive", False)


@pytest.mark.parametrize(
    "changes",
    [
        {"latency": Latency(16, 16, 10, 10, 1.6, 1.3, 1.9, 200)},
        {"test_uses": 10},
        {"drifted": answers(314, gained=30, lost=24, right=200)},
        {"drifted_uses": 400, "drifted": answers(314, gained=60, lost=30, right=200)},
    ],
)
def test_traffic_stands_in_for_open_bounds_on_images_only_and_needs_a_gain(changes: dict[str, Any]) -> None:
    decision = decided(solar_cells(**changes))
    assert (decision.decision, decision.by_traffic) == ("inconclusive", False)
    assert decision.criteria[-1].name == "traffic as it is now"


def test_a_candidate_that_every_bound_promotes_is_not_weighted() -> None:
    decision = decided(solar_cells(clean=answers(1500, gained=30, lost=30, right=1300)))
    assert (decision.decision, decision.by_traffic) == ("promote", False)
    assert "traffic" not in decision.reasons[0]


def test_what_is_shown_worse_is_rejected_whatever_the_traffic() -> None:
    assert decided(solar_cells(clean=answers(155, gained=0, lost=20, right=120))).decision == "reject"
    assert decided(solar_cells(accepted=answers(200, gained=0, lost=30, right=150))).decision == "reject"


def test_a_regime_below_its_floor_is_found_by_its_own_bound() -> None:
    regimes = {CLEAN: answers(200, gained=0, lost=20, right=170), NEW: answers(200, gained=20, lost=10, right=100)}
    assert below_floor(regimes, 0.05, [], minimum=20) == [CLEAN]
    assert below_floor(regimes, 0.5, CLASSES, minimum=20) == []


def test_classes_and_levels_of_tags_have_a_floor_in_every_regime() -> None:
    """As many gained elsewhere, so that no regime as a whole has lost anything."""
    labels, at = np.arange(400) % 2, np.arange(400)
    champion = np.where(labels == 1, at % 20 > 2, at % 20 > 7)
    candidate = np.where((labels == 1) & (at < 80), False, champion | (labels == 0))
    both = (0.2 + 0.6 * np.eye(2)[np.where(right, labels, 1 - labels)] for right in (candidate, champion))
    lost = Answers(labels, *both, slices={"site=B": (at < 80) & (labels == 1), "site=A": at >= 80})
    regimes = {CLEAN: answers(200, gained=10, lost=10, right=170), NEW: lost}
    assert below_floor(regimes, 0.05, CLASSES, minimum=20) == ["class POLY (new drift)", "site=B (new drift)"]
    assert below_floor(regimes, 0.05, CLASSES, minimum=300) == ["site=B (new drift)"], "too few images of a class"


def test_no_traffic_pays_for_a_regime_that_is_shown_below_its_floor() -> None:
    """A margin wider than the floor leaves the clean bound open; the floor stops the rule by traffic all the same."""
    inputs = solar_cells(clean=answers(155, gained=0, lost=13, right=130))
    wide = [decide(inputs, margin=0.10, settings=GateSettings(floor=floor, brier_limit=1.0, class_margin=0.2)) for floor in (0.05, 0.10)]
    assert [(decision.decision, decision.by_traffic) for decision in wide] == [("inconclusive", False), ("promote", True)]


def test_one_regime_with_all_the_weight_has_tangos_bound() -> None:
    drifted = answers(300, gained=50, lost=20, right=200)
    gain = weighted_gain({CLEAN: drifted, NEW: drifted}, 0.95, alpha=0.025)
    low = tango_lower_bound(50, 20, 300, confidence=0.975)
    assert gain.estimate == pytest.approx(0.1)
    assert gain.low == pytest.approx(0.1 - math.hypot(0.95, 0.05) * (0.1 - low))
    assert gain.stands_on == "600 clean + new drift images"
    assert (gain.holds, gain.refuted, gain.open) == (True, False, False)
    patients = replace(drifted, groups=np.arange(300) // 2)
    assert weighted_gain({CLEAN: patients, NEW: drifted}, 0.95, alpha=0.025).stands_on == "600 clean + new drift images of 450 groups"


def test_shares_sum_to_one_and_none_is_forgotten() -> None:
    for new in (0.0, 0.3, 1.0):
        for regimes in ([CLEAN, NEW], [CLEAN, NEW, ACCEPTED]):
            readings = weightings(new, regimes)
            assert len(readings) == len(regimes) - 1
            for shares in readings:
                assert sum(shares.values()) == pytest.approx(1)
                assert min(shares.values()) >= 0.05 - 1e-12
    assert weightings(0.5, [CLEAN, NEW, ACCEPTED]) == [
        {NEW: 0.5, CLEAN: pytest.approx(0.45), ACCEPTED: 0.05},
        {NEW: 0.5, CLEAN: 0.05, ACCEPTED: pytest.approx(0.45)},
    ]


def test_the_worst_reading_of_the_records_counts() -> None:
    regimes = {
        CLEAN: answers(1000, gained=0, lost=0, right=900),
        ACCEPTED: answers(1000, gained=0, lost=100, right=850),
        NEW: answers(500, gained=60, lost=10, right=400),
    }
    gain = weighted_gain(regimes, 0.3, alpha=0.025)
    assert gain.estimate == pytest.approx(0.3 * 0.1 - 0.65 * 0.1)
    assert not gain.holds


def test_the_reading_with_the_lowest_bound_counts_even_where_its_estimate_is_higher() -> None:
    regimes = {
        CLEAN: answers(2000, gained=10, lost=10, right=1900),
        ACCEPTED: answers(30, gained=4, lost=3, right=20),
        NEW: answers(500, gained=60, lost=10, right=400),
    }
    gain = weighted_gain(regimes, 0.3, alpha=0.025)
    bounds = {name: given.difference(confidence=0.975) for name, given in regimes.items()}
    shares = {NEW: 0.3, CLEAN: 0.05, ACCEPTED: 0.65}
    estimate = sum(share * bounds[name].estimate for name, share in shares.items())
    assert gain.estimate == pytest.approx(estimate)
    below = math.sqrt(sum((share * (bounds[name].estimate - bounds[name].low)) ** 2 for name, share in shares.items()))
    above = math.sqrt(sum((share * (bounds[name].high - bounds[name].estimate)) ** 2 for name, share in shares.items()))
    assert (gain.low, gain.high) == (pytest.approx(estimate - below), pytest.approx(estimate + above))
    assert gain.note == "30 % new drift, 5 % clean, 65 % accepted drift; bounds at 97.5 %"


def window(day: int, rows: int, drifted: bool) -> RecordedWindow:
    time = f"2026-03-{day:02d}T00:00:00+00:00"
    return RecordedWindow(first=time, last=time, rows=rows, drifted=drifted)


def test_the_share_of_new_is_of_four_weeks_of_this_champion() -> None:
    records = [
        watch_record(1, windows=[window(1, 900, True), window(2, 900, True)]),  # four weeks ago to the second: too old
        watch_record(2, windows=[window(10, 200, False), window(11, 200, True)]),
        watch_record(3, windows=[window(12, 100, True)], sampled=0.5),
        watch_record(4, windows=[window(13, 900, True)], champion_version="2"),
    ]
    assert share_of_new(records, "1", "2026-03-30T00:00:00+00:00") == pytest.approx(400 / 600)
    assert share_of_new(records, "3", "2026-03-30T00:00:00+00:00") is None
    assert share_of_new([], "1", "2026-03-30T00:00:00+00:00") is None


def test_the_shares_of_accepted_regimes_and_of_new_are_one() -> None:
    def fitting(day: int, rows: int, **mixture: float) -> RecordedWindow:
        return window(day, rows, False).model_copy(update={"mixture": mixture})

    records = [
        watch_record(1, windows=[fitting(2, 900, clean=1.0)]),  # too old
        watch_record(2, windows=[fitting(10, 200, clean=0.75, night=0.25), window(11, 200, True)]),
        watch_record(3, windows=[fitting(12, 100, night=1.0)], sampled=0.5),
        watch_record(4, windows=[fitting(13, 900, clean=1.0)], champion_version="2"),
    ]
    until = "2026-03-30T00:00:00+00:00"
    shares = shares_of_regimes(records, "1", until)
    assert shares == {"clean": pytest.approx(150 / 600), "night": pytest.approx(250 / 600)}
    assert sum(shares.values()) + (share_of_new(records, "1", until) or 0) == pytest.approx(1)
    assert shares_of_regimes([*records, watch_record(5, windows=[window(14, 100, False)])], "1", until) == {}, "of an older release"
    assert shares_of_regimes([], "1", until) == {}


def test_the_share_of_a_drift_of_one_level_is_that_of_its_own_requests() -> None:
    """Three in ten requests are of a site that drifts, which no window of all requests notices."""

    def of_site(day: int, drifted: bool, parts: list[tuple[int, int]], tag: str = "site=B") -> RecordedTagWindow:
        time = f"2026-03-{day:02d}T00:00:00+00:00"
        places = [TagPart(watch=watch, window=0, rows=rows) for watch, rows in parts]
        return RecordedTagWindow(tag=tag, first=time, last=time, groups=50, p_values={}, drifted=drifted, parts=places)

    records = [
        watch_record(1, windows=[window(1, 900, False)]),  # too old
        watch_record(2, windows=[window(10, 1000, False)], sampled=0.5),
        watch_record(3, windows=[window(12, 1000, False)], tag_windows=[of_site(12, False, [(2, 100)])]),
        watch_record(4, windows=[window(13, 1000, True)], tag_windows=[of_site(13, True, [(1, 50), (2, 200), (3, 300), (4, 300)])]),
        watch_record(5, windows=[window(14, 1000, False)], tag_windows=[of_site(14, True, [(5, 900)], tag="site=C")], tag="site=B"),
    ]
    until = "2026-03-30T00:00:00+00:00"
    assert share_of_new(records, "1", until) == pytest.approx(1000 / 5000)
    assert share_of_new(records, "1", until, "site=B") == pytest.approx((400 + 300 + 300) / 5000)
    assert share_of_new(records, "2", until, "site=B") is None
    # What looks as accepted and means something else: the windows that did not drift.
    assert share_of_new(records, "1", until, concept=True) == pytest.approx(4000 / 5000)
    assert share_of_new(records, "1", until, "site=B", concept=True) == pytest.approx(100 / 0.5 / 5000)


def test_windows_that_drifted_only_together_are_new_too() -> None:
    """Each by itself fitted; the last of them tells that four did not, across watches, but not across champions."""
    early = [watch_record(day, windows=[window(day, 100, False)]) for day in range(10, 15)]
    other = watch_record(15, windows=[window(15, 100, False)], champion_version="2")
    last = watch_record(16, windows=[window(16, 100, False).model_copy(update={"drifted": True, "pooled": 4})])
    assert share_of_new([*early, other, last], "1", "2026-03-30T00:00:00+00:00") == pytest.approx(4 / 6)


def test_all_uses_of_a_hold_out_together_cost_no_more_than_one_error() -> None:
    assert sum(spent(0.05, use) for use in range(1, 5000)) == pytest.approx(0.05, rel=1e-3)
    assert spent(0.05, 1) > 0.03 > spent(0.05, 2)


def test_an_equal_candidate_that_tries_four_times_gets_through_at_most_one_time_in_twenty() -> None:
    """The same images again, and a few more each time, with candidates that resemble each other."""
    rng, through = np.random.default_rng(4), 0
    for _ in range(300):
        champion, shared = rng.random(435) < 0.8, rng.random(435)
        promoted = False
        for use in range(4):
            n = 300 + 45 * use
            draw = np.where(rng.random(435) < 0.7, shared, rng.random(435))
            candidate = champion ^ (draw < np.where(champion, 0.075 / 0.8, 0.075 / 0.2))
            labels = np.arange(n) % 2
            both = [0.3 + 0.4 * np.eye(2)[np.where(right[:n], labels, 1 - labels)] for right in (candidate, champion)]
            inputs = solar_cells(
                clean=answers(1500, gained=20, lost=20, right=1400), drifted=Answers(labels, *both), drifted_uses=use + 1, new_share=0.5
            )
            promoted |= decided(inputs).decision == "promote"
        through += promoted
    assert through / 300 <= 0.05 + 1.645 * math.sqrt(0.05 * 0.95 / 300)


def test_a_candidate_that_learned_a_changed_meaning_hears_of_the_labels_of_the_test_split() -> None:
    """12 % of the images mean something else now; the test split has the labels of before."""
    lost = solar_cells(clean=answers(1500, gained=0, lost=180, right=1200))
    assert not any("concept drift" in reason for reason in decided(lost).reasons)
    decision = decided(replace(lost, concept=True, new_share=1.0))
    assert decision.decision == "reject"
    assert decision.reasons[-1].startswith("the images look as before and mean something else now (concept drift): by labels of before")
    assert not any("concept drift" in reason for reason in decided(solar_cells(concept=True)).reasons), "it has lost nothing"


def test_a_loss_that_outweighs_the_gain_is_promoted_at_most_one_time_in_twenty() -> None:
    """Exactly no gain over the traffic: -1 point on 80 % clean traffic, +4 on 20 %."""
    rng, promoted = np.random.default_rng(5), 0
    for _ in range(400):
        both = []
        for n, difference, psi in ((400, -0.01, 0.05), (300, 0.04, 0.2)):
            gained, lost, _ = rng.multinomial(n, [(psi + difference) / 2, (psi - difference) / 2, 1 - psi])
            both.append(answers(n, gained=gained, lost=lost, right=int(0.6 * n)))
        promoted += decided(solar_cells(clean=both[0], drifted=both[1], new_share=0.2)).by_traffic
    assert promoted / 400 <= 0.05
