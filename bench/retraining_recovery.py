"""How much of what a drift took a retraining wins back, and what it costs on clean images, by recipe.

    python -m bench.retraining_recovery --seeds 11 12 13 14 [--drift blur+noise:1.0] [--recipes default one_epoch plain ...]
                                        [--epochs 30] [--out bench/results/retraining_recovery.json]

For each seed a champion is trained on 1,200 synthetic chest X-rays and fine-tuned from by each recipe, through the component's own code.
Accuracies are of the FP32 network. `recovered` is the share of the accuracy lost to the drift that came back, on 1,800 drifted images;
`gate` are bounds (one-sided, 95 %) that the gate looks at: drifted gain on 300 images; clean difference, that of the class that lost
most, and increase of the Brier score on 1,500.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.gate_error_rates import environment
from bench.retraining_cases import CPU, Case, make_case, ordered
from components.automated_retraining.fine_tuning import FineTuningData, build_mix, build_recipe, build_validation, fine_tune
from driftloop.evaluation.paired import brier_increase, brier_scores, compare
from driftloop.settings import RetrainSettings
from driftloop.training.device import pick_device

#: Overrides of the settings by recipe; `one_epoch` keeps the best epoch's own weights instead of an average, `own_balance` the balance
#: between the classes that training led to; `frozen_norm` is the default with batch norm's running statistics kept as they are.
RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "one_epoch": {"weight_average": 0.0},
    "own_balance": {"keep_balance": False},
    "half_restyled": {"restyle_share": 0.5},
    "plain": {"restyle_share": 0.0},
    "low_rate": {"learning_rate": 3e-4},
    "plain_low_rate": {"restyle_share": 0.0, "learning_rate": 3e-4},
    "frozen_norm": {},
}
GATE = {"clean": -0.02, "class": -0.05, "drifted": 0.0}
BRIER = 0.01


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13, 14])
    parser.add_argument("--drift", default="blur+noise:1.0")
    parser.add_argument(
        "--recipes", nargs="+", choices=sorted(RECIPES), default=["default", "one_epoch", "own_balance", "plain", "frozen_norm"]
    )
    parser.add_argument("--epochs", type=int, default=30, help="of the champion's training")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "retraining_recovery.json")
    chosen = parser.parse_args()
    pick_device("0")
    rows = []
    for seed in chosen.seeds:
        with make_case(seed, chosen.drift, chosen.epochs) as case:
            for recipe in chosen.recipes:
                rows.append({"seed": seed, "recipe": recipe} | measure(case, recipe, seed))
                print(line(rows[-1]), flush=True)
    means = [{"recipe": recipe} | mean_of([row for row in rows if row["recipe"] == recipe]) for recipe in chosen.recipes]
    for mean in means:
        print(line({"seed": "mean"} | mean), flush=True)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    result = {"drift": chosen.drift, "champion_epochs": chosen.epochs, "environment": environment(), "means": means, "rows": rows}
    chosen.out.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def measure(case: Case, recipe: str, seed: int) -> dict[str, Any]:
    """Fine-tune the case's champion by one recipe and compare it with the champion on the same images."""
    settings = RetrainSettings.complete(RECIPES[recipe])
    champion, candidate = case.network(), case.network()
    if recipe == "frozen_norm":
        candidate.__class__ = frozen(type(candidate))
    data = FineTuningData(case.dataset, case.dataset.mean, case.dataset.std, CPU)
    mix = build_mix(data, settings, case.champion, seed=seed)
    began = time.perf_counter()
    fine_tuned = fine_tune(
        candidate,
        mix,
        build_validation(data),
        build_recipe(settings, case.champion, CPU),
        seed=seed,
        patience=settings.patience,
        keep_balance=settings.keep_balance,
    )
    seconds = time.perf_counter() - began
    right = {split: (case.right(champion, split), case.right(candidate, split)) for split in ("test", "drifted_gate", "drifted_more")}
    before, after = (np.concatenate([right[split][side] for split in ("drifted_gate", "drifted_more")]).mean() for side in (0, 1))
    clean_before, clean_after = (side.mean() for side in right["test"])
    labels = ordered(case.dataset, "test").labels
    lows = {
        "clean": compare(right["test"][1], right["test"][0]).low,
        "class": min(compare(right["test"][1][labels == k], right["test"][0][labels == k]).low for k in np.unique(labels)),
        "drifted": compare(right["drifted_gate"][1], right["drifted_gate"][0]).low,
    }
    brier = brier_increase(*(brier_scores(case.probabilities(network, "test"), labels) for network in (candidate, champion))).high
    return {
        "clean_before": float(clean_before),
        "clean_after": float(clean_after),
        "drifted_before": float(before),
        "drifted_after": float(after),
        "recovered": float((after - before) / (clean_before - before)) if clean_before > before else None,
        "gate_clean_low": float(lows["clean"]),
        "gate_class_low": float(lows["class"]),
        "gate_drifted_low": float(lows["drifted"]),
        "gate_brier_high": float(brier),
        "would_pass": bool(brier < BRIER and all(lows[name] > bound for name, bound in GATE.items())),
        "best_epoch": fine_tuned.best_epoch,
        "epochs": len(fine_tuned.epochs),
        "seconds": round(seconds, 1),
    }


def frozen(network: type[nn.Module]) -> type[nn.Module]:
    """The class with batch norm always in evaluation mode: running statistics are used and not changed."""

    class Frozen(network):  # type: ignore[misc,valid-type]
        def train(self, mode: bool = True) -> nn.Module:
            super().train(mode)
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
            return self

    return Frozen


def mean_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean of each figure over seeds; of `would_pass`, the share."""
    names = [name for name in rows[0] if name not in ("seed", "recipe")]
    known = {name: [row[name] for row in rows if row[name] is not None] for name in names}
    return {name: round(float(np.mean(values)), 4) if values else None for name, values in known.items()}


def line(row: dict[str, Any]) -> str:
    """One row of the table."""
    lows = f"low {row['gate_clean_low']:+.3f}, class {row['gate_class_low']:+.3f}"
    clean = f"clean {row['clean_before']:.3f} -> {row['clean_after']:.3f} ({lows})"
    drifted = f"drifted {row['drifted_before']:.3f} -> {row['drifted_after']:.3f} (low {row['gate_drifted_low']:+.3f})"
    won = "-" if row["recovered"] is None else f"{row['recovered']:.2f}"
    return f"{row['seed']!s:>5} {row['recipe']:<15} {clean}  {drifted}  recovered {won}  passes {row['would_pass']}  {row['seconds']:.0f} s"


if __name__ == "__main__":
    torch.manual_seed(0)
    raise SystemExit(main())
