"""Kernel MMD with permutations, against loops."""

from fractions import Fraction
from itertools import combinations
from math import comb

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist, pdist

from components.drift_detection import mmd
from components.drift_detection.mmd import PLENTY, mean_kernel, median_gamma, mmd_test, nearest, p_of_two_looks, shift_scores


def brute_force(x: np.ndarray, y: np.ndarray, gamma: float) -> float:
    """The unbiased estimate, pair by pair."""

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.exp(-gamma * np.sum((a - b) ** 2)))

    def within(rows: np.ndarray) -> float:
        return float(np.mean([kernel(a, b) for a, b in combinations(rows, 2)]))

    return within(x) + within(y) - 2 * float(np.mean([kernel(a, b) for a in x for b in y]))


@pytest.mark.parametrize(("n", "m"), [(2, 2), (2, 9), (9, 2), (25, 40)])
def test_the_statistic_is_that_of_a_loop_over_pairs(n: int, m: int) -> None:
    rng = np.random.default_rng([n, m])
    x, y = rng.normal(size=(n, 4)), rng.normal(size=(m, 4)) + 0.5
    result = mmd_test(x, y, permutations=99, rng=rng)
    assert result.mmd2 == pytest.approx(brute_force(x, y, result.gamma), abs=2e-6)


def test_the_bandwidth_is_the_median_heuristic() -> None:
    x = np.random.default_rng(0).normal(size=(41, 3)).astype(np.float32)
    distances = [float(np.sum((a - b) ** 2)) for a, b in combinations(x, 2)]
    assert median_gamma(x, np.random.default_rng(0)) == pytest.approx(1 / np.median(distances), rel=1e-5)


def test_strips_and_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(700, 8)), rng.normal(size=(90, 8)) + 0.2
    whole = mmd_test(x, y, permutations=300, rng=np.random.default_rng(7))
    monkeypatch.setattr(mmd, "PERMUTATIONS_AT_ONCE", 64)
    pieces = mmd_test(x, y, permutations=300, rng=np.random.default_rng(7))
    assert pieces.p_value == whole.p_value
    assert pieces.mmd2 == pytest.approx(whole.mmd2, rel=1e-4)


def test_the_p_value_tends_to_that_of_all_splits() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(6, 2)), rng.normal(size=(4, 2)) + 1
    result = mmd_test(x, y, permutations=9_999, rng=rng)
    pooled = np.concatenate([x, y])
    values = []
    for first in combinations(range(10), 6):
        rest = np.setdiff1d(np.arange(10), first)
        values.append(brute_force(pooled[list(first)], pooled[rest], result.gamma))
    exact = np.mean(np.array(values) >= values[0] - 1e-9)
    assert result.p_value == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 9_999) + 2e-4)


def test_with_two_rows_a_side_swapping_the_sides_counts_as_equal() -> None:
    x, y = np.array([[0.0], [0.1]]), np.array([[5.0], [5.1]])
    # Two of the six splits separate the pairs, the observed one and its mirror image: p is near 1/3, never near 1/6.
    assert mmd_test(x, y, permutations=4_999, rng=np.random.default_rng(3)).p_value == pytest.approx(1 / 3, abs=0.03)


def test_identical_samples_do_not_alarm() -> None:
    x = np.random.default_rng(4).normal(size=(120, 5))
    result = mmd_test(x, x.copy(), permutations=499, rng=np.random.default_rng(4))
    assert result.p_value > 0.9
    assert result.mmd2 < 0


def test_equal_rows_everywhere_have_p_one() -> None:
    same = np.full((40, 3), 2.5)
    result = mmd_test(same, same[:10], permutations=99, rng=np.random.default_rng(5))
    assert result.p_value == 1
    assert result.mmd2 == pytest.approx(0, abs=1e-6)


def test_more_than_half_equal_rows_still_have_a_bandwidth() -> None:
    rng = np.random.default_rng(6)
    x = np.where(rng.random((100, 1)) < 0.1, 1.0, 0.0)
    y = np.where(rng.random((60, 1)) < 0.7, 1.0, 0.0)
    assert mmd_test(x, y, permutations=999, rng=rng).p_value == 0.001


@pytest.mark.parametrize("size", [65_504.0, 1e12, 1e30])
def test_one_huge_outlier_neither_alarms_nor_hides_a_shift(size: float) -> None:
    rng = np.random.default_rng(7)
    x, y = rng.normal(size=(200, 6)), rng.normal(size=(80, 6))
    y[0, 0] = size
    assert mmd_test(x, y, permutations=499, rng=rng).p_value > 0.05
    assert mmd_test(x, y + 1, permutations=499, rng=rng).p_value == 0.002


def test_swapped_samples_give_the_same_statistic_and_nearly_the_same_p_value() -> None:
    rng = np.random.default_rng(8)
    x, y = rng.normal(size=(150, 4)), rng.normal(size=(60, 4)) + 0.15
    forth, back = (mmd_test(*pair, permutations=4_999, rng=np.random.default_rng(0)) for pair in ((x, y), (y, x)))
    assert forth.mmd2 == pytest.approx(back.mmd2, abs=1e-6)
    assert forth.p_value == pytest.approx(back.p_value, abs=0.03)


def test_the_same_seed_gives_the_same_p_value_and_another_seed_a_near_one() -> None:
    rng = np.random.default_rng(9)
    x, y = rng.normal(size=(100, 4)), rng.normal(size=(50, 4)) + 0.1
    p_values = [mmd_test(x, y, permutations=4_999, rng=np.random.default_rng(seed)).p_value for seed in (1, 1, 2)]
    assert p_values[0] == p_values[1]
    assert p_values[0] == pytest.approx(p_values[2], abs=0.03)


@pytest.mark.parametrize(("side", "value"), [("reference", np.nan), ("window", np.inf)])
def test_a_number_that_is_not_finite_is_refused_saying_where(side: str, value: float) -> None:
    samples = {"reference": np.zeros((5, 3)), "window": np.zeros((4, 3))}
    samples[side][3, 2] = value
    with pytest.raises(ValueError, match=f"{side}: {value} at row 3, column 2"):
        mmd_test(samples["reference"], samples["window"], permutations=99, rng=np.random.default_rng(0))


def test_mean_kernel_is_the_mean_of_a_loop() -> None:
    rng = np.random.default_rng(10)
    x, y = rng.normal(size=(7, 3)).astype(np.float32), rng.normal(size=(11, 3)).astype(np.float32)
    expected = [np.mean([np.exp(-0.3 * np.sum((a - b) ** 2)) for b in y]) for a in x]
    np.testing.assert_allclose(mean_kernel(x, y, 0.3), expected, rtol=1e-5)


#: Far from the origin, where float32 alone would tell nothing apart.
FAR = np.array([1e6, -1e6, 1e6])


def test_shift_scores_are_kernels_with_other_drifted_rows_less_those_with_the_reference() -> None:
    rng = np.random.default_rng(11)
    reference, drifted = rng.normal(size=(40, 3)) + FAR, rng.normal(size=(12, 3)) + FAR + 1
    gamma = 1 / np.median(pdist(np.concatenate([reference, drifted]), "sqeuclidean"))
    among, across = (np.exp(-gamma * cdist(drifted, rows, "sqeuclidean")) for rows in (drifted, reference))
    expected = (among.sum(axis=1) - 1) / 11 - across.mean(axis=1)
    np.testing.assert_allclose(shift_scores(reference, drifted, rng), expected, atol=1e-5)
    alone = shift_scores(reference, drifted[:1], rng)
    gamma = 1 / np.median(pdist(np.concatenate([reference, drifted[:1]]), "sqeuclidean"))
    np.testing.assert_allclose(alone, 1 - np.exp(-gamma * cdist(drifted[:1], reference, "sqeuclidean")).mean(axis=1), atol=1e-5)
    two = shift_scores(reference, drifted[:2], rng)
    gamma = 1 / np.median(pdist(np.concatenate([reference, drifted[:2]]), "sqeuclidean"))
    across = np.exp(-gamma * cdist(drifted[:2], reference, "sqeuclidean"))
    np.testing.assert_allclose(two, np.exp(-gamma * pdist(drifted[:2], "sqeuclidean")) - across.mean(axis=1), atol=1e-5)


def test_shift_scores_of_many_rows_stand_on_some_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmd, "DENSITY_ROWS", 20)
    rng = np.random.default_rng(12)
    reference, drifted = rng.normal(size=(40, 3)), rng.normal(size=(30, 3)) + 1
    gamma = 1 / np.median(pdist(np.concatenate([reference, drifted]), "sqeuclidean"))
    draws = np.random.default_rng(5)
    of_drift, of_reference = drifted[draws.choice(30, 20, replace=False)], reference[draws.choice(40, 20, replace=False)]
    among, across = (np.exp(-gamma * cdist(drifted, rows, "sqeuclidean")) for rows in (of_drift, of_reference))
    np.testing.assert_allclose(
        shift_scores(reference, drifted, np.random.default_rng(5)), among.mean(axis=1) - across.mean(axis=1), atol=1e-5
    )
    # As many as there may be are all of them, and none meets itself.
    few = shift_scores(reference[:20], drifted[:20], np.random.default_rng(5))
    gamma = 1 / np.median(pdist(np.concatenate([reference[:20], drifted[:20]]), "sqeuclidean"))
    among, across = (np.exp(-gamma * cdist(drifted[:20], rows, "sqeuclidean")) for rows in (drifted[:20], reference[:20]))
    np.testing.assert_allclose(few, (among.sum(axis=1) - 1) / 19 - across.mean(axis=1), atol=1e-5)


def test_the_nearest_reference_row_is_that_of_all_distances() -> None:
    rng = np.random.default_rng(13)
    reference, rows = rng.normal(size=(50, 3)) + FAR, rng.normal(size=(20, 3)) + FAR
    assert nearest(reference, rows).tolist() == cdist(rows, reference).argmin(axis=1).tolist()


def test_level_on_heavy_tailed_clean_data() -> None:
    rng = np.random.default_rng(11)
    p_values = np.array(
        [mmd_test(rng.standard_t(3, (120, 5)), rng.standard_t(3, (40, 5)), permutations=199, rng=rng).p_value for _ in range(400)]
    )
    assert np.sum(p_values <= 0.05) <= stats.binom.ppf(0.999, 400, 0.05)
    # Exact at every level: clean p-values are uniform on 1/200 ... 1.
    assert stats.kstest(p_values - rng.uniform(0, 1 / 200, 400), "uniform").pvalue > 0.001


def test_power_against_a_change_of_shape_that_leaves_means_and_variances() -> None:
    rng = np.random.default_rng(12)
    found = 0
    for _ in range(20):
        bimodal = rng.choice([-1, 1], (250, 2)) * 0.95 + rng.normal(size=(250, 2)) * np.sqrt(1 - 0.95**2)
        found += mmd_test(rng.normal(size=(800, 2)), bimodal, permutations=199, rng=rng).p_value <= 0.025
    assert found >= 19


def p_by_counting(first_count: int, total: int, first: int, permutations: int) -> Fraction:
    """The p-value of an outcome, by adding up the probabilities of all outcomes that come before it in the order, and its own."""
    ways = Fraction(1, permutations + 1)

    def probability(ahead: int, of: int) -> Fraction:
        return ways * Fraction(comb(first, ahead) * comb(permutations - first, of - ahead), comb(permutations, of))

    def place(ahead: int, of: int) -> tuple[int, int]:
        return (0, 0) if ahead == 0 else (1, of) if ahead < PLENTY else (2, ahead)

    outcomes = [(ahead, of) for of in range(permutations + 1) for ahead in range(min(of, first) + 1) if of - ahead <= permutations - first]
    return sum((probability(*one) for one in outcomes if place(*one) <= place(first_count, total)), Fraction(0))


def test_a_first_look_leaves_the_p_value_exact() -> None:
    first, permutations = 19, 39
    for total in range(1, permutations + 1):
        expected = p_by_counting(1, total, first, permutations)
        assert p_of_two_looks(total, first, permutations) == pytest.approx(float(expected), rel=1e-12)
    # Those that stop have the p-value that they would have without a second look.
    for count in (0, PLENTY, PLENTY + 3, first):
        assert p_by_counting(count, count, first, permutations) == Fraction(count + 1, first + 1)


def test_level_with_a_first_look_at_any_alpha() -> None:
    # Without drift the observed value is in no place of the order more often than in another.
    rng, trials, first, permutations = np.random.default_rng(13), 200_000, 499, 3_999
    ranks = rng.random(trials)
    early = rng.binomial(first, ranks)
    total = early + rng.binomial(permutations - first, ranks)
    by_total = np.array([0.0, *(p_of_two_looks(count, first, permutations) for count in range(1, total[early < PLENTY].max() + 1))])
    stops = (early == 0) | (early >= PLENTY)
    p_values = np.where(stops, (early + 1) / (first + 1), by_total[np.minimum(total, len(by_total) - 1)])
    for alpha in (0.002, 0.005, 0.01, 0.0152, 0.05):
        rejected = int(np.sum(p_values <= alpha))
        assert stats.binom.ppf(0.001, trials, 0.93 * alpha) <= rejected <= stats.binom.ppf(0.999, trials, alpha)
    # Hardly any test goes on.
    assert np.mean(stops) > 0.97


def test_a_test_with_a_first_look_decides_like_one_without() -> None:
    rng = np.random.default_rng(14)
    x = rng.normal(size=(120, 4))
    for y in (x[:40].copy(), x[:40] + 1):
        early = mmd_test(x, y, permutations=999, rng=np.random.default_rng(0), first_look=124)
        late = mmd_test(x, y, permutations=999, rng=np.random.default_rng(0))
        assert (early.permutations, late.permutations) == (124, 999)
        assert (early.p_value <= 0.025) == (late.p_value <= 0.025)
        assert early.mmd2 == pytest.approx(late.mmd2, abs=1e-7)
    # A borderline one goes on.
    doubtful = [
        mmd_test(rng.normal(size=(60, 2)), rng.normal(size=(20, 2)) + 0.5, permutations=999, rng=rng, first_look=124) for _ in range(20)
    ]
    assert {result.permutations for result in doubtful} == {124, 999}
