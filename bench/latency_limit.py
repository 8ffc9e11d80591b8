"""A search under a limit to what an image may cost: which widths it leaves out, and what the network that it ends with takes in theme 4.

    python -m bench.latency_limit [--source digits] [--shares 0 0.3 0.6 1.5] [--trials 5] [--sweep-epochs 2] [--epochs 6] [--seed 1]
                                  [--work FOLDER] [--out bench/results/latency_limit.json]

The steps of the pipeline, as in `bench.recipes`, and theme 4 behind them. A limit (`train_config.max_latency_ms`) is a share of what the
full network takes before the first search; 0 is a search without one. Processor time is measured, on one thread: that of one network still
differs where others use the machine, by how much the table says. Takes three minutes of one core.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from bench.gate_error_rates import environment
from bench.recipes import SIDES, Unread, optimised, prepared
from components.model_optimization.latency_limit import MARGIN, measure
from components.model_optimization.sweep import OVER
from components.onnx_deployment.step import run as deploy
from driftloop import bundle
from driftloop.contracts import MODEL_OPTIMIZATION, ONNX_DEPLOYMENT
from driftloop.settings import TrainSettings
from driftloop.step_facts import read_facts
from driftloop.training.architectures import RESIDUAL
from driftloop.training.task import Task


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", choices=list(SIDES), default="digits")
    parser.add_argument("--shares", type=float, nargs="+", default=[0, 0.3, 0.6, 1.5])
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--sweep-epochs", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--gpus", default="0")
    parser.add_argument("--fashion", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir(), "driftloop-latency-limit"))
    parser.add_argument("--out", type=Path, default=Path("bench/results/latency_limit.json"))
    chosen = parser.parse_args()
    folder = prepared(chosen.work, chosen.source, chosen.seed, chosen)
    task = Task.open(folder / "dataset", torch.device("cpu"), TrainSettings())
    full_ms = measure([RESIDUAL], task)[RESIDUAL]
    asked = {"source": chosen.source, "trials": chosen.trials, "sweep_epochs": chosen.sweep_epochs, "epochs": chosen.epochs}
    result = environment() | asked | {"margin": MARGIN, "full_ms": full_ms, "cases": []}
    for share in chosen.shares:
        limit_ms = round(share * full_ms, 3)
        name = f"limit-{share:g}"
        sweep = {"sweep_trials": chosen.trials, "sweep_epochs": chosen.sweep_epochs, "max_latency_ms": limit_ms}
        optimised(folder, name, {"architecture": RESIDUAL} | sweep, chosen.seed, chosen)
        deploy(*(folder / part for part in ("dataset", name, f"{name}-candidate", f"{name}-deploy.html")), config={}, metrics=Unread())
        result["cases"].append({"share": share, "limit_ms": limit_ms} | ended_with(folder / f"{name}-candidate"))
        print(result["cases"][-1], flush=True)
        chosen.out.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def ended_with(candidate: Path) -> dict[str, Any]:
    """What the search left out, and what it ended with, as the steps state it."""
    facts = read_facts(candidate)
    searched, deployed = facts[MODEL_OPTIMIZATION], facts[ONNX_DEPLOYMENT]
    limit, trials = searched["latency"], searched["sweep"]
    measured = limit["measured"] if limit else {}
    single = {row["variant"]: row["processor_ms"] for row in deployed["benchmark"] if row["batch"] == 1}
    return {
        "measured_ms": measured,
        "left_out": [network for network, taken in measured.items() if taken * (1 + limit["margin"]) > limit["limit_ms"]],
        "trained": sum(trial["ended"] != OVER for trial in trials),
        "over": sum(trial["ended"] == OVER for trial in trials),
        "network": searched["network"].split(" ")[0],
        "fp32_ms": single[bundle.ONNX_FP32],
        "served": deployed["served"],
        "served_ms": single[deployed["served"]],
        "val_accuracy": searched["val_accuracy"]["value"],
        "accuracy": searched["accuracy"],
        "seconds": searched["seconds"],
    }


def table(result: dict[str, Any]) -> str:
    """A line a limit, as Markdown."""
    full = [result["full_ms"], *(case["measured_ms"][RESIDUAL] for case in result["cases"] if case["measured_ms"])]
    lines = [
        f"{result['source']}, {SIDES[result['source']]} px; searches of {result['trials']} trials of {result['sweep_epochs']} epochs, then "
        f"{result['epochs']} epochs; {100 * result['margin']:.0f} % of a limit are kept free. Milliseconds of processor time of single "
        "images on one thread: theme 4's, in float32 and of the graph that is served. The same `residual` took "
        f"{min(full):.2f} to {max(full):.2f} ms before the searches. Which width is the more accurate one seed does not say.",
        "",
        "| limit, ms | widths left out | trials trained (over the limit) | chosen | float32, ms | served, ms | test accuracy |",
        "|---:|---|---:|---|---:|---:|---:|",
    ]
    for case in result["cases"]:
        accuracy, left_out = case["accuracy"], ", ".join(case["left_out"]) or "–"
        lines.append(
            f"| {case['limit_ms'] or 'none'} | {left_out} | {case['trained']} ({case['over']}) | {case['network']} "
            f"| {case['fp32_ms']:.2f} | {case['served_ms']:.2f}, {case['served'].removesuffix('.onnx')} "
            f"| {accuracy['value']:.3f} ({accuracy['low']:.3f} to {accuracy['high']:.3f}) |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
