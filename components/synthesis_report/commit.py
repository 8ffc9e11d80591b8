"""The watch record: one per watch, numbered, created only if absent."""

import os
import platform
from datetime import UTC, datetime
from typing import Any

from driftloop.errors import Conflict
from driftloop.inference.window import Window
from driftloop.store import Store
from driftloop.summary import Summary
from driftloop.watch_record import WatchRecord, beat, key


def commit(store: Store, window: Window, drift: dict[str, Any], summary: Summary, outcome: str) -> WatchRecord:
    """Record what this watch covered and decided, and move the heartbeat on.

    A watch that runs twice at once finds its number taken: the first record stands, and this one says so and ends without harm. The
    same watch retried after a crash finds its own record, which is what it would have written. Either moves the heartbeat on to the
    record that stands, in case whoever wrote that died before it could.
    """
    record = _record(window, drift, summary, outcome)
    try:
        store.create(key(record.sequence), record.model_dump_json(indent=1).encode())
    except Conflict:
        standing = WatchRecord.model_validate_json(store.read(key(record.sequence)))
        whose = "this run" if standing.run_id == record.run_id else f"run {standing.run_id}; this one is a duplicate"
        print(f"watch {record.sequence}: already recorded by {whose}")
        record = standing
    beat(store, record)
    return record


def _record(window: Window, drift: dict[str, Any], summary: Summary, outcome: str) -> WatchRecord:
    return WatchRecord(
        sequence=window.info.sequence,
        # On a cluster the pod's name carries the workflow's; the local runner hands the run's id down.
        run_id=os.environ.get("DRIFTLOOP_RUN_ID") or os.environ.get("KFP_POD_NAME") or platform.node(),
        since=window.info.since,
        until=window.info.until,
        finished=datetime.now(UTC).isoformat(),
        champion_version=window.info.champion_version,
        rows=window.info.fresh_rows,
        windows=drift.get("windows", []),
        confirmed=drift.get("confirmed", False),
        labels=drift.get("labels", 0),
        verdict=drift.get("verdict", "stable"),
        reason=drift.get("reason", ""),
        decision=summary.gate.decision if summary.gate else None,
        outcome=outcome,
        promoted_version=summary.champion.after if outcome == "promoted" else None,
    )
