"""McNemar and Holm against statsmodels and scipy, and for their level."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from driftloop.evaluation.paired import holm, mcnemar_exact, mcnemar_worse


@pytest.mark.parametrize(("gained", "lost"), [(0, 5), (5, 0), (3, 9), (10, 10), (1, 0), (121, 59)])
def test_mcnemar_equals_statsmodels(gained: int, lost: int) -> None:
    assert mcnemar_exact(gained, lost) == pytest.approx(mcnemar([[40, gained], [lost, 30]], exact=True).pvalue)


@pytest.mark.parametrize(("gained", "lost"), [(0, 5), (5, 0), (3, 9), (10, 10)])
def test_one_sided_mcnemar_is_the_binomial_test(gained: int, lost: int) -> None:
    assert mcnemar_worse(gained, lost) == pytest.approx(stats.binomtest(lost, gained + lost, alternative="greater").pvalue)


def test_models_that_agree_on_all_images_cannot_differ() -> None:
    assert mcnemar_exact(0, 0) == mcnemar_worse(0, 0) == 1.0


def test_negative_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="counts"):
        mcnemar_exact(-1, 2)


@pytest.mark.parametrize("seed", range(5))
def test_holm_equals_statsmodels(seed: int) -> None:
    p_values = np.random.default_rng(seed).random(9) ** 3
    np.testing.assert_allclose(holm(p_values), multipletests(p_values, method="holm")[1])


def test_holm_keeps_ties_and_takes_none_or_one() -> None:
    np.testing.assert_allclose(holm([0.02, 0.02, 0.9]), [0.06, 0.06, 0.9])
    assert holm([]).shape == (0,)
    assert holm([0.03]) == [0.03]


@pytest.mark.parametrize("p_values", [[0.1, np.nan], [1.2], [[0.1]]])
def test_holm_refuses_what_is_no_list_of_p_values(p_values: list[float]) -> None:
    with pytest.raises(ValueError, match="holm"):
        holm(p_values)


def test_the_family_of_one_sided_tests_errs_at_most_as_often_as_alpha() -> None:
    rng = np.random.default_rng(3)
    families = rng.multinomial(80, [0.05, 0.05, 0.9], size=(3000, 6))
    alarms = np.mean([holm([mcnemar_worse(gained, lost) for gained, lost, _ in family]).min() < 0.05 for family in families])
    assert alarms <= 0.05
