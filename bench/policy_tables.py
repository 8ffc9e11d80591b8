"""What the policy world counts of each cell, its goals, and the table."""

from typing import Any

import numpy as np

from bench.policy_alarms import NEVER
from bench.policy_cells import DAYS, Cell
from driftloop.evaluation.intervals import wilson
from driftloop.settings import DriftSettings

HARMLESS_DROP = DriftSettings().harmless_drop


def row(cell: Cell, result: dict[str, np.ndarray]) -> dict[str, Any]:
    """A cell's operating characteristics."""
    count, late = len(result["lost"]), max(cell.turnaround, 1)
    found: dict[str, Any] = {**vars(cell), "histories": count, "false_retrained": int((result["false_retrainings"] > 0).sum())}
    found["false_calm"] = int(result["false_calm"].sum())
    for name in ("first_retrain", "first_promotion", "first_calm"):
        found[name] = {at: float(np.quantile(result[name], share, method="higher")) for at, share in (("median", 0.5), ("p80", 0.8))}
    found["never_retrained"] = int((result["first_retrain"] == NEVER).sum())
    found |= {name: float(result[name].mean()) for name in ("labels", "promotions", "lost", "without")}
    found |= {name: int(result[name].sum()) for name in ("worse", "worse_promoted")}
    return found | {"delay_goal": delay_goal(cell.drop, late) if cell.drop >= 0.05 and cell.kind in ("abrupt", "label shift") else None}


def delay_goal(drop: float, late: int) -> int:
    """Days in which half of the drifts are retrained for: two windows confirm, one list shows harm of 8 points or more, two that of 5."""
    return 2 + (late if drop >= 0.08 else 2 * late) + 4


def goals(rows: list[dict[str, Any]]) -> dict[str, str]:
    """By goal: met, or where it was missed by more than sampling error explains."""

    def named(misses: list[dict[str, Any]]) -> str:
        shown = [f"{item['kind']} {100 * item['drop']:g} pt, {item['windows']} a day, {item['turnaround']} days" for item in misses]
        return "met" if not shown else f"missed in {len(shown)}: " + "; ".join(shown)

    def above(name: str, chosen: list[dict[str, Any]]) -> str:
        return named([item for item in chosen if wilson(item[name], item["histories"]).low > 0.05])

    total = wilson(sum(item["worse_promoted"] for item in rows), max(1, sum(item["worse"] for item in rows)))
    timed = [item for item in rows if item["delay_goal"] is not None]
    harmful = [item for item in rows if item["drop"] >= 0.05]
    return {
        "false retrainings in at most 5 % of histories without a drop": above(
            "false_retrained", [item for item in rows if not item["drop"]]
        ),
        "false calm in at most 5 % of histories that lose 5 points or more": above("false_calm", harmful),
        "half of the abrupt drops of 5 points or more retrained for in time": named(
            [item for item in timed if item["first_retrain"]["median"] > item["delay_goal"]]
        ),
        "at most 5 % of the worse candidates promoted": "met" if total.low <= 0.05 else f"missed: {total.value:.3f}",
        "at least half of the accuracy kept that would be lost, drops of 5 points or more": named(
            [item for item in harmful if item["lost"] > item["without"] / 2]
        ),
    }


def table(result: dict[str, Any]) -> str:
    """All cells, and the goals below."""
    none, five = (wilson(count, 100).high for count in (0, 5))
    lines = [
        f"{_range([item['histories'] for item in result['rows']])} histories a cell, {len(result['rows'])} cells of {DAYS} looks, "
        f"{result['seconds']:.0f} s in all. Days count from the onset; median / 80th percentile. {result['compared']} looks were held "
        "against the real functions first.",
        f"The quantiles of the p-values are of {_range(list(result['windows'].values()))} windows each. A star: more than 5 % beyond "
        f"sampling error; of none in 100 histories the upper end is {none:.3f}, of five it is {five:.3f}.",
        *([f"Of before the rule for drifts that grow: {older}."] if (older := _older(result["rows"])) else []),
        "Falsely harmless is what loses 5 points or more on the day it is said, also where labels are of before it grew so far.",
        "",
        "| kind | drop, pt | windows a day | labels after, days | falsely retrained | falsely called harmless "
        "| days until called harmless | days to retraining (goal) "
        "| days to promotion | never retrained | labels | worse candidates promoted | point-days lost | without retraining |",
        "|---|---:|---:|---:|---|---|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for item in result["rows"]:
        count = item["histories"]
        goal = "" if item["delay_goal"] is None else f" ({item['delay_goal']})"
        cells = [
            item["kind"],
            f"{100 * item['drop']:g}",
            item["windows"],
            item["turnaround"],
            "–" if item["drop"] else _share(item["false_retrained"], count),
            _share(item["false_calm"], count) if item["drop"] >= HARMLESS_DROP else "–",
            "–" if item["drop"] else _days(item["first_calm"]),
            f"{_days(item['first_retrain'])}{goal}" if item["drop"] else "–",
            _days(item["first_promotion"]) if item["drop"] else "–",
            f"{item['never_retrained'] / count:.2f}",
            f"{item['labels']:,.0f}",
            f"{item['worse_promoted']} of {item['worse']}",
            f"{100 * item['lost']:.0f}",
            f"{100 * item['without']:.0f}",
        ]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join([*lines, "", "Goals:", "", *(f"- {name}: {found}" for name, found in result["goals"].items())])


def _older(rows: list[dict[str, Any]]) -> str:
    """The cells that were played before that rule."""
    older = [item for item in rows if "first_calm" not in item]
    return "; ".join(f"{item['kind']} {100 * item['drop']:g} pt, {item['windows']} a day" for item in older)


def _range(counts: list[int]) -> str:
    return f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,}"


def _share(count: int, of: int) -> str:
    found = wilson(count, of)
    return f"{found.value:.3f}{' *' if found.low > 0.05 else ''}"


def _days(found: dict[str, float]) -> str:
    return " / ".join("never" if found[name] >= NEVER else f"{found[name]:g}" for name in ("median", "p80"))
