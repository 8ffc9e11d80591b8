"""The step `production_monitoring`: the only reader of the log, the labels and the watch records."""

from pathlib import Path
from typing import Any

from components.production_monitoring.alerts import check_rules, write_alerts
from components.production_monitoring.collect import Collected, Span, collect, next_span, pack_images
from components.production_monitoring.dashboard import build_dashboard
from components.production_monitoring.metrics import blocks, model_metrics, read_baseline, service_metrics
from components.production_monitoring.outputs import FOLDER, figures, log_metrics, summary_line, write_events
from driftloop import registry, runtime
from driftloop.bundle import ModelDescription, read_model
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

STEP = "production_monitoring"


def run(store: str, traffic: str, champion: str, dashboard: str, *, until: str, config: dict[str, Any], metrics: MetricsLog) -> None:
    """Write the window artifact into `traffic`, the champion's bundle into `champion`, the page to `dashboard`.

    Raises:
        NoChampion: the store names no champion.
        InputError: `until` is no time.
        IntegrityError: the champion's files or a log file are damaged.
    """
    settings = MonitorSettings.complete(config)
    home = open_store(store)
    version = fetch_champion(home, champion)
    model = read_model(champion)
    baseline = read_baseline(champion, model)
    records = read_records(home, settings.history_records)
    span = next_span(records, until, settle_seconds=settings.settle_seconds)

    collected = collect(home, span, read_labels(home), version, settings)
    runtime.progress(0.4, f"{len(collected.everything):,} requests read")
    rows, images, gone = pack_images(home, collected.judged, model, settings.image_mib)
    info = describe(home, span, collected, version, model)
    write_traffic(traffic, Traffic(rows, images, info, records))
    runtime.progress(0.6, f"{len(images):,} images packed")

    own = collected.everything[collected.everything["model_version"] == version]
    fresh = rows[rows["fresh"]]
    service, answers = service_metrics(own), model_metrics(fresh, model.classes)
    rules = check_rules(service, answers, baseline, settings)
    points = blocks(fresh, model.classes)
    write_production_logs(traffic, collected.everything, model.classes, info.statistic_names)
    write_alerts(traffic, rules)
    write_events(traffic, points, info.statistic_names)
    publish_events(Path(traffic, FOLDER), home.uri, "production-monitoring")
    build_dashboard(info, collected, service, answers, baseline, rules, points, notes(collected, info, gone)).write(dashboard)

    write_facts(traffic, STEP, figures(info, service, answers, rules))
    log_metrics(metrics, info, service, answers, rules)
    runtime.figures(summary_line(info, service, answers, rules))


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


def describe(store: Store, span: Span, collected: Collected, version: str, model: ModelDescription) -> TrafficInfo:
    """What the window is."""
    return TrafficInfo(
        sequence=span.sequence,
        store=store.uri,
        champion_version=version,
        since=span.since.isoformat() if span.since else "",
        until=collected.until.isoformat(),
        classes=model.classes,
        statistic_names=list(statistic_names(model.channels)),
        rows=len(collected.judged),
        fresh_rows=int(collected.judged["fresh"].sum()),
        other_version_rows=int((collected.everything["model_version"] != version).sum()),
    )


def notes(collected: Collected, info: TrafficInfo, gone: int) -> list[str]:
    """What a reader must know about this window before its figures."""
    said = []
    if info.fresh_rows == 0:
        said.append("The window is empty: this version answered no request since the last watch.")
    if info.other_version_rows:
        said.append(f"{info.other_version_rows:,} requests were answered by other versions; they are counted and not judged.")
    if collected.cut:
        said.append(f"More requests were waiting than monitor_config.max_rows: this watch ends at {info.until}, the next takes the rest.")
    if gone:
        said.append(f"{gone:,} logged images are gone from the store; their rows are judged without them.")
    return said
