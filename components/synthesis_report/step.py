"""The step `synthesis_report`: all that a run measured and decided, as one summary and one report; then the watch record.

The record is numbered, one a watch, and created only if absent.
"""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components.synthesis_report.report import write_synthesis_report
from driftloop import runtime
from driftloop.bundle import read_model
from driftloop.contracts import DRIFT_DETECTION, OUTCOMES, PROMOTED, VALIDATION_GATE
from driftloop.errors import Conflict, InputError
from driftloop.inference.traffic import Traffic, read_traffic
from driftloop.step_facts import read_facts, write_json
from driftloop.store import Store, open_store
from driftloop.summary import Summary, summarise
from driftloop.watch_record import WatchRecord, move_heartbeat, record_key


def run(
    *,
    model: str,
    outcome: str,
    store: str,
    summary: str,
    html: str,
    pdf: str,
    traffic: str | None = None,
    drift: str | None = None,
    gate: str | None = None,
    version: str = "",
) -> Summary:
    """Write summary, HTML and PDF to their paths, then commit the watch record where traffic was watched.

    The record comes last: a step that dies before it leaves nothing behind, and its retry does everything again.

    Raises:
        InputError: `outcome` is not one of `contracts.OUTCOMES`.
        StoreError: the record could not be written.
    """
    if outcome not in OUTCOMES:
        raise InputError(f"outcome: {outcome!r} is not one of {', '.join(OUTCOMES)}")
    facts = read_facts(model)
    for directory in (traffic, drift):
        facts |= read_facts(directory) if directory else {}
    candidate = read_facts(gate).get(VALIDATION_GATE) if gate else None
    watched = read_traffic(traffic) if traffic else None
    before = watched.info.champion_version if watched else None
    result = summarise(facts, candidate=candidate, before=before, after=version or before)
    result = result.model_copy(update={"seed": read_model(model).seed})

    write_json(summary, result.model_dump())
    write_synthesis_report(result, facts, candidate, outcome, Path(html), Path(pdf))
    if watched is not None:
        commit_watch_record(open_store(store), watched, facts.get(DRIFT_DETECTION, {}), result, outcome)
    verdict = result.drift.verdict if result.drift else "no watch"
    runtime.report_metrics(
        f"{verdict}; " + (f"{result.gate.decision}; " if result.gate else "") + f"champion version {result.champion.after}"
    )
    return result


def commit_watch_record(store: Store, traffic: Traffic, drift: dict[str, Any], summary: Summary, outcome: str) -> WatchRecord:
    """Record what this watch covered and decided, and move the heartbeat on.

    A watch that runs twice at once finds its number taken: the first record stands, and the second run says so and ends without harm.
    The same watch retried after a crash finds its own record, which is what it would have written. Either moves the heartbeat on to
    the record that stands, in case the run that wrote it died before it could.
    """
    record = _watch_record(traffic, drift, summary, outcome)
    try:
        store.create(record_key(record.sequence), record.model_dump_json(indent=1).encode())
    except Conflict:
        standing = WatchRecord.model_validate_json(store.read(record_key(record.sequence)))
        whose = "this run" if standing.run_id == record.run_id else f"run {standing.run_id}; this one is a duplicate"
        print(f"watch {record.sequence}: already recorded by {whose}")
        record = standing
    move_heartbeat(store, record)
    return record


def _watch_record(traffic: Traffic, drift: dict[str, Any], summary: Summary, outcome: str) -> WatchRecord:
    return WatchRecord(
        sequence=traffic.info.sequence,
        # On a cluster the pod's name carries the workflow's; the local runner hands the run's id down.
        run_id=os.environ.get("DRIFTLOOP_RUN_ID") or os.environ.get("KFP_POD_NAME") or platform.node(),
        since=traffic.info.since,
        until=traffic.info.until,
        finished=datetime.now(UTC).isoformat(),
        champion_version=traffic.info.champion_version,
        rows=traffic.info.fresh_rows,
        windows=drift.get("windows", []),
        confirmed=drift.get("confirmed", False),
        labels=drift.get("labels", 0),
        verdict=drift.get("verdict", "stable"),
        reason=drift.get("reason", ""),
        decision=summary.gate.decision if summary.gate else None,
        outcome=outcome,
        promoted_version=summary.champion.after if outcome == PROMOTED else None,
    )
