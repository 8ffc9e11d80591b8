"""False confirmed alarms in the first 90 days, from the first window on, against a budget of one.

    python -m bench.alarm_budget [--histories 4000] [--out bench/results/alarm_budget.json]

Whole histories without drift: window p-values uniform, `expected_in_90_days` and `level_of` of the project at every watch, two of three
windows confirm, an episode ends where a further alarm would not belong to it. Half of the budget is theirs, the other half that of windows
taken together, which `bench.weak_drifts` adds. Hourly watches at 24 windows a day, else daily ones.
`old` is the level of 0.1.0, which counted the windows seen so far. Goal: at most 1, but for the error of the simulation.
"""

import argparse
import json
import sys
import time
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.gate_error_rates import environment
from components.drift_detection.windows import effective_alpha, expected_in_90_days, level_of
from driftloop.contracts import CONFIRMING_ALARMS, CONFIRMING_WINDOWS
from driftloop.settings import DriftSettings
from driftloop.watch_record import RecordedWindow, WatchRecord

START, DAYS, SETTINGS = datetime(2025, 1, 1, tzinfo=UTC), 90, DriftSettings()
#: Windows a day, by day, and hours between watches.
TRAFFIC = {
    "1 a day": (np.full(DAYS, 1), 24),
    "3 a day": (np.full(DAYS, 3), 24),
    "24 a day, watched hourly": (np.full(DAYS, 24), 1),
    "200 a day": (np.full(DAYS, 200), 24),
    "1 to 100 a day, growing evenly": (np.linspace(1, 100, DAYS).astype(int), 24),
    "1 a day for 45 days, then 50": (np.repeat([1, 50], DAYS // 2), 24),
}


def levels(per_day: np.ndarray, hours: int) -> tuple[np.ndarray, np.ndarray]:
    """The level of each window, now and by the old rule."""
    ends = np.concatenate([day + np.arange(1, count + 1) / count for day, count in enumerate(per_day)])
    begins = np.concatenate([[0.0], ends[:-1]])
    watch = np.ceil(ends * 24 / hours - 1e-9).astype(int)
    now, old, records = np.empty(len(ends)), np.empty(len(ends)), []
    empty = pd.DataFrame({"time": []})
    for number, members in groupby(range(len(ends)), key=lambda at: watch[at]):
        at = list(members)
        windows = [RecordedWindow.model_construct(first=moment(begins[one]), last=moment(ends[one]), rows=200, drifted=False) for one in at]
        records.append(WatchRecord.model_construct(windows=windows))
        rate = expected_in_90_days(records, empty, [], moment(number * hours / 24)).windows
        now[at] = level_of(0.05, SETTINGS, windows=rate).alpha
        old[at] = effective_alpha(0.05, budget=1, windows=max(SETTINGS.windows_per_90_days, at[-1] + 1))
    return now, old


def moment(day: float) -> str:
    return (START + timedelta(days=day)).isoformat()


def episodes(alpha: np.ndarray, histories: int, rng: np.random.Generator) -> np.ndarray:
    """False confirmed episodes of each history."""
    counts = np.zeros(histories, np.int64)
    for first in range(0, histories, 250):
        rows = slice(first, min(first + 250, histories))
        flags = rng.random((rows.stop - rows.start, len(alpha)), dtype=np.float32) <= alpha
        sums = sum(np.pad(flags, ((0, 0), (back, 0)))[:, : len(alpha)].astype(np.int8) for back in range(CONFIRMING_WINDOWS))
        counts[rows] = counted_episodes(flags & (sums >= CONFIRMING_ALARMS))
    return counts


def counted_episodes(confirmed: np.ndarray) -> np.ndarray:
    """Episodes of histories (H, W) of windows after which drift was confirmed: (H,). A new one begins after two that were not."""
    windows = confirmed.shape[1]
    before = sum(np.pad(confirmed, ((0, 0), (back, 0)))[:, :windows].astype(np.int8) for back in range(1, CONFIRMING_WINDOWS))
    return np.asarray((confirmed & (before == 0)).sum(axis=1))


def table(result: dict[str, Any]) -> str:
    lines = ["| windows | in 90 days | level at first, at last | false confirmed episodes | by the old rule |", "|---|---:|---|---|---|"]
    for row in result["rows"]:
        shown = [f"{row[rule]['mean']:.2f} ± {1.96 * row[rule]['error']:.2f}" for rule in ("now", "old")]
        first, last = row["levels"]
        lines.append(f"| {row['traffic']} | {row['windows']:,} | {first:.4f}, {last:.4f} | {shown[0]} | {shown[1]} |")
    missed = [row["traffic"] for row in result["rows"] if not row["met"]]
    return "\n".join([*lines, "", f"Goal of at most 1: {'missed at ' + '; '.join(missed) if missed else '**met** everywhere'}."])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=Path("bench/results/alarm_budget.json"))
    chosen = parser.parse_args()
    began, rows = time.perf_counter(), []
    for name, (per_day, hours) in TRAFFIC.items():
        now, old = levels(per_day, hours)
        row: dict[str, Any] = {"traffic": name, "windows": len(now), "levels": [now[0], now[-1]]}
        for rule, alpha in (("now", now), ("old", old)):
            counts = episodes(alpha, chosen.histories, np.random.default_rng([3, len(alpha)]))
            row[rule] = {"mean": float(counts.mean()), "error": float(counts.std() / np.sqrt(len(counts)))}
        rows.append(row | {"met": row["now"]["mean"] - 1.96 * row["now"]["error"] <= 1})
    result = environment() | {"histories": chosen.histories, "rows": rows, "seconds": round(time.perf_counter() - began)}
    chosen.out.write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))
    return 0 if all(row["met"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
