"""`watch/<sequence>.json`: the one record that a watch leaves, numbered and created only if absent.

The next watch starts where the last committed record ended, so there is no mark that could advance before the work is done.
"""

from pydantic import BaseModel, ConfigDict

PREFIX = "watch/"
HEARTBEAT = "watch/heartbeat.json"


class JudgedWindow(BaseModel):
    """One window of a watch: its rows in time, its p-values, and whether it fits no accepted regime."""

    model_config = ConfigDict(frozen=True)

    first: str
    last: str
    rows: int
    p_statistics: float
    p_embedding: float
    drifted: bool
    accuracy: float | None = None


class WatchRecord(BaseModel):
    """What a watch covered, what it decided, and what became of it. Times are ISO 8601 in UTC.

    `verdict`: stable, alert, needs_labels or retrain. `decision`: promote, reject, inconclusive, or None where nothing was retrained.
    `outcome`: watched, kept or promoted. `confirmed` says that drift was confirmed by 2 of 3 windows. `labels` counts the uniformly
    random labels of the champion's confirmed windows that the watch had.
    """

    model_config = ConfigDict(frozen=True)

    sequence: int
    run_id: str
    since: str
    until: str
    finished: str
    champion_version: str
    rows: int
    windows: list[JudgedWindow]
    confirmed: bool
    labels: int = 0
    verdict: str
    reason: str
    decision: str | None
    outcome: str
    promoted_version: str | None


def key(sequence: int) -> str:
    """The record's key; zero-padded, so that key order is sequence order."""
    return f"{PREFIX}{sequence:08d}.json"
