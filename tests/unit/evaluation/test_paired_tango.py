"""Tango's interval against a brute-force inversion of its score test, in textbook corners, and for its level by exact enumeration."""

import math

import numpy as np
import pytest
from scipy import optimize, stats

from driftloop.evaluation.paired import compare, labels_needed, tango_interval, tango_lower_bound, tango_upper_bound


def score_statistic(gained: int, lost: int, n: int, delta: float) -> float:
    """The score statistic, with the nuisance parameter found by maximising the likelihood numerically."""

    def negative_log_likelihood(share_lost: float) -> float:
        cells = [(gained, share_lost + delta), (lost, share_lost), (n - gained - lost, 1 - 2 * share_lost - delta)]
        return -sum(count * math.log(max(share, 1e-300)) for count, share in cells if count)

    low, high = max(0.0, -delta), (1 - delta) / 2
    minimum = optimize.minimize_scalar(negative_log_likelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-13})
    candidates = [low, high, float(minimum.x)]
    share_lost = min(candidates, key=negative_log_likelihood)
    return (gained - lost - n * delta) / math.sqrt(n * max(1e-300, 2 * share_lost + delta * (1 - delta)))


@pytest.mark.parametrize(
    ("gained", "lost", "n"), [(25, 11, 112), (3, 9, 50), (0, 5, 30), (7, 0, 40), (1, 1, 10), (40, 41, 1500), (2, 1, 3)]
)
@pytest.mark.parametrize("confidence", [0.90, 0.99])
def test_each_end_is_where_the_score_test_stops_refuting(gained: int, lost: int, n: int, confidence: float) -> None:
    low, high = tango_interval(gained, lost, n, confidence)
    z = stats.norm.ppf((1 + confidence) / 2)
    assert score_statistic(gained, lost, n, low) == pytest.approx(z, abs=1e-4)
    assert score_statistic(gained, lost, n, high) == pytest.approx(-z, abs=1e-4)


@pytest.mark.parametrize(("gained", "lost", "n"), [(12, 5, 60), (0, 3, 25), (30, 2, 44)])
def test_the_interval_is_what_a_grid_search_over_differences_keeps(gained: int, lost: int, n: int) -> None:
    grid = np.linspace(-0.999, 0.999, 1999)
    kept = [delta for delta in grid if abs(score_statistic(gained, lost, n, delta)) <= stats.norm.ppf(0.975)]
    assert tango_interval(gained, lost, n) == pytest.approx((kept[0], kept[-1]), abs=0.0011)


def test_no_discordant_pair_gives_a_symmetric_interval_of_known_width() -> None:
    z2 = stats.norm.ppf(0.975) ** 2
    assert tango_interval(0, 0, 50) == pytest.approx((-z2 / (50 + z2), z2 / (50 + z2)))


def test_all_pairs_discordant_one_way_reach_the_end_of_the_scale() -> None:
    low, high = tango_interval(50, 0, 50)
    assert high == 1.0
    assert 0.8 < low < 0.9
    assert tango_interval(0, 50, 50) == (-1.0, -low)


@pytest.mark.parametrize(
    ("gained", "lost", "n"), [(1, 0, 1), (0, 1, 1), (0, 0, 1), (1, 1, 2), (10**6, 10**6 - 10, 10**7), (0.4, 1.7, 20.5)]
)
def test_extreme_counts_give_ordered_bounds_around_the_estimate(gained: float, lost: float, n: float) -> None:
    low, high = tango_interval(gained, lost, n)
    assert -1 <= low <= (gained - lost) / n <= high <= 1


def test_swapping_the_models_mirrors_the_interval() -> None:
    low, high = tango_interval(9, 4, 80)
    assert tango_interval(4, 9, 80) == pytest.approx((-high, -low))


def test_one_sided_bounds_are_the_ends_of_the_wider_two_sided_interval() -> None:
    assert (tango_lower_bound(9, 4, 80, confidence=0.95), tango_upper_bound(9, 4, 80, confidence=0.95)) == tango_interval(9, 4, 80, 0.90)


@pytest.mark.parametrize(("gained", "lost", "n"), [(-1, 0, 5), (3, 3, 5), (0, 0, 0), (math.nan, 0, 5)])
def test_impossible_counts_are_refused(gained: float, lost: float, n: float) -> None:
    with pytest.raises(ValueError, match="tango"):
        tango_interval(gained, lost, n)


def test_a_confidence_outside_the_unit_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="confidence"):
        tango_interval(1, 1, 10, 1.0)


def tail_probability(n: int, share_gained: float, share_lost: float, delta: float) -> float:
    """Exact probability that the one-sided 95 % lower bound lies above the true difference, summed over all tables."""
    total = 0.0
    for gained in range(n + 1):
        outer = stats.binom.pmf(gained, n, share_gained)
        if outer < 1e-9:
            continue
        lost = np.arange(n - gained + 1)
        inner = stats.binom.pmf(lost, n - gained, share_lost / (1 - share_gained))
        total += outer * sum(p for count, p in zip(lost, inner, strict=True) if p > 1e-9 and tango_lower_bound(gained, count, n) > delta)
    return total


@pytest.mark.parametrize(("n", "discordant"), [(50, 0.06), (50, 0.2), (100, 0.05)])
def test_the_one_sided_level_is_near_five_percent_at_a_two_point_margin(n: int, discordant: float) -> None:
    share_gained, share_lost = (discordant - 0.02) / 2, (discordant + 0.02) / 2
    assert tail_probability(n, share_gained, share_lost, -0.02) <= 0.06


def test_the_two_sided_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    tables = rng.multinomial(200, [0.06, 0.04, 0.90], size=4000)
    covered = [low <= 0.02 <= high for low, high in (tango_interval(gained, lost, 200) for gained, lost, _ in tables)]
    assert 0.94 <= np.mean(covered) <= 0.965


def test_compare_counts_the_discordant_images() -> None:
    first, second = np.array([1, 1, 0, 1, 0], bool), np.array([1, 0, 1, 0, 0], bool)
    difference = compare(first, second)
    assert (difference.gained, difference.lost, difference.n, difference.effective_n) == (2, 1, 5, 5)
    assert difference.estimate == pytest.approx(0.2)
    assert (difference.low, difference.high) == tango_interval(2, 1, 5, 0.90)
    assert difference.discordance == pytest.approx(0.6)


def test_compare_refuses_arrays_of_different_length() -> None:
    with pytest.raises(ValueError, match="one length"):
        compare(np.ones(3, bool), np.ones(4, bool))


def test_ten_images_of_each_patient_count_as_one() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random(60) < 0.9, rng.random(60) < 0.9
    groups = np.repeat(np.arange(60), 10)
    repeated = compare(np.repeat(first, 10), np.repeat(second, 10), groups=groups)
    once = compare(first, second)
    assert repeated.effective_n == pytest.approx(60, rel=0.03)
    assert (repeated.low, repeated.high) == pytest.approx((once.low, once.high), abs=0.005)


def test_labels_needed_is_the_normal_approximation() -> None:
    assert labels_needed(0.05, 0.02, 0.0) == 1070
    assert labels_needed(0.05, 0.02, -0.01) == 4280
    assert labels_needed(0.2, 0.0, 0.08) == 268
    assert labels_needed(0.05, 0.02, -0.02) is None


def test_the_labels_needed_do_decide_nine_times_in_ten() -> None:
    n = labels_needed(0.06, 0.02, 0.0)
    assert n is not None
    tables = np.random.default_rng(1).multinomial(n, [0.03, 0.03, 0.94], size=2000)
    decided = np.mean([tango_lower_bound(gained, lost, n) > -0.02 for gained, lost, _ in tables])
    assert 0.87 <= decided <= 0.93
