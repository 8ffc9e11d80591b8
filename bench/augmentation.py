"""What random crops, RandAugment, CutMix and mixup add to the views of a domain, by source, in short trainings.

    python -m bench.augmentation [--sources digits synthetic:xray synthetic:roof] [--added nothing crop randaugment cutmix mixup]
                                 [--seeds 1 2 3] [--epochs 4] [--work FOLDER] [--out bench/results/augmentation.json]

Data analysis and the optimised training from scratch (`residual`) as theme 3 does it, but for the range test: all train at one rate, so
that nothing but the views differs. The seed draws synthetic images and starts networks. A run that was stopped goes on where it was.
"""

import argparse
import json
import shutil
import tempfile
import time
from itertools import groupby
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from scipy.stats import t

from bench.gate_error_rates import environment
from bench.recipes import SIDES, analysed
from components.model_optimization.training_plan import full_plan
from driftloop.contracts import TEST
from driftloop.settings import TrainSettings
from driftloop.training.domains import domain_of
from driftloop.training.task import Task

NOTHING = "nothing"
ADDED: dict[str, dict[str, Any]] = {
    NOTHING: {},
    "crop": {"crop": 0.5},
    "randaugment": {"randaugment": 9},
    "cutmix": {"cutmix": 1.0},
    "mixup": {"mixup": 0.2},
}
#: Pixels of the images, of every source.
SIDE = 32
#: Within what the range tests of `bench.recipes` found on these sources.
RATE = 0.003


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", nargs="+", choices=list(SIDES), default=["digits", "synthetic:xray", "synthetic:roof"])
    parser.add_argument("--added", nargs="+", choices=list(ADDED), default=list(ADDED))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--fashion", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir(), "driftloop-augmentation"))
    parser.add_argument("--out", type=Path, default=Path("bench/results/augmentation.json"))
    chosen = parser.parse_args()
    settings = {"architecture": "residual", "learning_rate": RATE, "precision": "float32"}
    result = json.loads(chosen.out.read_text()) if chosen.out.exists() else environment() | {"epochs": chosen.epochs, "cases": []}
    for source in chosen.sources:
        for seed in chosen.seeds:
            done = {case["added"] for case in result["cases"] if (case["source"], case["seed"]) == (source, seed)}
            left = [name for name in chosen.added if name not in done]
            if not left:
                continue
            folder = analysed(chosen.work, source, seed, chosen, side=SIDE)
            for name in left:
                case = trained(folder / "dataset", settings | ADDED[name], chosen.epochs, seed)
                result["cases"].append({"source": source, "seed": seed, "added": name} | case)
                print(result["cases"][-1], flush=True)
                chosen.out.parent.mkdir(parents=True, exist_ok=True)
                chosen.out.write_text(json.dumps(result, indent=1) + "\n")
            shutil.rmtree(folder)
    return 0


def trained(dataset: Path, config: dict[str, Any], epochs: int, seed: int) -> dict[str, Any]:
    """What a training by these settings reaches."""
    task = Task.open(dataset, torch.device("cpu"), TrainSettings.complete(config))
    began = time.process_time()
    network, history = full_plan(task.settings, epochs, task).train(task, seed)
    seconds = time.process_time() - began
    return {
        "domain": domain_of(task.settings, task.description),
        "train": len(task.train),
        "val": len(task.val),
        "val_accuracy": history.best.val_accuracy,
        "best_epoch": history.best_epoch,
        "accuracy": float(task.predict(network, TEST).right.mean()),
        "processor_seconds": round(seconds, 1),
    }


def table(result: dict[str, Any]) -> str:
    """A line a source and what was added, over its seeds, as Markdown."""
    measured = {case["source"] for case in result["cases"]} | {case["added"] for case in result["cases"]}
    missing = [*(name for name in (*SIDES, *ADDED) if name not in measured), "longer trainings"]
    lines = [
        f"{result['epochs']} epochs of `residual` on images of {SIDE} pixels, at a peak rate of {RATE:g}; the validation accuracy of the "
        "best epoch, which was chosen by it, and the test accuracy. Gain: over nothing added, of the same seed, in points; mean, and its "
        "95 % interval over the seeds (Student's t). "
        f"Not measured: {', '.join(missing)}.",
        "",
        "| source (domain) | training, validation images | added | seeds | validation | gain | test | gain |",
        "|---|---:|---|---:|---:|---:|---:|---:|",
    ]

    def order(case: dict[str, Any]) -> tuple[int, int]:
        return list(SIDES).index(case["source"]), list(ADDED).index(case["added"])

    plain = {(case["source"], case["seed"]): case for case in result["cases"] if case["added"] == NOTHING}
    for _, found in groupby(sorted(result["cases"], key=order), key=order):
        cases = list(found)
        one = cases[0]
        shown = []
        for measure in ("val_accuracy", "accuracy"):
            gains = [100 * (case[measure] - plain[case["source"], case["seed"]][measure]) for case in cases]
            shown += [f"{fmean(case[measure] for case in cases):.3f}", "–" if one["added"] == NOTHING else _interval(gains)]
        lines.append(
            f"| {one['source']} ({one['domain']}) | {one['train']:,}, {one['val']:,} | {_setting(one['added'])} "
            f"| {len(cases)} | {' | '.join(shown)} |"
        )
    return "\n".join(lines)


def _setting(added: str) -> str:
    return ", ".join(f"`{name}={value:g}`" for name, value in ADDED[added].items()) or added


def _interval(gains: list[float]) -> str:
    mean = fmean(gains)
    if len(gains) < 2:
        return f"{mean:+.1f}"
    half = float(t.ppf(0.975, len(gains) - 1)) * stdev(gains) / len(gains) ** 0.5
    return f"{mean:+.1f} ({mean - half:+.1f} to {mean + half:+.1f})"


if __name__ == "__main__":
    raise SystemExit(main())
