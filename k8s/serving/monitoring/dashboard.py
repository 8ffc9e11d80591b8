"""Writes `dashboard.json`, the dashboard of the service in Grafana: python k8s/serving/monitoring/dashboard.py"""

import itertools
from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import BigValueTextMode
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DataSourceRef

FILE = Path(__file__).with_name("dashboard.json")
#: The name under which Grafana is told of Prometheus (docker/grafana/datasource.yaml).
SOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")
NOW, THIRD, HALF = 4, 8, 12
#: Row -> panels: title, unit, width, and what is drawn by its legend.
ROWS: dict[str, list[tuple[str, str, int, dict[str, str]]]] = {
    "Now": [
        ("Version", "none", NOW, {"{{version}}": "max by (version) (driftloop_model_info == 1)"}),
        ("Requests", "reqps", NOW, {"": "driftloop:requests:rate5m"}),
        ("p95", "s", NOW, {"": "driftloop:request_seconds:p95_5m"}),
        ("Last watch covers up to", "s", NOW, {"": "driftloop:watch:age_seconds"}),
        ("Verdict of the last watch", "none", NOW, {"{{verdict}}": "max by (verdict) (driftloop_watch_verdict == 1)"}),
        ("Labels wanted", "none", NOW, {"": "max(driftloop_labels_wanted)"}),
    ],
    "Service": [
        ("Requests by status", "reqps", THIRD, {"{{status}}": "driftloop:requests_by_status:rate5m"}),
        ("Share of errors", "percentunit", THIRD, {"errors": "driftloop:errors:ratio_rate5m"}),
        (
            "Latency",
            "s",
            THIRD,
            {f"p{percent}": f"histogram_quantile(0.{percent}, driftloop:request_seconds_bucket:rate5m)" for percent in (50, 95, 99)},
        ),
        (
            "Batches and queue",
            "none",
            THIRD,
            {
                "images a batch": "sum(rate(driftloop_batch_images_sum[5m])) / sum(rate(driftloop_batch_images_count[5m]))",
                "images waiting": "sum(driftloop_queue_images)",
            },
        ),
        (
            "Versions and swaps",
            "none",
            THIRD,
            {
                "replicas with {{version}}": "count by (version) (driftloop_model_info == 1)",
                "swaps": "sum(increase(driftloop_swaps_total[5m]))",
                "failed": "sum(increase(driftloop_swap_failures_total[5m]))",
            },
        ),
        (
            "Memory and processor",
            "none",
            THIRD,
            {"cores": "sum(rate(process_cpu_seconds_total[5m]))", "GB": "sum(process_resident_memory_bytes) / 1e9"},
        ),
    ],
    "Model": [
        ("Predicted classes", "percentunit", THIRD, {"{{predicted}}": "driftloop:class:share_rate1h"}),
        ("Mean confidence", "percentunit", THIRD, {"confidence": "driftloop:confidence:mean_rate5m"}),
        ("Unusual images", "percentunit", THIRD, {"p <= 0.01": "driftloop:unusual:ratio_rate5m"}),
    ],
    "Watches": [
        ("p-values of the newest window", "none", THIRD, {"{{detector}}": "max by (detector) (driftloop_watch_p_value)"}),
        ("Drifted windows", "none", THIRD, {"drifted": "max(driftloop_watch_drifted_windows)", "tested": "max(driftloop_watch_windows)"}),
        (
            "Accuracy below what was accepted",
            "percentunit",
            THIRD,
            {"{{bound}}": "max by (bound) (driftloop_watch_accuracy_drop_ratio)"},
        ),
    ],
    "Log": [
        ("Rows", "none", HALF, {"{{state}}": "sum by (state) (driftloop_log_rows)"}),
        ("Waiting for the store", "s", HALF, {"oldest row": "max(driftloop_log_lag_seconds)"}),
    ],
}


def build() -> dashboard.Dashboard:
    """The dashboard: a row of numbers, then curves of service, model, watches and log."""
    board = dashboard.Dashboard("driftloop").uid("driftloop").tags(["driftloop"]).refresh("30s").time("now-6h", "now")
    board = board.timezone("browser").tooltip(DashboardCursorSync.CROSSHAIR)
    number = itertools.count(1)
    for row, panels in ROWS.items():
        board = board.with_row(dashboard.Row(row).id(next(number)))
        for title, unit, width, drawn in panels:
            panel: stat.Panel | timeseries.Panel
            if row == "Now":
                named = any(drawn)
                newest = common.ReduceDataOptions().calcs(["lastNotNull"])
                panel = stat.Panel().reduce_options(newest).text_mode(BigValueTextMode.NAME if named else BigValueTextMode.VALUE).height(4)
            else:
                panel = timeseries.Panel().line_width(1).fill_opacity(8).min(0).height(8)
            panel = panel.id(next(number)).title(title).unit(unit).span(width).datasource(SOURCE)
            for letter, (legend, expression) in zip("ABCDE", drawn.items(), strict=False):
                panel = panel.with_target(prometheus.Dataquery().ref_id(letter).expr(expression).legend_format(legend or "__auto"))
            board = board.with_panel(panel)
    return board


def text() -> str:
    """The file as it should be."""
    return JSONEncoder(sort_keys=True, indent=1).encode(build().build()) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
