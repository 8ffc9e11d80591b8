"""The ratio of latencies on made-up timings: no clock is asserted on."""

import numpy as np
import pytest

from components.validation_gate.latency import ratio_of_p95


def timings(scale: float, rounds: int = 400) -> np.ndarray:
    rng = np.random.default_rng(0)
    burst = 1 + 3 * (np.arange(rounds) % 50 < 3)  # a busy machine slows both
    return np.column_stack([scale * rng.gamma(50, 0.02, rounds) * burst, rng.gamma(50, 0.02, rounds) * burst])


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_the_ratio_is_found_under_bursts(scale: float) -> None:
    latency = ratio_of_p95(timings(scale), seed=1)
    assert latency.ratio == pytest.approx(scale, rel=0.15)
    assert latency.low <= latency.ratio <= latency.high
    assert latency.champion_p50_ms == pytest.approx(1.0, rel=0.1)


def test_equal_timings_have_ratio_one_without_doubt() -> None:
    same = np.tile(np.arange(1.0, 101.0)[:, None], (1, 2))
    latency = ratio_of_p95(same, seed=1)
    assert (latency.low, latency.ratio, latency.high) == (1.0, 1.0, 1.0)
    assert latency.candidate_p95_ms == pytest.approx(np.percentile(np.arange(1, 101), 95))
