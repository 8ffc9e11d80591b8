"""A real Prometheus scrapes a real service: its rules are sound, and every curve of the dashboard finds what it draws."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from driftloop.dataset import Description
from driftloop.store import Store
from driftloop.watch_record import RecordedWindow
from driftloop.watch_store import move_heartbeat, record_key
from tests.debian import debian_program, free_port, running
from tests.factories.records import watch_record
from tests.k8s.rendering import ROOT
from tests.serving.service_process import ANSWERED_IN_SECONDS, ServiceProcess, get, post, wait_for

FOLDER = ROOT / "k8s" / "serving" / "monitoring"
RULES, DASHBOARD = FOLDER / "rules.yaml", FOLDER / "dashboard.json"


def promtool(*arguments: object, given: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    command = [debian_program("promtool", "prometheus"), *map(str, arguments)]
    return subprocess.run(command, input=given, check=False, capture_output=True)


def watched(store: Store, sequence: int, **given: Any) -> None:
    """A watch that ended three hours ago."""
    ended = datetime.now(UTC) - timedelta(hours=3)
    record = watch_record(sequence, ended.isoformat(), **given)
    store.create(record_key(sequence), record.model_dump_json().encode())
    move_heartbeat(store, record)


def expressions() -> dict[str, str]:
    """What the dashboard draws."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return {f"{panel['title']} {target['refId']}": target["expr"] for panel in panels for target in panel.get("targets", [])}


def test_the_dashboard_is_what_its_script_writes() -> None:
    write = f"import runpy; print(runpy.run_path({str(FOLDER / 'dashboard.py')!r})['text'](), end='')"
    assert subprocess.run([sys.executable, "-c", write], capture_output=True, text=True, check=True).stdout == DASHBOARD.read_text()


def test_promtool_finds_no_fault_in_the_rules() -> None:
    done = promtool("check", "rules", "--lint-fatal", RULES)
    assert done.returncode == 0, done.stderr


def test_probes_are_left_out_of_all_that_counts_requests() -> None:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    rules = {rule.get("record", rule.get("alert")): rule["expr"] for rule in group["rules"]}
    counting = {name: expression for name, expression in (rules | expressions()).items() if "driftloop_request" in expression}
    assert counting.keys() == {"driftloop:requests_by_status:rate5m", "driftloop:request_seconds_bucket:rate5m"}
    assert len({re.search(r"\{.*\}", expression)[0] for expression in counting.values()}) == 1  # type: ignore[index]


def test_alerts_fire_when_they_should_and_not_before(tmp_path: Path) -> None:
    def alerts(name: str, at: str, severity: str, text: str, **labels: str) -> dict[str, Any]:
        fired = [{"exp_labels": {"severity": severity, **labels}, "exp_annotations": {"summary": text}}] if text else []
        return {"alertname": name, "eval_time": at, "exp_alerts": fired}

    def case(series: dict[str, str], *checks: dict[str, Any]) -> dict[str, Any]:
        return {
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "alert_rule_test": list(checks),
        }

    late = {"driftloop_watch_covered_timestamp_seconds": "-42000x30", 'up{job="driftloop"}': "1x30"}
    failing = {
        'driftloop_requests_total{path="/predict",status="200"}': "0+97x30",
        'driftloop_requests_total{path="/predict",status="500"}': "0+3x30",
    }
    # As often as service.yaml's probes, Prometheus and an open page ask, and the probes of others.
    asked_by_none = {
        'driftloop_requests_total{path="/v2/health/live",status="200"}': "0+9x60",
        'driftloop_requests_total{path="/metrics",status="200"}': "0+12x60",
        'driftloop_requests_total{path="/activity",status="200"}': "0+60x60",
    }
    ready = ("/v2/health/ready", "/v2/models/driftloop/ready", "/inference.GRPCInferenceService/ModelReady")
    waiting = asked_by_none | {f'driftloop_requests_total{{path="{path}",status="503"}}': "0+36x60" for path in ready}
    quiet = asked_by_none | {
        'driftloop_requests_total{path="/v2/health/ready",status="200"}': "0+36x60",
        'driftloop_requests_total{path="/v2/models/driftloop/infer",status="200"}': "0+9x60",
        'driftloop_requests_total{path="/predict",status="500"}': "0+1x60",
    }
    few = failing | {'driftloop_requests_total{path="/predict",status="500"}': "0+1x30"}
    versions = {'driftloop_model_info{version="1",pod="a"}': "1x30", 'driftloop_model_info{version="2",pod="b"}': "1x30"}
    agreeing = {'driftloop_model_info{version="1",pod="a"}': "0x30", 'driftloop_model_info{version="2",pod="a"}': "1x30"}
    lag = {"driftloop_log_lag_seconds": "0+60x30"}
    # Two processes have lost rows, then another takes the place of one; later two more are lost.
    replaced = {'driftloop_log_rows{state="dropped_rows"}': "100x30 40x60", "driftloop_log_lost_rows_total": "100x60 102x30"}
    state = {'driftloop_watch_state{state="failed"}': "1x5", "driftloop_labels_wanted": "40x5", "driftloop_watch_drift_confirmed": "1x5"}
    tests = [
        case(late, alerts("DriftloopWatchLate", "20m", "", ""), alerts("DriftloopServiceDown", "20m", "", "")),
        case(
            late,
            alerts("DriftloopWatchLate", "21m", "critical", "the last watch covers up to 12h 1m 0s ago; see driftloop schedule list"),
        ),
        case(failing, alerts("DriftloopErrors", "10m", "", ""), alerts("DriftloopErrors", "25m", "critical", "3% of the requests fail")),
        case(few, alerts("DriftloopErrors", "25m", "", "")),
        case(waiting, alerts("DriftloopErrors", "30m", "", "")),
        case(quiet, alerts("DriftloopErrors", "30m", "critical", "10% of the requests fail")),
        case(versions, alerts("DriftloopVersionsDiffer", "11m", "warning", "replicas answer with 2 versions")),
        case(agreeing, alerts("DriftloopVersionsDiffer", "11m", "", "")),
        case(lag, alerts("DriftloopLogNotWritten", "5m", "", "")),
        case(
            lag,
            alerts("DriftloopLogNotWritten", "20m", "warning", "rows of the log wait for the store since 20m 0s; a watch will miss them"),
        ),
        case(
            replaced,
            alerts("DriftloopLogRowsLost", "32m", "", ""),
            alerts("DriftloopLogRowsLost", "62m", "critical", "rows of the log were lost for want of room in the spool"),
        ),
        case(
            state,
            alerts("DriftloopWatchFailed", "1m", "critical", "the last watch failed; see driftloop status"),
            alerts("DriftloopDrift", "1m", "warning", "drift is confirmed; see the last watch's report"),
            alerts(
                "DriftloopLabelsWanted", "1m", "warning", "the last watch wants labels of 40 images; driftloop labels import brings them"
            ),
            alerts("DriftloopServiceDown", "1m", "", ""),
        ),
        case(
            {'up{job="driftloop"}': "0x5"}, alerts("DriftloopServiceDown", "3m", "critical", "no replica of the service answers Prometheus")
        ),
    ]
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    done = promtool("test", "rules", file)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


def test_the_prometheus_of_compose_has_a_sound_configuration(tmp_path: Path) -> None:
    configuration = yaml.safe_load((ROOT / "docker" / "prometheus.yaml").read_text())
    services = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]
    assert configuration["scrape_configs"][0]["job_name"] == "driftloop", "the rules ask for this job"
    (target,) = configuration["scrape_configs"][0]["static_configs"][0]["targets"]
    assert target.split(":")[0] == services["serve"]["container_name"]
    file = tmp_path / "prometheus.yaml"
    file.write_text(yaml.safe_dump(configuration | {"rule_files": [str(RULES)]}))
    done = promtool("check", "config", file)
    assert done.returncode == 0, done.stderr
    source = yaml.safe_load((ROOT / "docker" / "grafana" / "datasource.yaml").read_text())["datasources"][0]
    assert source["url"] == f"http://{services['prometheus']['container_name']}:9090"
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert {panel["datasource"]["uid"] for panel in panels if panel["type"] != "row"} == {source["uid"]}


def test_prometheus_finds_all_that_rules_and_dashboard_ask_for(
    production: tuple[Store, Description], images: np.ndarray, tmp_path: Path
) -> None:
    program = debian_program("prometheus", "prometheus")
    store, _ = production
    window = RecordedWindow(first="", last="", rows=200, drifted=True, p_values={"statistics": 0.2, "embedding": 0.004})
    drop = {"value": 0.05, "low": 0.01, "high": 0.09, "n": 300.0}
    watched(store, 1, windows=[window], confirmed=True, verdict="needs_labels", labels_requested=40, drop=drop)
    with ServiceProcess(store.uri, tmp_path, processes=2) as service:
        wait_for(lambda: service.activity()["processes"] == 2)
        for image in images[:8]:
            service.predict(image)
        post(f"{service.url}/predict", content=b"no image", headers={"Content-Type": "image/png"})
        text = get(f"{service.url}/metrics").content
        done = promtool("check", "metrics", given=text)
        assert done.returncode == 0, done.stderr
        port = free_port()
        target = [{"targets": [service.url.removeprefix("http://")]}]
        configuration = {
            "global": {"scrape_interval": "200ms", "evaluation_interval": "200ms"},
            "rule_files": [str(RULES)],
            "scrape_configs": [{"job_name": "driftloop", "static_configs": target}],
        }
        (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
        options = ["--config.file=prometheus.yaml", f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.path=data"]
        with (
            running(program, *options, folder=tmp_path, port=port) as url,
            httpx.Client(base_url=url, timeout=ANSWERED_IN_SECONDS) as client,
        ):

            def asked(expression: str) -> list[dict[str, Any]]:
                answer = client.get("/api/v1/query", params={"query": expression}).json()
                assert answer["status"] == "success", (expression, answer)
                return answer["data"]["result"]

            def undrawn() -> set[str]:
                return {name for name, expression in expressions().items() if not asked(expression)}

            def drawn() -> bool:
                service.predict(images[0])
                return not undrawn()

            # Rules are evaluated one by one: what one has recorded, the next may record only after this question.
            wait_for(drawn, missing=undrawn)
            (age,) = asked("driftloop:watch:age_seconds")
            assert float(age["value"][1]) == pytest.approx(3 * 3600, abs=120)
            assert {row["metric"]["verdict"] for row in asked("driftloop_watch_verdict == 1")} == {"needs_labels"}
            assert {row["metric"]["detector"] for row in asked("driftloop_watch_p_value < 0.01")} == {"embedding"}
            wait_for(lambda: _firing(client) >= {"DriftloopDrift", "DriftloopLabelsWanted"})
            assert not _firing(client) & {"DriftloopServiceDown", "DriftloopWatchLate", "DriftloopWatchFailed", "DriftloopVersionsDiffer"}


def _firing(client: httpx.Client) -> set[str]:
    found = client.get("/api/v1/alerts").json()["data"]["alerts"]
    return {alert["labels"]["alertname"] for alert in found if alert["state"] == "firing"}
