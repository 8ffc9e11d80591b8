"""BBSD, class prior, PSI and the teaching detectors: they explain, and must be right about it."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.gof import chisquare_effectsize

from components.drift_detection.explain import class_prior_test, population_stability_index, psi_reading
from components.drift_detection.ks import bbsd_test
from components.drift_detection.teaching import detect_embedding_drift, detect_pixel_drift


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def test_bbsd_tests_two_classes_once() -> None:
    rng = np.random.default_rng(0)
    x, y = softmax(rng.normal(size=(200, 2))), softmax(rng.normal([0.4, 0], 1, (80, 2)))
    assert bbsd_test(x, y).p_value == pytest.approx(stats.ks_2samp(x[:, 0], y[:, 0]).pvalue)


def test_bbsd_corrects_over_more_classes() -> None:
    rng = np.random.default_rng(1)
    x, y = softmax(rng.normal(size=(200, 4))), softmax(rng.normal(size=(80, 4)))
    raw = [stats.ks_2samp(x[:, k], y[:, k]).pvalue for k in range(4)]
    assert bbsd_test(x, y).p_value == pytest.approx(min(1, 4 * min(raw)))


def test_class_prior_is_pearsons_test_with_cohens_w() -> None:
    reference, window = np.array([500, 200, 100]), np.array([100, 70, 30])
    result = class_prior_test(reference, window)
    assert result.p_value == pytest.approx(stats.chi2_contingency([reference, window], correction=False).pvalue)
    assert result.effect_size == pytest.approx(chisquare_effectsize(reference / 800, window / 200))
    assert result.total_variation == pytest.approx(0.125)
    assert result.reading == "small"


@pytest.mark.parametrize(("shift", "reading"), [(0.0, "negligible"), (0.1, "small"), (0.2, "medium"), (0.3, "large")])
def test_class_prior_readings_are_cohens(shift: float, reading: str) -> None:
    window = np.array([0.5 + shift, 0.5 - shift]) * 200
    assert class_prior_test(np.array([400, 400]), window).reading == reading


def test_classes_that_no_one_predicts_are_left_out_and_one_class_cannot_shift() -> None:
    assert class_prior_test(np.array([40, 0, 60]), np.array([8, 0, 12])).p_value == pytest.approx(1)
    assert class_prior_test(np.array([100, 0]), np.array([20, 0])).p_value == 1


def test_a_class_new_to_the_window_has_a_finite_effect() -> None:
    result = class_prior_test(np.array([100, 0]), np.array([20, 20]))
    assert np.isfinite(result.effect_size)
    assert result.effect_size > 1


@pytest.mark.parametrize("counts", [[1.0, -1.0], [0.0, 0.0], [np.nan, 1.0], [1.0, 2.0, 3.0]])
def test_impossible_counts_are_refused(counts: list[float]) -> None:
    with pytest.raises(ValueError, match="counts"):
        class_prior_test(np.array([1.0, 1.0]), np.array(counts))


def test_psi_is_the_sum_over_the_references_deciles() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=400), rng.normal(size=150) + 0.5
    edges = [-np.inf, *np.quantile(x, np.arange(0.1, 0.95, 0.1)), np.inf]
    expected = 0.0
    for low, high in pairwise(edges):
        p = (np.sum((x > low) & (x <= high)) + 0.5) / (400 + 5)
        q = (np.sum((y > low) & (y <= high)) + 0.5) / (150 + 5)
        expected += (q - p) * np.log(q / p)
    assert population_stability_index(x, y) == pytest.approx(expected)


def test_psi_of_equal_samples_and_of_constant_features_is_zero() -> None:
    x = np.random.default_rng(3).normal(size=100)
    assert population_stability_index(x, x) == 0
    assert population_stability_index(np.ones(50), np.ones(20)) == 0


def test_psi_without_drift_is_about_what_its_docstring_says() -> None:
    rng = np.random.default_rng(4)
    values = [population_stability_index(rng.normal(size=800), rng.normal(size=200)) for _ in range(300)]
    assert np.mean(values) == pytest.approx(9 * (1 / 800 + 1 / 200), rel=0.1)


@pytest.mark.parametrize(("psi", "reading"), [(0.05, "stable"), (0.1, "moderate"), (0.2, "moderate"), (0.21, "large")])
def test_psi_readings(psi: float, reading: str) -> None:
    assert psi_reading(psi) == reading


def test_psi_refuses_nan() -> None:
    with pytest.raises(ValueError, match="window"):
        population_stability_index(np.zeros(3), np.array([1.0, np.nan]))


def test_pooled_pixels_are_tested_as_scipy_would() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.integers(0, 256, (20, 8, 8, 1), dtype=np.uint8), rng.integers(0, 250, (10, 8, 8, 1), dtype=np.uint8)
    expected = stats.ks_2samp(x.ravel(), y.ravel(), method="asymp")
    result = detect_pixel_drift(x, y)
    assert result.statistic == pytest.approx(expected.statistic)
    assert result.p_value == pytest.approx(expected.pvalue, rel=0.1)


def test_pooled_pixels_alarm_on_clean_images_because_pixels_of_an_image_are_not_independent() -> None:
    rng = np.random.default_rng(6)

    def clean(count: int) -> np.ndarray:
        base = rng.normal(120, 20, (count, 1, 1, 1))
        return np.clip(base + rng.normal(0, 5, (count, 16, 16, 1)), 0, 255).astype(np.uint8)

    assert sum(detect_pixel_drift(clean(200), clean(50)).drifted for _ in range(20)) >= 15


def test_a_fixed_threshold_calls_small_clean_samples_drifted_and_large_ones_not() -> None:
    rng = np.random.default_rng(7)
    assert detect_embedding_drift(rng.normal(size=(10, 50)), rng.normal(size=(10, 50))).drifted
    assert not detect_embedding_drift(rng.normal(size=(400, 50)), rng.normal(size=(400, 50))).drifted


def test_teaching_detectors_refuse_what_they_cannot_compare() -> None:
    with pytest.raises(ValueError, match="uint8"):
        detect_pixel_drift(np.zeros((2, 4, 4, 1)), np.zeros((2, 4, 4, 1), np.uint8))
    with pytest.raises(ValueError, match="window: nan"):
        detect_embedding_drift(np.zeros((2, 2)), np.array([[0.0, 0], [np.nan, 0]]))
