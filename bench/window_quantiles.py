"""Quantiles of a window's p-value by drift: the real test on real vectors, for the policy world, which has no images.

    python -m bench.window_quantiles [--windows 10000] [--minutes 60] [--only CELL ...] [--kept FOLDER] [--out bench/window_quantiles.json]

Windows of 200 images against a reference of 800, both drawn anew each time; the p-value is the one that `window_test` reports: twice the
smaller of the two detectors'. `subgroup` is a window of which every tenth image has drifted at full strength; `subgroup x4` are four
windows tested as one, and x3 what is left of these without one. Blocks of windows are drawn in turn, each with random numbers of its own,
and the p-values so far lie in `--kept`: a run that was cut short goes on where it was. A drift that every window shows gets a tenth of
the windows. A cell that `--out` already has of more windows stays as it is there. A window takes 0.06 to 0.13 s of processor time
(2026-11-29), so all 10,000 take about 80 minutes of an idle core: `--minutes 120` in a night, and again where that was not enough.
"""

import argparse
import json
import os
import pickle
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from bench.drift_images import StandIn, Vectors, clean_images, measure
from bench.drift_level_power import REFERENCE
from bench.gate_error_rates import environment
from components.drift_detection.detectors import DETECTORS
from components.drift_detection.reference import Sample
from components.drift_detection.windows import level_of, permutations_for
from driftloop.scenarios import parse
from driftloop.settings import DriftSettings

WINDOW, POOL, FRESH = 200, 6000, 2000
#: As many as the level of 200 windows a day takes, the lowest that the policy world plays.
PERMUTATIONS = permutations_for(level_of(0.05, DriftSettings(), windows=90 * 200).alpha, at_least=DriftSettings().permutations)
#: By name: the drift, and the share of a window that has it.
DRIFTS = {
    "blur+noise:0.1": ("blur+noise:0.1", 1.0),
    "blur+noise:0.2": ("blur+noise:0.2", 1.0),
    "blur+noise:0.3": ("blur+noise:0.3", 1.0),
    "blur+noise:0.6": ("blur+noise:0.6", 1.0),
    "prior:0.1": ("prior:0.1", 1.0),
    "prior:0.2": ("prior:0.2", 1.0),
    "brightness:0.5": ("brightness:0.5", 1.0),
    "subgroup": ("blur+noise:1.0", 0.1),
}
#: Of the quantiles that are kept: both ends finer than the middle.
LEVELS = np.unique(np.concatenate([[0, 0.0005], np.linspace(0.001, 0.02, 20), np.linspace(0.025, 1, 40)]))


#: Of these most windows show nothing by themselves; the drifts are tested together, too, while for clean ones the level is known.
WEAK = ("clean", "prior:0.1", "subgroup")
#: Windows of a cell drawn at once, with random numbers of their own.
BLOCK = 100


@dataclass(frozen=True)
class Cell:
    """Windows of one kind."""

    name: str
    drift: str
    """Empty: none."""
    share: float
    """Of a window's images that have drifted."""
    together: int = 1
    """Windows tested as one."""

    def wanted(self, windows: int) -> int:
        """How many of them: a tenth of a drift that shows in every one, and of those that hold several."""
        return windows if self.together == 1 and self.name in (*WEAK, "prior:0.2") else max(BLOCK, windows // 10)


def cells() -> list[Cell]:
    alone = [Cell("clean", "", 0.0), *(Cell(name, *what) for name, what in DRIFTS.items())]
    return alone + [replace(cell, name=f"{cell.name} x{many}", together=many) for cell in alone if cell.name in WEAK[1:] for many in (3, 4)]


def p_value(reference: Vectors, window: Vectors, rng: np.random.Generator) -> float:
    """Of a window against one reference, as `window_test` has it, without weighing regimes where there is one."""
    results = [detector.test(sample(reference), sample(window), PERMUTATIONS, rng) for detector in DETECTORS]
    return min(1.0, len(results) * min(result.p_value for result in results))


def sample(vectors: Vectors) -> Sample:
    return Sample(vectors.embedding, vectors.statistics.astype(np.float32), vectors.probabilities)


class World:
    """Images of before and after each drift, as vectors."""

    def __init__(self, seed: int) -> None:
        self.seed, network, rng = seed, StandIn(seed), np.random.default_rng([seed, 1])
        self.about = {"network": network.name, "accuracy": network.accuracy}
        self.clean = measure(network, *clean_images(POOL, seed=seed))
        fresh, labels = clean_images(FRESH, seed=seed, first=POOL)
        self.drifted = {
            drift: measure(network, *((fresh, labels) if _selects(drift) else parse(drift).transform(fresh, labels, rng)))
            for drift, _ in DRIFTS.values()
        }

    def block(self, number: int, cell: Cell, which: int) -> list[float]:
        """The p-values of one block of windows of a cell."""
        rng = np.random.default_rng([self.seed, 2, number, which])
        return [p_value(*self.draw(cell, rng), rng) for _ in range(BLOCK)]

    def draw(self, cell: Cell, rng: np.random.Generator) -> tuple[Vectors, Vectors]:
        """A reference and a window, which share no image."""
        images = WINDOW * cell.together
        count = round(images * cell.share)
        rows = rng.choice(len(self.clean), REFERENCE + images - count, replace=False)
        parts = [self.clean.take(rows[REFERENCE:])]
        if count:
            vectors = self.drifted[cell.drift]
            chosen = (
                parse(cell.drift).select(vectors.labels, count, rng) if _selects(cell.drift) else rng.choice(FRESH, count, replace=False)
            )
            parts.insert(0, vectors.take(chosen))
        window = Vectors(*(np.concatenate([getattr(part, name) for part in parts]) for name in Vectors.__dataclass_fields__))
        return self.clean.take(rows[:REFERENCE]), window


def kept_world(folder: Path, seed: int) -> World:
    """The images' vectors, from the folder if it has them."""
    path = folder / f"vectors-{seed}.pickle"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _write(path, pickle.dumps(vars(World(seed))))
    world = World.__new__(World)
    vars(world).update(pickle.loads(path.read_bytes()))
    return world


def _selects(drift: str) -> bool:
    """Whether the drift changes which images come and not how they look."""
    return drift.startswith("prior")


def report(world: World, found: dict[str, list[float]], before: dict[str, Any]) -> dict[str, Any]:
    """What is kept of the p-values, and of those of before."""
    better = {name: values for name, values in found.items() if len(values) > before.get("windows", {}).get(name, 0)}
    quantiles = {name: [float(f"{value:.4g}") for value in np.quantile(values, LEVELS)] for name, values in better.items()}
    return environment() | {
        **world.about,
        "levels": [round(float(level), 5) for level in LEVELS],
        "windows": before.get("windows", {}) | {name: len(values) for name, values in better.items()},
        "quantiles": before.get("quantiles", {}) | quantiles,
    }


def _write(path: Path, content: bytes) -> None:
    """Whole, or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    part.replace(path)


def main() -> int:
    """Measure and keep the quantiles."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=10_000, help="of each cell")
    parser.add_argument("--minutes", type=float, default=60, help="begin no block after so long")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", help="cells, in the order of the table")
    parser.add_argument("--kept", type=Path, default=Path("window_p_values"), help="the images' vectors, and the p-values so far")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "window_quantiles.json")
    chosen = parser.parse_args()
    started, kept = time.perf_counter(), chosen.kept / f"p-{chosen.seed}.json"
    world = kept_world(chosen.kept, chosen.seed)
    found: dict[str, list[float]] = {cell.name: [] for cell in cells()} | (json.loads(kept.read_text()) if kept.exists() else {})
    wanted = [(number, cell) for number, cell in enumerate(cells()) if not chosen.only or cell.name in chosen.only]
    print(f"{time.perf_counter() - started:.0f} s to prepare", flush=True)
    started = time.perf_counter()
    while time.perf_counter() - started < 60 * chosen.minutes:
        # The one that is furthest behind.
        number, cell = min(wanted, key=lambda item: len(found[item[1].name]) / item[1].wanted(chosen.windows))
        if len(found[cell.name]) >= cell.wanted(chosen.windows):
            break
        found[cell.name] += world.block(number, cell, len(found[cell.name]) // BLOCK)
        _write(kept, json.dumps(found).encode())
        alarms = np.mean(np.array(found[cell.name]) <= 0.05)
        print(f"{time.perf_counter() - started:.0f} s  {cell.name}: {len(found[cell.name])}, alarms at 5 %: {alarms:.3f}", flush=True)
    chosen.out.write_text(json.dumps(report(world, found, json.loads(chosen.out.read_text()) if chosen.out.exists() else {})) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
