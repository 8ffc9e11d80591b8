"""What testing the latest windows together brings, and what it costs, over whole histories with one reference each.

    python -m bench.weak_drifts [--histories 400] [--out bench/results/weak_drifts.json]

A history has one reference, drawn once, and windows of n images, one drift from its first window on (or none). Images are Gaussian in 8
embedding and 6 statistics columns, so that a window's means tell all and both detectors have closed p-values (chi-square; Bonferroni
over normal ones), each at half of the level as in the project. Levels are `level_of`'s; which windows count together, at most how many
beside a reference, and what must hold without the most extreme of them are the rules of `pooled.py`, here over arrays. A drift shifts
one embedding column by the given number of standard deviations. Before: 2 of 3 windows with the whole budget.
Goals: at most one false confirmed episode in 90 days; weak drifts in half the time; strong ones no later.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from bench.alarm_budget import counted_episodes
from bench.gate_error_rates import environment
from components.drift_detection.pooled import LARGEST_SHARE
from components.drift_detection.windows import effective_alpha, level_of
from driftloop.contracts import CONFIRMING_ALARMS, CONFIRMING_WINDOWS, POOLED_WINDOWS
from driftloop.settings import DriftSettings

EMBEDDING, STATISTICS, WITHIN = 8, 6, 40
#: A drift is strong that 2 of 3 confirms in a median of at most so many windows.
STRONG = 3
#: Windows in 90 days, windows in a watch, and which part of the histories is played.
TRAFFIC = {
    "1 a day": (90, 1, 4.0),
    "3 a day, a daily watch": (270, 3, 2.0),
    "24 a day, hourly": (2160, 1, 0.3),
    "200 a day": (18_000, 200, 0.05),
}
SIZES = {"n = 50, reference 800": (50, 800), "n = 200, reference 800": (200, 800), "n = 200, reference 2,000": (200, 2000)}
#: Of these only the delays are measured.
DELAYS_ONLY = {"n = 200, reference 1,000": (200, 1000)}
#: In standard deviations, by images of a window: two weak drifts and a strong one.
DRIFTS = {50: (0.16, 0.22, 1.0), 200: (0.08, 0.11, 0.5)}


@dataclass(frozen=True)
class Rule:
    """How drift is confirmed."""

    alpha: float
    pooled_alpha: float
    """0: windows are not tested together."""
    windows_a_watch: int


def rules(windows: int, per_watch: int) -> dict[str, Rule]:
    level = level_of(0.05, DriftSettings(), windows=windows, looks=windows / per_watch)
    before = effective_alpha(0.05, budget=level.budget, windows=level.windows_per_90_days)
    return {"before": Rule(before, 0.0, per_watch), "now": Rule(level.alpha, level.pooled_alpha, per_watch)}


def differences(count: int, windows: int, n: int, reference: int, rng: np.random.Generator, shift: np.ndarray | float) -> np.ndarray:
    """Means of each window minus those of the history's reference: (count, windows, columns)."""
    columns = EMBEDDING + STATISTICS
    means = rng.standard_normal((count, windows, columns), dtype=np.float32) / np.float32(np.sqrt(n))
    means[..., 0] += shift
    return means - rng.standard_normal((count, 1, columns), dtype=np.float32) / np.float32(np.sqrt(reference))


def p_values(differences: np.ndarray, n: int, reference: int) -> np.ndarray:
    scaled = differences * np.sqrt(n * reference / (n + reference))
    embedding = stats.chi2.sf((scaled[..., :EMBEDDING] ** 2).sum(-1), EMBEDDING)
    statistics = 2 * STATISTICS * stats.norm.sf(np.abs(scaled[..., EMBEDDING:]).max(-1))
    return np.minimum(1, 2 * np.minimum(embedding, statistics))


def confirmed(differences: np.ndarray, n: int, reference: int, rule: Rule) -> np.ndarray:
    """After which windows drift is confirmed: (histories, windows) bool."""
    alone = p_values(differences, n, reference)
    flags = alone <= rule.alpha
    count = flags.shape[1]
    sums = sum(np.pad(flags, ((0, 0), (back, 0)))[:, :count].astype(np.int8) for back in range(CONFIRMING_WINDOWS))
    result = np.asarray(flags & (sums >= CONFIRMING_ALARMS))
    if not rule.pooled_alpha:
        return result
    looks = np.arange(count) % rule.windows_a_watch == rule.windows_a_watch - 1
    totals = np.cumsum(np.pad(differences, ((0, 0), (1, 0), (0, 0))), axis=1, dtype=np.float64)
    for pooled in POOLED_WINDOWS:
        if n * pooled > LARGEST_SHARE * (n * pooled + reference):
            break
        means = (totals[:, pooled:] - totals[:, :-pooled]) / pooled
        rejects = (p_values(means, n * pooled, reference) <= rule.pooled_alpha) & looks[pooled - 1 :]
        for history, first in np.argwhere(rejects):
            inside = slice(first, first + pooled)
            extreme = int(alone[history, inside].argmin())
            rest = np.delete(differences[history, inside], extreme, axis=0).mean(axis=0)
            result[history, first + pooled - 1] |= p_values(rest, n * (pooled - 1), reference) <= rule.alpha
    return result


def false_alarms(histories: int) -> list[dict[str, Any]]:
    rows = []
    for size, (n, reference) in SIZES.items():
        for traffic, (windows, per_watch, part) in TRAFFIC.items():
            row: dict[str, Any] = {"size": size, "traffic": traffic}
            for name, rule in rules(windows, per_watch).items():
                rng = np.random.default_rng([11, n, reference, windows])
                counts = np.concatenate(
                    [
                        counted_episodes(confirmed(differences(5, windows, n, reference, rng, 0.0), n, reference, rule))
                        for _ in range(max(2, int(histories * part / 5)))
                    ]
                )
                row[name] = {"mean": float(counts.mean()), "error": float(counts.std() / np.sqrt(len(counts))), "histories": len(counts)}
            print(row, flush=True)
            rows.append(row | {"met": row["now"]["mean"] - 1.96 * row["now"]["error"] <= 1})
    return rows


def delays(histories: int) -> list[dict[str, Any]]:
    """One window a day, a watch each."""
    rows = []
    for size, (n, reference) in (SIZES | DELAYS_ONLY).items():
        for shift in DRIFTS[n]:
            row: dict[str, Any] = {"size": size, "shift": shift}
            for name, rule in rules(90, 1).items():
                drifted = differences(histories, WITHIN, n, reference, np.random.default_rng([12, n, reference, int(1000 * shift)]), shift)
                found = confirmed(drifted, n, reference, rule)
                first = np.where(found.any(axis=1), found.argmax(axis=1) + 1, WITHIN + 1)
                row[name] = {"median": float(np.median(first)), "mean": float(first.mean()), "missed": float((first > WITHIN).mean())}
            rows.append(row)
    return rows


def odd_windows(histories: int) -> dict[str, float]:
    """How often one strongly drifted window among clean ones ends as a confirmed drift: by chance, with a neighbour."""
    shift = np.zeros(15)
    shift[7] = 0.8
    values = differences(histories, 15, 50, 800, np.random.default_rng(13), shift)
    return {name: float(confirmed(values, 50, 800, rule).any(axis=1).mean()) for name, rule in rules(90, 1).items()}


def table(result: dict[str, Any]) -> str:
    lines = ["| windows | traffic | false confirmed episodes in 90 days | 2 of 3 alone, as before |", "|---|---|---|---|"]
    for row in result["false_alarms"]:
        shown = [f"{row[rule]['mean']:.2f} ± {1.96 * row[rule]['error']:.2f}" for rule in ("now", "before")]
        lines.append(f"| {row['size']} | {row['traffic']} | {shown[0]} | {shown[1]} |")
    lines += ["", f"Windows until a drift is confirmed, one window a day: median, mean (missed within {WITHIN}).", ""]
    lines += ["| windows | shift (SD) | now | 2 of 3 alone, as before |", "|---|---:|---|---|"]
    for row in result["delays"]:
        shown = [f"{row[rule]['median']:.0f}, {row[rule]['mean']:.1f} ({row[rule]['missed']:.0%})" for rule in ("now", "before")]
        lines.append(f"| {row['size']} | {row['shift']:g} | {shown[0]} | {shown[1]} |")
    odd = result["odd_windows"]
    lines += [
        "",
        f"A single odd window (0.8 SD, n = 50) among 14 clean ones is confirmed in {odd['now']:.2f}, before in {odd['before']:.2f}.",
    ]
    goals = {
        "at most one false episode": [f"{row['size']}, {row['traffic']}" for row in result["false_alarms"] if not row["met"]],
        "weak drifts in half the time": [
            _about(row) for row in result["delays"] if _weak(row) and 2 * row["now"]["median"] > row["before"]["median"]
        ],
        "strong ones no later": [_about(row) for row in result["delays"] if not _weak(row) and row["now"]["mean"] > row["before"]["mean"]],
    }
    said = [f"{goal} {'missed at ' + '; '.join(missed) if missed else '**met**'}" for goal, missed in goals.items()]
    return "\n".join([*lines, "", f"Goals: {'; '.join(said)}."])


def _about(row: dict[str, Any]) -> str:
    return f"{row['size']}, {row['shift']:g} SD"


def _weak(row: dict[str, Any]) -> bool:
    return bool(row["before"]["median"] > STRONG)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=400)
    parser.add_argument("--out", type=Path, default=Path("bench/results/weak_drifts.json"))
    chosen = parser.parse_args()
    began = time.perf_counter()
    result = environment() | {
        "histories": chosen.histories,
        "delays": delays(chosen.histories),
        "odd_windows": odd_windows(chosen.histories),
        "false_alarms": false_alarms(chosen.histories),
        "seconds": round(time.perf_counter() - began),
    }
    chosen.out.write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))
    return 0 if all(row["met"] for row in result["false_alarms"]) else 1


if __name__ == "__main__":
    sys.exit(main())
