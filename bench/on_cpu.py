"""On a CPU: training from image files beside a course's notebook, and the served graphs beside what PyTorch offers.

    python -m bench.on_cpu [--parts training inference] [--rounds 3] [--seconds 2] [--work FOLDER] [--out bench/results/on_cpu.json]

Grey JPEG files, drawn here. Training: the network `residual`, batches of 64, three epochs. `notebook` reads them with torchvision's
ImageFolder and Pillow in a worker a core and trains in float32; `driftloop` packs them by its own data analysis, which counts into
"with packing", and trains by its own loop in the number type that it takes here, with its default views. Rates are of the epochs after
the first, in turns. Inference: one thread, processor time of a call, medians, in turns; PyTorch's graphs and onnxruntime's are the same
network with normalisation and softmax inside.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from bench.dataset_size import PHOTOGRAPHS, SMALL, written
from bench.gate_error_rates import environment
from bench.gpu_inference import LowPrecision, onnx_call, torch_call
from bench.gpu_training import PassTime, pass_time
from components.data_analysis.step import run as analyse
from components.onnx_deployment.quantisation import quantise
from driftloop.inference.call_times import calmest
from driftloop.inference.provider import CPU
from driftloop.inference.served_model import open_session
from driftloop.runtime import available_threads
from driftloop.settings import TrainSettings
from driftloop.training.architectures import RESIDUAL, build_network
from driftloop.training.device import mixed_precision
from driftloop.training.epoch import train_epoch, train_epoch_amp
from driftloop.training.loop import AUTOCAST, EpochSelection, train
from driftloop.training.onnx_export import ServingGraph, export_onnx
from driftloop.training.recipe import Recipe
from driftloop.training.seeding import set_seed
from driftloop.training.task import Task

PARTS = ("training", "inference")
#: Side of the images that are trained on, and the files that they are read from.
CASES = {64: (SMALL, 2000), 224: (PHOTOGRAPHS, 600)}
BATCH, EPOCHS = 64, 3
SIDES, BATCHES = (64, 224), (1, 32)
MEAN, STD = [0.5], [0.25]
DRIFTLOOP, NOTEBOOK = "driftloop", "notebook"
#: Training images a second over the notebook's.
GOAL = 3.0
DEVICE = torch.device("cpu")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir(), "driftloop-on-cpu"))
    parser.add_argument("--out", type=Path, default=Path("bench/results/on_cpu.json"))
    chosen = parser.parse_args()
    before = json.loads(chosen.out.read_text()) if chosen.out.exists() else {}
    now = environment() | {"torch": torch.__version__, "threads": available_threads(), "rounds": chosen.rounds}
    # A part of another day or machine would stand under today's.
    result = before | now if all(before.get(name) == value for name, value in now.items()) else now
    if "training" in chosen.parts:
        result["training"] = [training_row(chosen.work, side, chosen.rounds) for side in CASES]
    if "inference" in chosen.parts:
        result["inference"] = [row for side in SIDES for row in inference_rows(side, chosen.seconds)]
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))
    return 0


def training_row(work: Path, side: int, rounds: int) -> dict[str, Any]:
    """Images a second of both, round by round."""
    kind, count = CASES[side]
    files = work / f"{kind}-{count}"
    if not files.exists():
        written(files, kind, count)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="driftloop-on-cpu-") as folder:
        place = Path(folder)
        analyse(
            str(files),
            "",
            str(place / "dataset"),
            str(place / "report.html"),
            image_size=side,
            seed=1,
            store=str(place / "store"),
            replayed=False,
        )
        packing = time.perf_counter() - began
        task = Task.open(place / "dataset", DEVICE, TrainSettings(batch_size=BATCH))
        rates: dict[str, list[float]] = {DRIFTLOOP: [], NOTEBOOK: []}
        for _ in range(rounds):
            rates[DRIFTLOOP].append(ours(task))
            rates[NOTEBOOK].append(theirs(files, side))
    alone = {kind: steps_alone(side, kind) for kind in ("float32", precision())}
    ratios = [one / other for one, other in zip(rates[DRIFTLOOP], rates[NOTEBOOK], strict=True)]
    return {
        "side": side,
        "files": kind,
        "count": count,
        "packing_s": packing,
        "alone": alone,
        "rates": rates,
        "ratios": ratios,
        "precision": precision(),
    }


def steps_alone(side: int, precision: str) -> float:
    """Images a second of training steps on one batch that is there: what is left when reading costs nothing."""
    model, chosen = network(), recipe(precision)
    optimizer, loss = chosen.optimizer(model), chosen.loss(DEVICE)
    inputs = torch.randn(BATCH, 1, side, side).contiguous(memory_format=torch.channels_last)
    batches = [(inputs, torch.arange(BATCH) % 2)]
    epoch = train_epoch if AUTOCAST[precision] is None else partial(train_epoch_amp, dtype=AUTOCAST[precision])
    rates = []
    for _ in range(6):
        began = time.perf_counter()
        epoch(model, batches, optimizer, loss=loss)
        rates.append(BATCH / (time.perf_counter() - began))
    return statistics.median(rates[1:])


def precision() -> str:
    chosen = mixed_precision(DEVICE, RESIDUAL)
    return "float32" if chosen is None else str(chosen).removeprefix("torch.")


def network() -> nn.Module:
    set_seed(1)
    return build_network(RESIDUAL, channels=1, classes=2)


def recipe(precision: str) -> Recipe:
    return Recipe(EPOCHS, 1e-3, weight_decay=0.05, one_cycle=True, precision=precision, label_smoothing=0.05)


def ours(task: Task) -> float:
    """Images a second of driftloop's loop."""
    selection = EpochSelection(PassTime, lambda _, done: pass_time(done), lambda record: record.seconds)
    found = train(network(), task.training_batches(task.augmentation()), selection, recipe(precision()), seed=1)
    return statistics.median(record.images / record.seconds for record in found.records[1:])


def theirs(files: Path, side: int) -> float:
    """Images a second of a notebook's loop."""
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import Compose, Grayscale, Normalize, Resize, ToTensor

    images = ImageFolder(str(files), Compose([Grayscale(), Resize((side, side)), ToTensor(), Normalize(MEAN, STD)]))
    loader = DataLoader(images, batch_size=BATCH, shuffle=True, num_workers=available_threads(), persistent_workers=True)
    model, chosen = network(), recipe("float32")
    optimizer = chosen.optimizer(model)
    rates = []
    for _ in range(EPOCHS):
        began, seen = time.perf_counter(), 0
        model.train()
        for inputs, targets in loader:
            value = F.cross_entropy(model(inputs), targets, label_smoothing=chosen.label_smoothing)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            seen += len(inputs)
        rates.append(seen / (time.perf_counter() - began))
    return statistics.median(rates[1:])


def inference_rows(side: int, seconds: float) -> list[dict[str, Any]]:
    """Milliseconds of processor time a call, by way and number of images."""
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        fp32, int8 = Path(folder, "fp32.onnx"), Path(folder, "int8.onnx")
        export_onnx(graph(), fp32, image_size=side, channels=1)
        noise = np.random.default_rng(1).integers(0, 256, (64, side, side, 1), dtype=np.uint8)
        quantise(fp32, int8, noise[:32], noise[32:], "minmax")
        sessions = {name: open_session(path, threads=1, provider=CPU) for name, path in (("ONNX FP32", fp32), ("ONNX INT8", int8))}
        for batch in BATCHES:
            images = noise[:batch]
            calls: dict[str, Callable[[], object]] = {name: torch_call(module, images, DEVICE) for name, module in modules().items()}
            calls |= {name: onnx_call(session, images) for name, session in sessions.items()}
            for call in calls.values():
                call()  # torch.compile compiles
            for name, times in calmest(calls, seconds=seconds, on_processor=True).items():
                rows.append(
                    {"side": side, "batch": batch, "way": name, "ms": 1000 * float(np.median(times.processor)), "spread": times.spread}
                )
    torch.set_num_threads(available_threads())
    return rows


def graph() -> ServingGraph:
    return ServingGraph(network(), mean=MEAN, std=STD, temperature=1.0)  # type: ignore[arg-type]


def modules() -> dict[str, nn.Module]:
    """PyTorch's ways, by name."""
    last = graph()
    last.network.to(memory_format=torch.channels_last)
    found: dict[str, nn.Module] = {"PyTorch eager FP32": graph(), "channels_last": last, "bf16": LowPrecision(graph(), torch.bfloat16)}
    compiled: nn.Module = torch.compile(graph().eval(), dynamic=False)  # type: ignore[assignment]
    return {name: module.eval() for name, module in found.items()} | {"torch.compile": compiled}


def bound(row: dict[str, Any]) -> str:
    return f"{row['alone'][row['precision']] / statistics.median(row['rates'][NOTEBOOK]):.1f} times (at {row['side']} px)"


def table(result: dict[str, Any]) -> str:
    """For bench/README.md."""
    lines = [f"{result['threads']} threads, torch {result['torch']}."]
    if rows := result.get("training"):
        lines += [
            "",
            f"Training, {result['rounds']} rounds: images a second, medians of the rounds.",
            "",
            "| side | files | driftloop (number type) | notebook, float32 | ratio (range) | goal | packing, s | with packing, ten epochs "
            "| steps alone | the same, float32 |",
            "|---:|---|---:|---:|---|---|---:|---:|---:|---:|",
        ]
        for row in rows:
            one, other = (statistics.median(row["rates"][name]) for name in (DRIFTLOOP, NOTEBOOK))
            ratio = statistics.median(row["ratios"])
            told = "met" if ratio >= GOAL else "**missed**"
            whole = (10 * row["count"] / other) / (10 * row["count"] / one + row["packing_s"])
            spread = f"{min(row['ratios']):.1f}-{max(row['ratios']):.1f}"
            lines.append(
                f"| {row['side']} | {row['count']:,} {row['files']} | {one:,.0f} ({row['precision']}) | {other:,.0f} "
                f"| {ratio:.1f} ({spread}) | {GOAL:g}: {told} | {row['packing_s']:.0f} | {whole:.1f} "
                f"| {row['alone'][row['precision']]:,.0f} | {row['alone']['float32']:,.0f} |"
            )
        lines += [
            "",
            "Steps alone: images a second of training steps on a batch that is there. Whoever reads for nothing trains at that rate, "
            f"which is {' and '.join(bound(row) for row in rows)} of the notebook's: with this network no loop reaches much more.",
        ]
    if rows := result.get("inference"):
        ways = list(dict.fromkeys(row["way"] for row in rows))
        lines += [
            "",
            "Inference, one thread: milliseconds of processor time a call, and how many times as fast INT8 is.",
            "",
            f"| side | images a call | {' | '.join(ways)} |",
            f"|---:|---:|{'---:|' * len(ways)}",
        ]
        for side, batch in dict.fromkeys((row["side"], row["batch"]) for row in rows):
            taken = {row["way"]: row["ms"] for row in rows if (row["side"], row["batch"]) == (side, batch)}
            cells = [f"{ms:.2f}" + ("" if way == ways[-1] else f" ({ms / taken[ways[-1]]:.1f}x)") for way, ms in taken.items()]
            lines.append(f"| {side} | {batch} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
