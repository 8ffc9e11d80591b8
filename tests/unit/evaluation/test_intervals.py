"""Wilson's interval against an independent implementation."""

import pytest
from statsmodels.stats.proportion import proportion_confint

from driftloop.evaluation.intervals import wilson


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 40), (7, 40), (40, 40), (1914, 2000)])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
def test_equals_statsmodels(successes: int, n: int, confidence: float) -> None:
    share = wilson(successes, n, confidence=confidence)
    low, high = proportion_confint(successes, n, alpha=1 - confidence, method="wilson")
    assert (share.low, share.high) == (pytest.approx(low, abs=1e-12), pytest.approx(high, abs=1e-12))
    assert (share.value, share.n) == (successes / n, n)


def test_unless_told_otherwise_it_is_a_95_percent_interval() -> None:
    assert wilson(7, 40) == wilson(7, 40, confidence=0.95)
    assert str(wilson(30, 40)) == "0.750 (0.598-0.858, n=40)"


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 5), (6, 5), (1, 0)])
def test_counts_that_cannot_be_are_refused(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"got {successes} of {n}"):
        wilson(successes, n)


def test_an_interval_holds_its_share_at_every_number_of_cases() -> None:
    """A figure's error bar would have a negative length otherwise."""
    for n in range(1, 1000):
        for successes in {0, n // 2, n}:
            found = wilson(successes, n)
            assert 0 <= found.low <= found.value <= found.high <= 1
