"""How often harm is judged wrongly over a whole drift, and how soon rightly: simulated labels through the real boundary, a look a window.

    python -m bench.harm_over_time [--histories 2000] [--windows 90] [--out bench/results/harm_over_time.json]

A window a day, each with as many random labels. The estimate, the effective number of labels, the boundary and the rules are those of
`components.drift_detection.harm` and `policy`, written for many histories at once (`agrees` checks them against the real functions first).
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from components.drift_detection.harm import DRIFT_ALPHA, HALF_LABEL, RECENT, boundary, drop_of, score
from components.drift_detection.policy import shows_harm, shows_harmlessness
from driftloop.evaluation.intervals import wilson
from driftloop.settings import DriftSettings
from driftloop.watch_record import WindowLabels

SETTINGS = DriftSettings()
LABELS, ACCURACIES, CLEAN_IMAGES = (20, 66, 200), (0.85, 0.914, 0.97), (300, 1500)
NEVER = 10**6


def gradual(points_a_window: float, after: int) -> Callable[[int], float]:
    """A drop that grows after so many windows, up to 26 points."""
    return lambda window: min(0.26, points_a_window * max(0, window - after))


def histories(
    drop: Callable[[int], float], *, clean: float, images: int, labels: int, windows: int, count: int, seed: int, alpha: float = DRIFT_ALPHA
) -> dict[str, np.ndarray]:
    """When harm and harmlessness are first shown (window from 1; `NEVER`), and the largest true drop while harmless, by history."""
    rng = np.random.default_rng(seed)
    accepted = rng.binomial(images, clean, count) / images
    fade, quick = 0.5 ** (1 / SETTINGS.harm_half_life_days), 0.5 ** (RECENT / SETTINGS.harm_half_life_days)
    total, weight, squares = np.zeros(count), 0.0, 0.0
    newest, newest_weight = np.zeros(count), 0.0
    harm, calm, missed = np.full(count, NEVER), np.full(count, NEVER), np.zeros(count)
    for window in range(1, windows + 1):
        share = rng.binomial(labels, clean - drop(window), count) / labels
        total, weight, squares = fade * total + share, fade * weight + 1, fade**2 * squares + 1 / labels
        newest, newest_weight = quick * newest + share, quick * newest_weight + 1
        n, right, there = weight**2 / squares, total / weight, window * labels
        if there < SETTINGS.harm_labels:
            continue
        z = boundary(1 / (1 / images + 1 / n), there / n, alpha)
        careful = np.minimum(right * n + HALF_LABEL, n)
        harmful = (score(accepted * images, images, careful, n, 0.0) > z) & (accepted - right >= SETTINGS.retrain_drop)
        harmless = (score(accepted * images, images, right * n, n, SETTINGS.harmless_drop) < -z) & ~harmful
        harmless &= accepted - newest / newest_weight < SETTINGS.retrain_drop
        harm[harmful] = np.minimum(harm[harmful], window)
        open_still = harmless & (harm > window)
        missed[open_still] = np.maximum(missed[open_still], drop(window))
        calm[harmless] = np.minimum(calm[harmless], window)
    return {"harm": harm, "calm": calm, "missed": missed}


def agrees(count: int = 20, windows: int = 12, labels: int = 66) -> None:
    """Check the arrays above against the real functions, look by look."""
    rng = np.random.default_rng(0)
    start = datetime(2025, 3, 1, tzinfo=UTC)
    for seed, drop in product(range(count), (0.0, 0.05, 0.08)):
        own = histories(lambda _, drop=drop: drop, clean=0.914, images=1500, labels=labels, windows=windows, count=1, seed=seed)
        rng = np.random.default_rng(seed)
        clean = wilson(int(rng.binomial(1500, 0.914, 1)[0]), 1500)
        tallies: list[WindowLabels] = []
        first = {"harm": NEVER, "calm": NEVER}
        for window in range(1, windows + 1):
            right = int(rng.binomial(labels, 0.914 - drop, 1)[0])
            last = (start + timedelta(days=window)).isoformat()
            tallies.append(WindowLabels(watch=window, window=0, drift=1, last=last, rows=200, labels=labels, right=right))
            found = drop_of(tallies, {"reference": clean}, half_life_days=SETTINGS.harm_half_life_days, alpha=DRIFT_ALPHA)
            if shows_harm(found, SETTINGS):
                first["harm"] = min(first["harm"], window)
            elif shows_harmlessness(found, SETTINGS):
                first["calm"] = min(first["calm"], window)
        if any(own[name][0] != first[name] for name in first):
            raise SystemExit(f"seed {seed}, drop {drop}: the simulation says {own}, the real functions {first}")


def measured(count: int, windows: int) -> dict[str, Any]:
    """Levels in every cell, delays, and drifts that grow."""
    levels = []
    for labels, clean, images in product(LABELS, ACCURACIES, CLEAN_IMAGES):
        cell = {"clean": clean, "images": images, "labels": labels, "windows": windows, "count": count}
        none = histories(lambda _: 0.0, seed=1, **cell)
        bound = histories(lambda _: SETTINGS.harmless_drop, seed=2, **cell)
        levels.append(cell | {"false_retrain": _share(none["harm"]), "false_harmless": _share(bound["calm"])})
    delays = []
    for labels, drop in product(LABELS, (0.05, 0.08, 0.15)):
        found = histories(lambda _, drop=drop: drop, clean=0.914, images=1500, labels=labels, windows=windows, count=count, seed=3)
        delays.append({"labels": labels, "drop": drop} | _delay(found["harm"]))
    calm = []
    for labels in LABELS:
        found = histories(lambda _: 0.0, clean=0.914, images=1500, labels=labels, windows=windows, count=count, seed=4)
        calm.append({"labels": labels} | _delay(found["calm"]))
    growing = []
    for labels, after in product(LABELS, (0, 30)):
        found = histories(gradual(0.01, after), clean=0.914, images=1500, labels=labels, windows=windows, count=count, seed=5)
        later = found["harm"][found["harm"] > after] - after
        growing.append(
            {"labels": labels, "after": after, "missed": float(found["missed"].mean()), "most": float(found["missed"].max())}
            | _delay(later)
        )
    return {"levels": levels, "delays": delays, "calm": calm, "growing": growing}


def _share(first: np.ndarray) -> float:
    return float((first < NEVER).mean())


def _delay(first: np.ndarray) -> dict[str, float]:
    return {"median": float(np.median(first)), "p80": float(np.quantile(first, 0.8))}


def table(result: dict[str, Any], windows: int) -> str:
    """The tables of bench/README.md, goals beside."""
    worst = {name: max(result["levels"], key=lambda cell, name=name: cell[name]) for name in ("false_retrain", "false_harmless")}
    lines = [f"| over {windows} windows, a look each | goal | worst of {len(result['levels'])} cells | where | |", "|---|---|---|---|---|"]
    for name, what in (
        ("false_retrain", "P(any `retrain`), true drop 0"),
        ("false_harmless", 'P(any "harmless"), true drop at the bound of 5 points'),
    ):
        cell = worst[name]
        where = f"{cell['labels']} labels a window, clean {cell['clean']} on {cell['images']:,}"
        lines.append(f"| {what} | ≤ .05 | {cell[name]:.3f} | {where} | {_met(cell[name] <= 0.05)} |")
    lines += ["", "| drop | labels a window | windows until shown: median / 80th percentile | goal | |", "|---|---|---|---|---|"]
    for row in result["delays"]:
        goal = {0.08: 4, 0.05: 6}.get(row["drop"]) if row["labels"] == 66 else None
        met = "" if goal is None else f"{_met(row['median'] <= goal)} / {_met(row['p80'] <= goal)}"
        lines.append(f"| {100 * row['drop']:.0f} points | {row['labels']} | {_windows(row)} | {f'≤ {goal}' if goal else ''} | {met} |")
    for row in result["calm"]:
        lines.append(f"| 0, shown harmless | {row['labels']} | {_windows(row)} | | |")
    lines += [
        "",
        "| a point a window | labels a window | windows until `retrain` | largest true drop while called harmless: mean, most |",
        "|---|---|---|---|",
    ]
    for row in result["growing"]:
        begins = f"after {row['after']} harmless windows" if row["after"] else "from the first window"
        lines.append(f"| {begins} | {row['labels']} | {_windows(row)} | {100 * row['missed']:.1f}, {100 * row['most']:.0f} points |")
    return "\n".join(lines)


def _windows(row: dict[str, Any]) -> str:
    return " / ".join("never" if row[name] >= NEVER else f"{row[name]:g}" for name in ("median", "p80"))


def _met(holds: bool) -> str:
    return "met" if holds else "**missed**"


def main() -> None:
    """Measure, print the tables, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=2000)
    parser.add_argument("--windows", type=int, default=90)
    parser.add_argument("--out", type=Path, default=Path("bench/results/harm_over_time.json"))
    options = parser.parse_args()
    began = time.monotonic()
    agrees()
    result = measured(options.histories, options.windows)
    text = table(result, options.windows)
    machine = {"machine": platform.machine(), "cpus": os.cpu_count(), "python": platform.python_version()}
    seconds = round(time.monotonic() - began)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result | machine | {"histories": options.histories, "seconds": seconds}, indent=1) + "\n")
    print(text, f"\n{options.histories:,} histories a cell, {seconds} s")


if __name__ == "__main__":
    main()
