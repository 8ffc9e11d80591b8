"""Training with differential privacy: what the way, the learning rate and the size of a batch do to its accuracy at one budget.

    python -m bench.privacy [--ways scratch head] [--sources digits synthetic:xray] [--epsilon 8] [--rates 0.0005 ...] [--seeds 1 2]
                            [--batches 64 256 1024] [--epochs 20] [--gpus 0] [--work FOLDER] [--out bench/results/privacy.json]

`scratch` is a small residual net with group norm, by the steps of the pipeline, as in `bench.recipes`; `head` the head of the pretrained
network, by the pipeline's own functions on embeddings that are computed once for all cases. Rates are compared on the validation split;
the test split is told only of the default and of the pair that validation chose. The choice itself spends privacy, which is why defaults
are chosen here, on images that are public.
A run that was stopped goes on where it was.
"""

import argparse
import copy
import json
import shutil
import tempfile
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from bench.gate_error_rates import environment
from bench.recipes import SIDES, analysed, measured, optimised, prepared
from components.model_optimization.training_plan import full_plan
from driftloop.contracts import TEST, TRAIN, VAL
from driftloop.settings import TrainSettings
from driftloop.training.device import pick_device
from driftloop.training.outcome import device_name
from driftloop.training.pretrained import embed_all
from driftloop.training.private_head import train_head
from driftloop.training.recipes import FROM_SCRATCH, HEAD_ONLY
from driftloop.training.task import Task

#: Of each way, what is tried where --rates says nothing.
RATES = {"scratch": (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032), "head": (0.008, 0.016, 0.03, 0.06, 0.1, 0.2)}
DEFAULTS = {"scratch": FROM_SCRATCH.private_rate, "head": HEAD_ONLY.private_rate}
BATCHES = (64, 256, 1024)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ways", nargs="+", choices=list(RATES), default=list(RATES))
    parser.add_argument("--sources", nargs="+", choices=list(SIDES), default=["digits", "synthetic:xray"])
    parser.add_argument("--epsilon", type=float, default=8.0)
    parser.add_argument("--rates", type=float, nargs="+")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--gpus", default="0")
    parser.add_argument("--fashion", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir(), "driftloop-privacy"))
    parser.add_argument("--out", type=Path, default=Path("bench/results/privacy.json"))
    chosen = parser.parse_args()
    asked = {"epsilon": chosen.epsilon, "epochs": chosen.epochs}
    result = json.loads(chosen.out.read_text()) if chosen.out.exists() else environment() | asked | {"cases": []}
    for way, source, seed in product(chosen.ways, chosen.sources, chosen.seeds):
        cases = [
            {"way": way, "source": source, "seed": seed, "batch": batch, "rate": rate}
            for batch, rate in product(chosen.batches, chosen.rates or RATES[way])
        ]
        left = [case for case in cases if not any(case.items() <= done.items() for done in result["cases"])]
        if not left:
            continue
        folder = (prepared if way == "scratch" else analysed)(chosen.work, source, seed, chosen)
        seen: dict[str, Any] = {}
        for case in left:
            config = {"epsilon": chosen.epsilon, "private_batch_size": case["batch"], "learning_rate": case["rate"]}
            if way == "scratch":
                optimised(folder, "private", config | {"architecture": "residual"}, seed, chosen)
                result["cases"].append(case | measured(folder / "private"))
            else:
                result["cases"].append(case | head(folder, config, seed, chosen, seen))
            print(result["cases"][-1], flush=True)
            chosen.out.parent.mkdir(parents=True, exist_ok=True)
            chosen.out.write_text(json.dumps(result, indent=1) + "\n")
        shutil.rmtree(folder)
    return 0


def head(folder: Path, config: dict[str, Any], seed: int, chosen: argparse.Namespace, seen: dict[str, Any]) -> dict[str, Any]:
    """What a private head reaches on a prepared folder; `seen` keeps the embeddings from one case to the next."""
    task = Task.open(folder / "dataset", pick_device(chosen.gpus), TrainSettings.complete(config))
    plan = full_plan(task.settings, chosen.epochs, task)
    if not seen:
        seen["network"] = plan.network(task, seed)
        for split in (TRAIN, VAL, TEST):
            batches = task.images_in_order(split)
            seen[split] = embed_all(seen["network"], batches), batches.labels
    network = copy.deepcopy(seen["network"])
    history = train_head(network, seen[TRAIN], seen[VAL], plan.recipe, seed=seed)
    vectors, labels = seen[TEST]
    with torch.inference_mode():
        right = network.head(torch.tensor(vectors, dtype=torch.float32, device=task.device)).argmax(1).cpu().numpy() == labels
    return {
        "accuracy": float(right.mean()),
        "n": len(labels),
        "val_accuracy": history.best.val_accuracy,
        "epochs": len(history.epochs),
        "device": device_name(task.device),
        "learning_rate": plan.recipe.learning_rate,
        "seconds": round(history.seconds, 1),
    }


def table(result: dict[str, Any]) -> str:
    """Validation accuracy by way, batch and rate, and the test accuracy of the default and of what validation chose, as Markdown."""
    lines = [f"Epsilon {result['epsilon']:g}, {result['epochs']} epochs; accuracy on the validation split, mean over the seeds."]
    chosen = []
    for way in RATES:
        found = [case for case in result["cases"] if case["way"] == way]
        if not found:
            continue
        rates = sorted({case["rate"] for case in found})
        devices, seeds = sorted({case["device"] for case in found}), sorted({str(case["seed"]) for case in found})
        lines += ["", f"`{way}`, on {' and '.join(devices)}; seeds: {', '.join(seeds)}."]
        lines += ["", f"| {way}: source, px | batch | " + " | ".join(f"rate {rate:g}" for rate in rates) + " |"]
        lines += ["|---|---:|" + "---:|" * len(rates)]
        for source in sorted({case["source"] for case in found}, key=list(SIDES).index):
            own = [case for case in found if case["source"] == source]
            pairs = sorted({(case["batch"], case["rate"]) for case in own})
            means = {pair: fmean(case["val_accuracy"] for case in _cases(own, *pair)) for pair in pairs}
            for batch in sorted({batch for batch, _ in means}):
                cells = " | ".join(f"{means[batch, rate]:.3f}" if (batch, rate) in means else "–" for rate in rates)
                lines.append(f"| {source}, {SIDES[source]} | {batch} | {cells} |")
            best, default = max(means, key=lambda pair: means[pair]), (TrainSettings().private_batch_size, DEFAULTS[way])
            told = ", ".join(
                f"{name} (batch {pair[0]}, rate {pair[1]:g}) {fmean(case['accuracy'] for case in _cases(own, *pair)):.3f}"
                for name, pair in (("the default", default), ("the best by validation", best))
                if pair in means
            )
            chosen.append(f"Test accuracy, {way}, {source}: {told}.")
    return "\n".join([*lines, "", " ".join(chosen)])


def _cases(cases: list[dict[str, Any]], batch: int, rate: float | None) -> list[dict[str, Any]]:
    return [case for case in cases if (case["batch"], case["rate"]) == (batch, rate)]


if __name__ == "__main__":
    raise SystemExit(main())
