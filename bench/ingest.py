"""Reading large photographs into a dataset, beside torchvision's ImageFolder with a Resize: side by side in one run.

    python -m bench.ingest [--counts 200 800 4000] [--sides 64 224] [--rounds 3] [--work FOLDER] [--out bench/results/ingest.json]

Grey JPEG files of 1,400 x 1,120 pixels, drawn here. driftloop's data analysis reads, hashes, checks, decodes and resizes them and packs a
dataset into a store in a folder; torchvision decodes and resizes them in as many worker processes, and the pixels go into one array in a
file. Each run is a process of its own, in turns, with the files in memory; wall time is from the first call to the last byte, without
the imports of the process itself. `ratio` is images a second, driftloop over torchvision: the median over the rounds, and their range.
"""

import argparse
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from bench.gate_error_rates import environment
from driftloop.runtime import available_threads

WIDTH, HEIGHT, QUALITY = 1400, 1120, 90
CLASSES = ("NORMAL", "PNEUMONIA")
OURS, THEIRS = "driftloop", "torchvision"
#: Ratios that are wanted, by side, of the largest count; and of any count.
GOALS = {64: 3.0, 224: 2.0}
NEVER_BELOW = 1.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[200, 800, 4000])
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 224])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir(), "driftloop-ingest"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "ingest.json")
    parser.add_argument("--one", nargs=3, metavar=("WHO", "FOLDER", "SIDE"), help="a single run, as this bench starts it")
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(once(chosen.one[0], Path(chosen.one[1]), int(chosen.one[2]))))
        return 0
    rows = []
    for count in chosen.counts:
        folder = written(chosen.work, count)
        source = sum(path.stat().st_size for path in folder.rglob("*.jpg"))
        for side in chosen.sides:
            runs: dict[str, list[dict[str, float]]] = {OURS: [], THEIRS: []}
            for turn in range(chosen.rounds):
                for who in (OURS, THEIRS) if turn % 2 == 0 else (THEIRS, OURS):
                    runs[who].append(in_a_process(who, folder, side))
            rows.append(compared(count, side, source, runs))
            print(rows[-1], flush=True)
    result = environment() | {
        "workers": available_threads(),
        "rounds": chosen.rounds,
        "rows": rows,
        "decompressing_ms": decompressing(folder),
    }
    chosen.out.write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))
    return 0


def written(work: Path, count: int) -> Path:
    """A folder of that many photographs, by class; drawn once."""
    folder = work / str(count)
    if not (folder / "whole").exists():
        rng = np.random.default_rng(count)
        for index in range(count):
            path = folder / "images" / CLASSES[index % 2] / f"person{index:05d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            coarse = Image.fromarray(rng.integers(0, 256, (14, 18), np.uint8)).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
            grain = rng.normal(0, 6, (HEIGHT // 2, WIDTH // 2)).repeat(2, 0).repeat(2, 1)
            Image.fromarray(np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8)).save(path, quality=QUALITY)
        (folder / "whole").touch()
    return folder / "images"


def decompressing(folder: Path, count: int = 200) -> float:
    """Milliseconds of processor time in which libjpeg undoes the compression of one file; the pixels are made at an eighth of the scale."""
    files = [path.read_bytes() for path in sorted(folder.rglob("*.jpg"))[:count]]
    began = time.process_time()
    for data in files:
        image = Image.open(io.BytesIO(data))
        image.draft(image.mode, (1, 1))
        image.load()
    return 1000 * (time.process_time() - began) / len(files)


def in_a_process(who: str, folder: Path, side: int) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.ingest", "--one", who, str(folder), str(side)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    return found


def once(who: str, folder: Path, side: int) -> dict[str, float]:
    """Seconds, processor seconds and peak memory of the largest process of one run."""
    with tempfile.TemporaryDirectory(prefix="driftloop-ingest-") as temporary:
        seconds = (ours if who == OURS else theirs)(folder, Path(temporary), side)
    used = [resource.getrusage(of) for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(one.ru_utime + one.ru_stime for one in used)
    return {"seconds": seconds, "cpu": cpu, "peak_mb": max(one.ru_maxrss for one in used) / 1024}


def ours(folder: Path, temporary: Path, side: int) -> float:
    """What the step data_analysis does up to the packed dataset, by its own functions."""
    from components.data_analysis.audit import audit
    from components.data_analysis.ingest import ingest, pack
    from driftloop.contracts import TRAIN
    from driftloop.sources import opened
    from driftloop.store import open_store

    spool = temporary / "spool"
    spool.mkdir()
    began = time.monotonic()
    with opened(str(folder), seed=1) as source:
        read = ingest(source.root, source.files, spool, image_size=side, resize="stretch", workers=0)
        frame, _ = audit(read.frame.assign(source_split=""), read.thumbnails, group_pattern="", smallest_val=0)
        pack(frame.assign(split=TRAIN), read, open_store(str(temporary / "store")), image_size=side, resize="stretch", source=str(folder))
    return time.monotonic() - began


def theirs(folder: Path, temporary: Path, side: int) -> float:
    """What a course's notebook does."""
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import Compose, Grayscale, PILToTensor, Resize

    began = time.monotonic()
    images = ImageFolder(str(folder), Compose([Grayscale(), Resize((side, side)), PILToTensor()]))
    pixels = np.lib.format.open_memmap(temporary / "images.npy", "w+", np.uint8, (len(images), 1, side, side))
    at = 0
    for batch, _ in DataLoader(images, batch_size=64, num_workers=available_threads()):
        pixels[at : at + len(batch)] = batch.numpy()
        at += len(batch)
    pixels.flush()
    return time.monotonic() - began


def compared(count: int, side: int, source: int, runs: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """A row of the table."""
    pairs = [theirs["seconds"] / ours["seconds"] for ours, theirs in zip(runs[OURS], runs[THEIRS], strict=True)]
    row: dict[str, Any] = {"count": count, "side": side, "source_mb": source / 1e6, "ratio": median(pairs), "ratios": pairs}
    row["cpu_ratio"] = median(_all(runs[THEIRS], "cpu")) / median(_all(runs[OURS], "cpu"))
    for who, found in runs.items():
        row[who] = {"images_per_second": count / median(_all(found, "seconds")), "peak_mb": max(_all(found, "peak_mb"))}
    return row


def _all(runs: Sequence[dict[str, float]], name: str) -> list[float]:
    return [run[name] for run in runs]


def table(result: dict[str, Any]) -> str:
    """The measured rows as Markdown, with their goals."""
    largest = max(row["count"] for row in result["rows"])
    lines = [
        f"Grey JPEG of {WIDTH:,} x {HEIGHT:,} pixels, {result['workers']} workers, {result['rounds']} rounds in turns.",
        "",
        "| files | side | driftloop, images/s | torchvision | ratio (range) | goal | of processor time | peak memory, MB |",
        "|---:|---:|---:|---:|---|---|---:|---:|",
    ]
    for row in result["rows"]:
        goal = GOALS.get(row["side"], NEVER_BELOW) if row["count"] == largest else NEVER_BELOW
        lines.append(
            f"| {row['count']:,} | {row['side']} | {row[OURS]['images_per_second']:.0f} | {row[THEIRS]['images_per_second']:.0f} | "
            f"{row['ratio']:.2f} ({min(row['ratios']):.2f}-{max(row['ratios']):.2f}) | "
            f"{goal:g}: {'met' if row['ratio'] >= goal else '**missed**'} | {row['cpu_ratio']:.2f} | {row[OURS]['peak_mb']:.0f} |"
        )
    most = 1000 * result["workers"] / result["decompressing_ms"]
    beside = [row[THEIRS]["images_per_second"] for row in result["rows"] if row["count"] == largest]
    lines += [
        "",
        f"libjpeg takes {result['decompressing_ms']:.1f} ms of a processor to undo the compression of one of these files, whatever comes "
        f"after: with it {result['workers']} cores read {most:.0f} images/s at most, {most / max(beside):.1f} to {most / min(beside):.1f} "
        "times torchvision's.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
