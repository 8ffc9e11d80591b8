import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from driftloop.training import architectures
from driftloop.training.lr_finder import find_learning_rate, plot, suggest
from driftloop.training.recipe import Recipe
from driftloop.training.recipes import FROM_SCRATCH
from driftloop.training.seeding import set_seed
from tests.factories.datasets import squares_on_noise
from tests.factories.training_batches import training_batches

BOUNDS = FROM_SCRATCH.suggested_rates


def range_test(**options: object):  # type: ignore[no-untyped-def]
    set_seed(1)
    model = architectures.build_network(architectures.RESIDUAL, channels=1, classes=2)
    before = copy.deepcopy(model.state_dict())
    found = find_learning_rate(
        model, training_batches(*squares_on_noise(64, seed=1)), Recipe(1, 1e-3, weight_decay=0.05), seed=1, **options
    )
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items()), "the model itself must not learn"
    return found


def test_rates_rise_evenly_on_a_logarithmic_scale_and_one_is_suggested() -> None:
    found = range_test(form=replace(FROM_SCRATCH, range_steps=20))
    steps = np.diff(np.log(found.rates))
    np.testing.assert_allclose(steps, math.log(1e3) / 19, rtol=1e-9)
    assert BOUNDS[0] <= found.suggestion <= BOUNDS[1]
    assert len(found.rates) == len(found.losses)


def test_the_range_test_is_reproducible() -> None:
    assert range_test(form=replace(FROM_SCRATCH, range_steps=10)) == range_test(form=replace(FROM_SCRATCH, range_steps=10))


def test_it_stops_when_the_loss_explodes() -> None:
    found = range_test(form=replace(FROM_SCRATCH, range_steps=30, tried_rates=(1e-4, 1e6)))
    assert len(found.rates) < 30
    assert np.isfinite(found.losses).all()


def test_the_suggestion_is_where_two_thirds_of_the_fall_are_made() -> None:
    rates = np.geomspace(1e-4, 1e-1, 61)
    losses = np.interp(np.log(rates), np.log([1e-3, 1e-2, 1e-1]), [0.9, 0.3, 0.8])
    # Two thirds of the way down from 1e-3 to 1e-2, on the logarithmic axis.
    assert suggest(rates.tolist(), losses.tolist(), BOUNDS) == pytest.approx(10 ** (-3 + 2 / 3), rel=0.15)


def test_a_loss_that_never_falls_gives_the_lowest_rate() -> None:
    assert suggest([1e-4, 1e-3, 1e-2], [0.5, 0.6, 0.7], BOUNDS) == BOUNDS[0]


def test_the_suggestion_stays_within_its_bounds() -> None:
    assert suggest([1e-6, 2e-6, 3e-6], [0.7, 0.5, 0.4], BOUNDS) == BOUNDS[0]
    assert suggest([1.0, 2.0, 3.0], [0.7, 0.5, 0.4], BOUNDS) == BOUNDS[1]


def test_one_rate_is_not_a_range() -> None:
    with pytest.raises(ValueError, match="two rates at least"):
        suggest([1e-3], [0.5], BOUNDS)


def test_the_plot_shows_the_rate_that_was_used() -> None:
    figure = plot(range_test(form=replace(FROM_SCRATCH, range_steps=10)), 2e-3)
    assert figure.axes[0].get_legend().get_texts()[0].get_text() == "used: 2.0e-03"
