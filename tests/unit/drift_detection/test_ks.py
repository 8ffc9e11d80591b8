"""Kolmogorov-Smirnov over features, against scipy."""

import numpy as np
import pytest
from scipy import stats

from components.drift_detection.ks import ks_test, sort_reference

SIZES = [(2, 2), (2, 5), (3, 7), (50, 20), (200, 800), (800, 200), (799, 201), (1000, 1000), (12, 5000)]


def scipy_test(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # scipy from 1.18 on gives the distance of float32 samples in float32.
    x, y = x.astype(np.float64), y.astype(np.float64)
    results = [stats.ks_2samp(x[:, feature], y[:, feature]) for feature in range(x.shape[1])]
    return np.array([result.statistic for result in results]), np.array([result.pvalue for result in results])


@pytest.mark.parametrize(("n", "m"), SIZES)
@pytest.mark.parametrize("kind", ["continuous", "tied", "integers"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distances_and_p_values_are_scipys(n: int, m: int, kind: str, dtype: type) -> None:
    rng = np.random.default_rng([n, m])
    x, y = rng.normal(size=(n, 5)), rng.normal(size=(m, 5)) + np.linspace(0, 0.4, 5)
    if kind != "continuous":
        x, y = np.round(x, 1 if kind == "tied" else 0), np.round(y, 1 if kind == "tied" else 0)
    x, y = x.astype(dtype), y.astype(dtype)
    result = ks_test(x, y)
    distances, p_values = scipy_test(x, y)
    np.testing.assert_allclose(result.distances, distances, rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.p_values, p_values, rtol=1e-10, atol=1e-12)


def test_beyond_ten_thousand_rows_the_asymptotic_p_value_is_scipys() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(10_001, 3)), rng.normal(size=(400, 3)) + 0.05
    np.testing.assert_allclose(ks_test(x, y).p_values, scipy_test(x, y)[1], rtol=1e-10, atol=1e-12)


def test_a_sorted_reference_gives_the_same_result_for_every_window() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 4)).astype(np.float32)
    reference = sort_reference(x)
    for _ in range(3):
        window = rng.normal(size=(80, 4)).astype(np.float32)
        np.testing.assert_array_equal(ks_test(reference, window).p_values, ks_test(x, window).p_values)


def test_identical_samples_and_constant_features_have_p_one() -> None:
    x = np.random.default_rng(2).normal(size=(60, 3)).astype(np.float32)
    assert ks_test(x, x.copy()).p_value == 1
    constant = np.full((50, 2), 7.0, np.float32)
    assert ks_test(constant, constant[:20]).p_values.tolist() == [1, 1]


def test_a_feature_constant_at_another_value_is_found() -> None:
    assert ks_test(np.zeros((80, 1)), np.ones((20, 1))).p_value < 1e-10


def test_minus_zero_equals_zero() -> None:
    assert ks_test(np.zeros((20, 1), np.float32), np.full((30, 1), -0.0, np.float32)).distances[0] == 0


def test_one_huge_outlier_hardly_moves_the_distance() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(200, 1)), rng.normal(size=(100, 1))
    spoilt = y.copy()
    spoilt[0] = 1e30
    assert abs(ks_test(x, spoilt).distances[0] - ks_test(x, y).distances[0]) <= 1 / 100


@pytest.mark.parametrize(("n", "m"), [(100, 100), (80, 31)])
def test_swapped_samples_give_the_same_result(n: int, m: int) -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(n, 3)), rng.normal(size=(m, 3)) + 0.3
    np.testing.assert_allclose(ks_test(x, y).p_values, ks_test(y, x).p_values, rtol=1e-12)


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        (np.array([[1.0, np.nan], [0, 0]]), np.zeros((2, 2)), "reference: nan at row 0, column 1"),
        (np.zeros((2, 2)), np.array([[0.0, 0], [np.inf, 0]]), "window: inf at row 1, column 0"),
        (np.zeros((2, 2)), np.zeros((1, 2)), "window: 1 rows"),
        (np.zeros((2, 2)), np.zeros((2, 3)), "reference has 2 columns and window 3"),
        (np.zeros(4), np.zeros((2, 2)), "reference: expected rows"),
    ],
)
def test_unusable_samples_are_refused_saying_where(x: np.ndarray, y: np.ndarray, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ks_test(x, y)


def test_holm_keeps_the_family_wise_level_over_dependent_features() -> None:
    rng = np.random.default_rng(5)
    mix = rng.normal(size=(6, 6))
    alarms = sum(ks_test(rng.normal(size=(200, 6)) @ mix, rng.normal(size=(50, 6)) @ mix).p_value <= 0.05 for _ in range(400))
    assert alarms <= stats.binom.ppf(0.999, 400, 0.05)


def test_a_moderate_shift_of_one_feature_in_six_is_found() -> None:
    rng = np.random.default_rng(6)
    shift = np.array([0, 0, 0.5, 0, 0, 0])
    found = sum(ks_test(rng.normal(size=(800, 6)), rng.normal(size=(200, 6)) + shift).p_value <= 0.025 for _ in range(50))
    assert found >= 48
