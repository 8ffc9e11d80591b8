"""What a training's page says of its figures."""

import numpy as np
import pytest

from driftloop.evaluation.classification import evaluate
from driftloop.training.report_sections import _apart


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
