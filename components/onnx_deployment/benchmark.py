"""Latency of PyTorch and onnxruntime on the same images, taken in turns so that a busy machine slows all alike.

Wall time is what a request waits; processor time is what the work costs. On one thread of a calm machine they agree. Where others want the
processor too, wall time grows by their share, and more for the slower contender: ratios are therefore of processor time, and wall time
that cannot be trusted is measured again, or said to be so.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from driftloop.inference.call_times import CallLatency, calmest, is_calm, onnx_call, summarise_latency, time_in_turns
from driftloop.inference.provider import CPU

BATCH_SIZES = (1, 32)
#: Of the time for the benchmark, the share of each batch size.
TIME_SHARES = {1: 0.4, 32: 0.6}
PYTORCH = "pytorch"


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


def model_call(model: nn.Module, images: np.ndarray) -> Callable[[], object]:
    """A call of the module on the batch, without gradients."""
    batch = torch.from_numpy(images)

    def call() -> object:
        with torch.inference_mode():
            return model(batch)

    return call


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """PyTorch with `count` threads within an operator, and as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
