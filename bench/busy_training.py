"""Training beside other work on the same cores: threads that soon sleep when they wait, as driftloop's do, and libgomp's, which spin.

    python -m bench.busy_training [--seconds 8] [--rounds 3] [--out bench/results/busy_training.json]

Each measurement is a process of its own that trains the residual network (64 px, batches of 64, bfloat16) with a thread a core; beside it
run none, two or four processes that do nothing but compute. Both ways take turns. Run it on an idle machine.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

COMPETITORS = (0, 2, 4)
#: How often a waiting thread looks again before it sleeps: as `driftloop/__init__.py` sets it, and as libgomp does by itself.
WAYS = {"soon asleep": "3000", "spinning": "300000"}
BATCHES = 4


def measure(seconds: float) -> None:
    """In a process of its own: print images a second, and milliseconds of processor time an image."""
    import torch

    from driftloop.training.architectures import build_network
    from driftloop.training.epoch import train_epoch_amp

    torch.manual_seed(0)
    model = build_network("residual", channels=1, classes=2)
    optimizer = torch.optim.AdamW(model.parameters())
    batches = [(torch.randn(64, 1, 64, 64), torch.randint(0, 2, (64,))) for _ in range(BATCHES)]

    def epoch() -> None:
        train_epoch_amp(model, batches, optimizer, dtype=torch.bfloat16)

    epoch()
    began, worked, images = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began < seconds:
        epoch()
        images += 64 * BATCHES
    print(json.dumps([images / (time.perf_counter() - began), 1000 * (time.process_time() - worked) / images]))


@contextmanager
def competing(processes: int) -> Iterator[None]:
    """So many processes that compute as long as the block."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def measured(way: str, seconds: float) -> tuple[float, float]:
    """Images a second and milliseconds of processor time an image, that way."""
    command = [sys.executable, "-m", "bench.busy_training", "--measure", str(seconds)]
    done = subprocess.run(command, env=os.environ | {"GOMP_SPINCOUNT": WAYS[way]}, check=True, capture_output=True, text=True)
    speed, cost = json.loads(done.stdout)
    return speed, cost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--measure", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
        return
    rows = []
    for competitors in COMPETITORS:
        with competing(competitors):
            rounds = [{way: measured(way, options.seconds) for way in WAYS} for _ in range(options.rounds)]
        for way in WAYS:
            speeds, costs = zip(*(taken[way] for taken in rounds), strict=True)
            rows.append({"beside": competitors, "threads": way, "images_per_second": median(speeds), "processor_ms": median(costs)})
            print(f"beside {competitors}, {way}: {median(speeds):.0f} images/s ({min(speeds):.0f}-{max(speeds):.0f})", flush=True)
    if options.out:
        import torch

        machine = {"cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__}
        options.out.write_text(json.dumps({"machine": machine, "rounds": options.rounds, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
