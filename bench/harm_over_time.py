"""How often harm is judged wrongly over a whole drift, and how soon rightly: simulated labels through the real boundary, a look a window.

    python -m bench.harm_over_time [--histories 2000] [--windows 90] [--out bench/results/harm_over_time.json]

A window a day, each with as many random labels. The estimate, the effective number of labels, the boundary and the rules are those of
`components.drift_detection.harm` and `policy`, written for many histories at once (`agrees` checks them against the real functions first).
"""

import argparse
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from bench.gate_error_rates import environment
from components.drift_detection.harm import DRIFT_ALPHA, GROWN_Z, HALF_LABEL, RECENT, boundary, drop_of, score
from components.drift_detection.judged_harm import FEWEST_LABELS
from components.drift_detection.policy import shows_harm, shows_harmlessness
from driftloop.evaluation.intervals import wilson
from driftloop.settings import DriftSettings
from driftloop.watch_record import WindowLabels

SETTINGS = DriftSettings()
LABELS, ACCURACIES, CLEAN_IMAGES = (20, 66, 200), (0.85, 0.914, 0.97), (300, 1500)
#: Labels a window where groups are so few that less than `harm_labels` are asked for, and images that clean accuracy is known from then.
#: Ten times the histories: these cells are near the goal.
FEW_LABELS, FEW_IMAGES = 8, (150, 300, 1500)
NEVER = 10**6


def gradual(points_a_window: float, after: int) -> Callable[[int], float]:
    """A drop that grows after so many windows, up to 26 points."""
    return lambda window: min(0.26, points_a_window * max(0, window - after))


def histories(
    drop: Callable[[int], float],
    *,
    clean: float,
    images: int,
    labels: int,
    windows: int,
    count: int,
    seed: int,
    alpha: float = DRIFT_ALPHA,
    drawn: Callable[[int], np.ndarray] | None = None,
    held: Callable[[], np.ndarray] | None = None,
    least: int = SETTINGS.harm_labels,
) -> dict[str, np.ndarray]:
    """When harm and harmlessness are first shown (window from 1; `NEVER`), and the largest true drop while harmless, by history.

    Nothing is judged before `least` labels. `drawn` gives the right answers of a window instead of `drop`, and `held` which histories may
    not be called harmless then.
    """
    rng = np.random.default_rng(seed)
    accepted = rng.binomial(images, clean, count) / images
    fade, quick = 0.5 ** (1 / SETTINGS.harm_half_life_days), 0.5 ** (RECENT / SETTINGS.harm_half_life_days)
    total, weight, squares = np.zeros(count), 0.0, 0.0
    newest, newest_weight = np.zeros(count), 0.0
    # The same of windows weighted by how far an even growth had come in them, times the number of windows.
    grown, grown_weight, grown_squares, grown_twice = np.zeros(count), 0.0, 0.0, 0.0
    harm, calm, missed = np.full(count, NEVER), np.full(count, NEVER), np.zeros(count)
    for window in range(1, windows + 1):
        share = (drawn(window) if drawn else rng.binomial(labels, clean - drop(window), count)) / labels
        total, weight, squares = fade * total + share, fade * weight + 1, fade**2 * squares + 1 / labels
        newest, newest_weight = quick * newest + share, quick * newest_weight + 1
        grown, grown_weight = fade * grown + window * share, fade * grown_weight + window
        grown_squares, grown_twice = fade**2 * grown_squares + window**2 / labels, fade * grown_twice + window**2
        n, right, there = weight**2 / squares, total / weight, window * labels
        if there < least:
            continue
        z = boundary(images, n, there / n, alpha)
        careful = np.minimum(right * n + HALF_LABEL, n)
        harmful = (score(accepted * images, images, careful, n, 0.0) > z) & (accepted - right >= SETTINGS.retrain_drop)
        harmless = (score(accepted * images, images, right * n, n, SETTINGS.harmless_drop) < -z) & ~harmful
        late, come = grown_weight**2 / grown_squares, grown_twice / grown_weight / window
        of_grown = score(accepted * images, images, grown / grown_weight * late, late, SETTINGS.harmless_drop * come)
        harmless &= of_grown < -GROWN_Z
        harmless &= accepted - newest / newest_weight < SETTINGS.retrain_drop
        if held:
            harmless &= ~held()
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
    few = []
    for clean, images in product(ACCURACIES, FEW_IMAGES):
        cell = {"clean": clean, "images": images, "labels": FEW_LABELS, "windows": windows, "count": 10 * count}
        none = histories(lambda _: 0.0, seed=6, least=FEWEST_LABELS, **cell)
        bound = histories(lambda _: SETTINGS.harmless_drop, seed=7, least=FEWEST_LABELS, **cell)
        few.append(cell | {"false_retrain": _share(none["harm"]), "false_harmless": _share(bound["calm"])})
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
    return {"levels": levels, "few": few, "delays": delays, "calm": calm, "growing": growing}


def _share(first: np.ndarray) -> float:
    return float((first < NEVER).mean())


def _delay(first: np.ndarray) -> dict[str, float]:
    return {"median": float(np.median(first)), "p80": float(np.quantile(first, 0.8))}


def goals(result: dict[str, Any]) -> dict[str, bool]:
    """Which goals were met."""
    kinds = ("false_retrain", "false_harmless")
    named = {f"{name} at most 5 % in every cell": max(cell[name] for cell in result["levels"]) <= 0.05 for name in kinds}
    named |= {f"{name} with few groups, too": max(cell[name] for cell in result["few"]) <= 0.05 for name in kinds}
    delay = {(row["drop"], row["labels"]): row for row in result["delays"]}
    for drop, most in ((0.08, 4), (0.05, 6)):
        for at, what in (("median", "median"), ("p80", "80th percentile")):
            named[f"{100 * drop:.0f} points within {most} windows of 66 labels, {what}"] = delay[drop, 66][at] <= most
    return named


def windows_until(row: dict[str, Any]) -> str:
    return " / ".join("never" if row[name] >= NEVER else f"{row[name]:g}" for name in ("median", "p80"))


def main() -> None:
    """Measure, say which goals were met, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=2000)
    parser.add_argument("--windows", type=int, default=90)
    parser.add_argument("--out", type=Path, default=Path("bench/results/harm_over_time.json"))
    options = parser.parse_args()
    began = time.monotonic()
    agrees()
    result = measured(options.histories, options.windows)
    report = {
        **environment(),
        "seconds": round(time.monotonic() - began, 1),
        "histories": options.histories,
        "windows": options.windows,
        **result,
        "goals": goals(result),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n")
    print(report["goals"], f"{report['seconds']} s, {options.out}")


if __name__ == "__main__":
    main()
