"""What a watch leaves to the next ones when it has its verdict: its record, and the rows that may still count."""

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from components.drift_detection.findings import WatchFindings
from components.drift_detection.window_test import TestedWindow
from components.drift_detection.windows import Coverage, CutRows
from driftloop.inference.traffic import Traffic
from driftloop.inference.watch_tables import NO_WINDOW, NOT_TESTED, WATCH, WINDOW, write_label_table, write_window_rows
from driftloop.runtime import run_id
from driftloop.store import Store
from driftloop.watch_record import WatchRecord

#: Rows that wait for a window are fewer than make one, unless a source is stuck and sends copies for ever.
MOST_WAITING = 20_000


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
) -> pd.DataFrame:
    """The rows of this watch's drifted windows, those that wait for a window, and of windows that did not drift those that may have labels.

    Rows of a drift stay with the watch that tested them, and are read there while it lasts. The few of other windows are handed on from
    watch to watch, as long as production_monitoring takes them along.

    Args:
        rows: of the traffic, in time order.
        pending: (N,) bool, which of them were cut into windows.
        cut: the windows, as positions within the pending rows.
        tested: the same windows, tested.
        sequence: number of this watch.
        coverage: which window covers each row.
        asked: requests that labels are asked for.
        adopted: whether the watch before was of driftloop 0.1.0, which kept no rows: those of its windows are kept here, then.
    """
    positions = np.flatnonzero(pending)
    watch, window = rows[WATCH].to_numpy().copy(), rows[WINDOW].to_numpy().copy()
    labelled = (rows["label_origin"].notna() | rows["request_id"].isin(asked)).to_numpy(dtype=bool)
    keep = (adopted | ~coverage.drifted) & (window != NO_WINDOW)
    for index, (part, result) in enumerate(zip(cut.windows, tested, strict=True)):
        inside = positions[part.rows]
        watch[inside], window[inside], keep[inside] = sequence, index, result.record.drifted | labelled[inside]
    waiting = positions[len(positions) - cut.waiting :]
    watch[waiting], window[waiting] = NOT_TESTED, NO_WINDOW
    keep[waiting[-MOST_WAITING:]] = True
    return rows.assign(**{WATCH: watch, WINDOW: window})[keep]


def recorded_watch(store: Store, traffic: Traffic, findings: WatchFindings, kept: pd.DataFrame) -> WatchRecord:
    """The record of a watch that has its verdict; the objects that it refers to are written."""
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
        confirmed=findings.confirmed,
        labels=findings.labels,
        labels_by_window=findings.harm.recorded,
        drop=None if findings.drop is None else findings.drop.as_dict(),
        verdict=findings.verdict.name,
        reason=findings.verdict.reason,
    )
