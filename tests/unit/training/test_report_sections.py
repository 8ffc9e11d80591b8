"""What a training's page says of its figures."""

import numpy as np
import pytest

from driftloop.evaluation.classification import evaluate
from driftloop.evaluation.intervals import wilson
from driftloop.reporting.translation import Translator
from driftloop.training.report_sections import _apart, confidence_sentence, naming_sentence
from driftloop.training.task import SplitPredictions


@pytest.mark.parametrize(
    ("right", "said"),
    [((90, 10), "more than chance"), ((50, 45), "may be chance"), ((45, 45), "")],
)
def test_classes_are_compared_where_their_recalls_differ(right: tuple[int, int], said: str) -> None:
    labels = np.repeat([0, 1], 100)
    found = np.concatenate([np.arange(100) < count for count in right])
    predicted = np.where(found, labels, 1 - labels)
    sentence = _apart(evaluate(np.eye(2)[predicted], labels, ["a", "b"]).classes)
    assert said in sentence
    assert bool(sentence) == bool(said)


@pytest.mark.parametrize(
    ("images", "mean", "said"),
    [
        (100, 0.84, "4.0 points more than the accuracy and within its interval: so many images do not show that it promises too much."),
        (100, 0.75, "5.0 points less than the accuracy and within its interval: so many images do not show that it promises too little."),
        (10_000, 0.84, "4.0 points more than the accuracy: it is overconfident."),
        (10_000, 0.75, "5.0 points less than the accuracy: it is underconfident."),
        (100, 0.805, "which promises as much as it keeps, to a point."),
    ],
)
def test_a_model_is_called_overconfident_where_chance_does_not_explain_it(images: int, mean: float, said: str) -> None:
    right = np.arange(images) < 0.8 * images
    sentence = confidence_sentence(np.full(images, mean), right, wilson(int(right.sum()), images))
    assert said in sentence
    french = Translator("fr")
    french(sentence)
    assert french.missing == []


def test_a_confidence_below_that_of_another_class_is_explained() -> None:
    probabilities = np.array([[0.95, 0.05], [0.88, 0.12], [0.99, 0.01]], np.float32)
    balanced = SplitPredictions(probabilities, np.array([0, 1, 0]), shares=(0.9, 0.1))
    assert balanced.named.tolist() == [0, 1, 0]
    said = naming_sentence(balanced)
    assert said.startswith(" Another class than the most probable one is named by 1 of 3 answers: every class counts alike")
    assert naming_sentence(SplitPredictions(probabilities, np.array([0, 1, 0]))) == ""
    french = Translator("fr")
    french(said.strip())
    assert french.missing == []
