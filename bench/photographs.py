"""Real photographs, by network: solar cells of the package elpv-dataset, functional or defective.

    python -m bench.photographs [--networks frozen lite0 residual plain_cnn] [--splits modules-20 modules-60 random] [--seeds 1 2 3]
                                [--side 224] [--epochs 6] [--gpus 0] [--work FOLDER] [--out bench/results/photographs.json]

Both kinds of cell, a quarter of the images for the test, a sixth of the others to choose by; `modules-20` and `modules-60` keep blocks of
so many consecutive files together (they lie in the order of the modules), `random` does not. `frozen` is logistic regression on what the
pretrained EfficientNet-Lite0 sees, `lite0` the same network with all layers trained on from there. A run that was stopped goes on where it
was: each case is written to --out as it ends, embeddings and checkpoints lie in --work. A case that is there is not run again. Of each
case the test cells that were called right are kept (`right`, bits in the order of the rows): two networks are compared cell by cell.
"""

import argparse
import json
import tempfile
import time
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

from bench.gate_error_rates import environment
from driftloop.evaluation.intervals import wilson
from driftloop.evaluation.paired import compare
from driftloop.sources.elpv import DEFECTIVE, list_cells
from driftloop.training.architectures import PLAIN_CNN, RESIDUAL, build_network
from driftloop.training.augmentation import Augmentation
from driftloop.training.backbones import Backbone
from driftloop.training.batches import OrderedBatches, TrainingBatches, class_weights
from driftloop.training.checkpoint import FileCheckpoint
from driftloop.training.classifier import Classifier
from driftloop.training.device import pick_device
from driftloop.training.epoch import predict
from driftloop.training.loop import fit
from driftloop.training.outcome import device_name
from driftloop.training.pretrained import PACKAGE, PACKAGE_ARCHITECTURE, Pretrained, embed_all, fit_head, load_pretrained, logistic_head
from driftloop.training.recipe import Recipe
from driftloop.training.recipes import FROM_SCRATCH, PRETRAINED
from driftloop.training.seeding import set_seed

NETWORKS = {"lite0": PACKAGE_ARCHITECTURE, "residual": RESIDUAL, "plain_cnn": PLAIN_CNN}
FROZEN = "frozen"
SPLITS = ("modules-20", "modules-60", "random")
GOALS = {"modules-20": (0.86, 0.92), "random": (0.90, None)}
#: Cells have no top and no left.
VIEWS = Augmentation(rotation=5.0, vertical_flip=True)
CPU = torch.device("cpu")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=[FROZEN, *NETWORKS], default=[FROZEN, *NETWORKS])
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=["modules-20"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--gpus", default="0")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir(), "driftloop-photographs"))
    parser.add_argument("--out", type=Path, default=Path("bench/results/photographs.json"))
    chosen = parser.parse_args()
    device = pick_device(chosen.gpus)
    chosen.work.mkdir(parents=True, exist_ok=True)
    images, labels = read_images(chosen.side)
    result = json.loads(chosen.out.read_text()) if chosen.out.exists() else environment() | {"side": chosen.side, "cases": []}
    for network in chosen.networks:
        for split in chosen.splits:
            for seed in chosen.seeds:
                case = {"network": network, "split": split, "seed": seed, "epochs": 0 if network == FROZEN else chosen.epochs}
                if any(case.items() <= done.items() for done in result["cases"]):
                    continue
                print(case, flush=True)
                parts = split_rows(split, labels, seed)
                began = time.perf_counter()
                if network == FROZEN:
                    scores = frozen(images, labels, parts, chosen.work, device)
                else:
                    scores = trained(images, labels, parts, case, chosen, device)
                took = {"seconds": round(time.perf_counter() - began), "device": device_name(device)}
                result["cases"].append(case | measured(scores, labels[parts["test"]]) | took)
                print(result["cases"][-1], flush=True)
                result["over_residual"] = over_residual(result["cases"], labels)
                chosen.out.parent.mkdir(parents=True, exist_ok=True)
                chosen.out.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def over_residual(cases: list[dict[str, Any]], labels: np.ndarray) -> list[dict[str, Any]]:
    """Each case beside that of `residual` on the same split: what it has right more often, with its bounds by module."""
    found = []
    for against in (case for case in cases if case["network"] == RESIDUAL and "right" in case):
        split, seed = against["split"], against["seed"]
        test = split_rows(split, labels, seed)["test"]
        groups = groups_of(split, len(labels))[test]
        for case in cases:
            if case["network"] != RESIDUAL and "right" in case and (case["split"], case["seed"]) == (split, seed):
                difference = compare(*(unpacked(one["right"], len(test)) for one in (case, against)), confidence=0.975, groups=groups)
                named = {name: case[name] for name in ("network", "split", "seed", "epochs")}
                found.append(named | {"residual_epochs": against["epochs"]} | asdict(difference))
    return found


def packed(right: np.ndarray) -> str:
    return np.packbits(right).tobytes().hex()


def unpacked(right: str, n: int) -> np.ndarray:
    return np.unpackbits(np.frombuffer(bytes.fromhex(right), np.uint8), count=n).astype(bool)


def read_images(side: int) -> tuple[np.ndarray, np.ndarray]:
    """All cells, uint8 (N, side, side, 1), and whether each is defective, int64 (N,)."""
    cells = list_cells("elpv")
    images = [np.asarray(Image.open(cell.path).convert("L").resize((side, side), Image.Resampling.BILINEAR)) for cell in cells]
    return np.stack(images)[..., None], np.array([cell.label == DEFECTIVE for cell in cells], np.int64)


def split_rows(split: str, labels: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Rows of train, val and test."""
    groups = groups_of(split, len(labels))

    def cut(rows: np.ndarray, folds: int) -> tuple[np.ndarray, np.ndarray]:
        folding = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        kept, held = next(iter(folding.split(rows, labels[rows], groups[rows])))
        return rows[kept], rows[held]

    rest, test = cut(np.arange(len(labels)), 4)
    train, val = cut(rest, 6)
    return {"train": train, "val": val, "test": test}


def groups_of(split: str, cells: int) -> np.ndarray:
    """What is kept together, by cell, (N,)."""
    if split == "random":
        return np.arange(cells)
    return np.array([cell.group for cell in list_cells("elpv", int(split.removeprefix("modules-")))])


def in_order(images: np.ndarray, labels: np.ndarray, rows: np.ndarray, device: torch.device) -> OrderedBatches:
    return OrderedBatches(images[rows], labels[rows], mean=[0.5], std=[0.25], device=device)


def network_at_start(architecture: str, seed: int, device: torch.device) -> Classifier:
    set_seed(seed)
    network = build_network(architecture, channels=1, classes=2).to(device)
    if isinstance(network, Backbone):
        network.see_images_of([0.5], [0.25])
        load_pretrained(network, Pretrained(PACKAGE))
    return network


def frozen(images: np.ndarray, labels: np.ndarray, parts: dict[str, np.ndarray], work: Path, device: torch.device) -> np.ndarray:
    """Probability of a defect, (n,), by logistic regression on embeddings that are computed once for all cases."""
    x = embeddings_of(images, labels, work, device)
    learnt, held_out = ((x[parts[name]], labels[parts[name]]) for name in ("train", "val"))
    weight, bias = logistic_head([learnt], [held_out], balanced=True)
    logits = x[parts["test"]] @ weight.T + bias
    return 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))


def embeddings_of(images: np.ndarray, labels: np.ndarray, work: Path, device: torch.device = CPU) -> np.ndarray:
    """What the pretrained network sees of all images, (N, D), computed once for each size and kept in `work`."""
    path = work / f"embeddings-{images.shape[1]}.npy"
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        everything = in_order(images, labels, np.arange(len(labels)), device)
        np.save(path, embed_all(network_at_start(PACKAGE_ARCHITECTURE, 1, device), everything))
    return np.load(path)


def trained(
    images: np.ndarray,
    labels: np.ndarray,
    parts: dict[str, np.ndarray],
    case: dict[str, Any],
    chosen: argparse.Namespace,
    device: torch.device,
) -> np.ndarray:
    """Probability of a defect, (n,), by a network that is trained by its recipe."""
    architecture = NETWORKS[case["network"]]
    pretrained = architecture == PACKAGE_ARCHITECTURE
    form = PRETRAINED if pretrained else FROM_SCRATCH
    network = network_at_start(architecture, case["seed"], device)
    train, val = in_order(images, labels, parts["train"], device), in_order(images, labels, parts["val"], device)
    recipe = Recipe(
        chosen.epochs,
        learning_rate=form.suggested_rates[1] if pretrained else 3e-3,
        weight_decay=0.05,
        one_cycle=True,
        label_smoothing=0.05,
        class_weights=tuple(class_weights(train.labels, 2).tolist()),
        layer_decay=form.layer_decay,
        keep_statistics=form.keep_statistics,
        clip=5.0,
    )
    checkpoint = FileCheckpoint(chosen.work, case | {"side": chosen.side, "batch": chosen.batch, "recipe": recipe.described()})
    if pretrained and not checkpoint.path.exists():
        fit_head(network, train, val, balanced=True)
    batches = TrainingBatches(
        images[parts["train"]], train.labels, mean=[0.5], std=[0.25], device=device, batch_size=chosen.batch, augmentation=VIEWS
    )
    fit(network, batches, val, recipe, seed=case["seed"], checkpoint=checkpoint, on_epoch=lambda record: print(record, flush=True))
    return predict(network, in_order(images, labels, parts["test"], device)).numpy()[:, 1]


def measured(scores: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    right = (scores > 0.5) == truth
    share = wilson(int(right.sum()), len(right))
    return {"accuracy": share.value, "low": share.low, "high": share.high, "auroc": float(roc_auc_score(truth, scores))} | {
        "n": len(right),
        "right": packed(right),
    }


def table(result: dict[str, Any]) -> str:
    """A line a network and split, over its seeds, as Markdown; a goal beside each that has one, and what was not measured."""
    lines = [
        f"2,624 cells at {result['side']} px, a quarter of them for the test; a cell is defective from a probability of 0.5 on. Mean and "
        "range over the seeds, which also draw the split. Goals are those of the pretrained network with all its layers trained (`lite0`). "
        f"Computed on {', '.join(sorted({case['device'] for case in result['cases']}))}.",
        "",
        "| network | split | seeds | epochs | accuracy | AUROC | goals |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    cases = sorted(result["cases"], key=_row)
    for (network, split, epochs), found in groupby(cases, key=_row):
        seeds = list(found)
        accuracy, area = ([case[name] for case in seeds] for name in ("accuracy", "auroc"))
        goals = zip(("accuracy", "AUROC"), (accuracy, area), GOALS.get(split, ()), strict=False) if network in (FROZEN, "lite0") else ()
        told = [f"{name} >= {goal:.2f} **{'met' if fmean(values) >= goal else 'missed'}**" for name, values, goal in goals if goal]
        lines.append(f"| {network} | {split} | {len(seeds)} | {epochs} | {_range(accuracy)} | {_range(area)} | {', '.join(told) or '–'} |")
    missing = [name for name in NETWORKS if not any(case["network"] == name for case in cases)]
    lines += ["", "Beside others' random splits: VGG-19 .884, ResNet-152 .901 (published)."]
    if missing:
        lines[-1] = f"Not measured yet: {', '.join(missing)}. " + lines[-1]
    if "over_residual" in result:
        lines += ["", *_over_residual(result["over_residual"])]
    return "\n".join(lines)


def _over_residual(rows: list[dict[str, Any]]) -> list[str]:
    """What each network has right more often than `residual`, on the same cells."""
    lines = [
        "More cells right than `residual`, in points, cell by cell: mean over the seeds, and the lowest of their lower bounds (one-sided "
        "97.5 %, by module where modules are kept together). The goal is one above 0.",
        "",
        "| network | split | epochs | of residual | more right | lowest bound | goal |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    names = ("network", "split", "epochs", "residual_epochs")
    for key, found in groupby(sorted(rows, key=lambda row: [row[name] for name in names]), key=lambda row: [row[name] for name in names]):
        seeds = list(found)
        low = min(row["low"] for row in seeds)
        told = "–" if key[0] == PLAIN_CNN else "**met**" if low > 0 else "**missed**"
        mean = 100 * fmean(row["estimate"] for row in seeds)
        lines.append(f"| {' | '.join(map(str, key))} | {mean:+.1f} | {100 * low:+.1f} | {told} |")
    return lines


def _row(case: dict[str, Any]) -> tuple[str, str, int]:
    return case["network"], case["split"], case["epochs"]


def _range(values: list[float]) -> str:
    return f"{fmean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    raise SystemExit(main())
