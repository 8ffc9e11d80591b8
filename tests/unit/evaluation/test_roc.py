from itertools import pairwise

import numpy as np
import pytest
from sklearn import metrics

from driftloop.evaluation.plots import confusion_and_roc
from driftloop.evaluation.roc import DrawnAreas, area_under_roc, roc_curve


def scores(n: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n)
    labels = rng.integers(0, classes, n)
    raw = rng.random((n, classes)).round(1) + 0.4 * np.eye(classes)[labels]
    return raw / raw.sum(1, keepdims=True), labels


def pairs_won(truth: np.ndarray, score: np.ndarray) -> float:
    """The area by its meaning: how often a positive case scores above a negative one, ties counting half."""
    wins = score[truth][:, None] - score[~truth][None]
    return float((wins > 0).mean() + (wins == 0).mean() / 2)


def test_the_area_is_the_share_of_pairs_won() -> None:
    probabilities, labels = scores(150, 2)
    assert area_under_roc(probabilities, labels) == pytest.approx(pairs_won(labels == 1, probabilities[:, 1]))


def test_with_more_classes_the_area_is_the_mean_of_one_against_the_rest() -> None:
    probabilities, labels = scores(150, 3)
    expected = np.mean([pairs_won(labels == index, probabilities[:, index]) for index in range(3)])
    assert area_under_roc(probabilities, labels) == pytest.approx(expected)


def test_without_images_of_a_class_there_is_no_area() -> None:
    assert area_under_roc(np.full((3, 2), 0.5), np.zeros(3, int)) is None
    assert roc_curve(np.full((3, 2), 0.5), np.zeros(3, int)) is None


@pytest.mark.parametrize("classes", [2, 4])
def test_the_curve_is_finite_thinned_and_keeps_its_ends(classes: int) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, 3000)
    raw = rng.random((3000, classes))
    curve = roc_curve(raw / raw.sum(1, keepdims=True), labels, points=50)
    assert curve is not None
    assert len(curve.fpr) == len(curve.tpr) == len(curve.thresholds) <= 50
    assert (curve.fpr[0], curve.tpr[0], curve.fpr[-1], curve.tpr[-1]) == (0, 0, 1, 1)
    assert all(0 <= threshold <= 1 for threshold in curve.thresholds)
    assert curve.thresholds == sorted(curve.thresholds, reverse=True)
    assert curve.micro_average == (classes > 2)


def test_the_thinned_curve_spans_the_same_area() -> None:
    probabilities, labels = scores(2000, 2)
    curve = roc_curve(probabilities, labels)
    assert curve is not None
    assert np.trapezoid(curve.tpr, curve.fpr) == pytest.approx(area_under_roc(probabilities, labels), abs=0.005)


@pytest.mark.parametrize("classes", [2, 10])
def test_the_picture_names_every_class(classes: int) -> None:
    probabilities, labels = scores(200, classes)
    names = [f"class {index}" for index in range(classes)]
    figure = confusion_and_roc(np.eye(classes, dtype=int), names, roc_curve(probabilities, labels))
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == names


@pytest.mark.parametrize("seed", range(5))
def test_the_areas_of_drawn_images_are_scikit_learn_s_of_weighted_ones(seed: int) -> None:
    rng = np.random.default_rng(seed)
    own, scores = rng.random(80) < 0.3, rng.integers(0, 20, 80) / 20  # many share a score
    drawn = DrawnAreas(own, scores)
    for _ in range(20):
        times = np.bincount(rng.integers(0, 80, 80), minlength=80)
        auroc, auprc = drawn.of(times)
        assert auroc == pytest.approx(metrics.roc_auc_score(own, scores, sample_weight=times), abs=1e-12)
        assert auprc == pytest.approx(metrics.average_precision_score(own, scores, sample_weight=times), abs=1e-12)


def test_without_images_of_the_class_or_of_others_there_is_no_area() -> None:
    drawn = DrawnAreas(np.array([True, False]), np.array([0.7, 0.2]))
    assert np.isnan(drawn.of(np.array([0, 2]))).all()
    assert np.isnan(drawn.of(np.array([2, 0]))).tolist() == [True, False]


def test_the_area_beside_a_curve_is_that_under_it() -> None:
    labels = np.array([0] * 90 + [1] * 8 + [2] * 2)
    probabilities = np.tile([0.9, 0.08, 0.02], (100, 1))  # knows the shares of the classes, and nothing of an image
    curve = roc_curve(probabilities, labels)
    assert curve is not None
    assert area_under_roc(probabilities, labels) == 0.5
    assert curve.area == pytest.approx(np.trapezoid(curve.tpr, curve.fpr))
    assert curve.area > 0.9
    legend = confusion_and_roc(np.eye(3, dtype=int), ["a", "b", "c"], curve).axes[1].get_legend()
    assert legend is not None
    assert legend.get_texts()[0].get_text() == f"micro-average, area {curve.area:.3f}"


def test_long_names_of_few_classes_do_not_run_into_one_another() -> None:
    probabilities, labels = scores(60, 3)
    curve = roc_curve(probabilities, labels)
    for names in (["atelectasis", "cardiomegal", "pneumothora"], ["Pullover & Co", "Wintermäntel lang", "shirt"]):
        figure = confusion_and_roc(np.eye(3, dtype=int), names, curve)
        figure.canvas.draw()
        boxes = [tick.get_window_extent() for tick in figure.axes[0].get_xticklabels()]
        turned = figure.axes[0].get_xticklabels()[0].get_rotation() != 0
        assert turned or all(left.x1 < right.x0 for left, right in pairwise(boxes))
