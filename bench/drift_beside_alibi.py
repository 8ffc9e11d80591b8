"""The two deciding detectors beside alibi-detect, on the same data in one run: p-values, time and peak memory.

    python3.11 -m venv OTHER && OTHER/bin/pip install "alibi-detect[torch]"
    python -m bench.drift_beside_alibi --python OTHER/bin/python [--threads 2] [--repeats 5] [--out bench/results/drift_beside_alibi.json]

alibi-detect needs numpy < 2 and therefore an environment of its own; it is measured and not depended on (its licence is not open source).
MMD: n = m = 1,000, d = 128, 1,000 permutations, the same kernel width; p-values of 20 pairs of small samples agree up to the error of
1,000 random permutations. KS: 200 features, n = m = 1,000; distances are the same numbers, p-values differ by what separates the exact
distribution, which we take for small samples as scipy does, from the asymptotic one, which alibi-detect always takes. Each side runs in
a process of its own, with as many threads, one after the other. Memory is the growth of the process while its first
test of this size runs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.drift_alibi_side import PERMUTATIONS, peak_growth

SIDE = Path(__file__).parent / "drift_alibi_side.py"
GOALS = {"mmd": 150.0, "ks": 15.0}
PAIRS = 20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="the Python that has alibi-detect")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "drift_beside_alibi.json")
    chosen = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(chosen.threads)
    from bench.gate_error_rates import environment

    rows, versions = [], {}
    for kind in ("mmd", "ks"):
        with tempfile.TemporaryDirectory(prefix="driftloop-bench-") as folder:
            data, sigma = write_data(kind, Path(folder, "data.npz"))
            ours = measure(kind, data, chosen.repeats)
            command = [chosen.python, str(SIDE), str(data), kind, repr(sigma), str(chosen.repeats)]
            answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        theirs = json.loads(answer.splitlines()[-1])
        versions = theirs["versions"]
        rows.append(compare(kind, ours, theirs))
    report = environment() | {"threads": chosen.threads, "other": versions, "rows": rows}
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(report, indent=1) + "\n")
    return 0 if all(row["met"] and row["agree"] for row in rows) else 1


def write_data(kind: str, path: Path) -> tuple[Path, float]:
    """The samples of both sides, and the width of the kernel (0 for KS)."""
    import numpy as np

    from components.drift_detection.mmd import centred, median_gamma

    rng = np.random.default_rng(7)
    sides = 128 if kind == "mmd" else 200
    x, y = (rng.normal(size=(1_000, sides)).astype(np.float32) for _ in range(2))
    shift = np.linspace(0, 0.25, PAIRS, dtype=np.float32)[:, None, None]
    small_x, small_y = (rng.normal(size=(PAIRS, 100, sides)).astype(np.float32) for _ in range(2))
    np.savez(path, x=x, y=y, small_x=small_x, small_y=small_y + shift)
    if kind == "ks":
        return path, 0.0
    gamma = median_gamma(centred(x, y), np.random.default_rng(0))
    return path, float((1 / (2 * gamma)) ** 0.5)


def measure(kind: str, data: Path, repeats: int) -> dict[str, Any]:
    """Our half, as `drift_alibi_side` does theirs."""
    import numpy as np

    arrays = np.load(data)
    test = tester(kind)
    test(arrays["x"][:20])(arrays["y"][:20])
    work = test(arrays["x"])
    memory = peak_growth(lambda: work(arrays["y"]))
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work(arrays["y"])
        seconds.append(time.perf_counter() - began)
    pairs = zip(arrays["small_x"], arrays["small_y"], strict=True)
    return {"seconds": float(np.median(seconds)), "peak_mb": memory, "answers": [test(x)(y) for x, y in pairs]}


def tester(kind: str) -> Callable[[Any], Callable[[Any], dict[str, Any]]]:
    """From a reference to a test of windows, as a watch does it; it returns p-values and distances."""
    import numpy as np

    from components.drift_detection.ks import ks_test, sort_reference
    from components.drift_detection.mmd import mmd_test

    def ks(x: np.ndarray) -> Callable[[np.ndarray], dict[str, Any]]:
        reference = sort_reference(x)

        def test(y: np.ndarray) -> dict[str, Any]:
            result = ks_test(reference, y)
            return {"p_val": result.p_values, "distance": result.distances}

        return test

    def mmd(x: np.ndarray) -> Callable[[np.ndarray], dict[str, Any]]:
        return lambda y: {"p_val": mmd_test(x, y, permutations=PERMUTATIONS, rng=np.random.default_rng(0)).p_value}

    return {"ks": ks, "mmd": mmd}[kind]


def compare(kind: str, ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """One row of the table."""
    import numpy as np

    our_answers, their_answers = ours.pop("answers"), theirs.pop("answers")
    p, q = (np.array([answer["p_val"] for answer in answers]) for answers in (our_answers, their_answers))
    difference = np.abs(p - q)
    if kind == "mmd":
        # Two Monte-Carlo p-values of 1,000 permutations each, and a kernel width that ours takes from each pair itself.
        agree = bool((difference <= 4 * np.sqrt(2 * p * (1 - p) / PERMUTATIONS) + 0.01).all())
    else:
        agree = all(np.allclose(a["distance"], b["distance"], atol=1e-6) for a, b in zip(our_answers, their_answers, strict=True))
    ratio, goal = theirs["seconds"] / ours["seconds"], GOALS[kind]
    print(
        f"{kind}: {1000 * ours['seconds']:.1f} ms, alibi-detect {1000 * theirs['seconds']:.1f} ms, ratio {ratio:.1f} (goal {goal:g}); "
        f"memory {ours['peak_mb']:.1f} MB and {theirs['peak_mb']:.1f} MB; largest difference of p {difference.max():.2g}, agree: {agree}",
        flush=True,
    )
    return {
        "what": kind,
        "ours": ours,
        "alibi_detect": {name: theirs[name] for name in ("seconds", "peak_mb")},
        "ratio": ratio,
        "memory_ratio": theirs["peak_mb"] / ours["peak_mb"] if ours["peak_mb"] else None,
        "largest_difference_of_p": float(difference.max()),
        "agree": agree,
        "goal": goal,
        "met": ratio >= goal,
    }


if __name__ == "__main__":
    sys.exit(main())
