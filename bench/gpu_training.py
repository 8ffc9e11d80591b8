"""Training on a GPU: driftloop's own loop beside timm's loader with mixed precision, on the same images, in the same run."""

import io
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from driftloop.dataset.decoding import decode_image
from driftloop.runtime import available_threads
from driftloop.training import batches as our_batches
from driftloop.training.architectures import RESIDUAL, build_network
from driftloop.training.augmentation import Augmentation
from driftloop.training.batches import TrainingBatches
from driftloop.training.loop import EpochSelection, TrainingPass, train
from driftloop.training.recipe import Recipe
from driftloop.training.seeding import set_seed

MEAN, STD = [0.5] * 3, [0.25] * 3
#: Dense bfloat16 rate of the datasheets, in FLOP/s.
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
TIMM_NETS = ("resnet18",)
#: Images written, the batch sizes, and how often an epoch of driftloop's goes through them: a second or more, for the driver to sample.
CASES = {64: (20_000, (64, 512), 5), 224: (5_000, (64, 256), 2)}
EPOCHS = 5
#: The longest interval over which the driver averages its figure.
SAMPLING_S = 1.0
GOALS = {"ratio": 1.0, "busy": 0.95}


@dataclass(frozen=True)
class PassTime:
    """An epoch's record: what `train` keeps of it."""

    images: int
    seconds: float
    ended: float


def measure(folder: Path, device: torch.device, *, scale: float = 1.0) -> Iterator[dict[str, Any]]:
    """A row for each side, network and batch size; `scale` shrinks the data for a try-out."""
    for side, (count, batch_sizes, rounds) in CASES.items():
        root = folder / str(side)
        write_images(root, round(count * scale), side)
        packed, packing_s = pack(root, side)
        for net in (RESIDUAL, *TIMM_NETS):
            for batch in batch_sizes:
                case = partial(case_row, root, packed, side=side, net=net, batch=batch, rounds=rounds, device=device)
                yield {"side": side, "images": len(packed.labels), "packing_s": round(packing_s, 1)} | case()


@dataclass(frozen=True)
class Packed:
    """The images as driftloop's data analysis leaves them."""

    images: np.ndarray
    """uint8 (N, H, W, 3), memory-mapped."""
    labels: np.ndarray
    """int64 (N,)."""


def case_row(root: Path, packed: Packed, *, side: int, net: str, batch: int, rounds: int, device: torch.device) -> dict[str, Any]:
    """One network at one batch size, by each loop."""
    flops = training_flops(network(net, device), batch, side, device)
    ours = {}
    for name, share in (("resident", 0.25), ("streamed", 0.0)):
        our_batches.RESIDENT_SHARE = share
        ours[name] = watched(partial(our_epochs, packed, net=net, batch=batch, rounds=rounds, device=device), device)
    our_batches.RESIDENT_SHARE = 0.25
    timm = watched(partial(timm_epochs, root, side=side, net=net, batch=batch, device=device), device)
    sides = ours | {"timm": timm}
    for measured in sides.values():
        rate = flops / batch * measured["images_per_second"]
        measured["tflops"] = round(rate / 1e12, 2)
        measured["mfu"] = round(rate / peak, 4) if (peak := peak_rate(device)) else None
    ratio = ours["resident"]["images_per_second"] / timm["images_per_second"]
    return {
        "net": net,
        "batch": batch,
        "gflop_per_image": round(flops / batch / 1e9, 3),
        **sides,
        "ratio": round(ratio, 2),
        "ratio_streamed": round(ours["streamed"]["images_per_second"] / timm["images_per_second"], 2),
    }


def network(name: str, device: torch.device) -> nn.Module:
    set_seed(1)
    if name == RESIDUAL:
        return build_network(RESIDUAL, channels=3, classes=2).to(device)
    import timm

    return timm.create_model(name, num_classes=2).to(device, memory_format=torch.channels_last)


def recipe(steps_known: bool = True) -> Recipe:
    """The optimised training's, with the number type that timm's side has."""
    return Recipe(EPOCHS, 1e-3, weight_decay=0.05, one_cycle=steps_known, precision="bfloat16", label_smoothing=0.05)


def our_epochs(packed: Packed, *, net: str, batch: int, rounds: int, device: torch.device) -> list[PassTime]:
    """Driftloop's loop, with its default views."""
    model = network(net, device)
    training = TrainingBatches(
        packed.images,
        packed.labels,
        mean=MEAN,
        std=STD,
        device=device,
        batch_size=batch,
        augmentation=Augmentation(),
        min_steps=rounds * len(packed.images) // batch,
    )
    selection = EpochSelection(PassTime, lambda _, done: pass_time(done), lambda record: record.seconds)
    return train(model, training, selection, recipe(), seed=1).records


def pass_time(done: TrainingPass) -> PassTime:
    return PassTime(done.result.images, done.seconds, done.began + done.seconds)


def timm_epochs(root: Path, *, side: int, net: str, batch: int, device: torch.device) -> list[PassTime]:
    """timm's loader (a worker a core, prefetching, random-resized crop and mirroring) and the loop of its training script."""
    from timm.data import create_dataset, create_loader

    model = network(net, device)
    loader = create_loader(
        create_dataset("", root=str(root)),
        input_size=(3, side, side),
        batch_size=batch,
        is_training=True,
        color_jitter=None,
        mean=tuple(MEAN),
        std=tuple(STD),
        num_workers=available_threads(),
        pin_memory=device.type == "cuda",
        persistent_workers=True,
        device=device,
    )
    chosen = recipe()
    optimizer = chosen.optimizer(model)
    scheduler = chosen.scheduler(optimizer, EPOCHS * len(loader))
    records = []
    for _ in range(EPOCHS):
        began, seen = time.perf_counter(), 0
        model.train()
        for images, targets in loader:
            images = images.contiguous(memory_format=torch.channels_last)
            with torch.autocast(device.type, torch.bfloat16):
                value = F.cross_entropy(model(images), targets, label_smoothing=chosen.label_smoothing)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            if scheduler:
                scheduler.step()
            seen += len(images)
        if device.type == "cuda":
            torch.cuda.synchronize()
        ended = time.perf_counter()
        records.append(PassTime(seen, ended - began, ended))
    return records


def watched(run: Callable[[], list[PassTime]], device: torch.device) -> dict[str, Any]:
    """Run it: the rate of the epochs after the first, which starts workers, fills caches and records graphs; and how busy the GPU was."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with utilisation(device) as samples:
        began = time.perf_counter()
        records = run()
        whole = time.perf_counter() - began
    steady = records[1:]
    # The driver's samples say what was: those of the first moments of the second epoch still see the first.
    busy = [share for moment, share in samples if records[0].ended + SAMPLING_S < moment <= records[-1].ended]
    rates = [record.images / record.seconds for record in steady]
    return {
        "images_per_second": round(statistics.median(rates)),
        "slowest_epoch": round(min(rates)),
        "fastest_epoch": round(max(rates)),
        "with_start_per_second": round(sum(record.images for record in records) / whole),
        "busy": round(statistics.mean(busy), 3) if busy else None,
        "peak_memory_mb": round(torch.cuda.max_memory_allocated() / 1e6) if device.type == "cuda" else None,
    }


@contextmanager
def utilisation(device: torch.device) -> Iterator[list[tuple[float, float]]]:
    """Moments, and the share of the driver's last sampling interval in which a kernel ran; ten times a second."""
    samples: list[tuple[float, float]] = []
    if device.type != "cuda":
        yield samples
        return
    import pynvml

    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(torch.cuda.current_device())
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            samples.append((time.perf_counter(), pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield samples
    finally:
        over.set()
        watcher.join()
        pynvml.nvmlShutdown()


def training_flops(model: nn.Module, batch: int, side: int, device: torch.device) -> int:
    """Floating-point operations of a training step: forward and backward, products and convolutions."""
    images = torch.rand(batch, 3, side, side, device=device).contiguous(memory_format=torch.channels_last)
    with FlopCounterMode(display=False) as counter:
        model(images).sum().backward()
    return counter.get_total_flops()


def peak_rate(device: torch.device) -> float | None:
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((rate for key, rate in PEAKS.items() if key in name), None)


def write_images(root: Path, count: int, side: int) -> None:
    """JPEG files in two folders of classes: clouds, coarser in one class, with grain."""
    with ProcessPoolExecutor(available_threads()) as pool:
        step = max(1, count // (4 * available_threads()))
        list(pool.map(partial(write_some, root, side), [range(start, min(start + step, count)) for start in range(0, count, step)]))


def write_some(root: Path, side: int, numbers: range) -> None:
    for number in numbers:
        rng, label = np.random.default_rng(number), number % 2
        coarse = rng.integers(0, 256, (4 + 8 * label, 4 + 8 * label, 3), dtype=np.uint8)
        clouds = np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC), dtype=np.float32)
        folder = root / f"class-{label}"
        folder.mkdir(parents=True, exist_ok=True)
        grainy = np.clip(clouds + rng.normal(0, 12, clouds.shape), 0, 255).astype(np.uint8)
        Image.fromarray(grainy).save(folder / f"{number:06d}.jpeg", quality=90)


def pack(root: Path, side: int) -> tuple[Packed, float]:
    """The files decoded once, by driftloop's decoder in a process a core, and how many seconds that took."""
    began = time.perf_counter()
    files = sorted(root.glob("*/*.jpeg"))
    with ProcessPoolExecutor(available_threads()) as pool:
        pixels = np.stack(list(pool.map(partial(decoded, side), files, chunksize=64)))
    np.save(root / "images.npy", pixels)
    labels = np.array([int(file.parent.name[-1]) for file in files])
    return Packed(np.load(root / "images.npy", mmap_mode="r"), labels), time.perf_counter() - began


def decoded(side: int, file: Path) -> np.ndarray:
    pixels = decode_image(io.BytesIO(file.read_bytes()).getvalue(), side).pixels
    return np.broadcast_to(pixels[..., None], (side, side, 3)) if pixels.ndim == 2 else pixels
