"""Level and power of the drift detectors, by scenario, severity and window size.

    python -m bench.drift_level_power [--trials 2000] [--power-trials 200] [--champion BUNDLE] [--out bench/results/drift_level_power.json]

Level: reference (800) and window are drawn anew in each of the trials from one pool of clean images. The bench fails when the interval of
the deciding test, or of one of its halves, lies above 5 %. Power: windows of drifted images that are in no pool. Fixed reference: one
reference, many windows, the rate by reference, and false confirmed alarms (2 of 3) over 90 windows. Windows of one reference are drawn
from one pool and share images. Two processes by default; each uses one thread.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from scipy import stats

from bench.drift_images import Champion, StandIn, Vectors, clean_images, measure
from bench.gate_error_rates import environment
from components.drift_detection.explain import class_prior_test
from components.drift_detection.ks import bbsd_test, ks_test
from components.drift_detection.mmd import mmd_test
from components.drift_detection.teaching import detect_embedding_drift
from components.drift_detection.windows import drift_is_confirmed
from driftloop.evaluation.intervals import wilson
from driftloop.scenarios import parse

REFERENCE, ALPHA, PERMUTATIONS, HISTORY = 800, 0.05, 999, 90
SIZES = (20, 50, 100, 200, 300, 1000)
SCENARIOS = (
    "blur:0.3", "blur:0.6", "noise:0.1", "noise:0.2", "noise:0.6", "blur+noise:0.3", "blur+noise:0.6", "prior:0.1", "prior:0.2",
    "brightness:0.2", "brightness:0.5", "contrast:0.2", "contrast:0.5", "jpeg:0.5", "resolution:0.5", "rotation:0.3", "occlusion:0.3",
    "new_site:0.5", "unseen_class:0.2",
)  # fmt: skip
GOALS = ("blur:0.6", "noise:0.2", "prior:0.2")
#: The course's names come last: they decide nothing and are held to nothing.
DETECTORS = ("statistics", "embedding", "decision", "bbsd", "class_prior", "pixel_ks", "fixed_mmd")
HELD = ("statistics", "embedding", "decision")
_pools: dict[str, Vectors] = {}


def alarms(reference: Vectors, window: Vectors, rng: np.random.Generator) -> dict[str, bool]:
    """Which detectors alarm. The two halves of the decision are tested at alpha / 2, the others at alpha."""
    statistics = ks_test(reference.statistics, window.statistics).p_value <= ALPHA / 2
    embedding = mmd_test(reference.embedding, window.embedding, permutations=PERMUTATIONS, rng=rng).p_value <= ALPHA / 2
    counts = [np.bincount(side.probabilities.argmax(axis=1), minlength=2) for side in (reference, window)]
    grey = [side.grey.sum(axis=0) for side in (reference, window)]
    distance = np.abs(np.cumsum(grey[0]) / grey[0].sum() - np.cumsum(grey[1]) / grey[1].sum()).max()
    pixels = stats.kstwobign.sf(distance * np.sqrt(grey[0].sum() * grey[1].sum() / (grey[0].sum() + grey[1].sum())))
    return {
        "statistics": statistics,
        "embedding": embedding,
        "decision": statistics or embedding,
        "bbsd": bbsd_test(reference.probabilities, window.probabilities).p_value <= ALPHA,
        "class_prior": class_prior_test(*counts).p_value <= ALPHA,
        "pixel_ks": bool(pixels <= ALPHA),
        "fixed_mmd": detect_embedding_drift(reference.embedding, window.embedding).drifted,
    }


def null_trials(size: int, trials: int, seed: int) -> dict[str, int]:
    """Alarms of each detector on clean windows, the reference drawn anew each time."""
    rng = np.random.default_rng(seed)
    clean = _pools["clean"]
    counts = dict.fromkeys(DETECTORS, 0)
    for _ in range(trials):
        rows = rng.choice(len(clean), REFERENCE + size, replace=False)
        for name, alarm in alarms(clean.take(rows[:REFERENCE]), clean.take(rows[REFERENCE:]), rng).items():
            counts[name] += alarm
    return counts


def power_trials(scenario: str, size: int, trials: int, seed: int) -> dict[str, int]:
    """Alarms on drifted windows."""
    rng = np.random.default_rng(seed)
    clean, drifted = _pools["clean"], _pools[scenario]
    counts = dict.fromkeys(DETECTORS, 0)
    for _ in range(trials):
        rows = (
            parse(scenario).select(drifted.labels, size, rng)
            if scenario.startswith("prior")
            else rng.choice(len(drifted), size, replace=False)
        )
        reference = clean.take(rng.choice(len(clean), REFERENCE, replace=False))
        for name, alarm in alarms(reference, drifted.take(rows), rng).items():
            counts[name] += alarm
    return counts


def fixed_reference(size: int, seed: int) -> list[bool]:
    """Whether each of 90 clean windows alarms against one reference."""
    rng = np.random.default_rng(seed)
    clean = _pools["clean"]
    order = rng.permutation(len(clean))
    reference, rest = clean.take(order[:REFERENCE]), order[REFERENCE:]
    return [alarms(reference, clean.take(rng.choice(rest, size, replace=False)), rng)["decision"] for _ in range(HISTORY)]


def prepare(pool: int, seed: int, champion: Path | None, scenarios: Sequence[str]) -> tuple[str, float]:
    """Draw the images and measure them once; every process inherits them."""
    network = Champion(champion) if champion else StandIn(seed)
    _pools["clean"] = measure(network, *clean_images(pool, seed=seed))
    fresh, labels = clean_images(max(2_000, 2 * max(SIZES)), seed=seed, first=pool)
    for index, scenario in enumerate(scenarios):
        images, truth = (
            (fresh, labels) if scenario.startswith("prior") else parse(scenario).transform(fresh, labels, np.random.default_rng(index))
        )
        _pools[scenario] = measure(network, images, truth)
    return network.name, network.accuracy


def rate_rows(kind: str, jobs: list[tuple[Any, ...]], results: list[dict[str, int]], trials: int) -> list[dict[str, Any]]:
    rows = []
    for job, counts in zip(jobs, results, strict=True):
        for name, count in counts.items():
            rate = wilson(count, trials)
            scenario, size = ("none", job[0]) if kind == "level" else job[:2]
            rows.append({"scenario": scenario, "size": size, "detector": name, "rate": rate.value, "low": rate.low, "high": rate.high})
    return rows


def run_jobs(pool: ProcessPoolExecutor, work: Callable[..., Any], jobs: list[tuple[Any, ...]]) -> list[Any]:
    return [future.result() for future in [pool.submit(work, *job) for job in jobs]]


def show(rows: list[dict[str, Any]]) -> None:
    """One line for each scenario and size, one column for each detector."""
    print(f"{'scenario':18} {'n':>5} " + " ".join(f"{name:>11}" for name in DETECTORS))
    for scenario, size in dict.fromkeys((row["scenario"], row["size"]) for row in rows):
        cells = {row["detector"]: row["rate"] for row in rows if (row["scenario"], row["size"]) == (scenario, size)}
        print(f"{scenario:18} {size:5} " + " ".join(f"{cells[name]:11.3f}" for name in DETECTORS))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000, help="null trials for each window size")
    parser.add_argument("--power-trials", type=int, default=200, help="trials for each scenario and window size")
    parser.add_argument("--references", type=int, default=100, help="fixed references, 90 windows each")
    parser.add_argument("--pool", type=int, default=8000, help="clean images to draw from")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), choices=SIZES)
    parser.add_argument("--scenarios", nargs="*", default=list(SCENARIOS), help="as `driftloop run --drift` takes them")
    parser.add_argument("--champion", type=Path, default=None, help="bundle whose served graph gives the embedding")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "drift_level_power.json")
    chosen = parser.parse_args()
    started = time.perf_counter()
    network, accuracy = prepare(chosen.pool, chosen.seed, chosen.champion, chosen.scenarios)
    print(f"network: {network}, clean accuracy {accuracy:.3f}; {time.perf_counter() - started:.0f} s to prepare", flush=True)
    levels = [(size, chosen.trials, chosen.seed + size) for size in chosen.sizes]
    powers = [(scenario, size, chosen.power_trials, chosen.seed + size) for scenario in chosen.scenarios for size in chosen.sizes]
    with ProcessPoolExecutor(chosen.workers) as pool:
        level = rate_rows("level", levels, run_jobs(pool, null_trials, levels), chosen.trials)
        show(level)
        power = rate_rows("power", powers, run_jobs(pool, power_trials, powers), chosen.power_trials)
        show(power)
        histories = run_jobs(pool, fixed_reference, [(200, chosen.seed + index) for index in range(chosen.references)])
    fixed = summarise_histories(histories)
    print(fixed)
    above = [row for row in level if row["detector"] in HELD and row["low"] > ALPHA]
    reached = {
        f"power at least 95 % for {scenario} at n = 300": next(
            (row["rate"] >= 0.95 for row in power if (row["scenario"], row["size"], row["detector"]) == (scenario, 300, "decision")), None
        )
        for scenario in GOALS
    }
    goals = {"level at most 5 %": not above, **reached}
    report = environment() | {
        "seconds": round(time.perf_counter() - started, 1),
        "network": network,
        "clean_accuracy": accuracy,
        "trials": {"level": chosen.trials, "power": chosen.power_trials, "fixed_references": chosen.references},
        "reference": REFERENCE,
        "alpha": ALPHA,
        "permutations": PERMUTATIONS,
        "level": level,
        "power": power,
        "fixed_reference": fixed,
        "goals": goals,
    }
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"{goals}, {report['seconds']} s, {chosen.out}")
    return 1 if above else 0


def summarise_histories(histories: list[list[bool]]) -> dict[str, Any]:
    """Rates by reference, and how often 90 clean windows held a confirmed alarm (its start counts, not its length)."""
    rates = [float(np.mean(history)) for history in histories]
    starts = 0
    for history in histories:
        states = [drift_is_confirmed(history[:end], history[end : end + 1]) for end in range(len(history))]
        starts += sum(now and not before for before, now in zip([False, *states], states, strict=False))
    return {
        "window": 200,
        "references": len(histories),
        "windows_each": HISTORY,
        "mean_rate": float(np.mean(rates)),
        "smallest_rate": min(rates),
        "largest_rate": max(rates),
        "confirmed_alarms_per_90_windows": starts / len(histories),
        "formula": 2 * ALPHA**2 * HISTORY,
    }


if __name__ == "__main__":
    sys.exit(main())
