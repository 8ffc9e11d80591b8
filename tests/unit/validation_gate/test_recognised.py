"""A first model that never names a class is rejected, and the reason says which class and what to try."""

import numpy as np
import pytest

from components.validation_gate.answers import Answers
from components.validation_gate.decision import GateInputs, decide
from components.validation_gate.recognised import every_class_recognised
from driftloop.settings import GateSettings

NAMES = ["whole", "cracked", "dusty"]


def answers(confusion: list[list[int]]) -> Answers:
    """A split whose images of class i were called j as often as `confusion[i][j]` says."""
    pairs = [(label, answer) for label, row in enumerate(confusion) for answer, count in enumerate(row) for _ in range(count)]
    labels, named = np.array(pairs).T
    return Answers(labels, np.eye(len(confusion))[named])


@pytest.mark.parametrize(
    ("confusion", "holds", "note"),
    [
        ([[90, 5, 5], [4, 70, 6], [5, 5, 60]], True, ""),
        # .756 right as a whole, and a class of 81 images that is never named.
        ([[190, 10, 0], [15, 104, 0], [51, 30, 0]], False, "not recognised: 'dusty' (0.0 % of 81 test images right)"),
        # Five images show nothing, either way.
        ([[90, 10, 0], [10, 90, 0], [3, 2, 0]], True, "not shown for 'dusty' (0.0 % of 5 test images right)"),
        # Rare, and found less often than by a guess among three, but never said of others: it is recognised.
        ([[190, 10, 0], [10, 190, 0], [50, 26, 24]], True, ""),
        # Named of a quarter of all images, and of its own no more often.
        ([[75, 0, 25], [0, 75, 25], [8, 7, 5]], True, "not shown for 'dusty' (25.0 % of 20 test images right)"),
    ],
)
def test_a_class_is_recognised_not_recognised_or_unknown(confusion: list[list[int]], holds: bool, note: str) -> None:
    criterion = every_class_recognised(answers(confusion), NAMES, "")
    assert (criterion.holds, criterion.refuted) == (holds, not holds)
    assert criterion.note.startswith(note)
    assert bool(criterion.note) == bool(note)


def test_a_first_model_that_is_blind_to_a_class_is_rejected_unless_that_class_is_named() -> None:
    blind = GateInputs(answers([[190, 10, 0], [15, 104, 0], [51, 30, 0]]), NAMES)
    decision = decide(blind, margin=0.02, settings=GateSettings())
    assert decision.decision == "reject"
    assert decision.reasons[0].startswith("every class recognised: not recognised: 'dusty'")
    assert "train_config.architecture" in decision.reasons[0]
    assert decide(blind, margin=0.02, settings=GateSettings(allow_blind_classes="whole, dusty")).decision == "promote"
    assert decide(blind, margin=0.02, settings=GateSettings(allow_blind_classes="whole")).decision == "reject"
