"""The paired Brier score against scikit-learn and scipy, and for its level."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import brier_score_loss

from driftloop.evaluation.paired import brier_increase, brier_scores


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


@pytest.mark.parametrize(
    ("probabilities", "labels"), [(np.ones((3, 2)), np.zeros(2, int)), (np.full((2, 2), np.nan), np.zeros(2, int)), (np.eye(2), [0, 2])]
)
def test_input_that_does_not_fit_is_refused(probabilities: np.ndarray, labels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="brier_scores"):
        brier_scores(probabilities, np.asarray(labels))


def test_the_bounds_are_those_of_a_paired_t_test() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.random(60), rng.random(60)
    increase = brier_increase(first, second)
    interval = stats.ttest_rel(first, second).confidence_interval(0.90)
    assert (increase.low, increase.high) == pytest.approx((interval.low, interval.high))


def test_identical_scores_show_no_increase() -> None:
    increase = brier_increase(np.full(10, 0.2), np.full(10, 0.2))
    assert (increase.estimate, increase.low, increase.high) == (0, 0, 0)


def test_repeated_images_do_not_narrow_the_bounds() -> None:
    rng = np.random.default_rng(4)
    first, second = rng.random(80), rng.random(80)
    once = brier_increase(first, second)
    repeated = brier_increase(np.repeat(first, 5), np.repeat(second, 5), groups=np.repeat(np.arange(80), 5))
    assert repeated.high == pytest.approx(once.high, rel=0.02)


def test_the_upper_bound_falls_below_a_true_increase_about_one_time_in_twenty() -> None:
    """Skewed differences, as few flipped images make them: a little more than one in twenty is what Student's t gives there."""
    rng = np.random.default_rng(6)
    flipped = rng.random((2000, 500)) < 0.05
    differences = np.where(flipped, 0.4, -0.01) + 0.05 * rng.standard_normal((2000, 500))
    truth = 0.05 * 0.4 - 0.95 * 0.01
    below = np.mean([brier_increase(row, np.zeros(500)).high < truth for row in differences])
    assert below <= 0.075
