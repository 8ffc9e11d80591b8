"""Collecting the rows of a watch: the fresh ones, and the older ones that late labels may belong to."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd

from components.production_monitoring.hours import joined, rows_by_hour
from components.production_monitoring.span import Span
from driftloop.inference.window import FRESH, IMAGE_INDEX, LABEL, LABEL_ORIGIN
from driftloop.settings import MonitorSettings
from driftloop.store import Store

OK = "ok"


@dataclass(frozen=True)
class Collected:
    """`everything`: all fresh rows, of every version and status. `judged`: the champion's answered requests, fresh ones and context,
    with label, label_origin and fresh. `until`: the end of what was read; earlier than asked for where `cut` is set."""

    everything: pd.DataFrame
    judged: pd.DataFrame
    until: datetime
    cut: bool


def collect(store: Store, span: Span, labels: pd.DataFrame, version: str, settings: MonitorSettings) -> Collected:
    """Read the rows of `span`, and the older ones of the same version within the look-back.

    Args:
        labels: what `read_labels` returns.
        version: the champion's; rows of other versions are counted, not judged.
    """
    fresh, until, cut = read_fresh(store, span, settings.max_rows)
    older = read_context(store, span, set(labels["request_id"]), version, settings)
    judged = joined([older.assign(**{FRESH: False}), answered(fresh, version).assign(**{FRESH: True})])
    if not len(judged):
        judged[FRESH] = pd.Series(dtype=bool)
    judged[FRESH] = judged[FRESH].astype(bool)
    judged[IMAGE_INDEX] = -1
    return Collected(with_labels(fresh, labels), with_labels(judged, labels), until, cut)


def read_fresh(store: Store, span: Span, most: int) -> tuple[pd.DataFrame, datetime, bool]:
    """The rows of the span, the oldest `most` of them; the end of what was read; whether rows were left for the next watch.

    Rows of one instant stay together, because the next watch begins after the last instant of this one.
    """
    parts: list[pd.DataFrame] = []
    count = 0
    for rows in rows_by_hour(store, span.since, span.until):
        parts.append(rows)
        count += len(rows)
        if count > most:
            together = joined(parts)
            if len(together) > most:
                end = together["time"].iloc[most - 1]
                return together[together["time"] <= end].reset_index(drop=True), end.to_pydatetime(), True
    return joined(parts), span.until, False


def read_context(store: Store, span: Span, labelled: set[str], version: str, settings: MonitorSettings) -> pd.DataFrame:
    """Older answered rows of this version: those with a label first, then the newest, `context_rows` at most."""
    most = settings.context_rows
    if span.since is None or most == 0:
        return joined([])
    begin = span.since - timedelta(days=settings.look_back_days)
    wanted, others = set(labelled), 0
    with_label: list[pd.DataFrame] = []
    without: list[pd.DataFrame] = []
    for rows in rows_by_hour(store, begin, span.since, newest_first=True):
        own = answered(rows, version)
        known = own["request_id"].isin(labelled)
        with_label.append(own[known])
        if others < most:
            without.append(own[~known])
            others += int((~known).sum())
        # Labels of other versions' rows are accounted for too: once every label has its row, nothing older matters.
        wanted -= set(rows["request_id"])
        if others >= most and not wanted:
            break
    first = joined(with_label).tail(most)
    return joined([first, joined(without).tail(most - len(first))] if len(first) < most else [first])


def answered(rows: pd.DataFrame, version: str) -> pd.DataFrame:
    """The rows that this version answered; failed requests have no prediction to judge."""
    return rows[(rows["model_version"] == version) & (rows["status"] == OK)]


def with_labels(rows: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """The rows with `label` and `label_origin`, None where no label has come."""
    known = labels.set_index("request_id")
    found = {LABEL: rows["request_id"].map(known["label"]), LABEL_ORIGIN: rows["request_id"].map(known["origin"])}
    return rows.assign(**{name: column.astype(object).where(column.notna(), None) for name, column in found.items()})
