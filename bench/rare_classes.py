"""A class of 1 % under a drift and at the gate: how often its loss goes unseen, with and without declaring it critical.

    python -m bench.rare_classes [--histories 60] [--out bench/results/rare_classes.json]

A window of 200 a day, 66 random labels each of which 45 % are the gate's, for 90 days; the champion recognised 90 % of a class of 1 %,
the drift takes its recall to what a row says, and all else stays. Beside the uniform labels come 60 drawn among the requests named as
the class, at most as many as there are. `harmless` is what the overall test says (`drop_of`); a critical class holds that back unless a
loss of `class_drop` is excluded (`judged_recall`). At the gate a candidate loses the class on 1,500 test images and is equal elsewhere.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.gate_error_rates import environment
from components.drift_detection.harm import DRIFT_ALPHA, boundary, score
from components.drift_detection.recalls import KnownShare, judged_recall, labels_to_tell
from components.validation_gate.answers import Answers
from components.validation_gate.decision import GateInputs, decide
from driftloop.contracts import PROMOTE
from driftloop.evaluation.intervals import wilson
from driftloop.settings import DriftSettings, GateSettings, RetrainSettings

SETTINGS, GATE = DriftSettings(), GateSettings()
WINDOW, LABELS, TEST_IMAGES, ACCEPTED, OTHERS = 200, round(66 * (1 - RetrainSettings().gate_share)), 1500, 0.9, 0.914
#: True recalls under the drift: as accepted, at the bound of what is harmless, and lost.
RECALLS = (0.9, 0.7, 0.0)
SHARES = (0.01, 0.05)
LOOKS = (10, 30, 90)


def histories(share: float, recall: float, count: int, seed: int) -> dict[str, Any]:
    """Of `count` histories, what is said at each of `LOOKS`, and what was ever said wrongly until then, look by look."""
    rng = np.random.default_rng([seed, round(1000 * share), round(100 * recall)])
    accepted = wilson(round(ACCEPTED * 300), 300, confidence=1 - 2 * DRIFT_ALPHA)
    accuracy = share * recall + (1 - share) * OTHERS
    clean = (share * ACCEPTED + (1 - share) * OTHERS) * TEST_IMAGES
    said = {name: dict.fromkeys(LOOKS, 0) for name in ("harmless", "kept", "fallen", "wrong", "told")}
    needed: list[int] = []
    for _ in range(count):
        # Named as the class and of it; of another class and named so (one in 500); missed.
        named = rng.binomial(WINDOW, share * recall, max(LOOKS)), rng.binomial(WINDOW, 0.002, max(LOOKS))
        missed, ever_wrong = 0, False
        for look in range(5, max(LOOKS) + 1, 5):
            of_it, wrongly, n = int(named[0][:look].sum()), int(named[1][:look].sum()), look * LABELS
            rows = of_it + wrongly
            labelled = min(rows, round(rows * n / (look * WINDOW)) + SETTINGS.class_requests)
            right = rng.hypergeometric(of_it, wrongly, labelled) if labelled else 0
            missed += rng.binomial(5 * LABELS, share * (1 - recall))
            others = look * WINDOW - rows
            shares = KnownShare(rows, right, labelled, 1.0), KnownShare(others, missed, n * others / (look * WINDOW), 1.0)
            judged = judged_recall("rare", *shares, accepted, SETTINGS, critical=True)
            ever_wrong |= (judged.bounded and recall <= ACCEPTED - SETTINGS.class_drop) or (judged.fallen and recall >= ACCEPTED)
            if look not in LOOKS:
                continue
            correct = rng.binomial(n, accuracy)
            z = float(boundary(TEST_IMAGES, n, 1.0, DRIFT_ALPHA))
            harmless = bool(score(clean, TEST_IMAGES, correct, n, SETTINGS.harmless_drop) < -z)
            said["harmless"][look] += harmless
            said["kept"][look] += harmless and judged.bounded
            said["fallen"][look] += judged.fallen
            said["told"][look] += judged.told
            said["wrong"][look] += ever_wrong
            if look == LOOKS[0] and not judged.told and len(needed) < 5:
                needed.append(labels_to_tell(*shares, accepted, SETTINGS) or 0)
    return {"share": share, "recall": recall, "count": count, "said": said, "needed": float(np.median(needed)) if needed else None}


def at_the_gate(share: float, lost: bool, count: int, seed: int) -> dict[str, Any]:
    """How often a candidate is promoted that loses the class, or is equal, before (not critical) and after (critical)."""
    rng = np.random.default_rng([seed, round(1000 * share), lost])
    promoted = {"plain": 0, "critical": 0}
    for _ in range(count):
        labels = np.where(rng.random(TEST_IMAGES) < share, 2, rng.integers(0, 2, TEST_IMAGES))
        champion = rng.random(TEST_IMAGES) < np.where(labels == 2, ACCEPTED, OTHERS)
        # As many won as lost, one image in a hundred each.
        candidate = champion ^ (rng.random(TEST_IMAGES) < np.where(champion, 0.01 / OTHERS, 0.01 / (1 - OTHERS)))
        if lost:
            candidate = np.where(labels == 2, False, candidate)
        both = [np.eye(3)[np.where(right, labels, (labels + 1) % 3)] * 0.7 + 0.1 for right in (candidate, champion)]
        inputs = GateInputs(Answers(labels, *both), ["a", "b", "rare"])
        for name, critical in (("plain", ()), ("critical", ("rare",))):
            promoted[name] += decide(inputs, margin=0.02, settings=GATE, critical=critical).decision == PROMOTE
    return {"share": share, "lost": lost, "count": count, "promoted": promoted}


def table(result: dict[str, Any]) -> str:
    """Both, as Markdown."""
    days = " / ".join(map(str, LOOKS))
    lines = [
        f"{result['drift'][0]['count']} histories or candidates a row; at so few none wrong means at most 6 % (95 %).",
        "",
        f"| class | true recall (accepted .90) | called harmless, day {days} | the same, class critical | shown to have fallen "
        "| ever said wrongly by day 90 (goal .05) | labels named as telling on day 10 |",
        "|---:|---:|---|---|---|---:|---:|",
    ]
    for row in result["drift"]:
        cells = [
            " / ".join(f"{row['said'][name][look] / row['count']:.3f}" for look in map(str, LOOKS))
            for name in ("harmless", "kept", "fallen")
        ]
        wrong, needed = row["said"]["wrong"][str(max(LOOKS))] / row["count"], "–" if row["needed"] is None else f"{row['needed']:,.0f}"
        lines.append(f"| {row['share']:.0%} | {row['recall']:.2f} | {' | '.join(cells)} | {wrong:.3f} | {needed} |")
    lines += ["", "| class | candidate | promoted | the same, class critical |", "|---:|---|---:|---:|"]
    for row in result["gate"]:
        what = "loses the class" if row["lost"] else "equal"
        shares = " | ".join(f"{row['promoted'][name] / row['count']:.3f}" for name in ("plain", "critical"))
        lines.append(f"| {row['share']:.0%} | {what} | {shares} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print the tables, keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("bench/results/rare_classes.json"))
    chosen = parser.parse_args()
    began = time.perf_counter()
    result: dict[str, Any] = environment() | {
        "drift": [histories(share, recall, chosen.histories, chosen.seed) for share in SHARES for recall in RECALLS],
        "gate": [at_the_gate(share, lost, chosen.histories, chosen.seed) for share in SHARES for lost in (True, False)],
    }
    result["seconds"] = round(time.perf_counter() - began)
    chosen.out.write_text(json.dumps(result, indent=1) + "\n")
    print(table(json.loads(chosen.out.read_text())))


if __name__ == "__main__":
    main()
