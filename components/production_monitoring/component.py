"""Theme 5, production monitoring, as a KFP component."""

from kfp import dsl
from kfp.dsl import HTML, Dataset, Metrics, Model, Output

from driftloop.runtime import WATCH_IMAGE


@dsl.component(base_image=WATCH_IMAGE, install_kfp_package=False)
def production_monitoring(
    store: str,
    until: str,
    config: dict,
    traffic: Output[Dataset],
    champion: Output[Model],
    metrics: Output[Metrics],
    dashboard: Output[HTML],
) -> None:
    """Read what production logged since the last watch: service and model metrics, alerts, a dashboard, and the traffic to judge.

    Args:
        store: the store that holds the champion, the log, the labels and the watch records: a folder or s3://bucket/prefix.
        until: the end of the watch, an ISO 8601 time; empty means now.
        config: overrides of the monitor settings.
        traffic: the rows with their labels, production_logs.csv, alerts.json, TensorBoard events.
        champion: a link to the version that serves: its number, the SHA-256 of its checksums, and its small files.
        metrics: the metrics of this watch.
        dashboard: the watch as a page of charts.
    """
    from components.production_monitoring.step import run

    run(store, traffic.path, champion.path, dashboard.path, until=until, config=config, metrics=metrics)
