"""alibi-detect's half of `bench.drift_beside_alibi`: runs in an environment of its own, which has alibi-detect and not driftloop.

    python drift_alibi_side.py DATA.npz KIND SIGMA REPEATS        prints one line of JSON

KIND is `mmd` or `ks`; the data hold `x`, `y` and pairs of small samples `small_x`, `small_y` (T, n, d).
"""

import json
import platform
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np

PERMUTATIONS = 1_000


def peak_growth(work) -> float:
    """By how many MB the process's memory grew at its highest while `work` ran, on Linux."""
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    work()
    return max(_status("VmHWM") - before, 0) / 1000


def _status(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1])


def detector(kind: str, reference: np.ndarray, sigma: float):
    from alibi_detect.cd import KSDrift, MMDDrift

    if kind == "ks":
        return KSDrift(reference, p_val=0.05)
    from alibi_detect.utils.pytorch.kernels import GaussianRBF
    from torch import tensor

    kernel = GaussianRBF(sigma=tensor([sigma]))
    return MMDDrift(
        reference, backend="pytorch", device="cpu", kernel=kernel, configure_kernel_from_x_ref=False, n_permutations=PERMUTATIONS
    )


def answer(prediction: dict) -> dict:
    """What the test found: p-values and distances."""
    return {name: np.asarray(prediction[name]).tolist() for name in ("p_val", "distance")}


def main(path: str, kind: str, sigma: str, repeats: str) -> None:
    data = np.load(path)
    x, y = data["x"], data["y"]
    fitted = detector(kind, x, float(sigma))
    detector(kind, x[:20], float(sigma)).predict(y[:20])
    # The first call of this size: what a later one needs, the allocator has kept from the one before.
    memory = peak_growth(lambda: fitted.predict(y))
    seconds = []
    for _ in range(int(repeats)):
        began = time.perf_counter()
        fitted.predict(y)
        seconds.append(time.perf_counter() - began)
    small = [answer(detector(kind, a, float(sigma)).predict(b)["data"]) for a, b in zip(data["small_x"], data["small_y"], strict=True)]
    versions = {
        "alibi-detect": version("alibi-detect"),
        "torch": version("torch"),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    print(json.dumps({"seconds": float(np.median(seconds)), "peak_mb": memory, "answers": small, "versions": versions}))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(*sys.argv[1:])
