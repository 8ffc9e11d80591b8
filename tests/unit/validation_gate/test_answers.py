"""What both models answer, and what is wrong with answers."""

import numpy as np
import pytest

from components.validation_gate.answers import Answers, no_answers, output_problems
from driftloop.evaluation.clustered import proportion_right
from driftloop.evaluation.paired import compare


def probabilities(classes: list[int], count: int = 3) -> np.ndarray:
    return np.eye(count)[classes] * 0.7 + 0.1


LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1])
BOTH = Answers(
    LABELS,
    probabilities([0, 1, 2, 0, 1, 0, 0, 2]),
    probabilities([0, 1, 1, 1, 1, 2, 0, 2]),
    np.array(["p", "p", "q", "q", "r", "r", "s", "s"]),
)
ROWS = np.array([True, False, True, True, False, True, True, True])


def test_right_is_whose_likeliest_class_is_the_label() -> None:
    assert BOTH.candidate_right.tolist() == [True, True, True, True, True, False, True, False]
    assert BOTH.champion_right.tolist() == [True, True, False, False, True, True, True, False]
    with pytest.raises(ValueError, match="there is no champion to compare with"):
        _ = Answers(LABELS, BOTH.candidate).champion_right


@pytest.mark.parametrize("rows", [None, ROWS])
@pytest.mark.parametrize("groups", [BOTH.groups, None])
def test_shares_and_differences_are_those_of_the_rows_and_their_groups(rows: np.ndarray | None, groups: np.ndarray | None) -> None:
    both = Answers(BOTH.labels, BOTH.candidate, BOTH.champion, groups)
    chosen = np.ones(8, bool) if rows is None else rows
    own = None if groups is None else groups[chosen]
    candidate, champion = both.candidate_right, both.champion_right
    assert both.accuracy(champion, rows) == proportion_right(champion[chosen], own)
    assert both.difference(rows) == compare(candidate[chosen], champion[chosen], confidence=0.95, groups=own)
    assert both.difference(rows, confidence=0.8) == compare(candidate[chosen], champion[chosen], confidence=0.8, groups=own)
    other = LABELS == 1
    assert both.difference_to(other, rows) == compare(candidate[chosen], other[chosen], confidence=0.95, groups=own)
    assert both.difference_to(other, rows, confidence=0.8) == compare(candidate[chosen], other[chosen], confidence=0.8, groups=own)


def test_no_answers_are_none_of_every_class() -> None:
    none = no_answers(4)
    assert (none.labels.shape, none.labels.dtype, none.candidate.shape) == ((0,), np.int64, (0, 4))
    assert (none.champion, none.groups, none.slices) == (None, None, {})


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_probabilities_that_are_not_finite_are_counted_by_image(broken: float) -> None:
    wrong = probabilities([0, 1, 2, 0])
    wrong[1, 0] = wrong[1, 2] = wrong[3, 1] = broken
    assert output_problems(wrong) == ["the candidate gives probabilities that are not finite on 2 of 4 images"]


@pytest.mark.parametrize(("off", "said"), [(0.009, []), (-0.009, []), (0.02, ["0.02"]), (-0.03, ["0.03"])])
def test_probabilities_that_do_not_sum_to_one_are_told_by_the_worst(off: float, said: list[str]) -> None:
    wrong = probabilities([0, 1, 2, 0])
    wrong[2, 1] += off
    wrong[3, 1] += off / 2
    assert output_problems(wrong) == [f"the candidate's probabilities sum to 1 only within {by}" for by in said]
    assert output_problems(np.zeros((0, 3))) == []


def test_each_model_s_classes_are_named_by_its_own_rule() -> None:
    """The candidate lets classes count alike, of which the second has a fifth of its images; the champion names the most probable one."""
    labels, said = np.array([0, 0, 1, 1]), np.array([[0.9, 0.1], [0.7, 0.3], [0.7, 0.3], [0.4, 0.6]])
    answers = Answers(labels, said, said, candidate_shares=(0.8, 0.2))
    assert answers.candidate_named.tolist() == [0, 1, 1, 1]
    assert answers.champion_named.tolist() == [0, 0, 0, 1]
    assert (answers.candidate_right.tolist(), answers.champion_right.tolist()) == ([True, False, True, True], [True, True, False, True])
    swapped = Answers(labels, said, said, champion_shares=(0.8, 0.2))
    assert (swapped.candidate_named.tolist(), swapped.champion_named.tolist()) == ([0, 0, 0, 1], [0, 1, 1, 1])
