"""How many of the labels that were made wrong are found among the most suspected of driftloop's data analysis.

    python -m bench.label_errors [--seeds 5] [--first 11] [--flipped .05] [--side 224] [--work FOLDER] [--out FILE]

The photographs of the package elpv-dataset, all of them, in groups of consecutive files; of each seed another --flipped of its labels are
changed. `found` is the share of these among the tenth of the images that is suspected most (by chance a tenth), `suspected` the share of
images that the page would call suspected, `right` the share of these that were changed: the package's own labels are not all beyond doubt.
Thumbnails are what is looked at where no pretrained network is to be had.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import cohen_kappa_score

from bench.gate_error_rates import environment
from bench.photographs import embeddings_of, read_images
from components.data_analysis.label_errors import AGREEMENT, out_of_fold, suspect, thumbnails
from driftloop.sources.elpv import list_cells

TOP = 0.1
#: Share of the changed labels that is to be found in the top tenth.
GOAL = 0.6
MEASURES = ("found", "suspected", "right", "agreement")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=11)
    parser.add_argument("--flipped", type=float, default=0.05)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir(), "driftloop-photographs"))
    parser.add_argument("--out", type=Path, default=Path("bench/results/label_errors.json"))
    chosen = parser.parse_args()
    images, labels = read_images(chosen.side)
    groups = np.array([cell.group for cell in list_cells("elpv")])
    rows = []
    shrunk = thumbnails(images, np.arange(len(images)))
    for seen_by, seen in (("pretrained", embeddings_of(images, labels, chosen.work)), ("thumbnails", shrunk)):
        found = [one_seed(seen, labels, groups, seed, chosen.flipped) for seed in range(chosen.first, chosen.first + chosen.seeds)]
        means = {name: float(np.mean([one[name] for one in found])) for name in MEASURES}
        rows.append({"seen_by": seen_by, "least_found": min(one["found"] for one in found)} | means)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    settings = {"side": chosen.side, "flipped": chosen.flipped, "first": chosen.first, "seeds": chosen.seeds, "images": len(labels)}
    result = environment() | settings | {"rows": rows}
    chosen.out.write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))
    return 0


def one_seed(seen: np.ndarray, truth: np.ndarray, groups: np.ndarray, seed: int, flipped: float) -> dict[str, float]:
    """The measures of one choice of labels to change; `groups` (N,) as the package is split."""
    rng = np.random.default_rng(seed)
    changed = rng.permutation(len(truth))[: round(flipped * len(truth))]
    labels = truth.copy()
    labels[changed] = 1 - labels[changed]
    probabilities = out_of_fold(seen, labels, groups, seed=seed)
    suspected, _ = suspect(probabilities, labels)
    own = probabilities[np.arange(len(labels)), labels]
    first = np.argsort(own, kind="stable")[: round(TOP * len(labels))]
    return {
        "found": float(np.isin(changed, first).mean()),
        "suspected": len(suspected) / len(labels),
        "right": float(np.isin(suspected, changed).mean()),
        "agreement": float(cohen_kappa_score(labels, probabilities.argmax(1))),
    }


def table(result: dict[str, Any]) -> str:
    """The measured rows as Markdown, with their goal."""
    lines = [
        f"{result['flipped']:.0%} of the labels of {result['images']:,} photographs of {result['side']} pixels changed, {result['seeds']} "
        f"seeds from {result['first']} on; goal: {GOAL:.0%} of them in the most suspected tenth.",
        "",
        "| seen by | found in the top tenth | least of a seed | goal | called suspected | of these changed | Cohen's kappa | told |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['seen_by']} | {row['found']:.3f} | {row['least_found']:.3f} | {'met' if row['found'] >= GOAL else 'missed'} | "
        f"{row['suspected']:.3f} | {row['right']:.3f} | {row['agreement']:.2f} | {'yes' if row['agreement'] >= AGREEMENT else 'no'} |"
        for row in result["rows"]
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
