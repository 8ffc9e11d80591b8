"""Latency of PyTorch and onnxruntime on the same images, taken in turns so that a busy machine slows all alike."""

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


def compare_latencies(model: nn.Module, graphs: Mapping[str, Path], images: np.ndarray, *, seconds: float) -> list[dict[str, Any]]:
    """PyTorch eager FP32 and each graph at batch 1 and 32, one thread each: one row a contender and batch.

    Args:
        model: the serving graph in PyTorch.
        graphs: ONNX files by name.
        images: uint8 (N, H, W, C), N >= 1; repeated where fewer than a batch.
        seconds: for all of it.

    Returns:
        Rows of variant ("pytorch" or a graph's name), the fields of `CallLatency`, and speedup: PyTorch's median over this one's.
    """
    rows = []
    for batch in BATCH_SIZES:
        chosen = np.ascontiguousarray(np.resize(images[:batch], (batch, *images.shape[1:])))
        with torch_threads(1):
            calls = {PYTORCH: model_call(model, chosen)} | {name: onnx_call(path, chosen, threads=1) for name, path in graphs.items()}
            taken = time_in_turns(calls, seconds=seconds * TIME_SHARES[batch])
        eager = float(np.median(taken[PYTORCH]))
        for name, times in taken.items():
            row = {"variant": name} | asdict(summarise_latency(times, batch=batch, threads=1))
            rows.append(row | {"speedup": eager / float(np.median(times))})
    return rows


def speedups(rows: list[dict[str, Any]], names: Mapping[str, str]) -> dict[str, float]:
    """Speed-up at batch 1 over PyTorch eager FP32; `names` gives the key of each variant."""
    return {names[row["variant"]]: row["speedup"] for row in rows if row["batch"] == 1 and row["variant"] in names}


def time_in_turns(calls: Mapping[str, Callable[[], object]], *, seconds: float) -> dict[str, np.ndarray]:
    """Seconds each call took, by turns until the time is up; each gets equally many turns, at least 3."""
    for call in calls.values():
        for _ in range(WARM_UP_CALLS):
            call()
    taken: dict[str, list[float]] = {name: [] for name in calls}
    deadline = time.perf_counter() + seconds
    for turn in range(MOST_TURNS):
        if turn >= LEAST_TURNS and time.perf_counter() > deadline:
            break
        # The order alternates, so that none always follows the same neighbour.
        for name in list(calls)[:: 1 if turn % 2 else -1]:
            taken[name] += time_turn(calls[name])
    return {name: np.array(times) for name, times in taken.items()}


def time_turn(call: Callable[[], object]) -> list[float]:
    """Seconds of each call of a turn but the first."""
    times = []
    for _ in range(CALLS_A_TURN):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return times[1:]


def summarise_latency(seconds: np.ndarray, *, batch: int, threads: int) -> CallLatency:
    """Percentiles of the seconds that calls took."""
    p50, p95, p99 = (float(value) * 1000 for value in np.percentile(seconds, [50, 95, 99]))
    return CallLatency(batch, threads, p50, p95, p99, batch / p50 * 1000, len(seconds))


def model_call(model: nn.Module, images: np.ndarray) -> Callable[[], object]:
    """A call of the module on the batch, without gradients."""
    batch = torch.from_numpy(images)

    def call() -> object:
        with torch.inference_mode():
            return model(batch)

    return call


def onnx_call(path: str | Path, images: np.ndarray, *, threads: int) -> Callable[[], object]:
    """A call of the graph on the batch, in a session of its own."""
    session = open_session(path, threads=threads, provider=CPU)
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
