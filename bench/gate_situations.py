"""The gate where it is hard: few patients, many classes, traffic that changed, false triggers, a hold-out that is used again.

    python -m bench.gate_situations [patients classes ...] [--repeats 400] [--out bench/results/gate_situations.json]

Every row goes through the functions that decide. Goals stand at the head of their column; a star marks one that is missed by more than
sampling error.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import stats

from bench.gate_error_rates import environment
from components.drift_detection.harm import DRIFT_ALPHA, HALF_LABEL, AccuracyDrop, boundary, score
from components.drift_detection.policy import labels_for_the_gate
from components.validation_gate.answers import Answers
from components.validation_gate.criteria import difference_above
from components.validation_gate.decision import Decision, GateInputs, critical_elsewhere, decide
from components.validation_gate.slices import compare_slices
from driftloop.contracts import PROMOTE
from driftloop.evaluation.intervals import wilson
from driftloop.evaluation.paired import brier_increase, compare
from driftloop.settings import DriftSettings, GateSettings, RetrainSettings

SETTINGS = GateSettings()
Row = list[str]


def rate(count: int, repeats: int, at_most: float | None = None, at_least: float | None = None) -> str:
    """A share; with a star where sampling error does not explain that it misses its goal."""
    share = wilson(count, repeats)
    missed = (at_most is not None and share.low > at_most) or (at_least is not None and share.high < at_least)
    return f"{share.value:.3f}{' *' if missed else ''}"


def differences(rng: np.random.Generator, n: int, difference: float, psi: float) -> np.ndarray:
    """Per image: 1 only the candidate is right, -1 only the champion, 0 both or neither."""
    return rng.choice([1, -1, 0], n, p=[(psi + difference) / 2, (psi - difference) / 2, 1 - psi])


def answers(
    rng: np.random.Generator,
    signs: np.ndarray,
    accuracy: float = 0.9,
    labels: np.ndarray | None = None,
    classes: int = 2,
    groups: np.ndarray | None = None,
) -> Answers:
    """Answers whose differences are `signs`; where they are 0 both are right with probability `accuracy`, and equally sure."""
    labels = rng.integers(0, classes, len(signs)) if labels is None else labels
    both = rng.random(len(signs)) < accuracy
    given = []
    for right in ((signs > 0) | ((signs == 0) & both), (signs < 0) | ((signs == 0) & both)):
        predicted = np.where(right, labels, (labels + 1) % classes)
        probabilities = np.full((len(signs), classes), 0.3 / (classes - 1))
        probabilities[np.arange(len(signs)), predicted] = 0.7
        given.append(probabilities)
    return Answers(labels, given[0], given[1], groups=groups)


def by_patient(rng: np.random.Generator, sizes: np.ndarray, difference: float, psi: float, icc: float) -> np.ndarray:
    """Differences by image; a share sqrt(icc) of a patient's images does what the patient does."""
    own, whole = differences(rng, int(sizes.sum()), difference, psi), differences(rng, len(sizes), difference, psi)
    return np.where(rng.random(len(own)) < np.sqrt(icc), np.repeat(whole, sizes), own)


def patients(repeats: int, seed: int) -> Iterator[str]:
    """Candidates exactly at a limit, and equal ones in six slices."""
    yield "| patients x images | ICC | passes exactly at -2 pt (goal <= .05) | equal, shown better (goal <= .05) | equal, passes -2 pt |"
    yield "|---|---|---|---|---|"
    uneven = np.array([5, 5, 10, 10, 20, 20, 40, 40, 80, 160])
    cases = [(f"{count} x {1000 // count}", np.full(count, 1000 // count)) for count in (8, 12, 18, 25, 60, 150, 300)]
    cases += [("10 x 5 to 160", uneven), ("60 x 5 to 160", np.tile(uneven, 6))]
    for name, sizes in cases:
        groups = np.repeat(np.arange(len(sizes)), sizes)
        for icc in (0.2, 0.5):
            rng, shown = np.random.default_rng(seed), np.zeros(3, int)
            for _ in range(repeats):
                for index, (difference, psi, limit) in enumerate([(-0.02, 0.10, -0.02), (0.0, 0.20, 0.0), (0.0, 0.05, -0.02)]):
                    signs = by_patient(rng, sizes, difference, psi, icc)
                    shown[index] += compare(signs > 0, signs < 0, groups=groups).low > limit
            yield f"| {name} | {icc} | {rate(shown[0], repeats, 0.05)} | {rate(shown[1], repeats, 0.05)} | {rate(shown[2], repeats)} |"
    yield "\n| six slices of 50 patients x 10 images, equal candidate: ICC | vetoed (goal <= .05) |\n|---|---|"
    groups = np.repeat(np.arange(300), 10)
    masks = {f"part {index}": groups % 6 == index for index in range(6)}
    for icc in (0.0, 0.2, 0.5):
        rng, vetoed = np.random.default_rng(seed), 0
        for _ in range(repeats):
            given = answers(rng, by_patient(rng, np.full(300, 10), 0.0, 0.10, icc), groups=groups)
            clean = Answers(given.labels, given.candidate, given.champion, groups, masks)
            vetoed += any(result.vetoes for result in compare_slices(clean, {}, {}, margin=0.02, class_margin=0.05, alpha=0.05, minimum=20))
        yield f"| {icc} | {rate(vetoed, repeats, 0.05)} |"


def judged(rng: np.random.Generator, clean: Answers, classes: int, drifted: tuple[int, float, float] = (300, 0.08, 0.2)) -> Decision:
    """The decision on a clean split beside a hold-out of so many images, difference and discordance."""
    hold_out = answers(rng, differences(rng, *drifted), 0.7, classes=classes)
    return decide(GateInputs(clean, [str(index) for index in range(classes)], drifted=hold_out), margin=0.02, settings=SETTINGS)


def few_classes(repeats: int, seed: int) -> Iterator[str]:
    """Up to twenty classes."""
    yield from classes(repeats, seed, ((2, 750), (2, 200), (10, 200), (20, 200), (10, 750)))


def many_classes(repeats: int, seed: int) -> Iterator[str]:
    """Fifty and more."""
    yield from classes(repeats, seed, ((50, 200), (100, 200), (100, 20)))


def classes(repeats: int, seed: int, sizes: Sequence[tuple[int, int]]) -> Iterator[str]:
    """Equal candidates with so many classes of so many images each, and candidates that lose in one of them."""
    yield "| classes x images | clean +0, drifted +8 promoted (goal >= .8) | stopped by a class | though one class loses 5 / 10 / 20 pt |"
    yield "|---|---|---|---|"
    for count, each in sizes:
        labels, cells, stopped = np.repeat(np.arange(count), each), [], 0
        for lost in (0.0, 0.05, 0.10, 0.20):
            rng, promoted = np.random.default_rng(seed), 0
            for _ in range(repeats):
                signs = differences(rng, len(labels), 0.0, 0.05)
                signs[:each] = differences(rng, each, -lost, max(0.05, lost + 0.02))
                decision = judged(rng, answers(rng, signs, labels=labels, classes=count), count)
                promoted += decision.decision == PROMOTE
                if not lost:
                    open_class = any(not item.holds for item in decision.criteria if item.name.startswith("class "))
                    stopped += open_class or any(item.vetoes for item in decision.slices)
            cells.append(rate(promoted, repeats, at_least=None if lost else 0.8))
            if not lost:
                cells.append(rate(stopped, repeats))
        yield f"| {count} x {each} | {cells[0]} | {cells[1]} | {' / '.join(cells[2:])} |"


def traffic(repeats: int, seed: int) -> Iterator[str]:
    """The rule by traffic where the weighted gain is exactly 0, at the floor, and where the champion fails."""
    yield "| clean n, true pt | new n, true pt | share of new | promoted | of these by traffic | goal |\n|---|---|---|---|---|---|"
    cases = [
        (200, 0.0, 300, 0.0, 0.5, 0.05),
        (1500, 0.0, 300, 0.0, 0.5, 0.05),
        (200, -0.01, 300, 0.04, 0.2, 0.05),
        (400, -0.04, 300, 0.04, 0.5, 0.05),
        (150, 0.02, 300, -0.02, 0.5, 0.05),
        (400, 0.0, 300, 0.0, 0.05, 0.05),
        (400, -0.05, 300, 0.05 * 0.1 / 0.9, 0.9, 0.05),
        (155, -0.013, 314, 0.357, 0.9, None),
        (155, -0.013, 314, 0.357, 0.2, None),
        (155, -0.05, 314, 0.357, 0.9, None),
        (600, -0.05, 314, 0.357, 0.9, None),
        (1500, -0.05, 314, 0.357, 0.9, None),
    ]
    for clean_n, clean_difference, new_n, new_difference, share, goal in cases:
        rng, promoted, weighted = np.random.default_rng(seed), 0, 0
        for _ in range(repeats):
            psi = max(0.20, new_difference + 0.08)
            inputs = GateInputs(
                answers(rng, differences(rng, clean_n, clean_difference, max(0.05, abs(clean_difference) + 0.02))),
                ["0", "1"],
                drifted=answers(rng, differences(rng, new_n, new_difference, psi), 0.7),
                new_share=share,
            )
            decision = decide(inputs, margin=0.02, settings=SETTINGS)
            promoted, weighted = promoted + (decision.decision == PROMOTE), weighted + decision.by_traffic
        cells = [f"{clean_n}, {100 * clean_difference:+.1f}", f"{new_n}, {100 * new_difference:+.1f}", f"{share:.2f}"]
        wanted = "" if goal is None else f"<= {goal}"
        yield f"| {' | '.join(cells)} | {rate(promoted, repeats, goal)} | {rate(weighted, repeats)} | {wanted} |"


def uses(repeats: int, seed: int) -> Iterator[str]:
    """Candidates that are equal on the drift, judged again by the same hold-out, which grows."""
    yield "| candidates share of their flips | one try | any of four tries (goal <= .05) | any of nine |\n|---|---|---|---|"
    for shared in (0.0, 0.7, 0.95):
        rng, through = np.random.default_rng(seed), np.zeros(9, int)
        for _ in range(repeats):
            most = 300 + 45 * 8
            champion, base, labels = rng.random(most) < 0.8, rng.random(most), rng.integers(0, 2, most)
            clean, done = answers(rng, differences(rng, 1500, 0.0, 0.03)), False
            for use in range(9):
                rows = slice(0, 300 + 45 * use)
                draw = np.where(rng.random(most) < shared, base, rng.random(most))
                right = champion ^ (draw < np.where(champion, 0.075 / 0.8, 0.075 / 0.2))
                signs = right[rows].astype(int) - champion[rows]
                inputs = GateInputs(
                    clean, ["0", "1"], drifted=answers(rng, signs, labels=labels[rows]), drifted_uses=use + 1, new_share=0.5
                )
                done = done or decide(inputs, margin=0.02, settings=SETTINGS).decision == PROMOTE
                through[use] += done
        yield f"| {shared} | {rate(through[0], repeats, 0.05)} | {rate(through[3], repeats, 0.05)} | {rate(through[8], repeats, 0.05)} |"


def labels(repeats: int, seed: int) -> Iterator[str]:
    """Is an open criterion decided once the labels that it asks for are there? True differences scatter by 2 points around the row's."""
    yield "| images, true pt, limit | open | decided with the labels asked for (goal about .8) | median labels |\n|---|---|---|---|"
    for n, mean, psi, limit, hopeless in [
        (200, 0.0, 0.05, -0.02, -0.02),
        (600, -0.01, 0.05, -0.02, -0.02),
        (1500, -0.01, 0.10, -0.02, -0.02),
        (100, 0.05, 0.20, 0.0, 0.02),
        (300, 0.02, 0.20, 0.0, 0.02),
    ]:
        rng, needed, decided = np.random.default_rng(seed), [], 0
        for _ in range(repeats):
            truth = float(np.clip(rng.normal(mean, 0.02), -psi, psi))
            signs = differences(rng, n, truth, psi)
            criterion = difference_above("", compare(signs > 0, signs < 0), limit, hopeless_below=hopeless)
            if criterion.labels is not None:
                signs = np.concatenate([signs, differences(rng, criterion.labels - n, truth, psi)])
                decided += not difference_above("", compare(signs > 0, signs < 0), limit, hopeless_below=hopeless).open
                needed.append(criterion.labels)
        row = f"| {n}, {100 * mean:+.0f}, {100 * limit:+.0f} | {rate(len(needed), repeats)} | {rate(decided, len(needed))} |"
        yield f"{row} {np.median(needed):,.0f} |"


def brier(repeats: int, seed: int) -> Iterator[str]:
    """The Brier score's bound where the increase is exactly at its limit, by kinds of differences; Student's t beside it."""
    yield "| n | differences | holds at its limit (goal <= .05) | Student's t | equal candidate holds |\n|---|---|---|---|---|"
    kinds: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
        "3 % of +-0.6, the rest small": lambda rng, n: np.where(
            rng.random(n) < 0.03, np.where(rng.random(n) < 0.5 + 1 / 3.6, 0.6, -0.6), rng.normal(0, 0.02, n)
        ),
        "2 % of +0.7": lambda rng, n: np.where(rng.random(n) < 0.02, 0.7, rng.normal(-0.00408, 0.03, n)),
        "1.25 % of +0.8": lambda rng, n: np.where(rng.random(n) < 0.0125, 0.8, rng.normal(0, 0.01, n)),
        "normal, 0.08": lambda rng, n: rng.normal(0.01, 0.08, n),
    }
    for n in (60, 100, 155, 300, 600, 1500):
        for name, draw in kinds.items():
            rng, held, student, equal = np.random.default_rng(seed), 0, 0, 0
            for _ in range(repeats):
                drawn = draw(rng, n)
                held += brier_increase(drawn, np.zeros(n)).high < 0.01
                student += drawn.mean() + stats.t.ppf(0.95, n - 1) * stats.sem(drawn) < 0.01
                symmetric = draw(rng, n) * rng.choice([-1, 1], n)
                equal += brier_increase(symmetric, np.zeros(n)).high < 0.01
            yield f"| {n} | {name} | {rate(held, repeats, 0.05)} | {rate(student, repeats, 0.05)} | {rate(equal, repeats)} |"


def false_triggers(rng: np.random.Generator, count: int, labels: int, *, kept: bool) -> Iterator[tuple[int, int]]:
    """Histories without a drop whose labels show harm all the same: of the gate's labels by then, how many the champion has right, and all.

    A window a day for thirty days; the gate's part of each window's labels judges harm, too, unless it is `kept`.
    """
    policy, share, accuracy, images = DriftSettings(), RetrainSettings().gate_share, 0.9, 1500
    for_gate = round(labels * share)
    accepted = rng.binomial(images, accuracy, count) / images
    open_still = np.ones(count, bool)
    fade = 0.5 ** (1 / policy.harm_half_life_days)
    total, weight, squares, gate_right = np.zeros(count), 0.0, 0.0, np.zeros(count, np.int64)
    size = labels - for_gate * kept
    for window in range(1, 31):
        gate, rest = rng.binomial(for_gate, accuracy, count), rng.binomial(labels - for_gate, accuracy, count)
        gate_right += gate
        total = fade * total + (rest + gate * (not kept)) / size
        weight, squares = fade * weight + 1, fade**2 * squares + 1 / size
        n, right = weight**2 / squares, total / weight
        if window * size < policy.harm_labels:
            continue
        z = boundary(images, n, window * size / n, DRIFT_ALPHA)
        shown = score(accepted * images, images, np.minimum(right * n + HALF_LABEL, n), n, 0.0) > z
        for history in np.flatnonzero(open_still & shown & (accepted - right >= policy.retrain_drop)):
            drop = AccuracyDrop(accepted[history] - right[history], 0.0, 1.0, window * size)
            if window * for_gate >= labels_for_the_gate(drop, policy, RetrainSettings()):
                open_still[history] = False
                yield int(gate_right[history]), window * for_gate


def trigger(repeats: int, seed: int) -> Iterator[str]:
    """An equal candidate after labels have shown a harm that is not there."""
    yield "| labels a window | the gate's labels | histories | triggers | better on the drift (goal <= .05) | promoted (goal <= .05) |"
    yield "|---|---|---|---|---|---|"
    for each in (66, 200):
        for kept in (False, True):
            rng, psi, seen, count, found = np.random.default_rng(seed), 0.15, 0, 0, np.zeros(2, int)
            while count < repeats:
                seen += 20_000
                for right, n in false_triggers(rng, 20_000, each, kept=kept):
                    flips = np.where(np.arange(n) < right, psi / 2 / 0.9, psi / 2 / 0.1)
                    signs = (rng.random(n) < flips) * np.where(np.arange(n) < right, -1, 1)
                    clean = answers(rng, differences(rng, 1500, 0.0, 0.03))
                    hold_out = answers(rng, signs, 0.85)
                    decision = decide(GateInputs(clean, ["0", "1"], drifted=hold_out, new_share=0.5), margin=0.02, settings=SETTINGS)
                    found += hold_out.difference().low > 0, decision.decision == PROMOTE
                    count += 1
            whose = "judge harm, too" if not kept else "kept apart"
            yield f"| {each} | {whose} | {seen:,} | {count:,} | {rate(found[0], count, 0.05)} | {rate(found[1], count, 0.05)} |"


def critical(repeats: int, seed: int) -> Iterator[str]:
    """A critical class, and levels of tags, on the images of a drift."""
    yield "| images of the class | discordant | equal: holds | equal: rejected | exactly at -5 pt: holds (goal <= .05) | -20 pt: holds |"
    yield "|---|---|---|---|---|---|"
    for n in (40, 80, 150, 300):
        for psi in (0.02, 0.05, 0.10):
            rng, found = np.random.default_rng(seed), np.zeros(4, int)
            for _ in range(repeats):
                for index, (difference, discordant) in enumerate([(0.0, psi), (-0.05, max(psi, 0.05)), (-0.20, 0.25)]):
                    signs = differences(rng, n, difference, discordant)
                    hold_out = answers(rng, signs, 0.8, labels=np.ones(n, int))
                    inputs = GateInputs(hold_out, ["0", "1"], drifted=hold_out)
                    (held,) = critical_elsewhere(inputs, ["1"], SETTINGS.class_margin)
                    found[[0, 2, 3][index]] += held.holds
                    found[1] += index == 0 and held.refuted
            equal, rejected, at_limit, lost = found
            cells = rate(equal, repeats), rate(rejected, repeats), rate(at_limit, repeats, 0.05), rate(lost, repeats)
            yield f"| {n} | {psi:.2f} | {' | '.join(cells)} |"
    yield "\n| levels of a tag x images, test split and drift | equal, vetoed (goal <= .05) | one loses 25 pt on the drift, vetoed |"
    yield "|---|---|---|"
    for levels, each in ((2, 150), (10, 40), (10, 150)):
        rng, vetoed = np.random.default_rng(seed), np.zeros(2, int)
        level = np.repeat(np.arange(levels), each)
        masks = {f"level {index}": level == index for index in range(levels)}
        for _ in range(repeats):
            for index in (0, 1):
                both = [differences(rng, len(level), 0.0, 0.10) for _ in range(2)]
                both[1] = np.where((level == 0) & (index == 1), differences(rng, len(level), -0.25, 0.35), both[1])
                clean, drifted = (replace(answers(rng, signs, 0.8), slices=masks) for signs in both)
                given = {"margin": 0.02, "class_margin": 0.05, "alpha": 0.05, "minimum": 20, "elsewhere": {"drift": drifted}}
                vetoed[index] += any(result.vetoes for result in compare_slices(clean, {}, {}, **given))  # type: ignore[arg-type]
        yield f"| {levels} x {each} | {rate(vetoed[0], repeats, 0.05)} | {rate(vetoed[1], repeats)} |"


TABLES: dict[str, tuple[str, Callable[[int, int], Iterator[str]]]] = {
    "patients": ("Patients in the gate", patients),
    "classes": ("Classes", few_classes),
    "many-classes": ("Many classes", many_classes),
    "traffic": ("Promotion by the traffic as it is now", traffic),
    "trigger": ("Labels that triggered a retraining also judge it", trigger),
    "uses": ("A hold-out that is used again", uses),
    "labels": ("About N labels would decide", labels),
    "critical": ("Critical classes and tags on a drift", critical),
    "brier": ("The Brier score's bound", brier),
}


def main() -> int:
    """Measure the tables that were asked for, all of them by default; those of the result file that were not asked for stay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", metavar="table", help=", ".join(TABLES))
    parser.add_argument("--repeats", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "gate_situations.json")
    chosen = parser.parse_args()
    unknown = set(chosen.tables) - TABLES.keys()
    if unknown:
        parser.error(f"no such table: {', '.join(sorted(unknown))} (there are {', '.join(TABLES)})")
    kept = json.loads(chosen.out.read_text())["tables"] if chosen.out.exists() else {}
    for name in chosen.tables or TABLES:
        title, measure = TABLES[name]
        started, lines = time.perf_counter(), []
        for line in measure(chosen.repeats, chosen.seed):
            print(line, flush=True)
            lines.append(line)
        kept[name] = {
            "title": title,
            "date": environment()["date"],
            "repeats": chosen.repeats,
            "seed": chosen.seed,
            "seconds": round(time.perf_counter() - started),
            "lines": lines,
        }
        report = {**environment(), "tables": {name: kept[name] for name in TABLES if name in kept}}
        chosen.out.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
