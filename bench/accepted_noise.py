"""A drift that was accepted: how often labels contradict it by chance, and how soon they do when it begins to cost.

    python -m bench.accepted_noise [--histories 40] [--out bench/results/accepted_noise.json]

Eighteen random labels a day, after a list of 600 over the first eight days. Accuracies of patients are drawn around 0.914, the one that was
accepted on 1,500 images, as `bench.harm_of_groups` draws them; the loss sets in on day 30, and 60 days are looked at from there on. Beside
it the rule that stood before: the estimates alone, of a hundred labels or more.
"""

import argparse
import json
import time
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from bench.gate_error_rates import environment
from bench.harm_of_groups import spread
from components.drift_detection.harm import DRIFT_ALPHA, AccuracyDrop, drop_of
from components.drift_detection.judged_harm import HALF_LIVES
from components.drift_detection.policy import Situation, decide, shows_harm
from driftloop.evaluation.clustered import independent_images
from driftloop.evaluation.intervals import wilson
from driftloop.settings import DriftSettings, RetrainSettings
from driftloop.watch_record import WindowLabels

SETTINGS, RETRAIN, START = DriftSettings(), RetrainSettings(), datetime(2025, 1, 1, tzinfo=UTC)
ACCURACY, CLEAN_IMAGES, ONSET, DAYS, LABELS, LISTED, LIST_DAYS = 0.914, 1500, 30, 90, 18, 75, 8
#: Labels of a patient, and the correlation within patients.
PATIENTS = ((1, 0.0), (6, 0.5))
DROPS = (0.0, 0.05, 0.08)
#: Histories of 60 days that may be contradicted by chance, and the days within which a loss of 8 points shall be.
MOST_BY_CHANCE, SOON = 0.3, 7


def looks(drop: float, size: int, icc: float, rng: np.random.Generator) -> list[AccuracyDrop]:
    """What labels say on each day from the onset on."""
    accepted = {"reference": wilson(int(rng.binomial(CLEAN_IMAGES, ACCURACY)), CLEAN_IMAGES)}
    days: list[np.ndarray] = []
    found = []
    for day in range(DAYS):
        labels = LISTED if day < LIST_DAYS else LABELS
        accuracy = spread(ACCURACY - drop * (day >= ONSET), icc, -(-labels // size), rng) if icc else ACCURACY - drop * (day >= ONSET)
        days.append(rng.random(labels) < (np.repeat(accuracy, size)[:labels] if icc else accuracy))
        if day < ONSET:
            continue
        groups = np.concatenate([1_000 * number + np.arange(len(right)) // size for number, right in enumerate(days)])
        effect = len(groups) / independent_images(np.concatenate(days), groups)
        tallies = [
            WindowLabels(
                watch=number + 1,
                window=0,
                drift=1,
                last=(START + timedelta(days=number)).isoformat(),
                rows=200,
                labels=len(right),
                right=int(right.sum()),
                effect=effect,
            )
            for number, right in enumerate(days)
            if day - number <= HALF_LIVES * SETTINGS.harm_half_life_days
        ]
        now = drop_of(tallies, accepted, half_life_days=SETTINGS.harm_half_life_days, alpha=DRIFT_ALPHA)
        assert now is not None
        found.append(now)
    return found


def contradicts(drop: AccuracyDrop) -> bool:
    """Whether the policy is not content with an accepted drift."""
    situation = Situation(tested=1, drifted=1, confirmed=True, drop=drop, accepted="accepted")
    return decide(situation, SETTINGS, RETRAIN).name != "stable"


def contradicted_before(drop: AccuracyDrop) -> bool:
    """The same by the estimates alone."""
    by_estimate = drop.n >= SETTINGS.harm_labels and max(drop.value, drop.recent) >= SETTINGS.retrain_drop
    return by_estimate or shows_harm(drop, SETTINGS)


def case(size: int, icc: float, drop: float, histories: int, seed: int) -> dict[str, Any]:
    """A row: of all days those on which it is contradicted, of all histories those with any, and after how many days."""
    rng = np.random.default_rng(seed)
    played = [looks(drop, size, icc, rng) for _ in range(histories)]
    row: dict[str, Any] = {"labels_of_a_patient": size, "correlation": icc, "drop": drop}
    for name, rule in (("before", contradicted_before), ("now", contradicts)):
        said = np.array([[rule(look) for look in days] for days in played])
        first = np.where(said.any(1), said.argmax(1), DAYS)
        row[name] = {
            "days": float(said.mean()),
            "any": float(said.any(1).mean()),
            "median": float(np.median(first)),
            "p80": float(np.quantile(first, 0.8)),
        }
    return row


def goals(rows: list[dict[str, Any]]) -> dict[str, bool]:
    """Which were met."""
    return {
        f"an accepted drift that costs nothing is contradicted in no more than {MOST_BY_CHANCE:.0%} of 60 days' histories": all(
            row["now"]["any"] <= MOST_BY_CHANCE for row in rows if row["drop"] == 0
        ),
        f"one that begins to cost 8 points within {SOON} days, median": all(
            row["now"]["median"] <= SOON for row in rows if row["drop"] == 0.08
        ),
    }


def table(result: dict[str, Any]) -> str:
    """For bench/README.md."""
    lines = [
        f"{result['histories']:,} histories a line; by the estimates alone / now.",
        "",
        "| labels of a patient, correlation | points lost | days contradicted | histories with any | days until then, median | 80th |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in result["rows"]:
        before, now = row["before"], row["now"]
        cells = [f"{before[name]:.3f} / {now[name]:.3f}" for name in ("days", "any")]
        late = [[f"{of[name]:.0f}" if of[name] < DAYS - ONSET else "–" for of in (before, now)] for name in ("median", "p80")]
        cells += [" / ".join(days) if row["drop"] else "" for days in late]
        lines.append(f"| {row['labels_of_a_patient']}, {row['correlation']:g} | {100 * row['drop']:g} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", "Goals:", "", *(f"- {name}: {'met' if met else 'MISSED'}" for name, met in result["goals"].items())])


def main() -> None:
    """Measure, say which goals were met, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("bench/results/accepted_noise.json"))
    options = parser.parse_args()
    began = time.monotonic()
    cases = list(product(PATIENTS, DROPS))
    rows = [case(*patients, drop, options.histories, seed) for seed, (patients, drop) in enumerate(cases)]
    result = {**environment(), "seconds": round(time.monotonic() - began, 1), "histories": options.histories, "rows": rows}
    result["goals"] = goals(rows)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(table(result), f"\n{result['seconds']} s, {options.out}")


if __name__ == "__main__":
    main()
