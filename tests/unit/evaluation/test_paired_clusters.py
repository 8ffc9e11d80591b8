"""The design effect against a simulation of what clustering does to a mean."""

import numpy as np
import pytest

from driftloop.evaluation.paired import design_effect


def test_one_image_a_group_changes_nothing() -> None:
    assert design_effect(np.random.default_rng(0).standard_normal(50), np.arange(50)) == 1.0


def test_copies_of_each_image_divide_the_information_by_their_number() -> None:
    values = np.random.default_rng(1).standard_normal(300)
    assert design_effect(np.repeat(values, 4), np.repeat(np.arange(300), 4)) == pytest.approx(4, rel=0.02)


def test_unrelated_images_of_a_group_have_an_effect_near_one() -> None:
    rng = np.random.default_rng(2)
    effects = [design_effect(rng.standard_normal(400), np.repeat(np.arange(100), 4)) for _ in range(50)]
    assert np.mean(effects) < 1.15


def test_few_groups_are_sites_and_not_a_sample() -> None:
    assert design_effect(np.repeat([1.0, -1.0], 50), np.repeat(["north", "south"], 50)) == 1.0


def test_equal_differences_have_no_variance_to_inflate() -> None:
    assert design_effect(np.zeros(80), np.repeat(np.arange(40), 2)) == 1.0


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="design_effect"):
        design_effect(np.zeros(3), np.zeros(4))


def test_the_adjusted_variance_is_the_one_a_simulation_shows() -> None:
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(120), 3)
    draws = rng.standard_normal((500, 120)).repeat(3, axis=1) + rng.standard_normal((500, 360))
    expected = draws.mean(axis=1).var() / (draws.var() / 360)
    assert np.mean([design_effect(draw, groups) for draw in draws]) == pytest.approx(expected, rel=0.12)
