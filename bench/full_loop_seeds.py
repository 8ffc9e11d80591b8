"""The default run on several seeds and on the roofs: accuracies, verdict, decision, targets; and a second watch over the same drift.

    python -m bench.full_loop_seeds [--cases seed-1 roof ...] [--outputs FOLDER] [--out bench/results/full_loop_seeds.json] [-- --set ...]

Each case is one `driftloop run full-loop`, with the arguments after `--` added. Where it promoted a model, `driftloop replay` sends new
images under the same drift to it and `driftloop run drift-watch` looks at them: what has been accepted should not alarm again. A case
whose JSON lies in the outputs' folder already is not run again.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnxruntime
import torch

from bench.gate_error_rates import environment
from driftloop.contracts import CLEAN_TEST

SEEDS = range(1, 6)
CASES: dict[str, list[str]] = {
    **{f"seed-{seed}": ["--seed", str(seed)] for seed in SEEDS},
    "roof": ["--source", "synthetic:roof"],
}
LATEST = Path("runs/latest")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--outputs", type=Path, default=Path("runs/full-loop-seeds"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "full_loop_seeds.json")
    parser.add_argument("arguments", nargs="*", help="more of `driftloop run full-loop`, for every case")
    chosen = parser.parse_args()
    chosen.outputs.mkdir(parents=True, exist_ok=True)
    rows = [measured(case, chosen.arguments, chosen.outputs / f"{case}.json") for case in chosen.cases]
    report = environment()
    report["libraries"] |= {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__}
    [goals, *_] = [row.pop("goals") for row in rows]
    again = [{"cases": [row["case"]]} | watch for row in rows if (watch := row.pop("second_watch"))]
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(report | {"goals": goals, "rows": rows, "second_watches": again}, indent=1) + "\n")
    return 0


def measured(case: str, more: list[str], output: Path) -> dict[str, Any]:
    """The row of this case; run if it was not before."""
    if not output.exists():
        arguments = [*CASES[case], *more]
        driftloop("run", "full-loop", *arguments)
        measured = {"case": case, "command": " ".join(("driftloop run full-loop", *arguments))} | row(*run_files("summary", "drift_report"))
        drift = json.loads((LATEST / "parameters.json").read_text())["traffic_drift"]
        output.write_text(json.dumps(measured | {"second_watch": second_watch(drift) if measured["decision"] == "promote" else None}))
    return dict(json.loads(output.read_text()))


def driftloop(*arguments: str) -> None:
    subprocess.run([sys.executable, "-c", "from driftloop.cli.main import main; main()", *arguments], check=True)


def run_files(*names: str) -> list[dict[str, Any]]:
    """JSON files of the last run."""
    return [json.loads((LATEST / "deliverables" / f"{name}.json").read_text()) for name in names]


def row(summary: dict[str, Any], drift: dict[str, Any]) -> dict[str, Any]:
    """What a run found, from its `summary.json` and its `drift_report.json`; null where its branch did not measure it."""
    accuracy = {name: proportion and proportion["value"] for name, proportion in summary["accuracy"].items()}
    gate = summary["gate"] or {"decision": None, "evidence": []}
    clean = next((criterion["estimate"] for criterion in gate["evidence"] if criterion["name"] == CLEAN_TEST), None)
    targets = summary["targets"]
    met = [target["met"] for target in targets.values() if target["met"] is not None]
    return {
        "baseline": accuracy["baseline"],
        "optimized": accuracy["optimized"],
        "served": drift["clean_accuracy"] and drift["clean_accuracy"]["value"],
        "int8_speedup": summary["speedup"]["onnx_int8"],
        "verdict": summary["drift"]["verdict"],
        "drop": drift["drop"] and drift["drop"]["value"],
        "decision": gate["decision"],
        "champion_on_drifted": accuracy["champion_on_drifted"],
        "retrained_on_drifted": accuracy["retrained_on_drifted"],
        "recovered": targets["drift_recovered"]["measured"],
        "clean_difference": clean,
        "clean_lower_bound": targets["clean_non_inferior"]["measured"],
        "targets_met": [sum(met), len(met)],
        "seconds": summary["seconds"],
        "goals": {name: target["goal"] for name, target in targets.items()},
    }


def second_watch(drift: str) -> dict[str, Any]:
    """How a watch over new images under the drift that was just accepted went."""
    driftloop("replay", "--drift", drift)
    driftloop("run", "drift-watch")
    [drift_report] = run_files("drift_report")
    return {
        "verdict": drift_report["verdict"],
        "windows": len(drift_report["windows"]),
        "drifted": sum(window["drifted"] for window in drift_report["windows"]),
    }


if __name__ == "__main__":
    sys.exit(main())
