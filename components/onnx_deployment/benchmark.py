"""Latency of PyTorch and onnxruntime on the same images, taken in turns so that a busy machine slows all alike.

Wall time is what a request waits; processor time is what the work costs. On one thread of a calm machine they agree. Where others want the
processor too, wall time grows by their share, and more for the slower contender: ratios are therefore of processor time, and wall time
that cannot be trusted is measured again, or said to be so.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from driftloop.inference.provider import CPU
from driftloop.inference.served_model import EMBEDDING, INPUT, PROBABILITIES, open_session

BATCH_SIZES = (1, 32)
#: Of the time for the benchmark, the share of each batch size.
TIME_SHARES = {1: 0.4, 32: 0.6}
PYTORCH = "pytorch"
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


def benchmark_model(model: nn.Module, images: np.ndarray, *, threads: int = 1, seconds: float = 1.0) -> CallLatency:
    """Time a PyTorch module, eager and in the number type of its weights, on a batch of images.

    Args:
        model: takes a tensor of the type and shape of `images`.
        images: one batch, e.g. uint8 (N, H, W, C) for a ServingGraph.
        threads: PyTorch's threads within an operator.
        seconds: time to spend.
    """
    with torch_threads(threads):
        taken = time_in_turns({PYTORCH: model_call(model, images)}, seconds=seconds)
    return summarise_latency(taken[PYTORCH], batch=len(images), threads=threads)


def benchmark_onnx(path: str | Path, images: np.ndarray, *, threads: int = 1, seconds: float = 1.0) -> CallLatency:
    """Time an exported graph in onnxruntime, on the CPU, on a batch of images uint8 (N, H, W, C)."""
    taken = time_in_turns({"onnx": onnx_call(path, images, threads=threads)}, seconds=seconds)
    return summarise_latency(taken["onnx"], batch=len(images), threads=threads)


def compare_latencies(
    model: nn.Module, graphs: Mapping[str, Path], images: np.ndarray, *, seconds: float, provider: str = CPU
) -> list[dict[str, Any]]:
    """PyTorch eager FP32 on the CPU and each graph at batch 1 and 32, one thread each: one row a contender and batch.

    Args:
        model: the serving graph in PyTorch.
        graphs: ONNX files by name.
        images: uint8 (N, H, W, C), N >= 1; repeated where fewer than a batch.
        seconds: for all of it; as long again for each time that the machine was not calm, three times at most.
        provider: onnxruntime's, for the graphs.

    Returns:
        Rows of variant ("pytorch" or a graph's name), provider, the fields of `CallLatency`, calm (whether wall time can be trusted) and
        speedup: PyTorch's median over this one's, of processor time on the CPU, of wall time on a GPU.
    """
    rows = []
    for batch in BATCH_SIZES:
        chosen = np.ascontiguousarray(np.resize(images[:batch], (batch, *images.shape[1:])))
        with torch_threads(1):
            calls = {PYTORCH: model_call(model, chosen)}
            calls |= {name: onnx_call(path, chosen, threads=1, provider=provider) for name, path in graphs.items()}
            taken = calmest(calls, seconds=seconds * TIME_SHARES[batch], on_processor=provider == CPU)
        calm = is_calm(taken, on_processor=provider == CPU)
        cost = {name: float(np.median(times.processor if provider == CPU else times.wall)) for name, times in taken.items()}
        for name, times in taken.items():
            row = {"variant": name, "provider": CPU if name == PYTORCH else provider}
            row |= asdict(summarise_latency(times, batch=batch, threads=1))
            rows.append(row | {"calm": calm, "speedup": cost[PYTORCH] / cost[name]})
    return rows


def speedups(rows: list[dict[str, Any]], names: Mapping[str, str]) -> dict[str, float]:
    """Speed-up at batch 1 over PyTorch eager FP32; `names` gives the key of each variant."""
    return {names[row["variant"]]: row["speedup"] for row in rows if row["batch"] == 1 and row["variant"] in names}


def milliseconds(rows: list[dict[str, Any]]) -> dict[str, float]:
    """What a call at batch 1 takes, by variant: processor time on the CPU, wall time on a GPU."""
    return {row["variant"]: row["processor_ms" if row["provider"] == CPU else "p50_ms"] for row in rows if row["batch"] == 1}


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


def model_call(model: nn.Module, images: np.ndarray) -> Callable[[], object]:
    """A call of the module on the batch, without gradients."""
    batch = torch.from_numpy(images)

    def call() -> object:
        with torch.inference_mode():
            return model(batch)

    return call


def onnx_call(path: str | Path, images: np.ndarray, *, threads: int, provider: str = CPU) -> Callable[[], object]:
    """A call of the graph on the batch, in a session of its own."""
    session = open_session(path, threads=threads, provider=provider)
    return lambda: session.run([PROBABILITIES, EMBEDDING], {INPUT: images})


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """PyTorch with `count` threads within an operator, and as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
