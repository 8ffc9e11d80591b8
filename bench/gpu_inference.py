"""Answering on a GPU and on the CPU beside it: the graph that is served, from bytes in this process's memory to its answer there."""

import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.gpu_training import MEAN, STD, TIMM_NETS, network
from components.onnx_deployment.quantisation import quantise
from driftloop.inference.call_times import time_in_turns
from driftloop.inference.provider import CPU, CUDA
from driftloop.inference.served_model import CUDA_BATCHES, EMBEDDING, INPUT, PROBABILITIES, ServedModel, open_session
from driftloop.runtime import available_threads
from driftloop.training.architectures import RESIDUAL
from driftloop.training.batches import normalise
from driftloop.training.classifier import Classifier
from driftloop.training.onnx_export import ServingGraph, export_onnx
from tests.factories.onnx_graphs import brightness_description

SIDES, BATCHES = (64, 224), (1, 64)
#: Images of a call, one after the other.
TURNS = (1, 3, 32, 2, 17, 8)


class TimmClassifier(Classifier):
    """A timm network in driftloop's two halves."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def embed(self, x: Tensor) -> Tensor:
        return self.net.forward_head(self.net.forward_features(x), pre_logits=True)  # type: ignore[operator]

    def classify(self, embedding: Tensor) -> Tensor:
        return self.net.get_classifier()(embedding)  # type: ignore[operator]


class LowPrecision(nn.Module):
    """A serving graph whose network computes in `dtype`; normalisation and softmax stay in float32."""

    def __init__(self, graph: ServingGraph, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.dtype = graph.network.to(dtype), dtype
        self.register_buffer("mean", graph.mean.float())
        self.register_buffer("std", graph.std.float())

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        inputs = normalise(images.permute(0, 3, 1, 2), self.mean, self.std).to(self.dtype)
        embedding = self.network.embed(inputs)
        return torch.softmax(self.network.classify(embedding).float(), dim=1), embedding.float()


def measure(device: torch.device, *, seconds: float, compiled: bool) -> Iterator[dict[str, Any]]:
    """A row for each network, side, batch size and way to compute."""
    for net in (RESIDUAL, *TIMM_NETS):
        for side in SIDES:
            with tempfile.TemporaryDirectory() as folder:
                files = export(net, side, Path(folder))
                for batch in BATCHES:
                    images = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), dtype=np.uint8)
                    calls = torch_calls(net, images, device, compiled=compiled) | onnx_calls(files, images)
                    taken = time_in_turns(calls, seconds=seconds)
                    for name, times in taken.items():
                        p50, p95 = (1000 * float(value) for value in np.percentile(times.wall, [50, 95]))
                        rate = {"images_per_second": 1000 * batch / p50, "calls": len(times.wall)}
                        yield {"net": net, "side": side, "batch": batch, "variant": name, "p50_ms": p50, "p95_ms": p95} | rate


def changing(device: torch.device, *, seconds: float) -> Iterator[dict[str, Any]]:
    """A row for each side and way to answer batches whose size changes from call to call, as those of a service do: 1 to 32 images."""
    for side in SIDES:
        with tempfile.TemporaryDirectory() as folder:
            file = export(RESIDUAL, side, Path(folder))["FP32"]
            calls = changing_calls(file, side, CUDA if device.type == "cuda" else CPU)
            for name, times in time_in_turns(calls, seconds=seconds).items():
                p50, p95 = (1000 * float(value) for value in np.percentile(times.wall, [50, 95]))
                yield {"side": side, "way": name, "p50_ms": p50, "p95_ms": p95, "calls": len(times.wall)}


def changing_calls(file: Path, side: int, provider: str) -> dict[str, Callable[[], object]]:
    """A call of the graph by either way, each time with the next number of images."""
    images = np.random.default_rng(0).integers(0, 256, (max(TURNS), side, side, 3), dtype=np.uint8)
    session = open_session(file, threads=available_threads(), provider=provider)
    description = brightness_description(channels=3).model_copy(update={"image_size": side})
    model = ServedModel(file.parent, description, file.name, provider=provider, batches=CUDA_BATCHES)
    bare, sessions = itertools.cycle(TURNS), itertools.cycle(TURNS)
    return {
        "one session": lambda: session.run([PROBABILITIES, EMBEDDING], {INPUT: images[: next(bare)]}),
        "driftloop": lambda: model.predict(images[: next(sessions)]),
    }


def serving_graph(net: str) -> ServingGraph:
    model = network(net, torch.device("cpu"))
    return ServingGraph(model if isinstance(model, Classifier) else TimmClassifier(model), mean=MEAN, std=STD, temperature=1.0)


def torch_calls(net: str, images: np.ndarray, device: torch.device, *, compiled: bool) -> dict[str, Callable[[], object]]:
    """PyTorch on the device, by name."""
    half = {"bf16": torch.bfloat16, "FP16": torch.float16} if device.type == "cuda" else {"bf16": torch.bfloat16}
    modules: dict[str, nn.Module] = {"PyTorch FP32": serving_graph(net).to(device)}
    modules |= {f"PyTorch {name}": LowPrecision(serving_graph(net), dtype).to(device) for name, dtype in half.items()}
    if compiled:
        modules["torch.compile bf16"] = torch.compile(  # type: ignore[assignment]
            LowPrecision(serving_graph(net), torch.bfloat16).to(device), mode="reduce-overhead", dynamic=False
        )
    return {name: torch_call(module.eval(), images, device) for name, module in modules.items()}


def torch_call(module: nn.Module, images: np.ndarray, device: torch.device) -> Callable[[], object]:
    batch = torch.from_numpy(images)

    def call() -> object:
        with torch.inference_mode():
            return [answer.cpu() for answer in module(batch.to(device))]

    return call


def export(net: str, side: int, folder: Path) -> dict[str, Path]:
    """ONNX files by name: FP32, INT8 (ranges from noise: for its speed alone) and FP16."""
    from components.onnx_deployment.half import write_half

    files = {name: folder / f"{name}.onnx" for name in ("FP32", "INT8", "FP16")}
    export_onnx(serving_graph(net), files["FP32"], image_size=side, channels=3)
    noise = np.random.default_rng(1).integers(0, 256, (64, side, side, 3), dtype=np.uint8)
    quantise(files["FP32"], files["INT8"], noise[:32], noise[32:], "minmax")
    write_half(files["FP32"], files["FP16"])
    return files


def onnx_calls(files: dict[str, Path], images: np.ndarray) -> dict[str, Callable[[], object]]:
    """onnxruntime with all cores, and on the GPU where its provider is there."""
    sessions = {f"ONNX {name}, CPU": open_session(files[name], threads=available_threads(), provider=CPU) for name in ("FP32", "INT8")}
    for name in ("FP32", "FP16"):
        session = open_session(files[name], threads=available_threads(), provider=CUDA)
        if session.get_providers()[0] == CUDA:
            sessions[f"ONNX {name}, CUDA"] = session
    return {name: onnx_call(session, images) for name, session in sessions.items()}


def onnx_call(session: Any, images: np.ndarray) -> Callable[[], object]:
    return lambda: session.run([PROBABILITIES, EMBEDDING], {INPUT: images})
