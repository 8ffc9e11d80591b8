"""Days until a weak drift is confirmed, by the reference's size; and until one of a tenth of the traffic is, with its tag and without.

    python -m bench.reference_size [--minutes 60] [--histories 200] [--kept FOLDER] [--out bench/results/reference_size.json]

The real tests on the real vectors of `bench.window_quantiles`, from the drift's first day on, 200 requests a day and one watch: a window a
day of all requests, alone (2 of 3) and the latest 4 and 8 together, as `pooled.py` does it. No image comes twice in a history. Of a level
that has a tenth of the traffic and of the reference, the windows are as large as `effective_size` lets them be, end when they are nearly
full, and are confirmed by 2 of 3 at `alarm_of_level`'s level, among 2 and among 10 levels; without tags all requests have the whole budget.
A history is over after 20 days, and what was not confirmed by then counts as 21. Histories are played in turn until the time is up: how
many, the table says.
"""

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from bench.drift_images import Vectors
from bench.gate_error_rates import environment
from bench.window_quantiles import World, kept_world, sample
from components.drift_detection.pooled import LARGEST_SHARE
from components.drift_detection.reference import Regimes, prepare_regimes
from components.drift_detection.tags import TAGS_SHARE, alarm_of_level
from components.drift_detection.window_test import WindowTest, window_test
from components.drift_detection.windows import NEARLY_FULL, AlarmLevel, drift_is_confirmed, effective_size, level_of
from driftloop.contracts import POOLED_WINDOWS
from driftloop.scenarios import parse
from driftloop.settings import DriftSettings

SETTINGS, ALPHA = DriftSettings(), 0.05
DAYS, A_DAY, LEVEL_SHARE = 20, SETTINGS.window_size, 0.1
REFERENCES, TESTS = (1000, 2000), (2, 10)
#: The drift, and the share of the traffic that has it.
CASES = (("prior:0.1", 1.0), ("blur+noise:0.3", LEVEL_SHARE), ("prior:0.2", LEVEL_SHARE))
NEVER = DAYS + 1


def drawn(world: World, drift: str, share: float, reference: int, rng: np.random.Generator) -> tuple[Vectors, Vectors, Vectors]:
    """The reference, and the requests of all days with the drift and without, in order; no image twice."""
    order, count = rng.permutation(len(world.clean)), round(share * A_DAY) * DAYS
    clean = world.clean.take(order[reference : reference + A_DAY * DAYS - count])
    source = world.drifted["prior:0.1" if drift.startswith("prior") else drift]
    if share == 1:
        # A shift of the classes takes images as they are: the clean ones that are left, and the fresh ones.
        source = joined(source, world.clean.take(order[reference:]))
    rows = parse(drift).select(source.labels, count, rng)
    return world.clean.take(order[:reference]), source.take(rows), clean


def joined(*parts: Vectors) -> Vectors:
    return Vectors(*(np.concatenate([getattr(part, name) for part in parts]) for name in Vectors.__dataclass_fields__))


def tested(window: Vectors, regimes: Regimes, alpha: float, permutations: int, rng: np.random.Generator) -> WindowTest:
    return window_test(sample(window), regimes, alpha=alpha, permutations=permutations, rng=rng)


def confirmed_day(flags: list[bool], days: list[int]) -> int:
    """The day on which 2 of 3 windows, which ended on these days, have alarmed."""
    return next((day for end, day in enumerate(days) if drift_is_confirmed(flags[:end], flags[end : end + 1])), NEVER)


def all_requests(reference: Vectors, drifted: Vectors, clean: Vectors, level: AlarmLevel, rng: np.random.Generator) -> tuple[int, int]:
    """The day on which windows alone confirm, and the one on which they or several together do."""
    regimes, own, others = prepare_regimes(["reference"], [sample(reference)], rng), len(drifted) // DAYS, len(clean) // DAYS
    windows = [
        joined(drifted.take(np.arange(own * day, own * (day + 1))), clean.take(np.arange(others * day, others * (day + 1))))
        for day in range(DAYS)
    ]
    tests = [tested(window, regimes, level.alpha, level.permutations, rng) for window in windows]
    alone = confirmed_day([test.drifted for test in tests], list(range(1, NEVER)))
    for day in range(1, alone):
        if together(windows[:day], [test.p_value for test in tests[:day]], regimes, len(reference), level, rng):
            return alone, day
    return alone, alone


def together(
    windows: list[Vectors], p_values: list[float], regimes: Regimes, reference: int, level: AlarmLevel, rng: np.random.Generator
) -> bool:
    """Whether the latest windows confirm a drift together: the rule of `pooled.drifted_together`."""
    for count in POOLED_WINDOWS:
        chosen, images = windows[-count:], A_DAY * count
        if len(chosen) < count or images > LARGEST_SHARE * (images + reference):
            break
        if tested(joined(*chosen), regimes, level.pooled_alpha, level.pooled_permutations, rng).drifted:
            extreme = int(np.argmin(p_values[-count:]))
            rest = joined(*(window for number, window in enumerate(chosen) if number != extreme))
            if tested(rest, regimes, level.alpha, level.permutations, rng).drifted:
                return True
    return False


def one_level(reference: Vectors, drifted: Vectors, rng: np.random.Generator) -> tuple[int, list[int]]:
    """Images in a window of the level, and the day on which its windows confirm, by how many levels share the budget."""
    own = reference.take(np.arange(round(LEVEL_SHARE * len(reference))))
    regimes, size = prepare_regimes(["reference"], [sample(own)], rng), effective_size(SETTINGS.window_size, len(own))
    level = level_of(ALPHA, SETTINGS, windows=90, looks=90, share=1 - TAGS_SHARE)
    alarms = [alarm_of_level(level, SETTINGS, tests=tests, windows=90) for tests in TESTS]
    p_values, days, begin = [], [], 0
    a_day, strictest = len(drifted) // DAYS, min(alarms, key=lambda alarm: alarm.alpha)
    for day in range(1, NEVER):
        while (waiting := day * a_day - begin) >= math.ceil(NEARLY_FULL * size):
            end = begin + min(waiting, size)
            window = drifted.take(np.arange(begin, end))
            p_values.append(tested(window, regimes, strictest.alpha, strictest.permutations, rng).p_value)
            days.append(day)
            begin = end
    return size, [confirmed_day([p_value <= alarm.alpha for p_value in p_values], days) for alarm in alarms]


def history(world: World, drift: str, share: float, reference: int, seed: int) -> dict[str, int]:
    """The day on which each rule confirms."""
    rng = np.random.default_rng([world.seed, 6, reference, CASES.index((drift, share)), seed])
    sides = drawn(world, drift, share, reference, rng)
    level = level_of(ALPHA, SETTINGS, windows=90, looks=90)
    alone, either = all_requests(*sides, level, rng)
    found = {"alone": alone, "together": either}
    if share < 1:
        size, days = one_level(sides[0], sides[1], rng)
        found |= {"size": size} | {f"tag of {tests}": day for tests, day in zip(TESTS, days, strict=True)}
    return found


def summary(days: list[int]) -> dict[str, float]:
    return {"median": float(np.median(days)), "mean": float(np.mean(days)), "missed": float(np.mean([day == NEVER for day in days]))}


def table(result: dict[str, Any]) -> str:
    """For bench/README.md."""
    names = ["alone", "together", *(f"tag of {tests}" for tests in TESTS)]
    lines = [
        f"Days until the drift is confirmed: median, mean (missed within {DAYS}).",
        "",
        "| drift | of the traffic | reference | histories | all requests, 2 of 3 | and together | images in a window of the tag "
        "| its windows, 2 levels | its windows, 10 levels |",
        "|---|---:|---:|---:|---|---|---:|---|---|",
    ]
    for row in result["rows"]:
        shown = [f"{row[name]['median']:g}, {row[name]['mean']:.1f} ({row[name]['missed']:.0%})" if name in row else "–" for name in names]
        shown.insert(2, str(row.get("size", "–")))
        lines.append(f"| {row['drift']} | {row['share']:.0%} | {row['reference']:,} | {row['histories']} | {' | '.join(shown)} |")
    said = [f"{name} **{'met' if met else 'missed'}**" for name, met in result["goals"].items()]
    return "\n".join([*lines, "", f"Goals: {'; '.join(said)}."])


def goals(rows: list[dict[str, Any]]) -> dict[str, bool]:
    """What a larger reference and a tag are for."""
    by = {(row["drift"], row["reference"]): row for row in rows}
    found = {
        "prior:0.1 with 2,000 sooner than with 1,000": by["prior:0.1", 2000]["together"]["mean"] < by["prior:0.1", 1000]["together"]["mean"]
    }
    for (drift, reference), row in by.items():
        if row["share"] < 1:
            found[f"{drift} of a tenth, reference {reference:,}: sooner with tags (10 levels)"] = (
                row["tag of 10"]["mean"] < row["together"]["mean"]
            )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=200, help="of each row, at most")
    parser.add_argument("--minutes", type=float, default=60, help="begin no round of histories after so long")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kept", type=Path, default=Path("window_p_values"), help="the images' vectors")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "reference_size.json")
    chosen = parser.parse_args()
    began = time.perf_counter()
    world = kept_world(chosen.kept, chosen.seed)
    cells = [(drift, share, reference) for drift, share in CASES for reference in REFERENCES]
    found: dict[tuple[str, float, int], list[dict[str, int]]] = {cell: [] for cell in cells}
    for number in range(chosen.histories):
        if time.perf_counter() - began > 60 * chosen.minutes:
            break
        for cell in cells:
            found[cell].append(history(world, *cell, number))
        print(f"{time.perf_counter() - began:.0f} s, {number + 1} of each", flush=True)
    rows = []
    for (drift, share, reference), histories in found.items():
        row: dict[str, Any] = {"drift": drift, "share": share, "reference": reference, "histories": len(histories)}
        sizes = {one.pop("size") for one in histories if "size" in one}
        row |= {"size": sizes.pop()} if sizes else {}
        rows.append(row | {name: summary([one[name] for one in histories]) for name in histories[0]})
    report = environment() | {
        "network": world.about["network"],
        "seconds": round(time.perf_counter() - began),
        "rows": rows,
        "goals": goals(rows),
    }
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(report, indent=1) + "\n")
    print(table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
