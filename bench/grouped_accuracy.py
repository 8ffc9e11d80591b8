"""How often the interval of an accuracy holds it where several images are of one patient.

    python -m bench.grouped_accuracy [--trials 2000] [--out bench/results/grouped_accuracy.json]

Twenty images a group; how often they are right differs between groups by a beta distribution of the given intra-group correlation.
`by images` is Wilson's interval, as though each image were a patient of its own; `by groups` is what reports and the first gate show.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from bench.gate_error_rates import environment
from driftloop.evaluation.clustered import proportion_right
from driftloop.evaluation.intervals import Proportion, wilson

ACCURACIES, GROUPS, CORRELATIONS, IMAGES = (0.85, 0.98), (20, 50, 200), (0.0, 0.05, 0.1, 0.2), 20
#: Two-sided coverage, and how often a one-sided 95 % bound may lie beyond the accuracy.
GOAL, ONE_SIDED = 0.95, 0.05


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path("bench/results/grouped_accuracy.json"))
    chosen = parser.parse_args()
    rows = [
        measure(accuracy, groups, correlation, chosen.trials)
        for accuracy in ACCURACIES
        for groups in GROUPS
        for correlation in CORRELATIONS
    ]
    result = environment() | {"trials": chosen.trials, "images": IMAGES, "rows": rows}
    chosen.out.write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))
    return 0


def measure(accuracy: float, groups: int, correlation: float, trials: int) -> dict[str, Any]:
    """Coverage and mean width of both intervals, and how often the one-sided bounds by groups are wrong."""
    rng, member = np.random.default_rng([round(100 * accuracy), groups, round(100 * correlation)]), np.repeat(range(groups), IMAGES)
    found: list[tuple[Proportion, Proportion, Proportion]] = []
    for _ in range(trials):
        own = np.full(groups, accuracy)
        if correlation:
            own = rng.beta(accuracy * (1 / correlation - 1), (1 - accuracy) * (1 / correlation - 1), groups)
        right = rng.random(len(member)) < own[member]
        found.append(
            (wilson(int(right.sum()), len(right)), proportion_right(right, member), proportion_right(right, member, confidence=0.90))
        )
    plain, grouped, one_sided = zip(*found, strict=True)
    return {
        "accuracy": accuracy,
        "groups": groups,
        "correlation": correlation,
        "by images": sum(share.low <= accuracy <= share.high for share in plain),
        "by groups": sum(share.low <= accuracy <= share.high for share in grouped),
        "width": float(np.mean([share.high - share.low for share in grouped]) / np.mean([share.high - share.low for share in plain])),
        "low above": sum(share.low > accuracy for share in one_sided),
        "high below": sum(share.high < accuracy for share in one_sided),
    }


def table(result: dict[str, Any]) -> str:
    """For bench/README.md."""
    trials = result["trials"]
    lines = [
        f"{result['images']} images a group, {trials:,} trials a row. Goals: 95 % intervals hold the accuracy in 0.95, each one-sided 95 % "
        "bound is wrong in at most 0.05 of cases; a star where that is missed, significantly at 95 %.",
        "",
        "| accuracy | groups | correlation | held, by images | held, by groups | width, in those by images | low too high | high too low |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in result["rows"]:
        held = [f"{row[name] / trials:.3f}{' *' * (wilson(row[name], trials).high < GOAL)}" for name in ("by images", "by groups")]
        wrong = [f"{row[name] / trials:.3f}{' *' * (wilson(row[name], trials).low > ONE_SIDED)}" for name in ("low above", "high below")]
        cells = [row["accuracy"], row["groups"], row["correlation"], *held, f"{row['width']:.2f}", *wrong]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
