"""Where the service's processor time goes under full load: of the event loop, and of the workers by what they do.

    python -m bench.serving_profile [--side 64] [--seconds 20] [--out bench/results/serving_profile.json]

Needs `hey` (Debian: apt install hey) and `py-spy` (pip install py-spy), which may need root. One process of the service with one thread
of onnxruntime, as each of several has, loaded as `bench.serving` does it, on an otherwise idle machine. What the event loop takes (HTTP,
FastAPI, the answers' JSON) is the kernel's count for its thread; what all the others take is divided among their parts by samples of
their stacks, those that wait left out. Besides, what a bare loop takes for an image: decoding and the graph.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from bench.gate_error_rates import environment
from bench.serving import CONNECTIONS, bare_loop, load, ours, processor_seconds, seconds_in, server, stat_of, write_bodies
from bench.serving_store import promote_new_version
from driftloop import registry
from driftloop.store import open_store

RATE = 200
LOOP, OTHER = "event loop: HTTP, FastAPI, JSON", "other"
#: A sample of a worker is of the first of these that has a frame of its own in the stack.
PARTS = {
    "decoding": ("decode_image", "_pixels"),
    "the graph": ("ServedModel.predict",),
    "statistics of the image": ("image_statistics",),
    "how unusual it looks": ("Familiarity.judge",),
    "log and metrics": ("Service._record", "log_writer.py", "spool.py"),
    "gathering batches": ("Batcher._work",),
}
WAITING = ("threading.py", "queue.py")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "serving_profile.json")
    chosen = parser.parse_args()
    for tool, cure in (("hey", "apt install hey"), ("py-spy", "pip install py-spy")):
        if not shutil.which(tool):
            print(f"bench.serving_profile needs {tool}: {cure}", file=sys.stderr)
            return 2
    with tempfile.TemporaryDirectory(prefix="driftloop-bench-") as temporary:
        work = Path(temporary)
        store = open_store(str(work / "store"))
        promote_new_version(store, chosen.side, expected=None)
        registry.download(store, "1", work / "bundle")
        write_bodies(work, chosen.side)
        bare = bare_loop(work, chosen.side, 5)
        with server(ours(work, "--processes", "1", "--threads", "1"), dict(os.environ), None) as process:
            load(work, 2, CONNECTIONS)
            stacks = work / "stacks.txt"
            record = ["py-spy", "record", "--pid", str(process.pid), "--duration", str(chosen.seconds), "--rate", str(RATE)]
            before = times_of(process.pid)
            with subprocess.Popen(
                [*record, "--format", "raw", "--output", stacks], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            ) as spy:
                done = load(work, chosen.seconds, CONNECTIONS)
                said = spy.communicate()[1].decode(errors="replace").strip()
            loop, others = (after - earlier for after, earlier in zip(times_of(process.pid), before, strict=True))
        if spy.returncode:
            print(f"bench.serving_profile: py-spy did not do it: {said[-300:]}", file=sys.stderr)
            return 1
        samples = by_part(stacks.read_text())
    total = sum(samples.values())
    taken = {LOOP: loop} | {part: others * samples[part] / total for part in (*PARTS, OTHER)}
    result = environment() | {"side": chosen.side, "per_second": done["per_second"], "bare_cpu_ms": bare["cpu_ms"], "samples": total}
    result |= {"cpu_ms": {part: 1000 * seconds / done["answers"] for part, seconds in taken.items()}}
    chosen.out.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def times_of(pid: int) -> tuple[float, float]:
    """Processor seconds of a process so far: of its first thread, and of all others."""
    first = seconds_in(stat_of(Path(f"/proc/{pid}/task/{pid}")))
    return first, processor_seconds(pid) - first


def by_part(stacks: str) -> Counter[str]:
    """Samples of the workers by part, of py-spy's lines: frames from the outermost inwards, divided by semicolons, and how often."""
    samples: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        if "_bootstrap" in stack and not any(name in stack.rpartition(";")[2] for name in WAITING):
            samples[next((part for part, marks in PARTS.items() if any(mark in stack for mark in marks)), OTHER)] += int(count)
    return samples


def table(result: dict[str, Any]) -> str:
    """A line a part, as Markdown."""
    total = sum(result["cpu_ms"].values())
    lines = [
        f"{result['side']} px, one process, {CONNECTIONS} connections: {result['per_second']:.0f} answers/s while it is looked at. "
        f"A bare loop takes {result['bare_cpu_ms']:.2f} ms of a processor for an image. {result['samples']:,} samples.",
        "",
        "| part | processor ms an answer | share |",
        "|---|---:|---:|",
        *(f"| {part} | {spent:.2f} | {100 * spent / total:.0f} % |" for part, spent in result["cpu_ms"].items()),
        f"| all | {total:.2f} | 100 % |",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
