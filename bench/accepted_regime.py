"""Alarms on the accepted drift after the ranked list was labelled, and on a new drift beside a regime of few windows.

    python -m bench.accepted_regime [--trials 100] [--out bench/results/accepted_regime.json]

A row is a surrogate image: 6 statistics and 16 embedding coordinates, normal; a drift moves them by an amount that differs from image
to image (gamma distributed), so that there are most shifted ones. 1,800 rows of confirmed windows (200 each) are asked for by the
project's own lists: 660 random, 100 ranked; roles are given, and a new window of 200 is tested against reference (800) and regime.
`old` is the rule of 0.1.0: every row without a label is the regime. Goal: alarms on the accepted drift not significantly above 5 %.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.gate_error_rates import environment
from components.drift_detection.label_requests import label_requests
from components.drift_detection.mmd import shift_scores
from components.drift_detection.reference import Sample, prepare_regimes
from components.drift_detection.window_test import window_test
from driftloop.contracts import HARM
from driftloop.dataset.group_names import GroupNames
from driftloop.dataset.roles import REGIME, assign_roles, judging, stands_for_accepted
from driftloop.evaluation.intervals import wilson
from driftloop.settings import RetrainSettings

ROWS, WINDOW, REFERENCE, RANDOM, ALPHA, PERMUTATIONS = 1800, 200, 800, 660, 0.05, 199
KNOWN = pd.DataFrame({"path": [], "split": [], "group": []}, dtype=str)
#: Statistics and coordinates that a drift moves, by so many standard deviations on average.
DRIFTS = {"few, much": (2, 4, 1.0), "statistics only": (6, 0, 0.5)}
SIZES = (8, 200, 800)


def draw(rng: np.random.Generator, count: int, moved: tuple[int, int, float] = (0, 0, 0.0)) -> Sample:
    """`count` images under a drift."""
    statistics, embedding = rng.normal(size=(count, 6)), rng.normal(size=(count, 16))
    amount = moved[2] * rng.gamma(1.0, 1.0, (count, 1))
    statistics[:, : moved[0]] += amount
    embedding[:, : moved[1]] += amount
    both = [part.astype(np.float32) for part in (embedding, statistics)]
    return Sample(*both, np.full((count, 2), 0.5, np.float32))


def regime_rows(rng: np.random.Generator, clean: Sample, drifted: Sample, ranked: int, trial: int, rule: str) -> np.ndarray:
    """Which of the drifted rows become the regime."""
    names = [f"{trial}-{number}" for number in range(len(drifted))]
    table = pd.DataFrame({"request_id": names, "group": names, "time": 0, "predicted": "a", "confidence": 1.0, "image": "x"})
    settings = RetrainSettings()
    # The old rule listed the most shifted of all rows.
    teaching = np.array([rule == "old" or not stands_for_accepted(name, settings) for name in names])
    table = table.assign(label=None, label_origin=None, stratum="all", teaching=teaching, judging=judging(names, settings))
    scores = shift_scores(clean.embedding, drifted.embedding, rng)
    plan = pd.DataFrame({"wanted": [RANDOM], "quota": [0], "kept": [1.0], "concerned": [True]}, index=["all"])
    asked = label_requests(table, scores, plan, ranked=ranked, purpose=HARM, seed=0)
    origin = table["request_id"].map(dict(zip(asked["request_id"], asked["origin"], strict=True))).fillna("")
    if rule == "old":
        return np.flatnonzero(origin == "")
    rows = table.assign(label=np.where(origin == "", -1, 0), origin=origin)
    return np.flatnonzero(assign_roles(rows, KNOWN, settings, GroupNames(b"")) == REGIME)


def alarms(rng: np.random.Generator, clean: Sample, regime: Sample, window: Sample) -> bool:
    regimes = prepare_regimes(["reference", "regime-1"], [clean, regime], rng)
    return window_test(window, regimes, alpha=ALPHA, permutations=PERMUTATIONS, rng=rng).drifted


def accepted(name: str, ranked: int, rule: str, trials: int) -> dict[str, Any]:
    """Alarms on new windows of the drift that was accepted."""
    rng = np.random.default_rng([1, ranked, len(name)])
    count, sizes = 0, []
    for trial in range(trials):
        clean, drifted = draw(rng, REFERENCE), draw(rng, ROWS, DRIFTS[name])
        rows = regime_rows(rng, clean, drifted, ranked, trial, rule)
        sizes.append(len(rows))
        count += alarms(rng, clean, drifted.take(rows), draw(rng, WINDOW, DRIFTS[name]))
    return {"drift": name, "ranked": ranked, "rule": rule, "regime": float(np.mean(sizes)), "alarms": count, "trials": trials}


def beside(size: int, trials: int) -> dict[str, Any]:
    """Alarms on a clean window, and on one of a new drift, beside a regime of `size` rows of another drift."""
    rng = np.random.default_rng([2, size])
    old, new = (6, 16, 0.4), (2, 0, 0.3)
    results = []
    for _ in range(trials):
        clean, regime = draw(rng, REFERENCE), draw(rng, size, old)
        results.append([alarms(rng, clean, regime, draw(rng, WINDOW, drift)) for drift in ((0, 0, 0.0), old, new)])
    on_clean, on_old, on_new = np.sum(results, axis=0)
    return {"regime": size, "clean": int(on_clean), "accepted": int(on_old), "new": int(on_new), "trials": trials}


def rate(count: int, trials: int) -> str:
    interval = wilson(count, trials)
    return f"{count / trials:.3f} ({interval.low:.3f}-{interval.high:.3f})"


def table(result: dict[str, Any]) -> str:
    lines = ["| drift | ranked labels | rule | rows of the regime | alarms on the accepted drift |", "|---|---:|---|---:|---|"]
    for row in result["accepted"]:
        shown = rate(row["alarms"], row["trials"])
        lines.append(f"| {row['drift']} | {row['ranked']} | {row['rule']} | {row['regime']:.0f} | {shown} |")
    lines += ["", "Windows of 200 beside a regime of few rows (a retraining leaves one of four windows, or none):", ""]
    lines += ["| rows of the regime | alarms: clean window | accepted drift | new drift (power) |", "|---:|---|---|---|"]
    for row in result["beside"]:
        lines.append(f"| {row['regime']} | " + " | ".join(rate(row[key], row["trials"]) for key in ("clean", "accepted", "new")) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("bench/results/accepted_regime.json"))
    chosen = parser.parse_args()
    began = time.perf_counter()
    result = environment() | {
        "accepted": [
            accepted(name, ranked, rule, chosen.trials) for name in DRIFTS for ranked, rule in ((0, "old"), (100, "old"), (100, "new"))
        ],
        "beside": [beside(size, chosen.trials // 2) for size in SIZES],
    }
    result["seconds"] = round(time.perf_counter() - began)
    chosen.out.write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))
    return 0 if all(wilson(row["alarms"], row["trials"]).low <= ALPHA for row in result["accepted"] if row["rule"] == "new") else 1


if __name__ == "__main__":
    sys.exit(main())
