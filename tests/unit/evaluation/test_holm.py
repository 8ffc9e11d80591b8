"""Holm's correction, against statsmodels and the closed testing principle."""

from itertools import combinations

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from driftloop.evaluation.paired import holm


@pytest.mark.parametrize("features", [1, 2, 6, 200])
def test_adjusted_p_values_are_statsmodels(features: int) -> None:
    p_values = np.random.default_rng(features).uniform(size=features) ** 2
    np.testing.assert_allclose(holm(p_values), multipletests(p_values, method="holm")[1], rtol=1e-12)


def test_it_is_the_closed_test_of_bonferroni() -> None:
    p_values = np.array([0.01, 0.04, 0.03, 0.3])
    features = range(len(p_values))
    closed = [
        max(
            min(1.0, size * min(p_values[list(family)]))
            for size in range(1, len(p_values) + 1)
            for family in combinations(features, size)
            if feature in family
        )
        for feature in features
    ]
    np.testing.assert_allclose(holm(p_values), closed)


def test_ties_and_ones_stay_within_one() -> None:
    assert holm(np.array([0.5, 0.5, 1.0])).tolist() == [1, 1, 1]
