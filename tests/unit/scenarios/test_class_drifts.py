"""Prior shift: the total variation is the severity."""

import numpy as np
import pytest

from driftloop.errors import InputError
from driftloop.scenarios import parse
from driftloop.scenarios.class_drifts import apportion, shifted_shares


def total_variation(p: np.ndarray, q: np.ndarray) -> float:
    return 0.5 * float(sum(abs(a - b) for a, b in zip(p, q, strict=True)))


@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.27, 0.73], [0.2, 0.3, 0.5], [0.1] * 10])
@pytest.mark.parametrize("severity", [0.0, 0.1, 0.2, 0.5])
def test_shares_move_by_exactly_the_total_variation(shares: list[float], severity: float):
    shifted = shifted_shares(np.array(shares), severity)
    assert total_variation(np.array(shares), shifted) == pytest.approx(severity)
    assert shifted.sum() == pytest.approx(1)
    assert (shifted >= 0).all()


def test_a_shift_further_than_the_classes_allow_is_refused_with_the_largest_possible_one():
    with pytest.raises(InputError, match=r"prior:0\.8.*at most 0\.730.*up to 0\.73"):
        shifted_shares(np.array([0.27, 0.73]), 0.8)


@pytest.mark.parametrize("severity", [0.1, 0.2, 0.4])
def test_selected_rows_have_the_shifted_shares_and_none_comes_twice(severity: float):
    labels = np.random.default_rng(0).integers(0, 2, 4000)
    chosen = parse(f"prior:{severity}").select(labels, 1000, np.random.default_rng(1))
    assert len(chosen) == len(set(chosen.tolist())) == 1000
    before, after = np.bincount(labels) / 4000, np.bincount(labels[chosen]) / 1000
    assert total_variation(before, after) == pytest.approx(severity, abs=0.001)


def test_too_few_rows_of_a_class_give_fewer_rows_in_the_right_shares():
    labels = np.array([0] * 90 + [1] * 10)
    chosen = parse("prior:0.4").select(labels, 100, np.random.default_rng(0))
    assert len(chosen) == 20
    assert (labels[chosen] == 1).mean() == 0.5


def test_the_order_of_the_rows_does_not_tell_the_class():
    labels = np.arange(2000) % 2
    chosen = parse("prior:0.2").select(labels, 600, np.random.default_rng(0))
    halves = labels[chosen[:300]].mean(), labels[chosen[300:]].mean()
    assert abs(halves[0] - halves[1]) < 0.15


def test_other_scenarios_select_uniformly():
    labels = np.arange(1000) % 4
    chosen = parse("blur:0.5").select(labels, 400, np.random.default_rng(0))
    assert len(set(chosen.tolist())) == 400
    assert np.bincount(labels[chosen]) == pytest.approx([100] * 4, abs=25)


def test_a_class_without_images_stays_without():
    labels = np.array([0] * 100 + [2] * 300)
    chosen = parse("prior:0.2").select(labels, 100, np.random.default_rng(0))
    assert np.bincount(labels[chosen], minlength=3).tolist() == [45, 0, 55]


def test_apportion_gives_whole_numbers_that_add_up():
    assert apportion(10, np.array([1 / 3, 1 / 3, 1 / 3])).tolist() == [4, 3, 3]
    assert apportion(7, np.array([0.5, 0.25, 0.25])).sum() == 7
