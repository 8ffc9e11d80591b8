"""What `data_analysis` takes as a dataset grows: memory of all its processes, and disk beside the source, against the number of images.

    python -m bench.dataset_size [--photographs 1000 10000] [--small 1000 10000 50000] [--work FOLDER] [--out FILE]

Grey JPEG files, drawn here, all different: photographs of 1,400 x 1,120 pixels, and images that are 224 x 224 already. The dataset has 224
pixels, the store is a folder. "reading" is reading, audit and packing; "step" is the whole step with its report. Each run is a process
of its own, looked at five times a second: memory is the proportional set size (PSS) of it and its children together, pages of mapped
files included, and without them; disk is what all files in its temporary folder, its store, its cache and its outputs take.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.gate_error_rates import environment
from bench.ingest import CLASSES, QUALITY
from bench.step_needs import descendants, stat
from driftloop.processes import spread

PHOTOGRAPHS, SMALL = "photographs", "small"
SIZES = {SMALL: (224, 224), PHOTOGRAPHS: (1400, 1120)}
SIDE = 224
READING, STEP = "reading", "step"
#: Of all processes together; and of the source's bytes.
MEMORY_GOAL_MB, DISK_GOAL = 2000, 1.3
INTERVAL_S = 0.2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=int, nargs="*", default=[1000, 10_000])
    parser.add_argument("--small", type=int, nargs="*", default=[1000, 10_000, 50_000])
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir(), "driftloop-dataset-size"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "dataset_size.json")
    parser.add_argument("--one", nargs=3, metavar=("WHAT", "SOURCE", "FOLDER"), help="a single run, as this bench starts it")
    chosen = parser.parse_args()
    if chosen.one:
        once(chosen.one[0], Path(chosen.one[1]), Path(chosen.one[2]))
        return 0
    rows = []
    for kind in SIZES:
        for count in getattr(chosen, kind):
            folder = chosen.work / f"{kind}-{count}"
            try:
                written(folder, kind, count)
                source = sum(path.stat().st_size for path in folder.rglob("*.jpg"))
                for what in (READING, STEP):
                    rows.append({"kind": kind, "count": count, "source_mb": source / 1e6, "what": what} | observed(what, folder))
                    print(rows[-1], flush=True)
                    result = environment() | {"rows": rows}
                    chosen.out.write_text(json.dumps(result, indent=1) + "\n")
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    print(table(result))
    return 0


def written(folder: Path, kind: str, count: int) -> None:
    """So many images below `folder`, by class."""
    for name in CLASSES:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for _ in spread(partial(_draw, folder, SIZES[kind]), range(count), workers=0, chunk=100):
        pass


def _draw(folder: Path, size: tuple[int, int], index: int) -> None:
    """Smooth shades with grain, as bench.ingest's."""
    rng = np.random.default_rng([size[0], index])
    coarse = Image.fromarray(rng.integers(0, 256, (14, 18), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    grain = rng.normal(0, 6, (size[1] // 2, size[0] // 2)).repeat(2, 0).repeat(2, 1)
    image = Image.fromarray(np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8))
    image.save(folder / CLASSES[index % 2] / f"person{index:06d}.jpg", quality=QUALITY)


def once(what: str, source: Path, folder: Path) -> None:
    """One run; its store and what it leaves lie in `folder`, as do temporary files and cache by the environment."""
    if what == READING:
        from bench.ingest import ours

        ours(source, folder, SIDE)
        return
    from components.data_analysis.step import run

    store = str(folder / "store")
    run(str(source), "", str(folder / "dataset"), str(folder / "report.html"), image_size=SIDE, seed=1, store=store, replayed=True)


def observed(what: str, source: Path) -> dict[str, float]:
    """Peaks of one run, megabytes, and its seconds."""
    with tempfile.TemporaryDirectory(prefix="driftloop-size-", dir=source.parent) as place:
        below = Path(place)
        (below / "tmp").mkdir()
        command = [sys.executable, "-m", "bench.dataset_size", "--one", what, str(source), place]
        places = {"TMPDIR": str(below / "tmp"), "DRIFTLOOP_CACHE": str(below / "cache")}
        peaks = {"pss_mb": 0.0, "unmapped_mb": 0.0, "disk_mb": 0.0}
        began = time.monotonic()
        with subprocess.Popen(command, env=os.environ | places, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None:
                pss, of_files = memory_of(process.pid)
                now = {"pss_mb": pss, "unmapped_mb": pss - of_files, "disk_mb": disk_below(below)}
                peaks = {name: max(peak, now[name]) for name, peak in peaks.items()}
                time.sleep(INTERVAL_S)
        if process.returncode:
            raise SystemExit(process.returncode)
        return peaks | {"left_mb": disk_below(below), "seconds": time.monotonic() - began}


def memory_of(root: int) -> tuple[float, float]:
    """Megabytes that a process and those below it hold together: PSS, and the part of it that files have."""
    parents = {int(entry): int(fields[1]) for entry in os.listdir("/proc") if entry.isdigit() and (fields := stat(int(entry)))}
    total = of_files = 0
    for process in (root, *descendants(root, parents)):
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
        except OSError:  # ended meanwhile
            continue
        held = {line.split()[0]: int(line.split()[1]) for line in lines}
        total += held.get("Pss:", 0)
        of_files += held.get("Pss_File:", 0)
    return total * 1024 / 1e6, of_files * 1024 / 1e6


def disk_below(folder: Path) -> float:
    """Megabytes that the files below a folder take on the disk."""
    return sum(_blocks(str(folder))) * 512 / 1e6


def _blocks(folder: str) -> Iterable[int]:
    try:
        for entry in os.scandir(folder):
            if entry.is_dir(follow_symlinks=False):
                yield from _blocks(entry.path)
            else:
                yield entry.stat(follow_symlinks=False).st_blocks
    except FileNotFoundError:  # gone meanwhile
        return


def table(result: dict[str, Any]) -> str:
    """The measured rows as Markdown, with their goals."""
    names = {kind: f"{kind}, {width:,} x {height:,}" for kind, (width, height) in SIZES.items()}
    lines = [
        "| source | images | its MB | | memory, MB: all | without mapped files | disk, MB: peak | left | peak, of the source |",
        "|---|---:|---:|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {names[row['kind']]} | {row['count']:,} | {row['source_mb']:,.0f} | {row['what']} | {row['pss_mb']:,.0f} | "
        f"{row['unmapped_mb']:,.0f} | {row['disk_mb']:,.0f} | {row['left_mb']:,.0f} | {row['disk_mb'] / row['source_mb']:.2f} |"
        for row in sorted(result["rows"], key=lambda row: (list(SIZES).index(row["kind"]), row["count"], row["what"]))
    ]
    lines += [
        "",
        f"Goals, for the most images of each kind: memory below {MEMORY_GOAL_MB:,} MB, disk at most {DISK_GOAL} of the source.",
        "",
    ]
    for kind in SIZES:
        of_kind = [row for row in result["rows"] if row["kind"] == kind]
        most = [row for row in of_kind if row["count"] == max(row["count"] for row in of_kind)]
        if most:
            memory, disk = max(row["pss_mb"] for row in most), max(row["disk_mb"] / row["source_mb"] for row in most)
            lines.append(
                f"- {names[kind]}, {most[0]['count']:,}: memory {memory:,.0f} MB: {_met(memory < MEMORY_GOAL_MB)}; "
                f"disk {disk:.2f}: {_met(disk <= DISK_GOAL)}"
            )
    raw, small = SIDE * SIDE, [1e6 * row["source_mb"] / row["count"] for row in result["rows"] if row["kind"] == SMALL]
    if small:
        lines += [
            "",
            f"Pixels are stored as they are, {raw:,} bytes an image; a file of {SIDE} x {SIDE} has {max(small):,.0f} here. Once is "
            f"{raw / max(small):.2f} of the source whatever is beside it: the goal on disk can be met from {raw / DISK_GOAL:,.0f} bytes "
            "a file on.",
        ]
    return "\n".join(lines)


def _met(goal: bool) -> str:
    return "met" if goal else "**missed**"


if __name__ == "__main__":
    raise SystemExit(main())
