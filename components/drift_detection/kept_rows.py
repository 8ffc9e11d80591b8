"""What a watch leaves to the next ones when it has its verdict: its record, and the rows that may still count."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd

from components.drift_detection.findings import WatchFindings
from components.drift_detection.window_test import TestedWindow
from components.drift_detection.windows import Coverage, CutRows
from driftloop.contracts import POOLED_WINDOWS
from driftloop.inference.traffic import Traffic
from driftloop.inference.watch_tables import (
    FOR_POOL,
    FOR_TAG,
    NO_WINDOW,
    NOT_TESTED,
    TAG_WAITS,
    WATCH,
    WINDOW,
    write_label_table,
    write_window_rows,
)
from driftloop.runtime import run_id
from driftloop.store import Store
from driftloop.watch_record import WATCH_METRICS, WatchRecord

#: Rows that wait for a window are fewer than make one, unless a source is stuck and sends copies for ever: so many, and so many times
#: the groups that a window needs.
MOST_WAITING, MOST_IN_A_GROUP = 20_000, 20


def kept_rows(
    rows: pd.DataFrame,
    pending: np.ndarray,
    cut: CutRows,
    tested: Sequence[TestedWindow],
    sequence: int,
    *,
    coverage: Coverage,
    asked: Collection[str],
    adopted: bool,
    tag_waits: np.ndarray,
    of_tags: np.ndarray,
) -> pd.DataFrame:
    """The rows of this watch's drifted windows, those that wait for a window, and of windows that did not drift those that may have labels
    and, of the latest, those that were tested: they will be tested together with the next. And what tags need beyond these.

    Rows of a drift stay with the watch that tested them, and are read there while it lasts; so do those that were only tested. The few
    that may have labels are handed on from watch to watch, as long as production_monitoring takes them along.

    Args:
        rows: of the traffic, in time order.
        pending: (N,) bool, which of them were cut into windows.
        cut: the windows, as positions within the pending rows.
        tested: the same windows, tested.
        sequence: number of this watch.
        coverage: which window covers each row.
        asked: requests that labels are asked for.
        tag_waits: (N,) of str, the tags whose own windows each row waits for.
        of_tags: (N,) bool, the rows of a level of a tag that drifts.
        adopted: whether the watch before was of driftloop 0.1.0, which kept no rows: those of its windows are kept here, then.
    """
    positions = np.flatnonzero(pending)
    watch, window = rows[WATCH].to_numpy().copy(), rows[WINDOW].to_numpy().copy()
    labelled = (rows["label_origin"].notna() | rows["request_id"].isin(asked)).to_numpy(dtype=bool)
    for_pool, for_tag = (rows[name].to_numpy(dtype=bool) & ~labelled for name in (FOR_POOL, FOR_TAG))
    keep = (adopted | ~coverage.drifted) & (window != NO_WINDOW) & ~for_pool & ~for_tag
    for_pool[:] = False
    for index, (part, result) in enumerate(zip(cut.windows, tested, strict=True)):
        inside = positions[part.rows]
        watch[inside], window[inside], keep[inside] = sequence, index, result.record.drifted | labelled[inside]
        if index > len(tested) - max(POOLED_WINDOWS):
            of_pool = positions[part.sample]
            for_pool[of_pool] = ~keep[of_pool]
            keep[of_pool] = True
    waiting = positions[len(positions) - cut.waiting :]
    watch[waiting], window[waiting] = NOT_TESTED, NO_WINDOW
    keep[waiting[-max(MOST_WAITING, MOST_IN_A_GROUP * cut.needed) :]] = True
    wanted = (tag_waits != "") | of_tags
    for_tag = wanted & ~keep
    return rows.assign(**{WATCH: watch, WINDOW: window, FOR_POOL: for_pool, TAG_WAITS: tag_waits, FOR_TAG: for_tag})[keep | wanted]


def recorded_watch(store: Store, traffic: Traffic, findings: WatchFindings, kept: pd.DataFrame, measured: dict[str, Any]) -> WatchRecord:
    """The record of a watch that has its verdict; the objects that it refers to are written.

    Args:
        measured: the facts of production_monitoring.
    """
    info = traffic.info
    table = write_label_table(store, info.sequence, traffic.labels) if info.new_labels else info.label_table
    return WatchRecord(
        sequence=info.sequence,
        run_id=run_id(),
        since=info.since,
        until=info.until,
        champion_version=info.champion_version,
        rows=info.requests,
        sampled=info.sampled,
        coverage=info.coverage,
        window_rows=write_window_rows(store, info.sequence, kept),
        label_table=table,
        labels_through=info.labels_through,
        windows=[window.record for window in findings.tested],
        tag_windows=[window for found in findings.tags for window in found.fresh],
        tag=findings.harm.tag,
        confirmed=findings.confirmed,
        concept=findings.harm.concept,
        labels=findings.labels,
        labels_by_window=[tally for harm in findings.harms for tally in harm.recorded],
        drop=None if findings.drop is None else findings.drop.as_dict(),
        recalls=findings.recalls,
        harmless_drift=findings.harm.drift if findings.verdict.harmless else 0,
        acceptances=findings.acceptances,
        metrics=_numbers(measured | {"accuracy": (measured.get("accuracy") or {}).get("value")}),
        baseline=_numbers(measured.get("baseline", {})),
        alerts={rule["rule"]: rule["message"] for rule in measured.get("alerts", [])},
        labels_requested=len(findings.requests),
        verdict=findings.verdict.name,
        reason=findings.verdict.reason,
        asked=findings.asked,
    )


def _numbers(measured: dict[str, Any]) -> dict[str, float]:
    """Of `WATCH_METRICS`, what could be measured."""
    return {name: float(measured[name]) for name in WATCH_METRICS if measured.get(name) is not None}
