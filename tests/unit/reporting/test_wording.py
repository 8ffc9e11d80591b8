"""Sentences cannot contradict the numbers that they are made of."""

import pytest

from driftloop.evaluation.intervals import Proportion, wilson
from driftloop.reporting.wording import (
    balance_sentence,
    calibration_sentence,
    compared,
    confusion_sentence,
    curve_sentence,
    difference_sentence,
    extremes,
    percent,
    points,
    share_cells,
    with_interval,
)


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [(0.01, 0.05, "a gain is shown"), (-0.05, -0.01, "a loss is shown"), (-0.01, 0.02, "neither a gain nor a loss")],
)
def test_a_difference_says_what_its_interval_shows(low: float, high: float, shown: str) -> None:
    assert shown in difference_sentence("it changes by", (low + high) / 2, low, high)


def test_the_higher_accuracy_is_named_first_and_overlap_is_said() -> None:
    said = compared("the first", wilson(80, 100), "the second", wilson(85, 100))
    assert said.startswith("The second reaches 85.0 %")
    assert "overlap" in said
    assert "do not overlap" not in said
    assert "do not overlap" in compared("the first", wilson(500, 1000), "the second", wilson(900, 1000))
    assert "the same accuracy" in compared("a", wilson(50, 100), "b", wilson(50, 100))


@pytest.mark.parametrize(
    ("before", "after", "said"), [(0.041, 0.018, "helps"), (0.017, 0.021, "does not help"), (0.02, 0.02, "no change at the digits shown")]
)
def test_a_temperature_helps_only_where_the_error_falls(before: float, after: float, said: str) -> None:
    assert said in calibration_sentence(before, after, 1.3, 500)
    assert "No temperature" in calibration_sentence(before, after, 1.0, 500)


def test_no_sign_is_given_to_what_rounds_to_nothing() -> None:
    assert points(-0.0001) == "0.0 points"
    assert points(0.0123) == "+1.2 points"
    assert percent(0.8734) == "87.3 %"
    assert with_interval(Proportion(value=0.9, low=0.85, high=0.94, n=1200)) == "90.0 % (95 % interval 85.0 to 94.0 %, 1,200 images)"
    of_patients = Proportion(value=0.9, low=0.8, high=0.96, n=1200, groups=60)
    assert with_interval(of_patients) == "90.0 % (95 % interval 80.0 to 96.0 %, 1,200 images of 60 groups)"
    assert share_cells(of_patients)["groups"] == 60
    assert share_cells(wilson(9, 10))["groups"] is None


def test_the_commonest_confusion_is_named_with_its_direction() -> None:
    said = confusion_sentence([[90, 10], [3, 97]], ["cat", "dog"])
    assert "13 of 200" in said
    assert "cat taken for dog: 10" in said
    assert "All 2 images" in confusion_sentence([[1, 0], [0, 1]], ["cat", "dog"])


def test_balance_gives_the_figure_to_beat() -> None:
    assert "would reach 75.0 %" in balance_sentence({"a": 75, "b": 25})
    assert "would reach 50.0 %" in balance_sentence({"a": 50, "b": 50})
    assert "and none of b" in balance_sentence({"a": 5, "b": 0})


@pytest.mark.parametrize(
    ("train", "val", "best", "said"),
    [
        ([1.0, 0.5, 0.2], [1.0, 0.7, 0.6], 3, "lowest at the very end"),
        ([1.0, 0.5, 0.1], [1.0, 0.5, 0.9], 2, "by heart"),
        ([1.0, 0.5, 0.9], [1.0, 0.5, 0.9], 2, "unstable"),
        ([1.0, 0.5, 0.4], [1.0, 0.5, 0.52], 2, "less than a tenth"),
        # The baseline has neither augmentation nor smoothing, and often a lower validation loss at first.
        ([1.2, 1.1], [1.0, 1.1], 1, "0.200 below the training loss: the training loss is measured while the network still learns, with"),
    ],
)
def test_curves_are_read_by_where_the_validation_loss_is_lowest(train: list[float], val: list[float], best: int, said: str) -> None:
    assert said in curve_sentence(train, val, best)


def test_extremes_name_both_ends_or_say_that_there_are_none() -> None:
    assert extremes("the rate", {"a": 1.0, "b": 2.0}, "{:.1f}") == "The rate is highest for b (2.0) and lowest for a (1.0)."
    assert "the same everywhere" in extremes("the rate", {"a": 1.0, "b": 1.0}, "{:.1f}")
    assert extremes("the rate", {"a": 1.0}) == ""
