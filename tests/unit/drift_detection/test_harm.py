"""The drop in accuracy and its bounds; the estimate without labels."""

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats
from statsmodels.stats.proportion import confint_proportions_2indep

from components.drift_detection.harm import accuracy_drop, correct_answers, drop_from, labels_to_decide
from components.drift_detection.unlabelled import thresholded_confidence
from driftloop.evaluation.intervals import wilson


def score_by_search(x1: int, n1: int, x2: int, n2: int, difference: float) -> float:
    """Miettinen and Nurminen's score with the likelihood maximised numerically."""

    def loss(p2: float) -> float:
        return -stats.binom.logpmf(x1, n1, p2 + difference) - stats.binom.logpmf(x2, n2, p2)

    low, high = max(0.0, -difference), min(1.0, 1.0 - difference)
    p2 = optimize.minimize_scalar(loss, bounds=(low + 1e-12, high - 1e-12), method="bounded", options={"xatol": 1e-13}).x
    p1 = p2 + difference
    variance = (p1 * (1 - p1) / n1 + p2 * (1 - p2) / n2) * (n1 + n2) / (n1 + n2 - 1)
    return (x1 / n1 - x2 / n2 - difference) / np.sqrt(variance)


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [((56, 70, 48, 80), 0.0528, 0.3382), ((9, 10, 3, 10), 0.1700, 0.8406), ((10, 10, 0, 20), 0.7156, 1.0)],
)
def test_published_two_sided_95_percent_limits(counts: tuple[int, int, int, int], low: float, high: float) -> None:
    # Newcombe 1998, table II, method 6.
    drop = accuracy_drop(*counts, confidence=0.975)
    assert (round(drop.low, 4), round(drop.high, 4)) == (low, high)


@pytest.mark.parametrize("counts", [(1350, 1500, 80, 100), (1500, 1500, 250, 287), (900, 1000, 30, 40), (27, 30, 100, 300)])
def test_each_bound_is_where_the_score_reaches_the_one_sided_quantile(counts: tuple[int, int, int, int]) -> None:
    drop = accuracy_drop(*counts)
    assert score_by_search(*counts, drop.low) == pytest.approx(1.6449, abs=1e-3)
    assert score_by_search(*counts, drop.high) == pytest.approx(-1.6449, abs=1e-3)


def test_it_is_close_to_newcombes_interval_for_usual_sizes() -> None:
    drop = accuracy_drop(1380, 1500, 255, 300)
    low, high = confint_proportions_2indep(1380, 1500, 255, 300, method="newcomb", compare="diff", alpha=0.1)
    assert (drop.low, drop.high) == (pytest.approx(low, abs=0.004), pytest.approx(high, abs=0.004))


@pytest.mark.parametrize("counts", [(1, 1, 1, 1), (0, 1, 1, 1), (1, 1, 0, 1), (5, 5, 0, 7), (0, 5, 7, 7), (1500, 1500, 100, 100)])
def test_extremes_stay_in_range(counts: tuple[int, int, int, int]) -> None:
    drop = accuracy_drop(*counts)
    assert -1 <= drop.low <= drop.value <= drop.high <= 1


@pytest.mark.parametrize("counts", [(1, 0, 1, 1), (2, 1, 1, 1), (1, 1, -1, 1), (1, 1, 0, 0)])
def test_impossible_counts_are_refused(counts: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="accuracy drop"):
        accuracy_drop(*counts)


@pytest.mark.parametrize(("clean", "drifted", "n"), [(0.90, 0.90, 100), (0.93, 0.90, 287), (0.85, 0.80, 150)])
def test_each_bound_errs_about_one_time_in_twenty(clean: float, drifted: float, n: int) -> None:
    rng = np.random.default_rng(0)
    drops = [accuracy_drop(int(rng.binomial(1500, clean)), 1500, int(rng.binomial(n, drifted)), n) for _ in range(1000)]
    for missed in (sum(drop.low > clean - drifted for drop in drops), sum(drop.high < clean - drifted for drop in drops)):
        assert missed <= stats.binom.ppf(0.999, 1000, 0.06)


def test_about_287_labels_show_harmlessness_four_times_in_five() -> None:
    rng = np.random.default_rng(1)
    shown = [accuracy_drop(int(rng.binomial(1500, 0.9)), 1500, int(rng.binomial(287, 0.9)), 287).high < 0.05 for _ in range(1000)]
    assert np.mean(shown) == pytest.approx(0.78, abs=0.05)


def test_only_random_labels_count_and_each_group_once() -> None:
    rows = pd.DataFrame(
        {
            "group": ["a", "a", None, None, "b", "c"],
            "predicted": list("xxyyxx"),
            "label": ["x", "y", "y", "x", "y", None],
            "label_origin": ["random", "random", "random", "random", "ranked", None],
        }
    )
    assert correct_answers(rows) == (2, 3)
    assert drop_from(wilson(9, 10), rows[4:]) is None


def test_labels_to_decide_are_enough_and_hardly_more() -> None:
    clean = wilson(1395, 1500)
    drop = accuracy_drop(1395, 1500, 114, 125)
    assert (drop.low, drop.high) == (pytest.approx(-0.02, abs=0.02), pytest.approx(0.07, abs=0.02))
    needed = labels_to_decide(clean, drop, retrain_drop=0.03, harmless_drop=0.05)
    assert needed is not None
    assert needed > 125
    accuracy = 0.93 - drop.value
    assert accuracy_drop(1395, 1500, round(accuracy * needed), needed).high < 0.05
    assert accuracy_drop(1395, 1500, round(accuracy * needed * 0.9), round(needed * 0.9)).high > 0.0495


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
