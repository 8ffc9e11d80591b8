"""Time and memory of the two deciding detectors, beside the plain way to compute the same.

    python -m bench.drift_speed [--threads 2] [--repeats 5] [--out bench/results/drift_speed.json]

MMD, n = m = 1,000, d = 128, 1,000 permutations: against one that computes the kernel once and permutes it by indexing for each
permutation (as alibi-detect does, here in numpy and float32). Ten windows of 200 against 800, half of them shifted, at the level of a
replay of ten windows in an hour (8,999 permutations): with a first look against without, in processor time. KS over 200 float32
features: against a loop over scipy.stats.ks_2samp. Large MMD: 10,000 x 10,000 embeddings, d = 512, 500 permutations, in a process of
its own whose peak memory is measured. Run it on an idle machine.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LARGE_ROWS, LARGE_SIDE, LARGE_PERMUTATIONS = 10_000, 512, 500
GOALS = {"large_seconds": 30.0, "large_peak_gb": 2.0}


def median_seconds(work: Callable[[], Any], repeats: int) -> float:
    """The median of `repeats` timed calls, after one that is not timed."""
    work()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return sorted(times)[len(times) // 2]


def mmd_row(repeats: int) -> dict[str, Any]:
    import numpy as np

    from components.drift_detection.mmd import centred, median_gamma, mmd_test

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(1_000, 128)).astype(np.float32), rng.normal(size=(1_000, 128)).astype(np.float32) + np.float32(0.02)

    def plain() -> float:
        pooled = centred(x, y)
        gamma = median_gamma(pooled, np.random.default_rng(0))
        squares = (pooled**2).sum(axis=1)
        kernel = np.exp(-gamma * np.maximum(squares[:, None] + squares - 2 * pooled @ pooled.T, 0))
        np.fill_diagonal(kernel, 0)
        draw = np.random.default_rng(1)

        def statistic(order: np.ndarray) -> float:
            shuffled = kernel[order][:, order]
            within = shuffled[:1_000, :1_000].sum(dtype=np.float64) + shuffled[1_000:, 1_000:].sum(dtype=np.float64)
            return float(within / (1_000 * 999) - 2 * shuffled[:1_000, 1_000:].mean(dtype=np.float64))

        observed = statistic(np.arange(2_000))
        return (1 + sum(statistic(draw.permutation(2_000)) >= observed for _ in range(1_000))) / 1_001

    ours = mmd_test(x, y, permutations=1_000, rng=np.random.default_rng(0)).p_value
    return compare(
        "MMD, n = m = 1,000, d = 128, B = 1,000",
        median_seconds(lambda: mmd_test(x, y, permutations=1_000, rng=np.random.default_rng(0)), repeats),
        median_seconds(plain, 1),
    ) | {"p_value": ours, "plain_p_value": plain()}


def windows_row() -> dict[str, Any]:
    import numpy as np

    from components.drift_detection.mmd import mmd_test
    from components.drift_detection.windows import effective_alpha, permutations_for

    permutations = permutations_for(effective_alpha(0.05, budget=1, windows=90 * 24 * 10), at_least=999)
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(800, 128)).astype(np.float32)
    windows = [rng.normal(size=(200, 128)).astype(np.float32) + np.float32(0.3 * (number >= 5)) for number in range(10)]

    def seconds(first_look: int) -> float:
        began = time.process_time()
        for window in windows:
            mmd_test(reference, window, permutations=permutations, rng=rng, first_look=first_look)
        return time.process_time() - began

    name = f"MMD, ten windows of 200 against 800, d = 128, B = {permutations:,}"
    return compare(name, seconds((permutations + 1) // 8 - 1), seconds(0))


def ks_rows(repeats: int) -> list[dict[str, Any]]:
    import numpy as np
    from scipy import stats

    from components.drift_detection.ks import ks_test, sort_reference

    rows = []
    for n, m in ((1_000, 1_000), (800, 200), (10_000, 1_000)):
        rng = np.random.default_rng(n)
        x, y = rng.normal(size=(n, 200)).astype(np.float32), rng.normal(size=(m, 200)).astype(np.float32)
        reference = sort_reference(x)

        def plain(x: np.ndarray = x, y: np.ndarray = y) -> np.ndarray:
            return np.array([stats.ks_2samp(x[:, feature], y[:, feature]).pvalue for feature in range(200)])

        def ours(reference: Any = reference, y: np.ndarray = y) -> np.ndarray:
            return ks_test(reference, y).p_values

        row = compare(f"KS, 200 features, n = {n:,}, m = {m:,}", median_seconds(ours, repeats), median_seconds(plain, 1))
        rows.append(row | {"largest_difference_of_p": float(np.abs(ours() - plain()).max())})
    return rows


def compare(name: str, seconds: float, plain: float) -> dict[str, Any]:
    print(f"{name}: {seconds * 1000:.1f} ms, plain {plain * 1000:.1f} ms, ratio {plain / seconds:.1f}", flush=True)
    return {"what": name, "seconds": seconds, "plain_seconds": plain, "ratio": plain / seconds}


def large() -> None:
    """The large MMD, in this process; prints its seconds and the peak memory of the process in GB."""
    import numpy as np

    from components.drift_detection.mmd import mmd_test

    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((LARGE_ROWS, LARGE_SIDE), dtype=np.float32) for _ in range(2))
    started = time.perf_counter()
    mmd_test(x, y, permutations=LARGE_PERMUTATIONS, rng=rng)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform != "darwin" else 1e9)
    print(json.dumps({"seconds": seconds, "peak_gb": peak}))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only-large", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "drift_speed.json")
    chosen = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(chosen.threads)
    if chosen.only_large:
        large()
        return 0
    # Imported late: the number of threads is read when numpy is loaded.
    from bench.gate_error_rates import environment

    rows = [mmd_row(chosen.repeats), windows_row(), *ks_rows(chosen.repeats)]
    command = [sys.executable, "-m", "bench.drift_speed", "--only-large", "--threads", str(chosen.threads)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    big = json.loads(output.splitlines()[-1])
    print(f"MMD, 10,000 x 10,000, d = 512, B = 500: {big['seconds']:.1f} s, peak {big['peak_gb']:.2f} GB")
    goals = {"large_seconds": big["seconds"] < GOALS["large_seconds"], "large_peak_gb": big["peak_gb"] < GOALS["large_peak_gb"]}
    report = environment() | {"threads": chosen.threads, "rows": rows, "large": big, "goals": goals}
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"{goals}, {chosen.out}")
    return 0 if all(goals.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
