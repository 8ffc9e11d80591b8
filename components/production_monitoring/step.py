"""The step `production_monitoring`: the only reader of the log, the labels and the watch records."""

from pathlib import Path
from typing import Any

from components.production_monitoring.alerts import check_alert_rules, write_alerts
from components.production_monitoring.collect import CollectedRows, WatchPeriod, collect_rows, next_period, pack_images
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
from driftloop.errors import NoChampion
from driftloop.inference.image_statistics import statistic_names
from driftloop.inference.labels import read_labels
from driftloop.inference.traffic import Traffic, TrafficInfo, write_traffic
from driftloop.reporting.tensorboard import publish_events
from driftloop.runtime import MetricsLog
from driftloop.settings import MonitorSettings
from driftloop.step_facts import write_facts
from driftloop.store import Store, open_store
from driftloop.watch_record import read_records


def run(store: str, traffic: str, champion: str, dashboard: str, *, until: str, config: dict[str, Any], metrics: MetricsLog) -> None:
    """Write the traffic artifact into `traffic`, the champion's bundle into `champion`, the page to `dashboard`.

    Raises:
        NoChampion: the store names no champion.
        InputError: `until` is not a valid time.
        IntegrityError: the champion's files or a log file are damaged.
    """
    settings = MonitorSettings.complete(config)
    home = open_store(store)
    version = fetch_champion(home, champion)
    description = read_model(champion)
    expected = read_expected_metrics(champion, description)
    records = read_records(home, settings.history_records)
    period = next_period(records, until, settle_seconds=settings.settle_seconds)

    collected = collect_rows(home, period, read_labels(home), version, settings)
    runtime.progress(0.4, f"{len(collected.all_fresh):,} requests read")
    rows, images, gone = pack_images(home, collected.champion_rows, description, settings.image_mib)
    info = describe_traffic(home, period, collected, version, description)
    write_traffic(traffic, Traffic(rows, images, info, records))
    runtime.progress(0.6, f"{len(images):,} images packed")

    own = collected.all_fresh[collected.all_fresh["model_version"] == version]
    fresh = rows[rows["fresh"]]
    service, model = service_metrics(own), model_metrics(fresh, description.classes)
    rules = check_alert_rules(service, model, expected, settings)
    points = curve_points(fresh, description.classes)
    write_production_logs(traffic, collected.all_fresh, description.classes, info.statistic_names)
    write_alerts(traffic, rules)
    write_curve_events(traffic, points, info.statistic_names)
    publish_events(Path(traffic, EVENTS_FOLDER), home.uri, "production-monitoring")
    build_dashboard(info, collected, service, model, expected, rules, points, traffic_notes(collected, info, gone)).write(dashboard)

    write_facts(traffic, PRODUCTION_MONITORING, traffic_facts(info, service, model, rules))
    log_traffic_metrics(metrics, info, service, model, rules)
    runtime.report_metrics(metrics_line(info, service, model, rules))


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


def describe_traffic(store: Store, period: WatchPeriod, collected: CollectedRows, version: str, model: ModelDescription) -> TrafficInfo:
    """What the traffic covers."""
    return TrafficInfo(
        sequence=period.sequence,
        store=store.uri,
        champion_version=version,
        since=period.since.isoformat() if period.since else "",
        until=collected.until.isoformat(),
        classes=model.classes,
        statistic_names=list(statistic_names(model.channels)),
        rows=len(collected.champion_rows),
        fresh_rows=int(collected.champion_rows["fresh"].sum()),
        other_version_rows=int((collected.all_fresh["model_version"] != version).sum()),
    )


def traffic_notes(collected: CollectedRows, info: TrafficInfo, gone: int) -> list[str]:
    """What a reader must know about this watch before its metrics."""
    notes = []
    if info.fresh_rows == 0:
        notes.append("The watch is empty: this version answered no request since the last one.")
    if info.other_version_rows:
        notes.append(f"{info.other_version_rows:,} requests were answered by other versions; they are counted and not judged.")
    if collected.rows_left:
        notes.append(f"More requests were waiting than monitor_config.max_rows: this watch ends at {info.until}, the next takes the rest.")
    if gone:
        notes.append(f"{gone:,} logged images are gone from the store; their rows are judged without them.")
    return notes
