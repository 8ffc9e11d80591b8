"""Three policies on the same traffic, with images: a calendar, every alarm, and driftloop's, side by side over sixty simulated days.

    python -m bench.policies_rehearsed [--seeds 1 2 3] [--outputs FOLDER] [--out bench/results/policies_rehearsed.json]

`driftloop rehearse --policy ...` with the files in configs/policies: one window a day, the default drift from day 20 on, labels four days
after they are asked for. A rehearsal whose JSON lies in the outputs' folder is not played again.
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.gate_error_rates import environment
from bench.rehearsals import played

POLICIES = ("calendar", "every-alarm", "driftloop")
HISTORY = ["--windows", "60", "--drift-at", "20"]
FIGURES = ("retrainings", "promotions", "rollbacks", "labels", "false_alarms", "accuracy", "accuracy_since_drift")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--outputs", type=Path, default=Path("runs/rehearsals"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "policies_rehearsed.json")
    chosen = parser.parse_args()
    chosen.outputs.mkdir(parents=True, exist_ok=True)
    policies = [part for name in POLICIES for part in ("--policy", f"configs/policies/{name}.yaml")]
    rows = []
    for seed in chosen.seeds:
        result = played([*HISTORY, "--seed", str(seed), *policies], chosen.outputs / f"policies-{seed}.json")
        rows += [row(seed, policy["name"], policy["rehearsal"]) for policy in result["policies"]]
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(environment() | {"rows": rows}, indent=1) + "\n")
    return 0


def row(seed: int, policy: str, rehearsal: dict[str, Any]) -> dict[str, Any]:
    """What a policy did with a seed's traffic, its decisions by window, and how the rehearsal ended where it did not end well."""
    decisions = [[window["window"], window["decision"]] for window in rehearsal["windows"] if window["decision"]]
    figures = {name: rehearsal[name] for name in FIGURES}
    return {"seed": seed, "policy": policy} | figures | {"decisions": decisions, "error": rehearsal["error"]}


def table(result: dict[str, Any]) -> str:
    """A line a policy, over the seeds, as Markdown; then the decisions of each."""
    rows = result["rows"]
    seeds = sorted({row["seed"] for row in rows})
    lines = [
        f"Seeds: {', '.join(map(str, seeds))}. Means over them; in brackets each seed's. Accuracy: of all answers, against the truth.",
        "",
        "| policy | retrainings | promotions | labels | false alarms | accuracy | since the drift |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for policy in POLICIES:
        found = [row for row in rows if row["policy"] == policy]
        whole = (_cell([row[name] for row in found], "{:.1f}", "{}") for name in ("retrainings", "promotions"))
        many = (_cell([row[name] for row in found], "{:,.0f}", "{:,}") for name in ("labels", "false_alarms"))
        shares = (_cell([row[name] for row in found], "{:.3f}", "{:.3f}") for name in ("accuracy", "accuracy_since_drift"))
        lines.append(f"| {policy} | {' | '.join((*whole, *many, *shares))} |")
    lines += ["", "Decisions, by the day:"]
    for row in rows:
        told = ", ".join(f"{window} {decision}" for window, decision in row["decisions"]) or "none"
        lines.append(f"- seed {row['seed']}, {row['policy']}: {told}" + (f"; **ended with** {row['error']}" if row["error"] else ""))
    return "\n".join(lines)


def _cell(values: list[float], mean: str, each: str) -> str:
    return f"{mean.format(fmean(values))} ({', '.join(each.format(value) for value in values)})"


if __name__ == "__main__":
    sys.exit(main())
