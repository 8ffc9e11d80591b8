"""A window cut into blocks of consecutive requests: the points of the dashboard's charts and of the TensorBoard curves.

Blocks hold equally many requests, so every point of a curve is equally uncertain, whatever the traffic.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from driftloop.inference.log import statistics

MOST_BLOCKS, FEWEST_REQUESTS = 40, 20


@dataclass(frozen=True)
class Block:
    """Consecutive answered requests: their middle time, latency percentiles in ms, class shares, confidence, statistics (F,)."""

    time: pd.Timestamp
    requests: int
    p50_ms: float
    p95_ms: float
    class_shares: dict[str, float]
    mean_confidence: float
    accuracy: float | None
    statistics: np.ndarray


def blocks(rows: pd.DataFrame, classes: list[str]) -> list[Block]:
    """Answered requests, in time order, as at most 40 blocks of at least 20 requests (one block where there are fewer)."""
    if not len(rows):
        return []
    count = min(MOST_BLOCKS, max(1, len(rows) // FEWEST_REQUESTS))
    return [_block(rows.iloc[part], classes) for part in np.array_split(np.arange(len(rows)), count)]


def _block(rows: pd.DataFrame, classes: list[str]) -> Block:
    known = rows[rows["label_origin"] == "random"]
    latency = rows["latency_ms"].to_numpy(dtype=float)
    return Block(
        time=rows["time"].iloc[len(rows) // 2],
        requests=len(rows),
        p50_ms=float(np.percentile(latency, 50)),
        p95_ms=float(np.percentile(latency, 95)),
        class_shares={name: float((rows["predicted"] == name).mean()) for name in classes},
        mean_confidence=float(rows["confidence"].mean()),
        accuracy=float((known["predicted"] == known["label"]).mean()) if len(known) else None,
        statistics=statistics(rows).mean(axis=0, dtype=np.float64),
    )
