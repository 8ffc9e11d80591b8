"""On a GPU: training beside timm's loader, decoding and answering beside the CPU, and the whole loop with and without it.

    python -m bench.gpu [--parts training decoding inference changing loop] [--seconds 2] [--out bench/results/gpu.json] [-- --set ...]

Needs a GPU that PyTorch sees, timm and nvidia-ml-py; the ONNX rows on CUDA need onnxruntime-gpu. Training: the same JPEG files, networks,
batch sizes, epochs, optimiser and bfloat16 on both sides; driftloop decodes them once (`packing_s`), timm's workers in every epoch. The
rate is the median of the epochs after the first. A part that is not asked for keeps its figures in the file.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from bench.full_loop_seeds import LATEST, driftloop, row, run_files
from bench.gate_error_rates import environment

PARTS = ("training", "decoding", "inference", "changing", "loop")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=2.0, help="for each comparison of latencies")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the images to train with, for a try-out")
    parser.add_argument("--cpu", action="store_true", help="try the code out without a GPU; the figures mean nothing")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "gpu.json")
    parser.add_argument("arguments", nargs="*", help="of `driftloop run full-loop`, for the loop")
    chosen = parser.parse_args()
    if not torch.cuda.is_available() and not chosen.cpu:
        print("bench.gpu: PyTorch sees no GPU here; nothing was measured", file=sys.stderr)
        return 2
    device = torch.device("cpu" if chosen.cpu else "cuda")
    parts: dict[str, Any] = json.loads(chosen.out.read_text())["parts"] if chosen.out.exists() else {}
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    for part in chosen.parts:
        parts[part] = environment() | about(device) | {"rows": []}
        for measured in measure(part, device, chosen):
            print(measured, flush=True)
            parts[part]["rows"].append(measured)
            # Written after each row: what was measured is kept, whatever happens to the next.
            chosen.out.write_text(json.dumps(environment() | about(device) | {"parts": parts}, indent=1) + "\n")
    return 0


def measure(part: str, device: torch.device, chosen: argparse.Namespace) -> Iterator[dict[str, Any]]:
    if part in ("training", "decoding"):
        from bench import gpu_decoding, gpu_training

        measured = gpu_training.measure if part == "training" else gpu_decoding.measure
        with tempfile.TemporaryDirectory(prefix="driftloop-gpu-") as folder:
            yield from measured(Path(folder), device, scale=chosen.scale)
    elif part in ("inference", "changing"):
        from bench import gpu_inference

        if part == "changing":
            yield from gpu_inference.changing(device, seconds=chosen.seconds)
        else:
            yield from gpu_inference.measure(device, seconds=chosen.seconds, compiled=device.type == "cuda")
    else:
        yield from (loop(gpus, chosen.arguments) for gpus in ("1", "0"))


def loop(gpus: str, arguments: list[str]) -> dict[str, Any]:
    """The full loop with `gpus`: what it decided, how long it took, and where its trainings computed."""
    driftloop("run", "full-loop", *arguments, "--gpus", gpus)
    summary, drift = run_files("summary", "drift_report")
    facts: dict[str, Any] = {}
    for path in LATEST.glob("artifacts/**/facts.json"):
        facts |= json.loads(path.read_text())
    devices = {step: found["device"] for step, found in facts.items() if "device" in found}
    measured = row(summary, drift)
    measured.pop("goals")
    return (
        {"gpus": gpus, "command": " ".join(("driftloop run full-loop", *arguments, "--gpus", gpus)), "devices": devices}
        | measured
        | {"steps": summary["steps"]}
    )


def about(device: torch.device) -> dict[str, Any]:
    """The card, the processor and what computes on them."""
    libraries = {}
    for name in ("driftloop", "torch", "timm", "onnxruntime-gpu", "onnxruntime"):
        try:
            libraries[name] = version(name)
        except PackageNotFoundError:
            continue
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "none"
    machine = {"processor": processor(), "cores": os.cpu_count(), "system": platform.system(), "python": platform.python_version()}
    return {"card": card, "driver": driver(), "cuda": torch.version.cuda, "machine": machine, "libraries": libraries}


def processor() -> str:
    """Its name, where Linux says it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def driver() -> str | None:
    """Version of NVIDIA's driver."""
    try:
        asked = subprocess.run(
            ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return asked.stdout.split("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
