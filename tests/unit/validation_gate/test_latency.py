"""The ratio of latencies on made-up timings: no clock is asserted on."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from components.validation_gate import latency
from components.validation_gate.latency import (
    MOST_ATTEMPTS,
    MOST_IMAGES,
    MOST_WASTED_S,
    RESAMPLES,
    WARM_UP,
    Latency,
    measure_latency,
    ratio_of_p95,
    time_round,
)


def timings(scale: float, rounds: int = 400) -> np.ndarray:
    rng = np.random.default_rng(0)
    burst = 1 + 3 * (np.arange(rounds) % 50 < 3)  # a busy machine slows both
    return np.column_stack([scale * rng.gamma(50, 0.02, rounds) * burst, rng.gamma(50, 0.02, rounds) * burst])


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_the_ratio_is_found_under_bursts(scale: float) -> None:
    found = ratio_of_p95(timings(scale), seed=1)
    assert found.ratio == pytest.approx(scale, rel=0.15)
    assert found.low <= found.ratio <= found.high
    assert found.champion_p50_ms == pytest.approx(1.0, rel=0.1)


def test_equal_timings_have_ratio_one_without_doubt() -> None:
    same = np.tile(np.arange(1.0, 101.0)[:, None], (1, 2))
    found = ratio_of_p95(same, seed=1)
    assert (found.low, found.ratio, found.high) == (1.0, 1.0, 1.0)
    assert found.candidate_p95_ms == pytest.approx(np.percentile(np.arange(1, 101), 95))


def test_the_bounds_are_those_of_a_bootstrap_of_the_rounds() -> None:
    taken = timings(1.3, 60)
    found = ratio_of_p95(taken, seed=3)
    draws = np.random.default_rng(3).integers(0, 60, (RESAMPLES, 60))
    ratios = [np.percentile(taken[rows, 0], 95) / np.percentile(taken[rows, 1], 95) for rows in draws]
    p50, p95 = np.percentile(taken, 50, axis=0), np.percentile(taken, 95, axis=0)
    low, high = np.percentile(ratios, [5, 95])
    assert found == Latency(p50[0], p95[0], p50[1], p95[1], p95[0] / p95[1], low, high, 60)


class Timed:
    """A model whose answers take so long by a clock that only they move; what it was asked, it keeps."""

    def __init__(self, clock: list[float], name: str, asked: list[tuple[str, np.ndarray]]) -> None:
        self.clock, self.name, self.asked = clock, name, asked
        self.seconds = {"candidate": 0.002, "champion": 0.001}[name]

    def predict(self, request: np.ndarray) -> None:
        assert request.flags.c_contiguous
        self.asked.append((self.name, request))
        self.clock[0] += self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [7.0]
    monkeypatch.setattr("components.validation_gate.latency.time.perf_counter", lambda: now[0])
    return now


def measured(
    clock: list[float],
    monkeypatch: pytest.MonkeyPatch,
    *,
    rounds: int,
    disturbed: Callable[[int], bool],
    images: int = 3,
    slow: float = 0.0,
) -> tuple[Latency, list[tuple[str, np.ndarray]]]:
    """`disturbed`: whether the core is taken away in a round; such a round takes so many seconds longer."""
    asked: list[tuple[str, np.ndarray]] = []
    candidate, champion = (Timed(clock, name, asked) for name in ("candidate", "champion"))
    looks = [0, 0]

    def interruptions() -> int:
        turn, after = divmod(looks[0], 2)
        looks[0] += 1
        if after and disturbed(turn):
            looks[1] += 1
        return looks[1]

    def timed(*models: Any, first: int) -> tuple[float, float]:
        late = slow if disturbed(looks[0] // 2) else 0.0
        candidate.seconds, champion.seconds = 0.002 + late, 0.001 + late
        return time_round(*models, first=first)

    monkeypatch.setattr(latency, "interruptions", interruptions)
    monkeypatch.setattr(latency, "time_round", timed)
    shape = np.arange(images * 4, dtype=np.uint8).reshape(images, 2, 2, 1)[:, ::-1]
    return measure_latency(candidate, champion, shape, rounds=rounds), asked  # type: ignore[arg-type]


def test_models_are_timed_in_turns_on_the_images_in_turn(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    found, asked = measured(clock, monkeypatch, rounds=20, disturbed=lambda turn: False)
    assert [found.candidate_p50_ms, found.candidate_p95_ms, found.champion_p50_ms, found.champion_p95_ms] == pytest.approx([2, 2, 1, 1])
    assert (found.ratio, found.low, found.high, found.rounds) == (*[pytest.approx(2)] * 3, 20)
    both = ("candidate", "champion")
    assert [name for name, _ in asked] == [
        *both * WARM_UP,
        *(name for turn in range(20) for name in (both if turn % 2 == 0 else both[::-1])),
    ]
    first_pixels = [int(request[0, 0, 0, 0]) for _, request in asked]
    order = [*(turn % 3 for turn in range(WARM_UP) for _ in both), *(turn % 3 for turn in range(20) for _ in both)]
    assert first_pixels == [4 * image + 2 for image in order]
    assert {request.shape for _, request in asked} == {(1, 2, 2, 1)}


def test_no_more_than_so_many_images_are_used(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    _, asked = measured(clock, monkeypatch, rounds=MOST_IMAGES + 20, disturbed=lambda turn: False, images=MOST_IMAGES + 3)
    assert len({request.tobytes() for _, request in asked}) == MOST_IMAGES


def test_rounds_in_which_the_core_was_taken_away_are_measured_again(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second round is disturbed, and takes a second longer."""
    found, asked = measured(clock, monkeypatch, rounds=20, disturbed=lambda turn: turn % 2 == 0, slow=0.1)
    assert (found.candidate_p95_ms, found.champion_p95_ms, found.rounds) == (pytest.approx(2), pytest.approx(1), 20)
    assert len(asked) == 2 * (WARM_UP + 40)


def test_where_nearly_all_are_disturbed_the_measuring_ends(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    few, asked = measured(clock, monkeypatch, rounds=20, disturbed=lambda turn: turn >= 4)
    assert len(asked) == 2 * (WARM_UP + 20 * MOST_ATTEMPTS), "short ones are repeated so often"
    assert few.rounds == 20
    # Long ones until so many seconds were spent, but for as many rounds as were asked for.
    slow = MOST_WASTED_S / 2 / 50
    long, asked = measured(clock, monkeypatch, rounds=20, disturbed=lambda turn: turn >= 4, slow=slow)
    spent = 2 * slow + 0.003
    assert len(asked) == 2 * (WARM_UP + 4 + math.floor(MOST_WASTED_S / spent) + 1)
    # Four undisturbed rounds, and sixteen of the others.
    assert (long.rounds, long.champion_p50_ms) == (20, pytest.approx(1000 * slow + 1))
    waited, asked = measured(clock, monkeypatch, rounds=20, disturbed=lambda turn: True, slow=MOST_WASTED_S)
    assert len(asked) == 2 * (WARM_UP + 20)
    assert waited.rounds == 20


def test_interruptions_are_the_scheduler_s_count_and_none_where_the_system_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(ru_nivcsw=17)
    monkeypatch.setattr(latency, "resource", SimpleNamespace(RUSAGE_THREAD=1, getrusage={1: usage}.__getitem__))
    assert latency.interruptions() == 17
    for without in (None, SimpleNamespace(getrusage={1: usage}.__getitem__)):
        monkeypatch.setattr(latency, "resource", without)
        assert latency.interruptions() == 0
