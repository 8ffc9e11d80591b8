"""The interval of an accuracy of grouped images: Wilson's where each image stands for itself, and its coverage where they do not."""

import numpy as np
import pytest

from driftloop.evaluation.clustered import clusters_of, proportion_right
from driftloop.evaluation.intervals import Proportion, wilson


@pytest.mark.parametrize("right", [0, 1, 37, 50])
@pytest.mark.parametrize("confidence", [0.90, 0.95])
def test_one_image_a_group_is_exactly_wilsons(right: int, confidence: float) -> None:
    answers = np.arange(50) < right
    expected = wilson(right, 50, confidence=confidence)
    assert proportion_right(answers, confidence=confidence) == expected
    assert proportion_right(answers, np.arange(50), confidence=confidence) == expected.model_copy(update={"groups": 50})


@pytest.mark.parametrize("groups", [20, 50, 200])
@pytest.mark.parametrize("correlation", [0.0, 0.05, 0.1, 0.2])
@pytest.mark.parametrize("accuracy", [0.85, 0.95])
def test_the_interval_holds_the_accuracy_in_95_percent_of_cases(groups: int, correlation: float, accuracy: float) -> None:
    """Twenty images a group, which are right with a chance of their group's own; Wilson's by images falls to .6."""
    rng = np.random.default_rng(groups)
    found = [proportion_right(*grouped_answers(rng, accuracy, correlation, [20] * groups)) for _ in range(500)]
    holds = sum(share.low <= accuracy <= share.high for share in found)
    assert wilson(holds, len(found), confidence=0.999).high >= 0.95
    if correlation == 0:
        alone = np.mean([wilson(round(share.value * share.n), share.n).high - share.value for share in found])
        assert np.mean([share.high - share.value for share in found]) < 1.45 * alone, "unrelated images are hardly held to be less"


@pytest.mark.parametrize("correlation", [0.1, 0.5])
def test_few_groups_of_unequal_size_hold_each_one_sided_bound(correlation: float) -> None:
    rng = np.random.default_rng(1)
    found = [
        proportion_right(*grouped_answers(rng, 0.98, correlation, [40, 5, 10, 60, 20, 3, 30, 12]), confidence=0.90) for _ in range(300)
    ]
    for missed in (sum(share.low > 0.98 for share in found), sum(share.high < 0.98 for share in found)):
        assert wilson(missed, len(found), confidence=0.99).low <= 0.05


def test_ones_and_zeros_are_as_good_as_truths() -> None:
    right, groups = np.arange(40) % 7 > 0, np.repeat(range(10), 4)
    assert proportion_right(right.astype(int), groups) == proportion_right(right, groups)
    assert clusters_of(right.astype(int), groups) == clusters_of(right, groups)


def test_where_all_are_right_each_group_counts_as_one_image() -> None:
    clusters = clusters_of(np.ones(81, bool), np.repeat(range(3), 27))
    assert (clusters.groups, clusters.effect, clusters.freedom) == (3, pytest.approx(27), pytest.approx(2))
    perfect, hardly_less = (proportion_right(np.arange(81) >= wrong, np.repeat(range(3), 27)) for wrong in (0, 1))
    assert perfect.low < 0.5
    assert hardly_less.low < 0.6, "one error says nothing of whether errors come in groups"


@pytest.mark.parametrize("groups", [np.zeros(20), np.repeat([0, 1], 10), np.repeat([0, 1, 2], [18, 1, 1])])
def test_of_next_to_no_groups_next_to_nothing_is_known(groups: np.ndarray) -> None:
    share = proportion_right(np.arange(20) < 15, groups)
    assert share.low < 0.05
    assert share.high > 0.95


def test_what_it_says_names_the_groups_where_they_are_fewer_than_images() -> None:
    right, groups = np.arange(40) < 30, np.repeat(range(10), 4)
    assert str(proportion_right(right, groups)).endswith(", n=40 of 10 groups)")
    assert proportion_right(right, np.zeros(40)).of_groups == " of 1 group"
    assert str(proportion_right(right, np.arange(40))) == str(proportion_right(right)) == str(wilson(30, 40))
    assert Proportion(value=0.9, low=0.8, high=0.95, n=40).of_groups == "", "one that was stored before groups were"


@pytest.mark.parametrize(("right", "groups"), [(np.zeros(0, bool), None), (np.ones(3, bool), np.zeros(4))])
def test_what_does_not_fit_is_refused(right: np.ndarray, groups: np.ndarray | None) -> None:
    with pytest.raises(ValueError, match=r"at least one image|do not fit"):
        proportion_right(right, groups)


def grouped_answers(rng: np.random.Generator, accuracy: float, correlation: float, sizes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Which images are right and the group of each; the groups' own accuracies are from a beta distribution."""
    own = np.full(len(sizes), accuracy)
    if correlation:
        own = rng.beta(accuracy * (1 / correlation - 1), (1 - accuracy) * (1 / correlation - 1), len(sizes))
    return rng.random(sum(sizes)) < np.repeat(own, sizes), np.repeat(range(len(sizes)), sizes)
