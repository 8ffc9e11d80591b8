"""What each way to train brings, by source: the baseline, a network from scratch, a pretrained one's head, and all of its layers.

    python -m bench.recipes [--sources digits fashion synthetic:xray synthetic:roof elpv] [--recipes scratch head all] [--seeds 1 2 3]
                            [--epochs 20] [--gpus 0] [--work FOLDER] [--out bench/results/recipes.json]

The steps of the pipeline themselves, one after the other in this process: data analysis, baseline, model optimisation by each recipe (no
ablation). The seed draws synthetic images and starts networks; who is in which split is decided by hash, the same for all seeds. `fashion`
is the 10,000 images of t10k of Fashion-MNIST, by the Debian package dataset-fashion-mnist (--fashion); `elpv` needs the package
elpv-dataset. A run that was stopped goes on where it was: each case is written to --out as it ends.
"""

import argparse
import gzip
import json
import shutil
import tempfile
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from PIL import Image

from bench.gate_error_rates import environment
from components.baseline_training.step import run as train_baseline
from components.data_analysis.step import run as analyse
from components.model_optimization.step import run as optimise
from driftloop.contracts import BASELINE_TRAINING, MODEL_OPTIMIZATION
from driftloop.sources.resolving import resolve
from driftloop.step_facts import read_facts

PRETRAINED = {"architecture": "timm:tf_efficientnet_lite0", "weights": "package"}
RECIPES: dict[str, dict[str, Any]] = {
    "scratch": {"architecture": "residual"},
    "head": PRETRAINED | {"trained_layers": "head"},
    "all": PRETRAINED | {"trained_layers": "all"},
}
#: Sources and the size of their images.
SIDES = {"digits": 32, "fashion": 32, "synthetic:xray": 64, "synthetic:roof": 64, "elpv": 224}
FASHION = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")


class Unread:
    """Takes the metrics that a step logs for KFP's pages, and keeps none."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", nargs="+", choices=list(SIDES), default=list(SIDES))
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--gpus", default="0")
    parser.add_argument("--fashion", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir(), "driftloop-recipes"))
    parser.add_argument("--out", type=Path, default=Path("bench/results/recipes.json"))
    chosen = parser.parse_args()
    result = json.loads(chosen.out.read_text()) if chosen.out.exists() else environment() | {"epochs": chosen.epochs, "cases": []}
    for source in chosen.sources:
        for seed in chosen.seeds:
            left = [name for name in chosen.recipes if not _is_there(result["cases"], source, seed, name)]
            if not left:
                continue
            folder = prepared(chosen.work, source, seed, chosen)
            if not _is_there(result["cases"], source, seed, "baseline"):
                result["cases"].append({"source": source, "seed": seed, "recipe": "baseline"} | measured(folder / "baseline"))
            for name in left:
                optimised(folder, name, RECIPES[name], seed, chosen)
                result["cases"].append({"source": source, "seed": seed, "recipe": name} | measured(folder / name))
                print(result["cases"][-1], flush=True)
                chosen.out.parent.mkdir(parents=True, exist_ok=True)
                chosen.out.write_text(json.dumps(result, indent=1) + "\n")
            shutil.rmtree(folder)
    return 0


def _is_there(cases: list[dict[str, Any]], source: str, seed: int, recipe: str) -> bool:
    return any((case["source"], case["seed"], case["recipe"]) == (source, seed, recipe) for case in cases)


def analysed(work: Path, source: str, seed: int, chosen: argparse.Namespace, *, side: int | None = None) -> Path:
    """The folder of a source and seed, with its dataset in it; images of so many pixels, or the source's."""
    folder = work / f"{source.replace(':', '-')}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    place = str(fashion(work, chosen.fashion)) if source == "fashion" else source
    analyse(
        place,
        resolve(place),
        str(folder / "dataset"),
        str(folder / "analysis.html"),
        image_size=side or SIDES[source],
        seed=seed,
        store=str(folder / "store"),
        replayed=False,
    )
    return folder


def prepared(work: Path, source: str, seed: int, chosen: argparse.Namespace) -> Path:
    """The same with the baseline in it, too."""
    folder = analysed(work, source, seed, chosen)
    train_baseline(
        str(folder / "dataset"),
        *(str(folder / name) for name in ("baseline", "card.md", "curves.html")),
        epochs=chosen.epochs,
        gpus=chosen.gpus,
        seed=seed,
        config={},
        metrics=Unread(),
        roc=Unread(),
    )
    return folder


def optimised(folder: Path, name: str, config: dict[str, Any], seed: int, chosen: argparse.Namespace) -> None:
    """Theme 3 on a prepared folder, by these settings, into its folder `name`."""
    optimise(
        str(folder / "dataset"),
        str(folder / "baseline"),
        str(folder / name),
        str(folder / f"{name}.html"),
        epochs=chosen.epochs,
        gpus=chosen.gpus,
        seed=seed,
        config=config | {"ablation_epochs": 0},
        metrics=Unread(),
        roc=Unread(),
    )


def measured(bundle: Path) -> dict[str, Any]:
    """What a training states of itself, the accuracies of validation and test among it."""
    facts = read_facts(bundle)
    own = facts[MODEL_OPTIMIZATION if MODEL_OPTIMIZATION in facts else BASELINE_TRAINING]
    kept = {
        "accuracy": own["accuracy"]["value"],
        "n": own["accuracy"]["n"],
        "val_accuracy": own["val_accuracy"]["value"],
        "auroc": own["roc_auc"],
        "epochs": own["epochs"],
        "device": own["device"],
    }
    if compared := own.get("compared_with_baseline"):
        kept |= {name: compared[name] for name in ("estimate", "low", "high", "groups")}
        kept |= {"learning_rate": own["learning_rate"], "seconds": own["seconds"]}
    return kept


def fashion(work: Path, package: Path) -> Path:
    """The images of Fashion-MNIST's t10k as files by class; written once."""
    folder = work / "fashion"
    if not folder.exists():
        half = work / "fashion.part"
        shutil.rmtree(half, ignore_errors=True)
        pixels, labels = (
            np.frombuffer(gzip.decompress(next(package.rglob(f"t10k-{name}-ubyte.gz")).read_bytes()), np.uint8, offset=offset)
            for name, offset in (("images-idx3", 16), ("labels-idx1", 8))
        )
        for index, (image, label) in enumerate(zip(pixels.reshape(-1, 28, 28), labels, strict=True)):
            path = half / FASHION[label] / f"{index:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
        half.rename(folder)
    return folder


def table(result: dict[str, Any]) -> str:
    """A line a source and recipe, over its seeds, as Markdown."""
    lines = [
        f"{result['epochs']} epochs, of which the baseline takes a third; mean and range of the test accuracy over the seeds. Over the "
        "baseline: paired, in points; how often its 95 % interval is above 0, and below. "
        f"Computed on {', '.join(sorted({case['device'] for case in result['cases']}))}.",
        "",
        "| source, px | test images | recipe | seeds | accuracy | over the baseline | above, below |",
        "|---|---:|---|---:|---:|---:|---:|",
    ]
    names = ["baseline", *RECIPES]

    def order(case: dict[str, Any]) -> tuple[int, int]:
        return list(SIDES).index(case["source"]), names.index(case["recipe"])

    for _, found in groupby(sorted(result["cases"], key=order), key=order):
        cases = list(found)
        one = cases[0]
        values = [case["accuracy"] for case in cases]
        gain, shown = "–", "–"
        if one["recipe"] != "baseline":
            gain = f"{100 * fmean(case['estimate'] for case in cases):+.1f}"
            shown = f"{sum(case['low'] > 0 for case in cases)}, {sum(case['high'] < 0 for case in cases)}"
        lines.append(
            f"| {one['source']}, {SIDES[one['source']]} | {one['n']:,} | {one['recipe']} | {len(cases)} "
            f"| {fmean(values):.3f} ({min(values):.3f} to {max(values):.3f}) | {gain} | {shown} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
