"""What the report says of the learning rate is what decided on it."""

import pytest

from components.model_optimization.report import rate_origin
from driftloop.reporting.translation import Translator
from driftloop.training.lr_finder import RangeTest, suggest

RATES = [1e-5, 1e-4, 1e-3, 1e-2]
LOSSES = [0.82, 0.70, 0.74, 1.3]


@pytest.mark.parametrize(
    ("bounds", "used", "said"),
    [
        ((1e-5, 1e-2), 1e-4, "where the loss has made two thirds of its fall"),
        ((3e-4, 1e-3), 3e-4, "the bounds of what such a network is trained with"),
        ((1e-5, 1e-2), 2e-3, "the settings or the search; the test alone suggests 1.0e-04"),
    ],
)
def test_a_rate_that_was_bounded_is_not_said_to_be_where_the_loss_fell(bounds: tuple[float, float], used: float, said: str) -> None:
    origin = rate_origin(RangeTest(RATES, LOSSES, suggest(RATES, LOSSES, bounds)), used)
    assert origin.startswith(said)
    french = Translator("fr")
    french(f"Used as the peak: {used:.1e}, from {origin}.")
    assert french.missing == []
