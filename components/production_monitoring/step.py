"""The step `production_monitoring`: the only reader of the log, the labels and the watch records."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from components.production_monitoring.alerts import check_alert_rules, unfinished_watch_rule, write_alerts
from components.production_monitoring.collect import (
    FreshRows,
    WatchPeriod,
    champion_rows,
    next_period,
    read_context,
    read_fresh,
    with_labels,
)
from components.production_monitoring.dashboard import build_dashboard
from components.production_monitoring.metrics import curve_points, model_metrics, read_expected_metrics, service_metrics
from components.production_monitoring.reported_metrics import (
    EVENTS_FOLDER,
    log_traffic_metrics,
    metrics_line,
    traffic_facts,
    write_curve_events,
)
from driftloop import registry, runtime
from driftloop.bundle import ModelDescription, read_model
from driftloop.contracts import PRODUCTION_MONITORING
from driftloop.deliverables import write_production_logs
from driftloop.errors import NoChampion, NotFound
from driftloop.inference.image_statistics import statistic_names
from driftloop.inference.labels import read_labels
from driftloop.inference.traffic import Traffic, TrafficInfo, write_traffic
from driftloop.inference.watch_tables import read_label_table
from driftloop.registry.bundle_link import write_link
from driftloop.reporting.chapter import write_chapter
from driftloop.reporting.tensorboard import publish_events
from driftloop.runtime import MetricsLog
from driftloop.settings import MonitorSettings
from driftloop.step_facts import write_facts
from driftloop.store import Store, open_store
from driftloop.tracking import leave_record
from driftloop.watch_record import WatchRecord
from driftloop.watch_store import read_records


def run(store: str, traffic: str, champion: str, dashboard: str, *, until: str, config: dict[str, Any], metrics: MetricsLog) -> None:
    """Write the traffic artifact into `traffic`, a link to the champion's version into `champion`, the page to `dashboard`.

    Raises:
        NoChampion: the store names no champion.
        InputError: `until` is not a valid time.
        IntegrityError: the champion's files or a log file are damaged.
    """
    settings = MonitorSettings.complete(config)
    home = open_store(store)
    with TemporaryDirectory(prefix="driftloop-champion-") as scratch:
        version = fetch_champion(home, scratch)
        description = read_model(scratch)
        expected = read_expected_metrics(scratch, description)
        write_link(champion, version, scratch)
    records, now = read_records(home), datetime.now(UTC)
    period = next_period(records, until, now)
    labels, labels_through, label_table = known_labels(home, records, period, settings)

    covered = read_fresh(home, period, settings, now)
    runtime.progress(0.5, f"{sum(covered.counts.values()):,} requests read")
    context = read_context(home, records, version, period, set(labels["request_id"]), settings)
    rows = with_labels(champion_rows(covered.rows, context, version), labels)
    before = records[-1] if records else None
    info = describe_traffic(home, period, covered, rows, version, description, before, label_table, labels_through)
    write_traffic(traffic, Traffic(rows, info, records, labels))

    all_fresh = with_labels(covered.rows, labels)
    own = all_fresh[all_fresh["model_version"] == version]
    fresh = rows[rows["fresh"]]
    service, model = service_metrics(own, covered.sampled), model_metrics(fresh, description.classes)
    rules = [unfinished_watch_rule(before), *check_alert_rules(service, model, expected, settings)]
    points = curve_points(fresh, description.classes)
    write_production_logs(traffic, all_fresh, description.classes, info.statistic_names)
    write_alerts(traffic, rules)
    write_curve_events(traffic, points, info.statistic_names)
    publish_events(Path(traffic, EVENTS_FOLDER), home.uri, "production-monitoring")
    page = build_dashboard(info, all_fresh, service, model, expected, rules, points, traffic_notes(info, covered), before)
    page.write(dashboard)
    write_chapter(traffic, PRODUCTION_MONITORING, page.chapter)

    write_facts(traffic, PRODUCTION_MONITORING, traffic_facts(info, service, model, expected, rules))
    leave_record(home, PRODUCTION_MONITORING, traffic, {"dashboard.html": dashboard})
    log_traffic_metrics(metrics, info, service, model, rules)
    runtime.report_metrics(metrics_line(info, service, model, rules))


def known_labels(
    store: Store, records: Sequence[WatchRecord], period: WatchPeriod, settings: MonitorSettings
) -> tuple[pd.DataFrame, str, str]:
    """Every label of the look-back, the last label file, and the table of the watch before, to which the files that came since are added.

    Where that table is gone its name is empty, and the files are all read again.
    """
    known, through, table = None, "", ""
    if records and records[-1].label_table:
        with suppress(NotFound):
            known = read_label_table(store, records[-1].label_table)
            through, table = records[-1].labels_through, records[-1].label_table
    labels, through = read_labels(store, known, through)
    recent = labels["labelled_at"] > period.until - timedelta(days=settings.look_back_days)
    return labels[recent].reset_index(drop=True), through, table


def fetch_champion(store: Store, directory: str) -> str:
    """Download the champion's bundle, checked against its checksums; its version.

    Raises:
        NoChampion: nothing was promoted yet.
    """
    champion = registry.current(store)
    if champion is None:
        raise NoChampion(f"{store.uri}: no champion to watch; train and promote one first: driftloop run training --store {store.uri}")
    registry.download(store, champion.version, directory)
    return champion.version


def describe_traffic(
    store: Store,
    period: WatchPeriod,
    covered: FreshRows,
    rows: pd.DataFrame,
    version: str,
    model: ModelDescription,
    before: WatchRecord | None,
    label_table: str,
    labels_through: str,
) -> TrafficInfo:
    """What the traffic covers."""
    return TrafficInfo(
        sequence=period.sequence,
        store=store.uri,
        champion_version=version,
        since=period.since.isoformat() if period.since else "",
        until=period.until.isoformat(),
        classes=model.classes,
        statistic_names=list(statistic_names(model.channels)),
        rows=len(rows),
        fresh_rows=int(rows["fresh"].sum()),
        requests=covered.counts.get(version, 0),
        sampled=covered.sampled,
        late_rows=covered.late,
        other_version_rows=sum(count for answered_by, count in covered.counts.items() if answered_by != version),
        coverage=covered.coverage,
        label_table=label_table,
        labels_through=labels_through,
        new_labels=(label_table, labels_through) != ((before.label_table, before.labels_through) if before else ("", "")),
    )


def traffic_notes(info: TrafficInfo, covered: FreshRows) -> list[str]:
    """What a reader must know about this watch before its metrics."""
    notes = []
    if info.fresh_rows == 0:
        notes.append("The watch is empty: this version answered no request since the last one.")
    if info.other_version_rows:
        notes.append(f"{info.other_version_rows:,} requests were answered by other versions; they are counted and not judged.")
    if info.sampled < 1:
        notes.append(
            f"{sum(covered.counts.values()):,} requests came, more than monitor_config.max_rows: the watch looks at a uniform sample of "
            f"{info.sampled:.1%} of them. Watch more often, or raise max_rows, to look at all."
        )
    if info.late_rows:
        notes.append(f"{info.late_rows:,} requests reached the log after the watch that their time belongs to; they are judged here.")
    return notes
