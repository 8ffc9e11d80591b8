"""How often the course's two detectors alarm on clean images. They are shown for teaching and decide nothing.

    python -m bench.drift_teaching [--trials 300] [--out bench/results/drift_teaching.json]

Synthetic chest X-rays of 64 x 64 pixels; the reference (800) and the window are drawn anew in each trial.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from bench.drift_images import StandIn, clean_images
from bench.gate_error_rates import environment
from components.drift_detection.teaching import detect_embedding_drift, detect_pixel_drift
from driftloop.evaluation.intervals import wilson

REFERENCE, SIZES = 800, (20, 50, 200, 300)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--pool", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "drift_teaching.json")
    chosen = parser.parse_args()
    images, _ = clean_images(chosen.pool, seed=chosen.seed)
    embedding = StandIn(chosen.seed)(images)[1].astype(np.float32)
    rng = np.random.default_rng(chosen.seed)
    rows = []
    for size in SIZES:
        pixel = fixed = 0
        for _ in range(chosen.trials):
            drawn = rng.choice(len(images), REFERENCE + size, replace=False)
            before, now = drawn[:REFERENCE], drawn[REFERENCE:]
            pixel += detect_pixel_drift(images[before], images[now]).drifted
            fixed += detect_embedding_drift(embedding[before], embedding[now]).drifted
        rows.append(
            {
                "size": size,
                "detect_pixel_drift": wilson(pixel, chosen.trials).model_dump(),
                "detect_embedding_drift": wilson(fixed, chosen.trials).model_dump(),
            }
        )
        print(f"n = {size}: pooled pixels {wilson(pixel, chosen.trials)}, fixed threshold {wilson(fixed, chosen.trials)}", flush=True)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(environment() | {"reference": REFERENCE, "trials": chosen.trials, "rates": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
