"""An optimised training with a search that is killed again and again: what is lost by it.

    python -m bench.killed_trainings [--kills 20] [--trials 6] [--epochs 24] [--seed 1] [--out bench/results/killed_trainings.json]

Each process is killed by SIGKILL at a random moment, the first half of them on one thread, the others on two; then one runs to its end.
Synthetic X-rays of 32 pixels, in a local store. Goals: a kill loses at most the trial or the epoch under way, and the learning rate stays
the one that was found first.
"""

import argparse
import io
import json
import multiprocessing
import os
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import torch

from bench.gate_error_rates import environment
from components.baseline_training import step as baseline
from components.data_analysis import step as analysis
from components.model_optimization import step as optimization
from components.model_optimization.decisions import Decisions
from components.model_optimization.sweep import ENDED
from driftloop.rehearsal.steps import Unlogged
from driftloop.settings import TrainSettings
from driftloop.step_facts import read_facts
from driftloop.store import open_store
from driftloop.training import loop
from driftloop.training.task import Task
from driftloop.training.weights import read_tensors

SWEEP_EPOCHS = 2
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Kept:
    """What waits in the store for the next process."""

    trials: int
    trial_epochs: int
    epochs: int
    rate: float | None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("bench/results/killed_trainings.json"))
    chosen = parser.parse_args()
    draw = random.Random(chosen.seed)
    with tempfile.TemporaryDirectory(prefix="driftloop-killed-") as scratch:
        root = Path(scratch)
        config = {"sweep_trials": chosen.trials, "sweep_epochs": SWEEP_EPOCHS, "ablation_epochs": 0, "baseline_share": 1 / chosen.epochs}
        prepare(root, config, chosen.epochs)
        kills: list[dict[str, Any]] = []
        before = kept(root, config, chosen.epochs)
        for number in range(chosen.kills):
            threads = 1 if number < chosen.kills / 2 else 2
            done = killed(root, config, chosen.epochs, threads, draw)
            if done is None:
                break
            after = kept(root, config, chosen.epochs)
            gained = after.epochs - before.epochs + after.trial_epochs - before.trial_epochs
            kills.append({"threads": threads, "search": after.trials < chosen.trials, "lost": done - gained, "rate": after.rate})
            print(kills[-1], after, flush=True)
            before = after
        optimise(root, config, chosen.epochs, 2)
        rate = read_facts(root / "model")["model_optimization"]["sweep"][0]["learning_rate"]
    rates = {kill["rate"] for kill in kills if kill["rate"]} | {rate}
    result = environment() | {"kills": len(kills), "rates": sorted(rates)}
    for name, within in (("search", True), ("training", False)):
        lost = [kill["lost"] for kill in kills if kill["search"] == within]
        result[name] = {"kills": len(lost), "most_epochs_lost": max(lost, default=0), "epochs_lost": sum(lost)}
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))
    return 0


def prepare(root: Path, config: dict[str, Any], epochs: int) -> None:
    """Dataset and baseline."""
    source, store = "synthetic:xray?scale=0.1", str(root / "store")
    dataset = str(root / "dataset")
    analysis.run(source, "0" * 64, dataset, str(root / "data.html"), image_size=32, seed=1, store=store, replayed=False)
    outputs = [str(root / name) for name in ("baseline", "card.md", "curves.html")]
    baseline.run(dataset, *outputs, epochs=epochs, gpus="0", seed=1, config=config, metrics=Unlogged(), roc=Unlogged())


def optimise(root: Path, config: dict[str, Any], epochs: int, threads: int) -> None:
    os.environ["OMP_NUM_THREADS"] = str(threads)
    paths = [str(root / name) for name in ("dataset", "baseline", "model", "report.html")]
    optimization.run(*paths, epochs=epochs, gpus="0", seed=1, config=config, metrics=Unlogged(), roc=Unlogged())


def counted(root: Path, config: dict[str, Any], epochs: int, threads: int) -> None:
    """The same, with a byte in a file for each epoch that is finished."""
    measure = loop._validated

    def count(*arguments: Any, **named: Any) -> Any:
        record = measure(*arguments, **named)
        with open(root / "finished", "ab", buffering=0) as stream:
            stream.write(b".")
        return record

    loop._validated = count  # type: ignore[assignment]
    (root / "finished").write_bytes(b"")
    optimise(root, config, epochs, threads)


def killed(root: Path, config: dict[str, Any], epochs: int, threads: int, draw: random.Random) -> int | None:
    """The epochs that a process finished before it was killed; None where it ended before that."""
    (root / "finished").unlink(missing_ok=True)
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["components.model_optimization.step"])
    process = server.Process(target=counted, args=(root, config, epochs, threads))
    process.start()
    wanted = draw.randrange(2 * SWEEP_EPOCHS)
    while process.is_alive() and not ((root / "finished").exists() and (root / "finished").stat().st_size >= wanted):
        time.sleep(0.005)
    time.sleep(draw.random())
    ended = not process.is_alive()
    process.kill()
    process.join()
    return None if ended else (root / "finished").stat().st_size


def kept(root: Path, config: dict[str, Any], epochs: int) -> Kept:
    task = Task.open(root / "dataset", CPU, TrainSettings.complete(config))
    decisions = Decisions(task, epochs=epochs, seed=1)
    store = open_store(task.description.store)
    states = [read_tensors(io.BytesIO(store.read(info.key)), CPU) for info in store.list("datasets/") if info.key.endswith(".pth")]
    trained = max((len(state["records"]) for state in states if "records" in state), default=0)
    storage = optuna.storages.JournalStorage(decisions.study.open())
    trials = [trial for study in storage.get_all_studies() for trial in storage.get_all_trials(study._study_id, states=ENDED)]
    finished = sum(len(trial.intermediate_values) for trial in trials)
    return Kept(len(trials), finished, trained, decisions.range_test.suggestion if decisions.range_test else None)


def table(result: dict[str, Any]) -> str:
    """For bench/README.md."""
    goals = {"search": ("a trial", SWEEP_EPOCHS), "training": ("an epoch", 1)}
    rows = ["| killed in | kills | most lost, epochs | lost, epochs | goal |", "|---|---:|---:|---:|---|"]
    for name, (what, most) in goals.items():
        part = result[name]
        met = "met" if part["most_epochs_lost"] <= most else "**missed**"
        rows.append(f"| {name} | {part['kills']} | {part['most_epochs_lost']} | {part['epochs_lost']} | at most {what} ({most}): {met} |")
    rates = len(result["rates"])
    return "\n".join(
        [*rows, "", f"Learning rates over all processes: {rates} ({'met' if rates == 1 else '**missed**'}: one and the same)."]
    )


if __name__ == "__main__":
    raise SystemExit(main())
