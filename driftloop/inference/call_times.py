"""What a call takes, measured so that it can be trusted on a machine that others use, too.

Wall time is what a request waits; processor time is what the work costs. On one thread of a calm machine they agree. Where others want the
processor too, wall time grows by their share; wall time that cannot be trusted is measured again, or said to be so.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from driftloop.inference.provider import CPU
from driftloop.inference.served_model import EMBEDDING, INPUT, PROBABILITIES, open_session

WARM_UP_CALLS = 3
#: Calls in a row before the next contender's turn; the first of them finds cold caches and is not counted.
CALLS_A_TURN = 6
LEAST_TURNS, MOST_TURNS = 3, 200
#: A measurement is calm while the 95th percentile is at most so many medians, and wall and processor time differ by at most this share.
MOST_SPREAD, MOST_DISAGREEMENT = 3.0, 0.15
#: Times that a measurement which was not calm is made, before the calmest is taken and called what it is.
ATTEMPTS = 3


@dataclass(frozen=True)
class CallTimes:
    """Seconds that each of N calls took."""

    wall: np.ndarray
    """By the clock, (N,)."""
    processor: np.ndarray
    """On the processor, all threads of this process, (N,)."""

    @property
    def spread(self) -> float:
        """The 95th percentile of wall time, in medians."""
        return float(np.percentile(self.wall, 95) / np.median(self.wall))

    @property
    def disagreement(self) -> float:
        """By which share the medians of wall and processor time differ, of the larger one."""
        wall, processor = float(np.median(self.wall)), float(np.median(self.processor))
        return abs(wall - processor) / max(wall, processor)


@dataclass(frozen=True)
class CallLatency:
    """How long a call takes."""

    batch: int
    """Images a call."""
    threads: int
    """Threads within an operator."""
    p50_ms: float
    """Median, in milliseconds."""
    p95_ms: float
    """95th percentile."""
    p99_ms: float
    """99th percentile."""
    processor_ms: float
    """Median of the processor time."""
    spread: float
    """95th percentile over median."""
    images_per_second: float
    """At the median."""
    runs: int
    """Calls that were timed."""


def calmest(calls: Mapping[str, Callable[[], object]], *, seconds: float, on_processor: bool) -> dict[str, CallTimes]:
    """The first calm measurement of at most three, else the one with the smallest spread."""
    attempts = []
    for _ in range(ATTEMPTS):
        attempts.append(time_in_turns(calls, seconds=seconds))
        if is_calm(attempts[-1], on_processor=on_processor):
            return attempts[-1]
    return min(attempts, key=lambda taken: max(times.spread for times in taken.values()))


def is_calm(taken: Mapping[str, CallTimes], *, on_processor: bool) -> bool:
    """Whether nothing else seems to have taken the processor; of a GPU's work only the spread can tell."""
    return all(times.spread <= MOST_SPREAD and (not on_processor or times.disagreement <= MOST_DISAGREEMENT) for times in taken.values())


def time_in_turns(calls: Mapping[str, Callable[[], object]], *, seconds: float) -> dict[str, CallTimes]:
    """What each call took, by turns until the time is up; each gets equally many turns, at least 3."""
    for call in calls.values():
        for _ in range(WARM_UP_CALLS):
            call()
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    deadline = time.perf_counter() + seconds
    for turn in range(MOST_TURNS):
        if turn >= LEAST_TURNS and time.perf_counter() > deadline:
            break
        # The order alternates, so that none always follows the same neighbour.
        for name in list(calls)[:: 1 if turn % 2 else -1]:
            taken[name] += time_turn(calls[name])
    return {name: CallTimes(*np.array(times).T) for name, times in taken.items()}


def time_turn(call: Callable[[], object]) -> list[tuple[float, float]]:
    """Seconds by the clock and on the processor, of each call of a turn but the first."""
    times = []
    for _ in range(CALLS_A_TURN):
        started, worked = time.perf_counter(), time.process_time()
        call()
        times.append((time.perf_counter() - started, time.process_time() - worked))
    return times[1:]


def summarise_latency(times: CallTimes, *, batch: int, threads: int) -> CallLatency:
    """Percentiles of what calls took."""
    p50, p95, p99 = (float(value) * 1000 for value in np.percentile(times.wall, [50, 95, 99]))
    processor = float(np.median(times.processor)) * 1000
    return CallLatency(batch, threads, p50, p95, p99, processor, times.spread, batch / p50 * 1000, len(times.wall))


def onnx_call(path: str | Path, images: np.ndarray, *, threads: int, provider: str = CPU) -> Callable[[], object]:
    """A call of the graph on the batch, in a session of its own."""
    session = open_session(path, threads=threads, provider=provider)
    return lambda: session.run([PROBABILITIES, EMBEDDING], {INPUT: images})
