"""The policy over thousands of histories without images: what it does wrongly, how late it is, and what it costs.

    python -m bench.policy_world [--histories 1000] [--minutes 120] [--kinds none ...] [--kept FOLDER] [--out FILE]

A watch a day for 120 days, the drift sets in on day 20. Whether a window alarms is drawn from the quantiles of the real test
(`bench/window_quantiles.json`), at the level that the alarm budget gives for so many windows a day, and whether the last four do together
(`bench/policy_alarms.py`); labels are binomial. From there on it is the project's: confirmation, harm (its boundary and score, over all
histories of a cell at once), policy, what a retraining and its gate wait for, and the gate itself on the answers of both models. `agrees`
holds the arrays against the functions for some histories first. Histories are played in batches, cell after cell, and lie in `--kept`: a
run that was cut short goes on where it was, and the table is of those that there are.

Turnaround 0 is before the next watch. A candidate is good (60 %: wins back half to all of the drop), equal (25 %), or worse (15 %: 3
points less on the drift, 2 on clean images). One labelling team works on one list at a time, and on every window's quota.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from bench.gate_error_rates import environment
from bench.gate_situations import answers, differences
from bench.policy_alarms import NEVER, POOLED, START, WINDOW, Alarms, Chains, quantiles, times_of
from bench.policy_cells import DAYS, DROPS, ONSET, STRENGTHS, Cell, design
from bench.policy_tables import goals, row, table
from components.drift_detection.harm import CONCEPT_ALPHA, DRIFT_ALPHA, GROWN_Z, HALF_LABEL, RECENT, AccuracyDrop, boundary, drop_of, score
from components.drift_detection.label_requests import quota
from components.drift_detection.policy import Situation, decide, shows_harm, shows_harmlessness
from components.drift_detection.windows import drift_is_confirmed, level_of
from components.validation_gate import decision as gate
from driftloop.contracts import DRIFTED_GATE, DRIFTED_TRAIN, DRIFTED_VAL, PROMOTE
from driftloop.dataset.roles import missing_labels
from driftloop.drifts import windows_of_newest_drift
from driftloop.evaluation.intervals import wilson
from driftloop.settings import DriftSettings, GateSettings, RetrainSettings
from driftloop.watch_record import WindowLabels

#: Histories of a cell that are played at once.
BATCH = 100
ACCURACY, CLEAN_IMAGES, MARGIN = 0.914, 1500, 0.02
SETTINGS, RETRAIN, GATE = DriftSettings(), RetrainSettings(), GateSettings()


@dataclass(frozen=True)
class Harm:
    """What `drop_of` says of each history, as far as the policy asks: (H,) each."""

    value: np.ndarray
    labels: np.ndarray
    harmful: np.ndarray
    """Whether the lower bound lies above 0."""
    harmless: np.ndarray
    """Whether the upper bound lies below `harmless_drop`."""
    harmless_if_grown: np.ndarray
    """Whether that of a drop that grew evenly does."""
    recent: np.ndarray

    def of(self, history: int) -> AccuracyDrop | None:
        """Bounds on the right sides of the limits: nothing else of them is looked at."""
        if not self.labels[history]:
            return None
        low = 1e-9 if self.harmful[history] else -1.0
        high = SETTINGS.harmless_drop - 1e-9 if self.harmless[history] else 1.0
        grown = SETTINGS.harmless_drop - 1e-9 if self.harmless_if_grown[history] else 1.0
        recent = float(self.recent[history])
        return AccuracyDrop(float(self.value[history]), low, high, int(self.labels[history]), recent=recent, high_if_grown=grown)


def judge(
    rows: np.ndarray, labels: np.ndarray, right: np.ndarray, expected: np.ndarray, shares: np.ndarray, day: int, alpha: float
) -> Harm:
    """`drop_of` for many histories: rows, labels, right answers, accuracy accepted for it and images behind that, by day (DAYS, H)."""
    known = labels > 0
    newest = np.where(known, np.arange(DAYS)[:, None], -1).max(0)
    ages = newest - np.arange(DAYS)[:, None]
    counted = np.maximum(labels, 1)

    there = labels.sum(0)
    came = rows > 0
    first, last = np.argmax(came, 0), DAYS - 1 - np.argmax(came[::-1], 0)
    distance = (last - first) / np.maximum(came.sum(0) - 1, 1)
    grown = (np.arange(DAYS)[:, None] - first + distance) / np.maximum(last - first + distance, 1e-9)
    growth = np.where(last > first, np.clip(grown, 0, 1), 1.0)

    def share(half_life: float, leaning: np.ndarray | float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Share right, effective labels, accuracy accepted, images behind it, mean growth."""
        weights = np.where(known & (ages >= 0), rows * 0.5 ** (np.clip(ages, 0, DAYS) / half_life), 0.0) * leaning
        total = np.maximum(weights.sum(0), 1e-12)
        of_regime = (weights * shares).sum(0) / total
        effective = np.maximum(total**2 / np.maximum((weights**2 / counted).sum(0), 1e-12), 1e-9)
        images = 1 / ((1 - of_regime) ** 2 / CLEAN_IMAGES + of_regime**2 / REGIME_IMAGES)
        means = [(weights * of).sum(0) / total for of in (right / counted, expected, growth)]
        return means[0], effective, np.minimum(means[1], 1.0), images, means[2]

    right_share, effective, accepted, images, _ = share(SETTINGS.harm_half_life_days)
    quick, _, quick_accepted, _, _ = share(SETTINGS.harm_half_life_days / RECENT)
    z = boundary(images, effective, np.maximum(there, 1) / effective, alpha)
    careful = np.minimum(right_share * effective + HALF_LABEL, effective)
    harmful = (there > 0) & (score(accepted * images, images, careful, effective, 0.0) > z)
    harmless = (there > 0) & (score(accepted * images, images, right_share * effective, effective, SETTINGS.harmless_drop) < -z)
    late_right, late, late_accepted, late_images, come = share(SETTINGS.harm_half_life_days, growth)
    least = SETTINGS.harmless_drop * come
    of_grown = score(late_accepted * late_images, late_images, np.minimum(late_right, 1.0) * late, late, least)
    return Harm(
        accepted - right_share,
        there,
        harmful,
        harmless,
        (there > 0) & (of_grown < -GROWN_Z),
        quick_accepted - quick,
    )


#: Images behind a learned regime's accuracy: the gate's part of one list.
REGIME_IMAGES = 300


def play(cell: Cell, count: int, seed: int | list[int], trace: list[dict[str, Any]] | None = None) -> dict[str, np.ndarray]:
    """`count` histories of a cell: what became of each, (H,) by name."""
    rng = np.random.default_rng(seed)
    alarms_of = Alarms(count, level_of(0.05, SETTINGS, windows=90.0 * cell.windows, looks=90), rng)
    drops, looks, each = cell.drops(), cell.looks(), quota(SETTINGS, cell.windows)
    late, share = max(cell.turnaround, 1), RETRAIN.gate_share
    chains = Chains(count, cell.windows, DAYS)
    flat = (DAYS, count)
    labels, right, gate_labels, gate_right, steady, steady_right, pending, gate_pending = (np.zeros(flat, np.int64) for _ in range(8))
    expected, of_regime, truth = np.zeros(flat), np.zeros(flat), np.zeros(flat)
    due, decided, refused_on = np.full(count, -1), np.full(count, -1), np.full(count, -1)
    clean_value = rng.binomial(CLEAN_IMAGES, ACCURACY, count) / CLEAN_IMAGES
    clean_truth, won, regime_value = np.full(count, ACCURACY), np.zeros(count), np.full(count, np.nan)
    learned = np.full(count, -1.0)
    uses, tries = np.ones(count, int), np.zeros(count, int)
    retrained: list[list[int]] = [[] for _ in range(count)]
    out = {name: np.zeros(count) for name in ("false_retrainings", "false_calm", "labels", "lost", "worse", "worse_promoted", "promotions")}
    out |= {name: np.full(count, NEVER) for name in ("first_retrain", "first_promotion", "first_calm")}
    order = [name for _, name in reversed(STRENGTHS)]

    def strength(name: str) -> float:
        return float(order.index(name)) if name in order else 0.0

    for day in range(DAYS):
        drifted = day >= ONSET and looks[day] != "clean"
        known = drifted & (learned >= strength(looks[day]))
        flags, together = alarms_of.of_day(np.where(known, "clean", looks[day]), cell.windows)
        confirmed, another, joined = chains.see(day, flags)
        together &= ~confirmed
        for history in np.flatnonzero(together):
            new, more = chains.mark(day, history)
            another[history] |= new
            joined[:, history] = more + joined[:, history] * (not new)
        confirmed |= together
        # Labels of a drift that ended say nothing about the next one.
        for kept in (labels, right, gate_labels, gate_right, pending, gate_pending):
            kept[:, another] = 0
        due[another] = -1
        loss = drops[day] - won if drifted else np.zeros(count)
        truth[day] = np.clip(np.where(drifted, clean_truth - loss, clean_truth), 0, 1)
        expected[day], of_regime[day] = np.where(known, regime_value, clean_value), known
        out["labels"] += each * cell.windows
        if day >= ONSET:
            out["lost"] += ACCURACY - truth[day]
        # The quota of a day, and what joins the drift once its labels are there; then the list that is due.
        arrived = day - late
        for past in {arrived, *np.flatnonzero(joined.any(1)).tolist()} if arrived >= 0 else ():
            more = chains.members[past] if past == arrived else np.where(past < arrived, joined[past], 0)
            labels[past] += each * more
            right[past] += rng.binomial(each * more, truth[past])
        if arrived >= 0:
            rest = each * (cell.windows - chains.members[arrived]) * (arrived > decided)
            steady[arrived], steady_right[arrived] = rest, rng.binomial(rest, truth[arrived])
        hand_in = due == day
        for to, good, given in ((labels, right, pending), (gate_labels, gate_right, gate_pending)):
            to += given * hand_in
            good += rng.binomial(given * hand_in, truth)
            given[:, hand_in] = 0
        due[hand_in] = -1

        harm = judge(chains.members * WINDOW, labels, right, expected, of_regime, day, DRIFT_ALPHA)
        concept = judge((cell.windows - chains.members) * WINDOW, steady, steady_right, expected, of_regime, day, CONCEPT_ALPHA)
        if trace is not None:
            seen = {"flags": flags, "together": together, "confirmed": confirmed, "clean": clean_value, "harm": harm}
            trace.append(seen | {"labels": labels.copy(), "right": right.copy()})
        alarms, in_drift, for_gates, steadily = flags.sum(0), chains.members.sum(0), gate_labels.sum(0), steady.sum(0)
        shown = concept.harmful & (concept.labels >= SETTINGS.harm_labels) & (concept.value >= SETTINGS.retrain_drop)
        for history in np.flatnonzero(confirmed | shown).tolist():
            is_concept = not confirmed[history]
            open_windows = cell.windows * (day - int(decided[history])) - int(in_drift[history])
            harm_there = int((steadily if is_concept else harm.labels)[history])
            for_gate = int(for_gates[history])
            there = harm_there + for_gate
            ages = [day - tried for tried in retrained[history]]
            split = round(harm_there * RETRAIN.train_parts / (RETRAIN.train_parts + RETRAIN.val_parts))
            situation = Situation(
                tested=cell.windows,
                drifted=int(alarms[history]),
                confirmed=bool(confirmed[history]),
                drop=harm.of(history),
                concept_drop=concept.of(history),
                labels=there,
                gate_labels=for_gate,
                gate_obtainable=round((open_windows if is_concept else int(in_drift[history])) * WINDOW * share),
                labels_at_refusal=int(refused_on[history]) if refused_on[history] >= 0 else None,
                missing_for_retraining=missing_labels(
                    {DRIFTED_TRAIN: split, DRIFTED_VAL: harm_there - split, DRIFTED_GATE: for_gate}, RETRAIN
                ),
                days_since_retraining=float(min(ages)) if ages else None,
                recent_retrainings=sum(age <= 30 for age in ages),
            )
            verdict = decide(situation, SETTINGS, RETRAIN)
            real = float((regime_value[history] if known[history] else clean_truth[history]) - truth[day, history])
            if verdict.name == "alert" and not verdict.purpose and real >= SETTINGS.harmless_drop - 1e-9:
                out["false_calm"][history] = 1
            if verdict.harmless and day >= ONSET:
                out["first_calm"][history] = min(out["first_calm"][history], day - ONSET)
            if verdict.name == "retrain":
                if drops[: day + 1].max() == 0:
                    out["false_retrainings"][history] += 1
                if day >= ONSET:
                    out["first_retrain"][history] = min(out["first_retrain"][history], day - ONSET)
                retrained[history].append(day)
                fate = candidate(rng, float(loss[history]))
                recent_days = slice(max(0, day - 27), day + 1)
                new_share = float(chains.members[recent_days, history].sum() / (cell.windows * (day + 1 - recent_days.start)))
                got_right = int(gate_right[:, history].sum())
                promoted, accuracy = judged(rng, fate, got_right, for_gate, int(uses[history]), int(tries[history]) + 1, new_share)
                out["worse"][history] += fate.worse
                out["worse_promoted"][history] += fate.worse and promoted
                decided[history], uses[history] = day, uses[history] + 1
                chains.settle(day, history, forget=promoted)
                alarms_of.settle(history)
                steady[:, history] = steady_right[:, history] = 0
                if promoted:
                    out["promotions"][history] += 1
                    if day >= ONSET:
                        out["first_promotion"][history] = min(out["first_promotion"][history], day - ONSET)
                    won[history] += fate.gain - fate.clean
                    clean_truth[history] += fate.clean
                    clean_value[history] = min(1.0, clean_value[history] + fate.clean)
                    regime_value[history], learned[history] = accuracy, strength(looks[day])
                    tries[history], refused_on[history], due[history] = 0, -1, -1
                    for kept in (labels, right, gate_labels, gate_right, pending, gate_pending):
                        kept[:, history] = 0
                else:
                    tries[history], refused_on[history] = tries[history] + 1, there
            elif verdict.purpose and due[history] < 0:
                members = chains.members[:, history]
                if is_concept:
                    members = np.where((np.arange(DAYS) > decided[history]) & (np.arange(DAYS) <= day), cell.windows - members, 0)
                weights = members * 0.5 ** ((day - np.arange(DAYS)) / SETTINGS.harm_half_life_days)
                target = np.minimum(members * WINDOW, np.floor(SETTINGS.random_requests * weights / max(weights.sum(), 1e-9)))
                own = np.maximum(0, np.round(target * (1 - share)) - labels[:, history]).astype(int) * (not is_concept)
                more = np.maximum(0, np.round(target * share) - gate_labels[:, history]).astype(int)
                if own.sum() + more.sum():
                    pending[:, history], gate_pending[:, history], due[history] = own, more, day + late
                    out["labels"][history] += own.sum() + more.sum()
    out["without"] = np.full(count, drops[ONSET:].sum())
    return out


@dataclass(frozen=True)
class Fate:
    """True differences of a candidate: on the drift, and on clean images."""

    gain: float
    clean: float

    @property
    def worse(self) -> bool:
        """Whether nobody should want it."""
        return self.gain < 0 or self.clean < -MARGIN


def candidate(rng: np.random.Generator, loss: float) -> Fate:
    """What a retraining may lead to where the champion loses `loss` on the drift."""
    luck = rng.random()
    if luck < 0.6:
        return Fate(max(0.0, loss) * rng.uniform(0.5, 1.0), 0.0)
    return Fate(0.0, 0.0) if luck < 0.85 else Fate(-0.03, -0.02)


def judged(rng: np.random.Generator, fate: Fate, right: int, n: int, use: int, tried: int, new_share: float) -> tuple[bool, float]:
    """Whether the gate promotes, and what it measures on the drift."""
    psi = max(0.10, abs(fate.gain) + 0.05)
    accuracy = min(max(right / n, 0.05), 0.95)
    was_right = np.arange(n) < right
    lost, gained = (psi - fate.gain) / 2 / accuracy, (psi + fate.gain) / 2 / (1 - accuracy)
    flips = rng.random(n) < np.where(was_right, lost, gained)
    hold_out = answers(rng, flips * np.where(was_right, -1, 1), 0.85)
    clean = answers(rng, differences(rng, CLEAN_IMAGES, fate.clean, 0.04))
    inputs = gate.GateInputs(clean, ["0", "1"], drifted=hold_out, test_uses=use, drifted_uses=tried, new_share=new_share)
    return gate.decide(inputs, margin=MARGIN, settings=GATE).decision == PROMOTE, float((flips ^ was_right).mean())


def agrees(seed: int = 1, count: int = 4) -> int:
    """Hold the arrays against the project's functions, look by look, until the first decision; how many looks were compared."""
    compared = 0
    for cell in (Cell("abrupt", 0.05, 1, 0), Cell("abrupt", 0.0, 3, 4), Cell("gradual", 0.15, 3, 0), Cell("label shift", 0.05, 1, 0)):
        trace: list[dict[str, Any]] = []
        ends = np.minimum(play(cell, count, seed, trace)["first_retrain"], DAYS - ONSET) + ONSET
        for history in range(count):
            flags: list[bool] = []
            for day, seen in enumerate(trace[: int(ends[history])]):
                today = seen["flags"][:, history].tolist()
                same = (drift_is_confirmed(flags, today) or seen["together"][history]) == seen["confirmed"][history]
                flags += today
                if seen["together"][history]:
                    flags[-POOLED:] = [True] * POOLED
                mine = windows_of_newest_drift(flags, times_of(len(flags), cell.windows))
                tallies = []
                for past in range(day + 1):
                    inside = sum(mine[past * cell.windows : (past + 1) * cell.windows])
                    n, right = int(seen["labels"][past, history]), int(seen["right"][past, history])
                    if inside:
                        last = (START + timedelta(days=past)).isoformat()
                        tallies.append(WindowLabels(watch=past, window=0, drift=1, last=last, rows=WINDOW * inside, labels=n, right=right))
                    same &= bool(inside) or n == 0
                clean = wilson(round(float(seen["clean"][history]) * CLEAN_IMAGES), CLEAN_IMAGES)
                labelled = [tally for tally in tallies if tally.labels]
                if (
                    labelled
                    and all(tally.labels >= 20 for tally in labelled)
                    and len(labelled) == labelled[-1].watch - labelled[0].watch + 1
                ):
                    found = drop_of(tallies, {"reference": clean}, half_life_days=SETTINGS.harm_half_life_days, alpha=DRIFT_ALPHA)
                    own = seen["harm"].of(history)
                    same &= found is not None and own is not None and abs(found.value - own.value) < 1e-9
                    same &= found is not None and own is not None and (found.low > 0) == (own.low > 0)
                    same &= shows_harm(found, SETTINGS) == shows_harm(own, SETTINGS)
                    same &= shows_harmlessness(found, SETTINGS) == shows_harmlessness(own, SETTINGS)
                    compared += 1
                if not same:
                    raise SystemExit(f"{cell}, history {history}, day {day}: the arrays and the functions disagree")
    return compared


def main() -> int:
    """Play every cell, say which goals were met, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=1000, help="of each cell")
    parser.add_argument("--minutes", type=float, default=120, help="begin no further batch after so long")
    parser.add_argument("--kinds", nargs="*", default=list(DROPS), help="of drifts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kept", type=Path, default=Path("policy_world_histories"), help="the histories so far")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "policy_world.json")
    chosen = parser.parse_args()
    began, compared = time.perf_counter(), agrees(chosen.seed)
    chosen.kept.mkdir(parents=True, exist_ok=True)
    for batch, (number, cell) in product(range(-(-chosen.histories // BATCH)), enumerate(design())):
        path = chosen.kept / f"{number}-{batch}.npz"
        if cell.kind in chosen.kinds and not path.exists() and time.perf_counter() - began < 60 * chosen.minutes:
            start, count = time.perf_counter(), min(BATCH, chosen.histories - batch * BATCH)
            played = play(cell, count, [chosen.seed, number, batch])
            with path.with_suffix(".part").open("wb") as stream:
                np.savez(stream, seconds=time.perf_counter() - start, **played)
            path.with_suffix(".part").replace(path)
            print(f"{time.perf_counter() - began:4.0f} s  {cell}, batch {batch}", flush=True)
    rows, seconds = [], 0.0
    for number, cell in enumerate(design()):
        batches = [dict(np.load(path)) for path in sorted(chosen.kept.glob(f"{number}-*.npz"))]
        if batches:
            seconds += sum(float(batch.pop("seconds")) for batch in batches)
            rows.append(row(cell, {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}))
    about = environment() | {"compared": compared, "windows": quantiles()["windows"], "seconds": round(seconds, 1)}
    result = about | {"rows": rows, "goals": goals(rows)}
    chosen.out.write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
