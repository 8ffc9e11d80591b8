"""Decoding JPEG files for a training on a GPU: by Pillow in a process a core, or by the GPU's own decoder."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torchvision.io as tvio
import torchvision.transforms.v2.functional as views

from bench import ingest
from bench.gpu_training import write_images
from driftloop.dataset.decoding import decode_image, with_channels
from driftloop.runtime import available_threads

SMALL, LARGE = "224 px, colour", "1,400 x 1,120 px, grey"
#: How many files of each kind.
CASES = {SMALL: 5_000, LARGE: 800}
SIDE = 224
BATCH = 64
ROUNDS = 3


def measure(folder: Path, device: torch.device, *, scale: float = 1.0) -> Iterator[dict[str, Any]]:
    """A row for each kind of files: images a second by either decoder, from bytes in memory to the device, and how they differ."""
    for kind, count in CASES.items():
        data = [path.read_bytes() for path in written(kind, folder / str(count), round(count * scale))]
        with ProcessPoolExecutor(available_threads()) as pool:
            on_cpu = rates(partial(by_processes, data, device, pool), len(data), device)
        on_device = rates(partial(by_device, data, device), len(data), device) if device.type == "cuda" else None
        yield {
            "kind": kind,
            "images": len(data),
            "processes": available_threads(),
            "cpu": on_cpu,
            "gpu": on_device,
            "difference": difference(data[:BATCH], device),
        }


def written(kind: str, root: Path, count: int) -> list[Path]:
    if kind == SMALL:
        write_images(root, count, SIDE)
        return sorted(root.glob("*/*.jpeg"))
    return sorted(ingest.written(root, count).rglob("*.jpg"))


def rates(decode: Callable[[], int], images: int, device: torch.device) -> dict[str, float]:
    """Images a second: median, least and most of some rounds after one that starts everything."""
    decode()
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        done = decode()
        if device.type == "cuda":
            torch.cuda.synchronize()
        assert done == images
        taken.append(images / (time.perf_counter() - began))
    return {"images_per_second": round(median(taken)), "least": round(min(taken)), "most": round(max(taken))}


def by_processes(data: list[bytes], device: torch.device, pool: ProcessPoolExecutor) -> int:
    """Decoded as everywhere in driftloop, in as many processes as there are cores; batches sent as they come."""
    batches = (data[start : start + BATCH] for start in range(0, len(data), BATCH))
    return sum(len(torch.from_numpy(pixels).to(device)) for pixels in pool.map(decoded_together, batches))


def decoded_together(data: list[bytes]) -> np.ndarray:
    """uint8 (n, SIDE, SIDE, 3)."""
    return np.stack([with_channels(decode_image(one, SIDE).pixels, 3) for one in data])


def by_device(data: list[bytes], device: torch.device) -> int:
    return sum(len(decoded_by_device(data[start : start + BATCH], device)) for start in range(0, len(data), BATCH))


def decoded_by_device(data: list[bytes], device: torch.device) -> torch.Tensor:
    """uint8 (n, 3, SIDE, SIDE), resized there with antialiasing."""
    compressed = [torch.frombuffer(bytearray(one), dtype=torch.uint8) for one in data]
    images = tvio.decode_jpeg(compressed, mode=tvio.ImageReadMode.RGB, device=device)
    return torch.stack(
        [image if image.shape[-2:] == (SIDE, SIDE) else views.resize(image, [SIDE, SIDE], antialias=True) for image in images]
    )


def difference(data: list[bytes], device: torch.device) -> dict[str, float]:
    """Between the two, in levels of 255: mean over all pixels, and the largest."""
    if device.type != "cuda":
        return {}
    ours = torch.from_numpy(decoded_together(data)).permute(0, 3, 1, 2).float()
    gap = (decoded_by_device(data, device).cpu().float() - ours).abs()
    return {"mean": round(float(gap.mean()), 3), "largest": float(gap.max())}
