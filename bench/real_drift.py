"""A drift that is real: a champion for one kind of solar cell meets another, from training to promotion, as a user types it.

    python -m bench.real_drift [--side 224] [--seed 1] [--layers head] [--gpus 0] [--work FOLDER] [--out bench/results/real_drift.json]

`driftloop run training --source elpv:mono`, `driftloop replay --source elpv:poly` with at most 660 labels, `driftloop run drift-watch`;
arguments after `--` go to the training. Of the pretrained network only the head is trained, as `auto` does where all would take a CPU
too long, or with `--layers all` all of it, as `auto` does on a GPU (`--gpus 1 --out bench/results/real_drift_all.json`). What there is
in --work is not run again. The images measured on are those that the gate judged by: drifted ones that nothing was trained or chosen on,
and the clean test split. `alone` is the head that the pretrained network gets from the drifted images alone, with the same labels for
training and for choosing.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from bench.gate_error_rates import environment
from bench.photographs import CPU, in_order, network_at_start
from driftloop import registry
from driftloop.contracts import DRIFTED_GATE, DRIFTED_TRAIN, DRIFTED_VAL, PROMOTE, TEST
from driftloop.dataset import open_split
from driftloop.dataset.reading import stored_description
from driftloop.evaluation.paired import compare
from driftloop.inference.served_model import ServedModel
from driftloop.store import open_store
from driftloop.training.pretrained import PACKAGE_ARCHITECTURE, embed_all, logistic_head

REQUESTS, LABELS = 1550, 660
#: Area that may be missing to that of the head trained on the drifted images alone.
SLACK = 0.02
#: What each run leaves in --work, as a link to its folder.
TRAINED, WATCHED = "trained", "watched"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--layers", choices=("head", "all"), default="head")
    parser.add_argument("--gpus", default="0")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir(), "driftloop-real-drift"))
    parser.add_argument("--out", type=Path, default=Path("bench/results/real_drift.json"))
    parser.add_argument("arguments", nargs="*", help="more of `driftloop run training`")
    chosen = parser.parse_args()
    began = time.perf_counter()
    chosen.work.mkdir(parents=True, exist_ok=True)
    store = chosen.work / "store"
    common = ["--store", str(store), "--seed", str(chosen.seed), "--gpus", chosen.gpus]
    training = ["--set", f"data_image_size={chosen.side}", "--set", f"train_config.trained_layers={chosen.layers}"]
    once(chosen.work, TRAINED, "run", "training", "--source", "elpv:mono", *training, *common, *chosen.arguments)
    if not (store / "logs").exists():
        amounts = ["--count", str(REQUESTS), "--labels", str(LABELS)]
        driftloop(chosen.work, "replay", "--source", "elpv:poly", *amounts, "--store", str(store), "--seed", str(chosen.seed))
    once(chosen.work, WATCHED, "run", "drift-watch", *common)
    result = (
        environment()
        | {name: getattr(chosen, name) for name in ("side", "seed", "layers", "gpus", "arguments")}
        | {"seconds": round(time.perf_counter() - began)}
    )
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(result | measured(chosen.work, store), indent=1) + "\n")
    return 0


def driftloop(folder: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-c", "from driftloop.cli.main import main; main()", *arguments], check=True, cwd=folder)


def once(folder: Path, name: str, *arguments: str) -> None:
    """Run, and leave a link `name` to the run's folder; nothing where it is there."""
    if not (folder / name).exists():
        driftloop(folder, *arguments)
        (folder / name).symlink_to((folder / "runs" / "latest").resolve())


def measured(folder: Path, store: Path) -> dict[str, Any]:
    """What became of the drift, and what champion, candidate and a head for the drifted images alone reach."""
    summary = json.loads((folder / WATCHED / "summary.json").read_text())
    drift = json.loads((folder / WATCHED / "deliverables" / "drift_report.json").read_text())
    gate = summary["gate"] or {"decision": None, "reasons": []}
    found = {"verdict": summary["drift"]["verdict"], "drop": drift["drop"], "labels": LABELS, "decision": gate["decision"]}
    found |= {"reasons": gate["reasons"], "windows": len(drift["windows"]), "drifted": sum(one["drifted"] for one in drift["windows"])}
    if gate["decision"] is None:
        return found
    candidate = folder / WATCHED / "deliverables" / ("champion" if gate["decision"] == PROMOTE else "candidate")
    before = folder / "version-1"
    if not before.exists():
        registry.download(open_store(str(store)), "1", before)
    models = {"champion": ServedModel.open(before), "retrained": ServedModel.open(candidate)}
    dataset = stored_description(open_store(str(store)), models["retrained"].description.dataset)
    splits = {name: open_split(dataset, name) for name in (DRIFTED_TRAIN, DRIFTED_VAL, DRIFTED_GATE, TEST)}
    found["images"] = {name: len(split.labels) for name, split in splits.items()}
    answers = {(model, name): models[model].predict(splits[name].images) for model in models for name in splits}
    pretrained = network_at_start(PACKAGE_ARCHITECTURE, 1, CPU)
    embedded = {
        name: (embed_all(pretrained, in_order(split.images, split.labels, np.arange(len(split.labels)), CPU)), split.labels)
        for name, split in splits.items()
    }
    weight, bias = logistic_head([embedded[DRIFTED_TRAIN]], [embedded[DRIFTED_VAL]], balanced=True)
    for name in (DRIFTED_GATE, TEST):
        truth = splits[name].labels
        logits = embedded[name][0] @ weight.T + bias
        given = {model: (answers[model, name].labels, answers[model, name].probabilities[:, 1]) for model in models}
        given["alone"] = logits.argmax(1), logits[:, 1] - logits[:, 0]
        found[name] = {
            model: {"accuracy": float((named == truth).mean()), "auroc": float(roc_auc_score(truth, score))}
            for model, (named, score) in given.items()
        }
    right = [(answers[model, TEST].labels == splits[TEST].labels) for model in ("retrained", "champion")]
    difference = compare(*right, groups=splits[TEST].samples["group"].to_numpy())
    return found | {"clean": {"estimate": difference.estimate, "low": difference.low, "groups": difference.groups}}


def table(result: dict[str, Any]) -> str:
    """For bench/README.md."""
    drop = result["drop"] or {"value": float("nan")}
    arguments = f" (`{' '.join(result['arguments'])}`)" if result.get("arguments") else ""
    lines = [
        f"{result['side']} px{arguments}; {result['drifted']} of {result['windows']} windows drifted, accuracy down "
        f"{100 * drop['value']:.1f} points; verdict {result['verdict']}, {result['labels']} labels, decision {result['decision'] or '–'}.",
        "",
        *(f"- {reason}" for reason in result["reasons"]),
    ]
    if result["decision"] is None:
        counted = f"{drop['n']} of {result['labels']} labels counted for harm" if result["drop"] else "no label counted for harm"
        return "\n".join([*lines, f"**Missed**: nothing was retrained ({counted}); nothing else was measured."])
    lines += ["", "| | poly, accuracy | poly, AUROC | mono, accuracy | mono, AUROC |", "|---|---:|---:|---:|---:|"]
    for name, title in (("champion", "champion, of mono"), ("retrained", "retrained"), ("alone", "a head for poly alone")):
        figures = [result[split][name][kind] for split in (DRIFTED_GATE, TEST) for kind in ("accuracy", "auroc")]
        lines.append(f"| {title} | {' | '.join(f'{figure:.3f}' for figure in figures)} |")
    after, alone = (result[DRIFTED_GATE][name]["auroc"] for name in ("retrained", "alone"))
    clean = result["clean"]
    goals = {
        "retrained for harm that labels show": result["verdict"] == "retrain",
        "promoted": result["decision"] == PROMOTE,
        f"poly's AUROC at least that of the head for poly alone less {SLACK} ({after - alone:+.3f})": after >= alone - SLACK,
        f"mono not worse by 2 points ({100 * clean['estimate']:+.1f}, at least {100 * clean['low']:+.1f}, {clean['groups']} groups)": (
            clean["low"] > -0.02
        ),
    }
    return "\n".join([*lines, "", *(f"- {goal}: {'met' if met else '**missed**'}" for goal, met in goals.items())])


if __name__ == "__main__":
    raise SystemExit(main())
