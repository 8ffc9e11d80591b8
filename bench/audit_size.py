"""What the audit of a dataset takes as it grows: memory and processor time, with the search for near-duplicates by itself.

    python -m bench.audit_size [--counts 50000 100000 200000 400000] [--out bench/results/audit_size.json]

The table and the thumbnails that reading would have left are made up: smooth noise, every image in a group of its own. Each count is a
process of its own; memory is the growth of its peak from before the audit, with table and thumbnails.
"""

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.gate_error_rates import environment

SIDE, COARSE = 16, 4


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[50_000, 100_000, 200_000, 400_000])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "audit_size.json")
    parser.add_argument("--one", type=int, help="a single count, as this bench starts it")
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(once(chosen.one)))
        return 0
    rows = []
    for count in chosen.counts:
        command = [sys.executable, "-m", "bench.audit_size", "--one", str(count)]
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]))
        print(rows[-1], flush=True)
    result = environment() | {"rows": rows}
    chosen.out.write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))
    return 0


def once(count: int) -> dict[str, Any]:
    from components.data_analysis.audit import audit
    from components.data_analysis.ingest import INGESTED_COLUMNS
    from driftloop.dataset.duplicates import near_duplicate_clusters

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    thumbnails = smooth_thumbnails(count)
    names = [f"class{number % 2}/image{number:09d}.jpg" for number in range(count)]
    shas = [hashlib.sha256(name.encode()).hexdigest() for name in names]
    columns = [
        names,
        [f"class{n % 2}" for n in range(count)],
        "",
        "",
        shas,
        1400,
        1120,
        True,
        0,
        False,
        np.arange(count) // 128,
        np.arange(count) % 128,
    ]
    frame = pd.DataFrame(dict(zip(INGESTED_COLUMNS, columns, strict=True)))
    began = time.process_time()
    kept, _ = audit(frame, thumbnails, group_pattern="", smallest_val=0)
    seconds = time.process_time() - began
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    began = time.process_time()
    near_duplicate_clusters(thumbnails)
    alone = time.process_time() - began
    return {"count": count, "kept": len(kept), "seconds": seconds, "near_duplicates_seconds": alone, "kib_an_image": grown / count}


def smooth_thumbnails(count: int) -> np.ndarray:
    """uint8 (N, 16, 16): a few random grey levels, with straight lines between them."""
    places = np.linspace(0, COARSE - 1, SIDE)
    weights = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(COARSE)[None, :])).astype(np.float32)
    levels = np.random.default_rng(count).random((count, COARSE, COARSE), np.float32) * 255
    parts = [weights @ part @ weights.T for part in np.array_split(levels, max(1, count // 10_000))]
    return np.concatenate([part.astype(np.uint8) for part in parts])


def table(result: dict[str, Any]) -> str:
    """The measured rows as Markdown."""
    lines = ["| images | audit, processor s | of it near-duplicates | memory, KiB an image |", "|---:|---:|---:|---:|"]
    lines += [
        f"| {row['count']:,} | {row['seconds']:.1f} | {row['near_duplicates_seconds']:.1f} | {row['kib_an_image']:.2f} |"
        for row in result["rows"]
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
