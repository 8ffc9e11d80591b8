"""Paired comparisons against references and for their level.

McNemar and Holm against statsmodels, scipy and the closed testing principle; Tango's interval against a brute-force inversion of its
score test, in textbook corners, and by exact enumeration; the design effect against a simulation of what clustering does to a mean;
the paired Brier score against scikit-learn and scipy.
"""

import math
from itertools import combinations, product

import numpy as np
import pytest
from scipy import optimize, stats
from sklearn.metrics import brier_score_loss
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from driftloop.evaluation.paired import (
    Clustering,
    brier_increase,
    brier_scores,
    clustering,
    compare,
    group_signs_worse,
    holm,
    labels_needed,
    mcnemar_exact,
    mcnemar_worse,
    tango_interval,
    tango_lower_bound,
    tango_upper_bound,
)


@pytest.mark.parametrize(("gained", "lost"), [(0, 5), (5, 0), (3, 9), (10, 10), (1, 0), (121, 59)])
def test_mcnemar_equals_statsmodels(gained: int, lost: int) -> None:
    assert mcnemar_exact(gained, lost) == pytest.approx(mcnemar([[40, gained], [lost, 30]], exact=True).pvalue)


@pytest.mark.parametrize(("gained", "lost"), [(0, 5), (5, 0), (3, 9), (10, 10)])
def test_one_sided_mcnemar_is_the_binomial_test(gained: int, lost: int) -> None:
    assert mcnemar_worse(gained, lost) == pytest.approx(stats.binomtest(lost, gained + lost, alternative="greater").pvalue)


def test_models_that_agree_on_all_images_cannot_differ() -> None:
    assert mcnemar_exact(0, 0) == mcnemar_worse(0, 0) == 1.0


def test_negative_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="counts"):
        mcnemar_exact(-1, 2)


@pytest.mark.parametrize("seed", range(5))
def test_holm_equals_statsmodels(seed: int) -> None:
    p_values = np.random.default_rng(seed).random(9) ** 3
    np.testing.assert_allclose(holm(p_values), multipletests(p_values, method="holm")[1])


def test_holm_keeps_ties_and_takes_none_or_one() -> None:
    assert holm([0.0, 0.5]).tolist() == [0.0, 0.5]
    np.testing.assert_allclose(holm([0.02, 0.02, 0.9]), [0.06, 0.06, 0.9])
    assert holm([]).shape == (0,)
    assert holm([0.03]) == [0.03]


@pytest.mark.parametrize("p_values", [[0.1, np.nan], [1.2], [[0.1]]])
def test_holm_refuses_what_is_no_list_of_p_values(p_values: list[float]) -> None:
    with pytest.raises(ValueError, match="holm"):
        holm(p_values)


def test_the_family_of_one_sided_tests_errs_at_most_as_often_as_alpha() -> None:
    rng = np.random.default_rng(3)
    families = rng.multinomial(80, [0.05, 0.05, 0.9], size=(3000, 6))
    alarms = np.mean([holm([mcnemar_worse(gained, lost) for gained, lost, _ in family]).min() < 0.05 for family in families])
    assert alarms <= 0.05


@pytest.mark.parametrize("features", [1, 2, 6, 200])
def test_adjusted_p_values_are_statsmodels(features: int) -> None:
    p_values = np.random.default_rng(features).uniform(size=features) ** 2
    np.testing.assert_allclose(holm(p_values), multipletests(p_values, method="holm")[1], rtol=1e-12)


def test_it_is_the_closed_test_of_bonferroni() -> None:
    p_values = np.array([0.01, 0.04, 0.03, 0.3])
    features = range(len(p_values))
    closed = [
        max(
            min(1.0, size * min(p_values[list(family)]))
            for size in range(1, len(p_values) + 1)
            for family in combinations(features, size)
            if feature in family
        )
        for feature in features
    ]
    np.testing.assert_allclose(holm(p_values), closed)


def test_ties_and_ones_stay_within_one() -> None:
    assert holm(np.array([0.5, 0.5, 1.0])).tolist() == [1, 1, 1]


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
    ("gained", "lost", "n"), [(25, 11, 112), (3, 9, 50), (0, 5, 30), (7, 0, 40), (1, 1, 10), (40, 41, 1500), (2, 1, 3), (0, 29, 30)]
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
    assert (tango_lower_bound(9, 4, 80), tango_upper_bound(9, 4, 80)) == tango_interval(9, 4, 80, 0.90)


@pytest.mark.parametrize(("gained", "lost", "n"), [(-1, 0, 5), (3, 3, 5), (0, 0, 0), (math.nan, 0, 5)])
def test_impossible_counts_are_refused(gained: float, lost: float, n: float) -> None:
    with pytest.raises(ValueError, match="tango"):
        tango_interval(gained, lost, n)


def test_a_confidence_outside_the_unit_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="confidence"):
        tango_interval(1, 1, 10, 1.0)
    with pytest.raises(ValueError, match="confidence"):
        tango_lower_bound(1, 1, 10, confidence=0.0)


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
    assert (difference.groups, difference.one_sided) == (5, 0.95)
    assert compare(first.astype(int), second.astype(int)) == difference


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


@pytest.mark.parametrize(
    ("estimate", "n", "limit", "hopeless", "confidence"),
    [(0.0, 100, -0.02, None, 0.95), (-0.01, 1000, -0.02, None, 0.95), (0.02, 300, 0.0, 0.02, 0.97), (-0.02, 200, -0.02, None, 0.95)],
)
def test_the_labels_needed_decide_four_times_in_five_of_what_the_present_ones_leave_possible(
    estimate: float, n: int, limit: float, hopeless: float | None, confidence: float
) -> None:
    """The mean drawn from what the images at hand say of it, and then the missing images from the mean."""
    deviation, rng = 0.3, np.random.default_rng(1)
    total = labels_needed(estimate, deviation, n, limit, hopeless=hopeless, confidence=confidence)
    means = rng.normal(estimate, deviation / math.sqrt(n), 40_000)
    new = rng.normal(means, deviation / math.sqrt(total - n))
    later, error = (n * estimate + (total - n) * new) / total, deviation / math.sqrt(total)
    ceiling = limit if hopeless is None else hopeless
    decided = (later - stats.norm.ppf(confidence) * error > limit) | (later + stats.norm.ppf(0.95) * error < ceiling)
    assert decided.mean() == pytest.approx(0.8, abs=0.01)
    assert n < total <= 50 * n


@pytest.mark.parametrize("n", [1, 2, 3, 17, 60])
@pytest.mark.parametrize(("estimate", "limit", "hopeless", "confidence"), [(0.1, 0.0, None, 0.95), (-0.1, -0.2, -0.1, 0.99)])
def test_no_smaller_number_of_labels_would_do(estimate: float, n: int, limit: float, hopeless: float | None, confidence: float) -> None:
    totals = np.arange(n + 1, 60 * n)
    later = stats.norm(estimate, 0.5 * np.sqrt(1 / n - 1 / totals))
    shown = later.sf(limit + stats.norm.ppf(confidence) * 0.5 / np.sqrt(totals))
    refuted = later.cdf((limit if hopeless is None else hopeless) - stats.norm.ppf(0.95) * 0.5 / np.sqrt(totals))
    first = totals[np.flatnonzero(shown + refuted >= 0.8)[0]]
    assert str(labels_needed(estimate, 0.5, n, limit, hopeless=hopeless, confidence=confidence)) == str(first)


def test_a_mean_that_is_decided_by_the_next_image_needs_one_more() -> None:
    assert labels_needed(0.5, 0.01, 100, 0.0) == 101


def test_one_image_a_group_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random(50) < 0.9, rng.random(50) < 0.8
    assert clustering(first.astype(float) - second, np.arange(50)) == clustering(first.astype(float) - second, None)
    assert compare(first, second, groups=rng.permutation(50)) == compare(first, second)
    scores = rng.random(50), rng.random(50)
    assert brier_increase(*scores, groups=rng.permutation(50)) == brier_increase(*scores)


def test_copies_of_each_image_divide_the_information_by_their_number() -> None:
    values = np.random.default_rng(1).standard_normal(300)
    assert clustering(np.repeat(values, 4), np.repeat(np.arange(300), 4)).effect == pytest.approx(4, rel=0.02)


def test_unrelated_images_of_a_group_have_an_effect_near_one() -> None:
    rng = np.random.default_rng(2)
    effects = [clustering(rng.standard_normal(400), np.repeat(np.arange(100), 4)).effect for _ in range(50)]
    assert np.mean(effects) < 1.2


def test_images_that_all_agree_say_no_more_than_their_groups() -> None:
    clusters = clustering(np.zeros(80), np.repeat(np.arange(40), 2))
    assert (clusters.groups, clusters.effect, clusters.freedom) == (40, 2, 39)
    right = np.ones(80, bool)
    nothing_lost = compare(right, right, groups=np.repeat(np.arange(40), 2))
    assert nothing_lost.low < tango_lower_bound(0, 0, 40)  # Student's t in place of the normal


def test_the_bounds_of_patients_are_tangos_of_the_divided_counts_at_students_quantile() -> None:
    rng = np.random.default_rng(12)
    groups = np.repeat(np.arange(30), rng.integers(1, 9, 30))
    ill = rng.random(30) < 0.3
    first, second = rng.random(len(groups)) < 0.9, rng.random(len(groups)) < np.where(ill[groups], 0.5, 0.95)
    found, gained, lost, n = compare(first, second, groups=groups), (first & ~second).sum(), (second & ~first).sum(), len(groups)
    effect = design_effect(first.astype(float) - second, groups, 1.0)
    assert effect > 1.5
    one_sided = stats.norm.cdf(stats.t.ppf(0.95, n**2 / (np.bincount(groups) ** 2).sum() - 1))
    low, high = tango_interval(gained / effect, lost / effect, n / effect, 2 * one_sided - 1)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert (found.groups, found.effective_n, found.one_sided) == (30, pytest.approx(n / effect), pytest.approx(one_sided))


def test_one_group_says_nothing_of_others() -> None:
    assert clustering(np.arange(50.0), np.zeros(50)) == Clustering(1, 50.0, 1.0, 50.0)


@pytest.mark.parametrize("groups", [np.zeros(20), np.repeat([0, 1], 10), np.repeat([0, 1, 2], [18, 1, 1])])
def test_next_to_no_groups_have_bounds_at_every_confidence(groups: np.ndarray) -> None:
    """Student's quantile at one degree of freedom lies where the normal distribution has no number below 1 any more."""
    difference = compare(np.arange(20) < 15, np.arange(20) < 10, confidence=0.975, groups=groups)
    assert (difference.low, difference.high) == (pytest.approx(-1, abs=0.05), pytest.approx(1, abs=0.05))
    difference = compare(np.ones(50, bool), np.zeros(50, bool), groups=np.zeros(50))
    assert difference.low < 0
    assert difference.groups == difference.effective_n == 1


def test_no_bound_is_narrower_than_tangos() -> None:
    rng = np.random.default_rng(8)
    for groups in (2, 8, 25, 90):
        first, second = rng.random(180) < 0.9, rng.random(180) < 0.85
        alone, clustered = compare(first, second), compare(first, second, groups=rng.integers(0, groups, 180))
        assert clustered.low <= alone.low < alone.high <= clustered.high


def design_effect(differences: np.ndarray, groups: np.ndarray, extreme: float) -> float:
    """The jackknife's variance of the mean, with an unseen group counted in as far as the groups' size, over that of independent images."""
    n, sizes = len(groups), np.unique(groups, return_counts=True)[1]
    means = np.array([differences[groups != group].mean() for group in np.unique(groups)])
    jackknife = (1 - 1 / len(means)) * ((means - differences.mean()) ** 2).sum()
    unseen = extreme**2 * (sizes**2).mean() / n**2
    independent = differences.var(ddof=1) / n
    return float(max(1.0, jackknife / independent, min((jackknife + unseen) / independent, (sizes**2).sum() / n)))


@pytest.mark.parametrize("extreme", [0.0, 0.5, 1.0, 3.0])
def test_the_clustered_variance_is_the_jackknifes(extreme: float) -> None:
    rng = np.random.default_rng(9)
    alike, few, unequal = (np.repeat(np.arange(len(sizes)), sizes) for sizes in ([2] * 200, rng.integers(1, 9, 10), [1] * 20 + [30]))
    opposed = np.tile([1.0, -1.0], 200)
    effects = []
    for groups, differences in (
        (alike, opposed),
        (alike, np.repeat(opposed, 2)[:400]),
        (few, rng.integers(-1, 2, len(few)) + 1.0 * (few % 3 == 0)),
        (unequal, 1.0 * (unequal == 20)),
    ):
        found = clustering(differences, groups, extreme=extreme)
        assert found.effect == pytest.approx(design_effect(differences, groups, extreme), rel=1e-9)
        assert found.freedom == pytest.approx(max(1.0, len(groups) ** 2 / (np.bincount(groups) ** 2).sum() - 1))
        assert (found.groups, found.size) == (groups[-1] + 1, pytest.approx((np.bincount(groups) ** 2).sum() / len(groups)))
        effects.append(found.effect)
    assert effects[0] == 1.0, "images of a patient that are opposed tell no more than independent ones"
    assert effects[3] > 30**2 / 50, "of very unequal groups the jackknife itself may exceed their size"
    assert clustering(opposed, None) == clustering(opposed, np.arange(400)) == Clustering(400, 1.0, math.inf, 1.0)


def patients(rng: np.random.Generator, sizes: np.ndarray, *, difference: float, psi: float, icc: float) -> np.ndarray:
    """Differences by image; a share sqrt(icc) of a patient's images does what the patient does."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    kinds = [(psi + difference) / 2, (psi - difference) / 2, 1 - psi]
    own, whole = rng.choice([1, -1, 0], len(groups), p=kinds), rng.choice([1, -1, 0], len(sizes), p=kinds)
    return np.where(rng.random(len(groups)) < math.sqrt(icc), whole[groups], own)


@pytest.mark.parametrize("sizes", [[125] * 8, [40] * 25, [25] * 60, [5, 5, 10, 10, 20, 20, 40, 40, 80, 160] * 6])
@pytest.mark.parametrize("icc", [0.2, 0.5])
def test_few_patients_pass_at_the_margin_at_most_one_time_in_twenty(sizes: list[int], icc: float) -> None:
    rng = np.random.default_rng(10)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    draws = [patients(rng, np.array(sizes), difference=-0.02, psi=0.10, icc=icc) for _ in range(300)]
    assert np.mean([compare(draw > 0, draw < 0, groups=groups).low > -0.02 for draw in draws]) <= 0.05


def test_a_large_gain_is_seen_with_a_dozen_patients() -> None:
    rng = np.random.default_rng(11)
    draws = [patients(rng, np.full(12, 25), difference=0.35, psi=0.45, icc=0.1) for _ in range(200)]
    assert np.mean([compare(draw > 0, draw < 0, groups=np.repeat(np.arange(12), 25)).low > 0 for draw in draws]) >= 0.9


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^clustering: "):
        clustering(np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match=r"^group_signs_worse: "):
        group_signs_worse(np.zeros(3), np.zeros(4))


def test_the_adjusted_variance_is_the_one_a_simulation_shows() -> None:
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(120), 3)
    draws = rng.standard_normal((500, 120)).repeat(3, axis=1) + rng.standard_normal((500, 360))
    expected = draws.mean(axis=1).var() / (draws.var() / 360)
    assert np.mean([clustering(draw, groups).effect for draw in draws]) == pytest.approx(expected, rel=0.12)


def test_signs_of_groups_are_mcnemar_where_each_image_stands_for_itself() -> None:
    differences = np.repeat([1, -1, 0], [3, 9, 20])
    assert group_signs_worse(differences) == mcnemar_worse(3, 9)
    assert group_signs_worse(differences, np.arange(32)) == mcnemar_worse(3, 9)
    assert group_signs_worse(np.zeros(0)) == 1


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("images", [14, 60])
def test_signs_of_groups_are_what_all_assignments_give(seed: int, images: int) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 9, images)
    differences = rng.choice([-1, 0, 1], images, p=[0.4, 0.35, 0.25])
    sums = np.bincount(groups, weights=differences)
    signs = np.array(list(product([-1, 1], repeat=len(sums))))
    assert group_signs_worse(differences, groups) == pytest.approx(np.mean(signs @ np.abs(sums) <= sums.sum()), rel=1e-9)


def test_two_classes_give_the_familiar_score() -> None:
    rng = np.random.default_rng(0)
    p, labels = rng.random(200), rng.integers(0, 2, 200)
    scores = brier_scores(np.column_stack([1 - p, p]), labels)
    assert scores.mean() == pytest.approx(brier_score_loss(labels, p))


def test_several_classes_equal_the_halved_sum() -> None:
    rng = np.random.default_rng(1)
    probabilities, labels = rng.dirichlet(np.ones(4), 100), rng.integers(0, 4, 100)
    np.testing.assert_allclose(brier_scores(probabilities, labels), ((probabilities - np.eye(4)[labels]) ** 2).sum(axis=1) / 2)


def test_certain_answers_score_zero_or_one() -> None:
    np.testing.assert_allclose(brier_scores(np.eye(3), np.array([0, 1, 0])), [0, 0, 1])
    np.testing.assert_allclose(brier_scores(np.eye(3), np.array([1, 1, 1])), [1, 0, 1])


@pytest.mark.parametrize(
    ("probabilities", "labels"), [(np.ones((3, 2)), np.zeros(2, int)), (np.full((2, 2), np.nan), np.zeros(2, int)), (np.eye(2), [0, 2])]
)
def test_input_that_does_not_fit_is_refused(probabilities: np.ndarray, labels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="brier_scores"):
        brier_scores(probabilities, np.asarray(labels))


@pytest.mark.parametrize("sign", [1, -1])
def test_the_bounds_are_a_paired_t_tests_with_an_unseen_image_and_johnsons_correction(sign: int) -> None:
    rng = np.random.default_rng(2)
    first, second = rng.random(60) ** 3, rng.random(60)
    first, second = (first, second) if sign > 0 else (second, first)
    increase, differences = brier_increase(first, second), first - second
    t, error = stats.t.ppf(0.95, 59), math.sqrt(stats.sem(differences) ** 2 + 1 / 60**2)
    third = stats.moment(differences, 3) / (6 * 60 * differences.var(ddof=1)) * (1 + 2 * t**2)
    assert (increase.n, increase.groups, np.sign(third)) == (60, 60, -sign)
    assert increase.low == pytest.approx(differences.mean() - t * error + min(0, third))
    assert increase.high == pytest.approx(differences.mean() + t * error + max(0, third))
    assert increase.error == pytest.approx(error)
    wider = stats.ttest_rel(first, second).confidence_interval(0.90)
    assert increase.low < wider.low < wider.high < increase.high


@pytest.mark.parametrize("sign", [1, -1])
def test_the_bounds_of_patients_count_an_unseen_patient_and_their_number(sign: int) -> None:
    rng = np.random.default_rng(13)
    groups = np.repeat(np.arange(25), rng.integers(1, 9, 25))
    differences = sign * (rng.random(25) ** 6)[groups] * rng.random(len(groups))
    increase, n, size = brier_increase(differences, np.zeros(len(groups)), groups=groups), len(groups), (np.bincount(groups) ** 2).sum()
    effect, t = design_effect(differences, groups, 0.0), stats.t.ppf(0.95, n**2 / size - 1)
    error = math.sqrt(stats.sem(differences) ** 2 * effect + (size / n**2) ** 2)
    third = stats.moment(differences, 3) / (6 * n * differences.var(ddof=1)) * (1 + 2 * t**2) * effect
    assert effect > 1.5
    assert (np.sign(third), increase.n, increase.groups) == (sign, n, 25)
    assert (increase.estimate, increase.error) == (pytest.approx(differences.mean()), pytest.approx(error))
    assert increase.low == pytest.approx(differences.mean() - t * error + min(0, third))
    assert increase.high == pytest.approx(differences.mean() + t * error + max(0, third))


def test_two_images_are_the_fewest_and_scores_are_a_list() -> None:
    assert brier_increase(np.array([0.1, 0.2]), np.zeros(2)).n == 2
    for shapes in ((1, 1), (2, 3), ((2, 2), (2, 2))):
        with pytest.raises(ValueError, match=r"^brier_increase: "):
            brier_increase(*(np.zeros(shape) for shape in shapes))


def test_identical_scores_leave_one_unseen_image() -> None:
    increase = brier_increase(np.full(10, 0.2), np.full(10, 0.2))
    half = stats.t.ppf(0.95, 9) / 10
    assert (increase.estimate, increase.low, increase.high) == (0, pytest.approx(-half), pytest.approx(half))
    grouped = brier_increase(np.full(10, 0.2), np.full(10, 0.2), groups=np.repeat(np.arange(5), 2))
    assert grouped.high == pytest.approx(stats.t.ppf(0.95, 4) / 5)


def test_repeated_images_do_not_narrow_the_bounds() -> None:
    rng = np.random.default_rng(4)
    first, second = rng.random(80), rng.random(80)
    once = brier_increase(first, second)
    repeated = brier_increase(np.repeat(first, 5), np.repeat(second, 5), groups=np.repeat(np.arange(80), 5))
    assert repeated.high == pytest.approx(once.high, rel=0.02)


@pytest.mark.parametrize(("n", "confident"), [(100, 0.03), (155, 0.02), (300, 0.0125), (500, 0.05)])
def test_the_upper_bound_falls_below_a_true_increase_at_most_one_time_in_twenty(n: int, confident: float) -> None:
    """Skewed differences, as few images that are answered confidently wrong make them."""
    rng = np.random.default_rng(6)
    differences = np.where(rng.random((2000, n)) < confident, 0.6, 0.02 * rng.standard_normal((2000, n)))
    below = np.mean([brier_increase(row, np.zeros(n)).high < confident * 0.6 for row in differences])
    assert below <= 0.05 + 1.645 * math.sqrt(0.05 * 0.95 / 2000)
