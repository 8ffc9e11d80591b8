"""Level and power on windows of few, large groups: means of each, one image of each, and all images as if independent.

    python -m bench.clustered_windows [--trials 120] [--out bench/results/clustered_windows.json]

Surrogate vectors (6 statistics, 16 embedding coordinates) of groups of 20 to 100 images; a share of the variance (ICC) is the group's.
Reference and window have so many groups each. Power: every coordinate moved by 0.35 standard deviations. Fixed reference: the same
reference in 40 windows, and the share of references under which more than 10 % of clean windows alarm. Goal: level not above 5 %.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.gate_error_rates import environment
from components.drift_detection.clusters import Clusters, clusters_of
from components.drift_detection.reference import Regimes, Sample, prepare_regimes
from components.drift_detection.window_test import clustered_test, window_test
from driftloop.evaluation.intervals import wilson

ALPHA, PERMUTATIONS, SHIFT, WINDOWS = 0.05, 199, 0.35, 40
CASES = [(groups, icc) for groups in (8, 18, 40) for icc in (0.2, 0.5)]


def draw(rng: np.random.Generator, groups: int, icc: float, shift: float = 0.0) -> tuple[Sample, Clusters]:
    sizes = rng.integers(20, 101, groups)
    owners = np.repeat(np.arange(groups), sizes)
    statistics, embedding = (
        (np.sqrt(icc) * rng.normal(size=(groups, d))[owners] + np.sqrt(1 - icc) * rng.normal(size=(len(owners), d)) + shift).astype(
            np.float32
        )
        for d in (6, 16)
    )
    return Sample(embedding, statistics, np.full((len(owners), 2), 0.5, np.float32)), clusters_of(owners, groups)


def one_a_group(whole: tuple[Sample, Clusters]) -> Sample:
    sample, clusters = whole
    return sample.take(clusters.rows(np.arange(len(clusters.sizes)), 1)[:, 0])


def regimes_of(rng: np.random.Generator, whole: tuple[Sample, Clusters], sample: Sample) -> Regimes:
    return replace(prepare_regimes(["reference"], [sample], rng), whole=(whole,))


Whole = tuple[Sample, Clusters]


def alarms(rng: np.random.Generator, reference: Whole, window: Whole, *, naive: bool) -> dict[str, bool]:
    test = {"alpha": ALPHA, "permutations": PERMUTATIONS, "rng": rng}
    firsts = regimes_of(rng, reference, one_a_group(reference))
    means = clustered_test(window, firsts, **test)
    found = {"means": means is not None and means.drifted, "one image": window_test(one_a_group(window), firsts, **test).drifted}
    if naive:
        found["all images"] = window_test(window[0], regimes_of(rng, reference, reference[0]), **test).drifted
    return found


def measure(groups: int, icc: float, trials: int) -> dict[str, Any]:
    rng = np.random.default_rng([4, groups, int(100 * icc)])
    naive = max(10, trials // 20)
    row: dict[str, Any] = {"groups": groups, "icc": icc, "trials": trials, "naive trials": naive}
    for what, shift in (("level", 0.0), ("power", SHIFT)):
        found = []
        for trial in range(trials):
            reference, window = draw(rng, groups, icc), draw(rng, groups, icc, shift)
            found.append(alarms(rng, reference, window, naive=shift == 0 and trial < naive))
        row[what] = {name: sum(one.get(name, False) for one in found) for name in ("means", "one image", "all images")}
    rates = []
    for _ in range(max(5, trials // 20)):
        reference = draw(rng, groups, icc)
        firsts = regimes_of(rng, reference, one_a_group(reference))
        tests = [clustered_test(draw(rng, groups, icc), firsts, alpha=ALPHA, permutations=PERMUTATIONS, rng=rng) for _ in range(WINDOWS)]
        rates.append(sum(test is not None and test.drifted for test in tests) / WINDOWS)
    return row | {"fixed reference": rates, "met": wilson(row["level"]["means"], trials).low <= ALPHA}


def table(result: dict[str, Any]) -> str:
    lines = [
        "| groups | ICC | level: means | one image | all images | power: means | one image | references with more than 10 % |",
        "|---:|---:|---|---|---|---:|---:|---|",
    ]
    for row in result["rows"]:
        trials, rates = row["trials"], row["fixed reference"]
        level = [rate(row["level"][name], trials) for name in ("means", "one image")]
        level.append(rate(row["level"]["all images"], row["naive trials"]))
        power = [f"{row['power'][name] / trials:.2f}" for name in ("means", "one image")]
        unlucky = f"{sum(one > 0.1 for one in rates)} of {len(rates)} (worst {max(rates):.2f})"
        lines.append(f"| {row['groups']} | {row['icc']} | {' | '.join(level + power)} | {unlucky} |")
    return "\n".join([*lines, "", f"Goal: {'**met**' if all(row['met'] for row in result['rows']) else '**missed**'}."])


def rate(count: int, trials: int) -> str:
    interval = wilson(count, trials)
    return f"{count / trials:.3f} ({interval.low:.3f}-{interval.high:.3f})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=120)
    parser.add_argument("--out", type=Path, default=Path("bench/results/clustered_windows.json"))
    chosen = parser.parse_args()
    began = time.perf_counter()
    rows = [measure(groups, icc, chosen.trials) for groups, icc in CASES]
    result = environment() | {"rows": rows, "seconds": round(time.perf_counter() - began)}
    chosen.out.write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))
    return 0 if all(row["met"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
