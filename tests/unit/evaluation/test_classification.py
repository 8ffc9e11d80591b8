import numpy as np
import pytest
from sklearn import metrics

from driftloop.evaluation.classification import (
    MOST_CLASSES,
    condensed,
    confusion_matrix,
    evaluate,
    hardest,
    named_classes,
    probability_of,
)
from driftloop.evaluation.intervals import wilson


def scores(n: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    raw = rng.random((n, classes)) + 0.5 * np.eye(classes)[labels]
    return raw / raw.sum(1, keepdims=True), labels


@pytest.mark.parametrize("classes", [2, 3, 12])
def test_every_figure_agrees_with_scikit_learn(classes: int) -> None:
    probabilities, labels = scores(400, classes, seed=classes)
    evaluation = evaluate(probabilities, labels, [str(index) for index in range(classes)])
    predicted = probabilities.argmax(1)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(labels, predicted)
    assert evaluation.accuracy.value == pytest.approx(metrics.accuracy_score(labels, predicted))
    assert evaluation.macro_f1 == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))
    np.testing.assert_array_equal(evaluation.confusion, metrics.confusion_matrix(labels, predicted))
    np.testing.assert_allclose([score.precision for score in evaluation.classes], precision)
    np.testing.assert_allclose([score.recall.value for score in evaluation.classes if score.recall], recall)
    np.testing.assert_allclose([score.f1 for score in evaluation.classes], f1)
    np.testing.assert_array_equal([score.images for score in evaluation.classes], support)


def test_intervals_are_wilsons() -> None:
    probabilities, labels = scores(100, 2, seed=1)
    evaluation = evaluate(probabilities, labels, ["a", "b"])
    hits = int(np.trace(evaluation.confusion))
    assert evaluation.accuracy == wilson(hits, 100)
    assert evaluation.classes[1].recall == wilson(int(evaluation.confusion[1, 1]), int((labels == 1).sum()))


def test_a_class_nobody_predicted_and_one_without_images() -> None:
    probabilities = np.array([[0.9, 0.1, 0.0], [0.8, 0.2, 0.0]])
    evaluation = evaluate(probabilities, np.array([0, 1]), ["a", "b", "c"])
    assert evaluation.classes[1].precision == 0
    assert evaluation.classes[1].recall is not None
    assert evaluation.classes[2].recall is None
    assert evaluation.classes[2].described()["recall"] is None
    assert evaluation.macro_f1 == pytest.approx((2 / 3 + 0) / 2), "a class without images does not pull the mean down"


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (np.zeros((0, 2)), np.zeros(0, int), "at least one image"),
        (np.zeros((2, 3)), np.zeros(2, int), "needs scores"),
        (np.array([[0.5, 0.5], [np.nan, 0.5]]), np.zeros(2, int), "image 1 has a score that is not a number"),
        (np.ones((1, 2)), np.array([2]), "label lies outside 0..1"),
        (np.ones((1, 2)), np.array([-1]), "label lies outside 0..1"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(probabilities: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(probabilities, labels, ["a", "b"])


def test_confusion_counts_true_classes_in_rows() -> None:
    np.testing.assert_array_equal(confusion_matrix(np.array([0, 0, 1]), np.array([1, 1, 1]), 2), [[0, 2], [0, 1]])


def test_of_many_classes_the_hardest_and_the_most_confused_are_shown() -> None:
    names = [f"c{index:02d}" for index in range(40)]
    labels = np.repeat(np.arange(40), 5)
    predicted = labels.copy()
    predicted[labels == 7] = 8
    predicted[np.flatnonzero(labels == 30)[:2]] = 31
    found = evaluate(np.eye(40)[predicted], labels, names)
    shown = hardest(found.classes)
    assert len(shown) == MOST_CLASSES
    assert [score.name for score in shown] == sorted(score.name for score in shown)
    assert {"c07", "c30"} <= {score.name for score in shown}
    matrix, rows = condensed(found.confusion, names)
    assert {"c07", "c08", "c30", "c31"} <= set(rows)
    assert rows[-1] == "28 others"
    assert matrix.sum() == len(labels)
    assert matrix[rows.index("c07"), rows.index("c08")] == 5
    assert matrix[-1, -1] == 28 * 5


def test_few_classes_are_shown_as_they_are() -> None:
    found = evaluate(np.eye(2)[[0, 0, 1]], np.array([0, 1, 1]), ["a", "b"])
    assert hardest(found.classes) == list(found.classes)
    matrix, rows = condensed(found.confusion, ["a", "b"])
    assert rows == ["a", "b"]
    assert matrix.tolist() == found.confusion.tolist()


@pytest.mark.parametrize("shares", [(0.9, 0.1), (0.2, 0.3, 0.5), (1 / 3, 1 / 3, 1 / 3)])
def test_where_classes_count_alike_the_class_is_named_that_is_likeliest_among_equally_many(shares: tuple[float, ...]) -> None:
    """By Bayes' rule, from what each class's images look like: no share has a part in that."""
    rng = np.random.default_rng(0)
    densities = rng.random((500, len(shares)))
    probabilities = densities * shares / (densities * shares).sum(1, keepdims=True)
    assert named_classes(probabilities, shares).tolist() == [max(range(len(shares)), key=lambda label: row[label]) for row in densities]
    assert named_classes(probabilities).tolist() == probabilities.argmax(1).tolist()
    named = named_classes(probabilities, shares)
    assert probability_of(named, probabilities).tolist() == [row[label] for row, label in zip(probabilities, named, strict=True)]
    labels = rng.integers(0, len(shares), 500)
    names = [str(label) for label in range(len(shares))]
    assert evaluate(probabilities, labels, names, shares=shares).accuracy.value == pytest.approx(np.mean(named == labels))
