"""The drop in accuracy and its bounds; the estimate without labels."""

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from scipy import integrate, optimize, special, stats
from statsmodels.stats.proportion import confint_proportions_2indep

from components.drift_detection.harm import (
    GROWN_Z,
    AccuracyDrop,
    Stratum,
    accuracy_drop,
    boundary,
    drop_of,
    expected_of,
    growth_of,
    labels_to_decide,
    score,
    strata,
)
from components.drift_detection.unlabelled import thresholded_confidence
from driftloop.evaluation.clustered import independent_images, proportion_right
from driftloop.evaluation.intervals import Proportion, wilson
from driftloop.watch_record import WindowLabels


def score_by_search(x1: float, n1: float, x2: float, n2: float, difference: float) -> float:
    """Miettinen and Nurminen's score with the likelihood maximised numerically."""

    def loss(p2: float) -> float:
        logs = special.xlogy(x1, p2 + difference) + special.xlog1py(n1 - x1, -p2 - difference) + special.xlogy(x2, p2)
        return -float(logs + special.xlog1py(n2 - x2, -p2))

    low, high = max(0.0, -difference), min(1.0, 1.0 - difference)
    p2 = optimize.minimize_scalar(loss, bounds=(low + 1e-12, high - 1e-12), method="bounded", options={"xatol": 1e-13}).x
    p1 = p2 + difference
    variance = (p1 * (1 - p1) / n1 + p2 * (1 - p2) / n2) * (n1 + n2) / (n1 + n2 - 1)
    return (x1 / n1 - x2 / n2 - difference) / np.sqrt(variance)


def tally(labels: int, right: int, *, rows: int = 200, day: float = 0.0, mixture: dict[str, float] | None = None) -> WindowLabels:
    last = (datetime(2025, 3, 1, tzinfo=UTC) + timedelta(days=day)).isoformat()
    return WindowLabels(watch=1, window=0, drift=1, mixture=mixture or {}, last=last, rows=rows, labels=labels, right=right)


def drop_over(windows: list[WindowLabels], accepted: dict | None = None, half_life_days: float = 7.0, alpha: float = 0.04) -> AccuracyDrop:
    drop = drop_of(windows, accepted or {"reference": wilson(1395, 1500)}, half_life_days=half_life_days, alpha=alpha)
    assert drop is not None
    return drop


@pytest.mark.parametrize("effect", [1.0, 4.0])
def test_what_contradicts_an_acceptance_is_a_bound_at_one_look_by_independent_labels(effect: float) -> None:
    old, new = (tally(100, right, day=day).model_copy(update={"effect": effect}) for right, day in ((93, 0.0), (80, 7.0)))
    drop = drop_over([old, new])
    weights = {7.0: np.array([0.5, 1.0]), 7 / 4: np.array([0.5**4, 1.0])}
    for half_life, low in ((7.0, drop.low_now), (7 / 4, drop.recent_low)):
        share = np.average([0.93, 0.80], weights=weights[half_life])
        n = weights[half_life].sum() ** 2 / (weights[half_life] ** 2 * effect / 100).sum()
        assert score_by_search(1395, 1500, share * n + 0.5, n, low) == pytest.approx(2.326, abs=1e-3)


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [((56, 70, 48, 80), 0.0528, 0.3382), ((9, 10, 3, 10), 0.1700, 0.8406), ((10, 10, 0, 20), 0.7156, 1.0)],
)
def test_published_two_sided_95_percent_limits(counts: tuple[int, int, int, int], low: float, high: float) -> None:
    # Newcombe 1998, table II, method 6. The lower limit of a difference is the upper one of its opposite.
    x1, n1, x2, n2 = counts
    assert round(accuracy_drop(*counts, z=1.959964)[2], 4) == high
    assert round(-accuracy_drop(x2, n2, x1, n1, z=1.959964)[2], 4) == low


@pytest.mark.parametrize("counts", [(1350, 1500, 80, 100), (1500, 1500, 250, 287), (900, 1000, 30, 40), (27, 30, 100, 300)])
@pytest.mark.parametrize("z", [1.6449, 2.8])
def test_each_bound_is_where_the_score_reaches_z_with_half_a_label_against_a_claim_of_harm(counts: tuple, z: float) -> None:
    value, low, high = accuracy_drop(*counts, z=z)
    x1, n1, x2, n2 = counts
    assert value == x1 / n1 - x2 / n2
    assert score_by_search(x1, n1, x2 + 0.5, n2, low) == pytest.approx(z, abs=1e-3)
    assert score_by_search(*counts, high) == pytest.approx(-z, abs=1e-3)


@pytest.mark.parametrize(("counts", "difference"), [((1, 1, 0, 1), 0.2), ((0, 1, 1, 1), -0.6), ((1, 2, 1, 3), 0.4)])
def test_the_score_of_hardly_any_images_is_that_of_a_numerical_search(counts: tuple, difference: float) -> None:
    assert float(score(*counts, difference)) == pytest.approx(score_by_search(*counts, difference), abs=1e-4)


def test_what_is_seen_exactly_is_no_error_away_from_itself() -> None:
    assert float(score(5, 5, 5, 5, 0.0)) == 0
    assert float(score(5, 5, 0, 5, 1.0)) == 0


def test_it_is_close_to_newcombes_interval_for_usual_sizes() -> None:
    _, low, high = accuracy_drop(1380, 1500, 255, 300, z=1.6449)
    expected = confint_proportions_2indep(1380, 1500, 255, 300, method="newcomb", compare="diff", alpha=0.1)
    assert (low, high) == (pytest.approx(expected[0], abs=0.004), pytest.approx(expected[1], abs=0.004))


@pytest.mark.parametrize("counts", [(1, 1, 1, 1), (0, 1, 1, 1), (1, 1, 0, 1), (5, 5, 0, 7), (0, 5, 7, 7), (1500, 1500, 100, 100)])
def test_extremes_stay_in_range(counts: tuple[int, int, int, int]) -> None:
    value, low, high = accuracy_drop(*counts, z=2.8)
    assert -1 <= low <= value <= high <= 1


@pytest.mark.parametrize("counts", [(1, 0, 1, 1), (2, 1, 1, 1), (1, 1, -1, 1), (1, 1, 0, 0)])
def test_impossible_counts_are_refused(counts: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="accuracy drop"):
        accuracy_drop(*counts, z=2.8)


def test_the_boundary_is_robbins_normal_mixture() -> None:
    # Its definition: the mean of exp(theta B - theta^2 t / 2) over theta > 0 from a half-normal of variance r equals 1 / alpha there,
    # for the two-sided mixture at 2 alpha; by numerical integration, at levels where the one-sided form is that close.
    for t, most in ((20.0, 1500.0), (224.0, 1500.0), (1500.0, 2000.0), (20.0, 264.0), (14.0, 20.0), (90.0, 100.0)):
        z, r = float(boundary(most, 1 / (1 / t - 1 / most), 1.0, 0.04)), 5 / min(264, most)
        mixed, _ = integrate.quad(
            lambda theta, z=z, t=t, r=r: 2 * stats.norm.pdf(theta, scale=r**0.5) * math.exp(theta * z * t**0.5 - theta**2 * t / 2), 0, 5.0
        )
        assert 1 / 0.04 <= mixed <= 1.15 / 0.04


def test_where_labels_fade_each_stretch_has_its_part_of_alpha() -> None:
    assert float(boundary(1500, 264, 4.0, 0.04)) == float(boundary(1500, 264, 1.0, 0.01))
    assert float(boundary(1500, 264, 0.5, 0.04)) == float(boundary(1500, 264, 1.0, 0.04))


def looks(clean: float, drop: float, *, histories: int, windows: int, labels: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """When harm is first shown, by these bounds and by a beta-binomial e-process that knows the clean accuracy; `windows` + 1 for never."""
    rng = np.random.default_rng(seed)
    right = rng.binomial(labels, clean - drop, (histories, windows)).cumsum(axis=1)
    n = labels * np.arange(1, windows + 1)
    # A clean sample that knows all: a million images.
    z = boundary(1e6, n, 1.0, 0.05)
    ours = score(clean * 1e6, 1e6, np.minimum(right + 0.5, n), n, 0.0) > z
    # Robbins' mixture of likelihood ratios over Beta(1/2, 1/2), for an accuracy below the clean one; no normal approximation anywhere.
    a, b = right + 0.5, n - right + 0.5
    log_wealth = (
        special.betaln(a, b)
        + np.log(special.betainc(a, b, clean))
        - special.betaln(0.5, 0.5)
        - np.log(special.betainc(0.5, 0.5, clean))
        - right * np.log(clean)
        - (n - right) * np.log1p(-clean)
    )
    theirs = log_wealth >= np.log(1 / 0.05)
    first = [np.where(shown.any(axis=1), shown.argmax(axis=1) + 1, windows + 1) for shown in (ours, theirs)]
    return first[0], first[1]


@pytest.mark.parametrize("clean", [0.85, 0.914, 0.97])
def test_over_ninety_looks_no_more_than_one_in_twenty_err_as_by_an_independent_e_process(clean: float) -> None:
    ours, theirs = looks(clean, 0.0, histories=4000, windows=90, labels=20, seed=1)
    for first in (ours, theirs):
        assert (first <= 90).mean() <= 0.05


@pytest.mark.parametrize(("patients", "images", "icc"), [(8, 20, 0.2), (25, 40, 0.2), (50, 30, 0.1)])
def test_a_baseline_of_few_patients_makes_no_harm_of_its_own_luck(patients: int, images: int, icc: float) -> None:
    """Taken for as many independent images, it did in one of nine histories."""
    rng, count, labels = np.random.default_rng(1), 400, 36
    groups = np.repeat(np.arange(patients), images)
    rates = rng.beta(0.9 * (1 - icc) / icc, 0.1 * (1 - icc) / icc, (count, patients))
    clean = [proportion_right(rng.random(len(groups)) < rate[groups], groups) for rate in rates]
    baselines = [expected_of([Stratum(1.0, 1, 1, {"reference": 1.0})], {"reference": share}) for share in clean]
    value, n0 = (np.array(part) for part in zip(*baselines, strict=True))
    right, false = np.zeros(count), np.zeros(count, bool)
    for window in range(1, 61):
        right += rng.binomial(labels, 0.9, count)
        n = window * labels
        z = boundary(n0, n, 1.0, 0.04)
        harm = score(value * n0, n0, np.minimum(right + 0.5, n), n, 0.0) > z
        false |= harm & (value - right / n >= 0.03) & (n >= 100)
    assert false.mean() <= 0.05


def test_a_collapse_is_shown_although_what_was_accepted_stands_on_eight_groups() -> None:
    """Of a real one, cells of another kind: 88 % right of eight modules accepted, and of 84 labels one in four right."""
    accepted = {"reference": Proportion(value=0.88125, low=0.684, high=0.962, n=160, effective_n=20.3, groups=8)}
    drop = drop_over([tally(84, 21).model_copy(update={"effect": 1.99})], accepted)
    assert drop.value == pytest.approx(0.63, abs=0.01)
    assert drop.low > 0.1
    assert drop_over([tally(84, 68).model_copy(update={"effect": 1.99})], accepted).low < 0


def test_harm_is_shown_as_soon_as_by_an_independent_e_process() -> None:
    ours, theirs = looks(0.914, 0.08, histories=4000, windows=90, labels=66, seed=2)
    assert ours.mean() <= 1.15 * theirs.mean()
    assert np.median(ours) <= 3


def test_sixteen_of_sixteen_show_nothing() -> None:
    drop = drop_over([tally(16, 16)])
    assert drop.low < 0
    assert drop.high > 0.05


def test_a_window_stands_for_its_rows_whatever_its_share_of_labels() -> None:
    drop = drop_over([tally(200, 180, day=0), tally(20, 14, day=0)])
    assert drop.value == pytest.approx(0.93 - 0.8)
    assert drop.effective == pytest.approx(4 / (1 / 200 + 1 / 20))
    assert drop.n == 220
    assert (drop.as_dict()["n"], drop.as_dict()["value"]) == (220, drop.value)


def test_a_larger_window_weighs_more() -> None:
    assert drop_over([tally(20, 18, rows=300), tally(20, 10, rows=100)]).value == pytest.approx(0.93 - 0.8)


def test_what_is_a_half_life_older_weighs_half() -> None:
    windows = [tally(100, 90, day=0), tally(100, 60, day=7)]
    assert drop_over(windows).value == pytest.approx(0.93 - 0.7)
    assert drop_over(windows).recent == pytest.approx(0.93 - (0.9 / 16 + 0.6) / (1 + 1 / 16))
    assert drop_over(windows, half_life_days=3.5).value == pytest.approx(0.93 - (0.9 / 4 + 0.6) / 1.25)


def test_few_labels_are_taken_together_with_those_of_the_next_windows_and_none_are_lost() -> None:
    # Nine windows of 7 labels are three strata, the tenth joins the last.
    windows = [tally(7, 6, day=0.001 * index) for index in range(10)]
    parts = strata(windows, 7.0)
    assert [part.labels for part in parts] == [21, 21, 28]
    assert [part.right for part in parts] == [18, 18, 24]
    # What lies between labelled windows is stood for by them, what lies before and after is not.
    parts = strata([tally(0, 0), tally(20, 20), tally(0, 0), tally(20, 10), tally(0, 0)], 7.0)
    assert [(part.weight, part.labels) for part in parts] == [(200, 20), (400, 20)]


def test_too_few_last_labels_join_the_stratum_before_them_also_where_it_is_the_only_one() -> None:
    assert [(part.labels, part.weight) for part in strata([tally(20, 18), tally(5, 4)], 7.0)] == [(25, 400)]
    assert [(part.labels, part.weight) for part in strata([tally(5, 4)], 7.0)] == [(5, 200)]


def test_an_even_growth_began_one_distance_before_the_first_window_also_within_a_day() -> None:
    assert growth_of([tally(1, 1, day=day) for day in (0, 0.25, 0.5)]) == pytest.approx([1 / 3, 2 / 3, 1])
    assert growth_of([tally(1, 1, day=day) for day in (0, 30)]) == pytest.approx([1 / 2, 1])
    assert growth_of([tally(1, 1, day=day) for day in (0, 3, 4)]) == pytest.approx([2 / 6, 5 / 6, 1])


@pytest.mark.parametrize("late", [-4.0, -1.5, 1.5, -1 / 24])
def test_windows_count_by_their_times_in_whatever_order_they_came(late: float) -> None:
    # An edge device that was offline, or whose clock is an hour slow, brings requests that are older than those before them.
    came = [tally(36, 21, day=0), tally(36, 22, day=1), tally(36, 23, day=2), tally(36, 34, day=late)]
    assert all(0 < share <= 1 for share in growth_of(came))
    in_order = sorted(came, key=lambda window: window.time)
    assert drop_over(came) == drop_over(in_order)
    assert sorted(growth_of(came)) == pytest.approx(growth_of(in_order))
    assert drop_over(came).come <= 1


def test_a_late_window_of_many_labels_does_not_hide_what_a_drift_may_have_grown_to() -> None:
    growing = daily(28, 14, 0.06, grows=True)
    late = tally(1000, 930, rows=1000, day=-2)
    assert drop_over([*growing, late]).high_if_grown == drop_over([late, *growing]).high_if_grown > 0.06


def test_a_stratum_had_grown_as_its_rows_had_and_late_strata_weigh_more_by_how_far_they_had() -> None:
    (part,) = strata([tally(10, 9, rows=100, day=0), tally(10, 9, rows=300, day=1)], 1e9)
    assert part.growth == pytest.approx((100 * 0.5 + 300 * 1) / 400)
    drop = drop_over([tally(100, 90, day=0), tally(100, 90, day=1)], half_life_days=1e9)
    assert drop.come == pytest.approx((0.5 * 0.5 + 1 * 1) / (0.5 + 1))


def test_labels_of_any_number_of_windows_a_day_count() -> None:
    for windows_a_day in (1, 3, 24, 1000):
        windows = [tally(1, int(index % 5 > 0), rows=20, day=index / windows_a_day) for index in range(200)]
        assert drop_over(windows, half_life_days=1000).n == 200
        assert drop_over(windows, half_life_days=1000).value == pytest.approx(0.93 - 0.8, abs=0.01)


def daily(days: int, labelled: int, drop: float, *, grows: bool) -> list[WindowLabels]:
    """A window a day of which the first have 1,000 labels each, all as expected; the drop is that of the newest window."""
    come = [(day + 1) / days if grows else 1.0 for day in range(days)]
    right = [round(1000 * (0.93 - drop * share)) for share in come]
    return [tally(1000, right[day], rows=1000, day=day) if day < labelled else tally(0, 0, rows=1000, day=day) for day in range(days)]


def test_late_labels_of_a_drift_that_grows_bound_what_it_has_grown_to() -> None:
    # Labels of days 1 to 14 at a drop of 6 points on day 28: none of them saw more than 3.
    growing = drop_over(daily(28, 14, 0.06, grows=True))
    assert growing.high < 0.05
    assert 0.06 < growing.high_if_grown < 0.12
    # Once labels are of the newest windows, too, no more than their own error is left.
    assert drop_over(daily(28, 28, 0.0, grows=True)).high_if_grown < 0.03


@pytest.mark.parametrize("labelled", [5, 14, 20, 28])
def test_the_bound_of_an_even_growth_finds_what_it_grew_to_and_falls_as_labels_catch_up(labelled: int) -> None:
    exactly = {"reference": wilson(93_000_000, 100_000_000)}
    windows = daily(28, labelled, 0.06, grows=True)
    many = [window.model_copy(update={"labels": 10**6 * window.labels, "right": 10**6 * window.right}) for window in windows]
    assert drop_over(many, exactly).high_if_grown == pytest.approx(0.06, abs=0.003)
    fewer = daily(28, labelled - 1, 0.06, grows=True)
    assert drop_over(windows).high_if_grown < drop_over(fewer).high_if_grown


@pytest.mark.parametrize("windows", [[tally(100, 90)], [tally(50, 44), tally(50, 46)]])
def test_windows_of_one_moment_have_not_grown(windows: list[WindowLabels]) -> None:
    drop = drop_over(windows)
    assert drop.high_if_grown == pytest.approx(accuracy_drop(1395, 1500, 90, 100, z=2.326)[2])


def test_no_labels_no_drop() -> None:
    assert drop_of([], {"reference": wilson(9, 10)}, half_life_days=7, alpha=0.04) is None
    assert drop_of([tally(0, 0)], {"reference": wilson(9, 10)}, half_life_days=7, alpha=0.04) is None


def test_a_drift_is_compared_with_the_mixture_that_it_is_nearest_to() -> None:
    accepted = {"reference": wilson(914, 1000), "regime-1": wilson(430, 500)}
    near = tally(400, 344, mixture={"regime-1": 1.0})
    assert drop_over([near], accepted).value == pytest.approx(0)
    assert drop_over([near], accepted).expected_n == pytest.approx(500)
    mixed = drop_over([tally(400, 344, mixture={"reference": 0.25, "regime-1": 0.75})], accepted)
    assert mixed.expected == pytest.approx(0.25 * 0.914 + 0.75 * 0.86)
    assert mixed.expected_n == pytest.approx(1 / (0.25**2 / 1000 + 0.75**2 / 500))
    # A regime that the champion does not carry any more, or none: clean.
    assert drop_over([tally(400, 344, mixture={"regime-7": 1.0})], accepted).expected == 0.914
    assert drop_over([tally(400, 344)], accepted).expected == 0.914


def test_the_bounds_are_those_of_as_many_equally_weighted_labels() -> None:
    drop = drop_over([tally(66, 60, day=day) for day in range(5)])
    assert drop.information == pytest.approx(1 / (1 / 1500 + 1 / drop.effective))
    assert drop.z == pytest.approx(float(boundary(1500, drop.effective, 330 / drop.effective, 0.04)))
    right = drop.effective * (drop.expected - drop.value)
    assert accuracy_drop(1395, 1500, right, drop.effective, z=drop.z) == pytest.approx((drop.value, drop.low, drop.high))
    assert drop_over([tally(66, 60)], alpha=0.01).low < drop_over([tally(66, 60)], alpha=0.04).low


@pytest.mark.parametrize(("right", "limits"), [(0.93, (300, 1000)), (0.85, (100, 700)), (0.9, (300, 3000))])
def test_about_so_many_labels_decide_four_times_in_five(right: float, limits: tuple[int, int]) -> None:
    drop = drop_over([tally(60, round(60 * right))])
    needed = labels_to_decide(drop, retrain_drop=0.03, harmless_drop=0.05)
    assert isinstance(needed, int)
    assert limits[0] <= needed <= limits[1]
    # The truth and the further labels drawn anew, from what is known: an exact Beta posterior, binomial labels.
    rng = np.random.default_rng(4)
    accuracy = rng.beta(60 * right + 0.5, 60 * (1 - right) + 0.5, 4000)
    total = round(60 * right) + rng.binomial(needed - 60, accuracy)
    z = boundary(1500, needed, 1.0, 0.04)
    harm = (score(1395, 1500, np.minimum(total + 0.5, needed), needed, 0.0) > z) & (0.93 - total / needed >= 0.03)
    assert np.mean(harm | (score(1395, 1500, total, needed, 0.05) < -z)) == pytest.approx(0.8, abs=0.04)


def test_where_labels_have_faded_more_are_needed_as_each_stretch_has_its_part_of_alpha() -> None:
    drop = drop_over([tally(400, 352, day=0), tally(60, 53, day=28)])
    assert drop.effective < 0.3 * drop.n
    needed = labels_to_decide(drop, retrain_drop=0.03, harmless_drop=0.05)
    assert needed is not None
    more = needed - drop.n
    right, n = (drop.expected - drop.value) * drop.effective, drop.effective + more
    rng = np.random.default_rng(4)
    correct = right + rng.binomial(more, rng.beta(right + 0.5, drop.effective - right + 0.5, 4000))
    z = boundary(1500, n, needed / n, 0.04)
    harm = (score(1395, 1500, np.minimum(correct + 0.5, n), n, 0.0) > z) & (0.93 - correct / n >= 0.03)
    harmless = (score(1395, 1500, correct, n, 0.05) < -z) & (score(1395, 1500, correct, n, 0.05 * drop.come) < -GROWN_Z)
    assert np.mean(harm | harmless) == pytest.approx(0.8, abs=0.04)
    assert z > boundary(1500, n, 1.0, 0.04) + 0.02


def test_of_late_labels_more_are_needed_as_they_speak_of_a_weaker_drift() -> None:
    prompt = drop_over([tally(20, 19, day=day) for day in range(10)], half_life_days=60.0)
    late = drop_over([tally(20, 19, day=day) for day in range(10)] + [tally(0, 0, day=day) for day in range(10, 20)], half_life_days=60.0)
    assert (prompt.n, late.n) == (200, 200)
    assert 0.2 < late.come < prompt.come <= 1
    needed = [labels_to_decide(drop, retrain_drop=0.03, harmless_drop=0.05) for drop in (prompt, late)]
    assert needed[0] is not None
    assert needed[1] is None or needed[1] > 1.2 * needed[0]


def test_where_no_number_of_labels_would_decide_none_is_named() -> None:
    # Between the two bounds nothing is ever shown: a drop of 2 points is too small to retrain for, and more than 1 point is not harmless.
    assert labels_to_decide(drop_over([tally(5000, 4550)]), retrain_drop=0.05, harmless_drop=0.01) is None
    # Fifty images of one patient: as many more of each as it takes would be hundreds of thousands.
    alike = tally(50, 45).model_copy(update={"effect": 50 / independent_images(np.arange(50) < 45, np.zeros(50))})
    assert labels_to_decide(drop_over([alike]), retrain_drop=0.03, harmless_drop=0.05) is None
    exactly = {"reference": wilson(93_000_000, 100_000_000)}
    assert labels_to_decide(drop_over([tally(5000, 4550)], exactly), retrain_drop=0.05, harmless_drop=0.01) is None


def test_thresholded_confidence_is_the_clean_accuracy_on_the_reference_itself() -> None:
    confidence = np.random.default_rng(2).uniform(0.5, 1, 1000)
    assert thresholded_confidence(confidence, confidence, 0.9) == pytest.approx(0.9, abs=0.002)


def test_thresholded_confidence_falls_with_confidence_and_can_be_fooled() -> None:
    rng = np.random.default_rng(3)
    confidence = rng.uniform(0.5, 1, 1000)
    assert thresholded_confidence(confidence, 0.5 + 0.6 * (rng.uniform(0.5, 1, 500) - 0.5), 0.9) < 0.87
    # Confident and wrong looks exactly like confident and right: why this estimate never calms.
    assert thresholded_confidence(confidence, np.full(500, 0.99), 0.9) == 1


@pytest.mark.parametrize(("reference", "window", "accuracy"), [([], [1.0], 0.9), ([1.0], [], 0.9), ([1.0], [1.0], 1.2)])
def test_thresholded_confidence_refuses_nonsense(reference: list[float], window: list[float], accuracy: float) -> None:
    with pytest.raises(ValueError, match="thresholded confidence"):
        thresholded_confidence(np.array(reference), np.array(window), accuracy)
