"""The policy end to end: histories played by `driftloop rehearse`, one after the other, and what became of them.

    python -m bench.rehearsals [--cases seed-1 none ...] [--outputs FOLDER] [--out bench/results/rehearsals.json]

Each case is one command. Its JSON is kept in the outputs' folder, and a case whose JSON lies there already is not played again.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.gate_error_rates import environment

DEFAULT = ["--windows", "40", "--drift-at", "20"]
SEEDS = range(1, 14)
CASES: dict[str, list[str]] = {
    **{f"seed-{seed}": [*DEFAULT, "--seed", str(seed)] for seed in SEEDS},
    "none": ["--windows", "40", "--drift", "none"],
    "prior": [*DEFAULT, "--drift", "prior:0.2"],
    "gradual": ["--windows", "40", "--drift-at", "12", "--drift", "gradual:blur+noise:1.0"],
    "comes-back": ["--windows", "48", "--drift-at", "13", "--phase", "12", "--drift", "blur+noise:1.0,none,blur+noise:1.0"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--outputs", type=Path, default=Path("runs/rehearsals"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "rehearsals.json")
    chosen = parser.parse_args()
    chosen.outputs.mkdir(parents=True, exist_ok=True)
    rows = [row(case, played(CASES[case], chosen.outputs / f"{case}.json")) for case in chosen.cases]
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(environment() | {"rows": rows}, indent=1) + "\n")
    return 0


def played(arguments: list[str], output: Path) -> dict[str, Any]:
    """What the rehearsal with these arguments found; played if it was not before."""
    if not output.exists():
        command = [sys.executable, "-c", "from driftloop.cli.main import main; main()", "rehearse", *arguments, "--json"]
        output.write_text(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    return dict(json.loads(output.read_text()))


def row(case: str, result: dict[str, Any]) -> dict[str, Any]:
    """All but the windows, of which only those count that someone would have been eventful of, and why."""
    windows = result.pop("windows")
    eventful = [window for window in windows if window["verdict"] != "stable" or window["decision"]]
    summary = {
        "case": case,
        "command": "driftloop rehearse " + " ".join(CASES[case]),
        "windows": len(windows),
        "decisions": [[window["window"], window["decision"]] for window in windows if window["decision"]],
        "verdicts": [[window["window"], window["drift"], window["verdict"]] for window in eventful],
    }
    print(f"{case}: " + ", ".join(f"{name} {result[name]}" for name in SHOWN), flush=True)
    return summary | result


SHOWN = (
    "false_alarms",
    "detection_delay",
    "retrainings",
    "promotions",
    "accuracy_before",
    "accuracy_in_drift",
    "accuracy_after",
    "seconds",
)


if __name__ == "__main__":
    sys.exit(main())
