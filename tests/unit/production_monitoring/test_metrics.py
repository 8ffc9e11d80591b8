"""Service and model metrics, alerts, and the files for people."""

import csv
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score
from statsmodels.stats.proportion import proportion_confint
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from components.production_monitoring.metrics import (
    benchmark_p95,
    calibration_error,
    model_metrics,
    read_expected_metrics,
    service_metrics,
)
from driftloop.bundle import read_model
from driftloop.contracts import PRODUCTION_LOGS
from driftloop.deliverables import harmless, write_production_logs
from tests.factories.drift_traffic import draw_regime, write_champion_with_references
from tests.unit.production_monitoring.conftest import Production


def brute_force_ece(confidence: np.ndarray, right: np.ndarray, bins: int) -> float:
    total = 0.0
    for index in range(bins):
        low, high = index / bins, (index + 1) / bins
        inside = [i for i, c in enumerate(confidence) if low <= c < high or (index == bins - 1 and c == 1)]
        if inside:
            gap = abs(np.mean([right[i] for i in inside]) - np.mean([confidence[i] for i in inside]))
            total += len(inside) / len(confidence) * gap
    return total


@pytest.mark.parametrize("seed", range(5))
def test_calibration_error_is_what_a_loop_over_bins_gives(seed: int):
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.5, 1, 300)
    right = rng.random(300) < confidence**2
    assert calibration_error(confidence, right) == pytest.approx(brute_force_ece(confidence, right, 15))


def test_a_calibrated_model_has_hardly_any_calibration_error_and_an_overconfident_one_has_much():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 20_000)
    assert calibration_error(confidence, rng.random(20_000) < confidence) < 0.02
    assert calibration_error(np.full(1000, 0.99), rng.random(1000) < 0.7) == pytest.approx(0.29, abs=0.04)


def answers(n: int = 100) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    truth = rng.choice(["a", "b"], n)
    predicted = np.where(rng.random(n) < 0.8, truth, np.where(truth == "a", "b", "a"))
    confidence = rng.uniform(0.5, 1, n)
    return pd.DataFrame({"predicted": predicted, "confidence": confidence, "label": truth, "label_origin": "random"})


def test_accuracy_is_that_of_the_random_labels_with_wilsons_interval():
    rows = answers()
    metrics = model_metrics(rows, ["a", "b"])
    hits = int((rows["predicted"] == rows["label"]).sum())
    low, high = proportion_confint(hits, len(rows), method="wilson")
    assert metrics.accuracy is not None
    assert metrics.accuracy.value == pytest.approx(accuracy_score(rows["label"], rows["predicted"]))
    assert (metrics.accuracy.low, metrics.accuracy.high) == pytest.approx((low, high))
    assert metrics.class_accuracy["a"].n + metrics.class_accuracy["b"].n == len(rows)


def test_labels_of_images_that_were_picked_for_being_odd_do_not_enter_the_accuracy():
    rows = answers()
    odd = rows.head(30).assign(label="b", predicted="a", label_origin="ranked")
    both = model_metrics(pd.concat([rows, odd]), ["a", "b"])
    assert both.accuracy == model_metrics(rows, ["a", "b"]).accuracy
    assert both.labelled == 130


def test_a_label_that_is_none_of_the_classes_counts_as_an_error():
    rows = answers().assign(label="(unseen class)")
    metrics = model_metrics(rows, ["a", "b"])
    assert metrics.accuracy is not None
    assert (metrics.accuracy.value, metrics.class_accuracy) == (0, {})


def test_latency_percentiles_throughput_and_errors():
    rng = np.random.default_rng(0)
    latency = rng.gamma(2, 3, 1000)
    times = pd.Series(pd.date_range("2025-03-01", periods=1000, freq="500ms", tz="UTC"))
    status = np.where(np.arange(1000) % 20 == 0, "timeout", "ok")
    metrics = service_metrics(pd.DataFrame({"time": times, "status": status, "latency_ms": latency}))
    good = np.sort(latency[status == "ok"])
    assert metrics.p50_ms == pytest.approx(np.quantile(good, 0.5))
    assert metrics.p95_ms == pytest.approx(np.quantile(good, 0.95))
    assert metrics.p99_ms == pytest.approx(np.quantile(good, 0.99))
    assert metrics.per_second == pytest.approx(2.0)
    assert metrics.error_share == 0.05


def test_the_benchmark_is_that_of_the_served_graph_at_batch_one():
    rows = [{"variant": "model.onnx", "batch": 1, "p95_ms": 5}, {"variant": "model.int8.onnx", "batch": 8, "p95_ms": 4}]
    rows.append({"variant": "model.int8.onnx", "batch": 1, "p95_ms": 1.5})
    assert benchmark_p95({"onnx_deployment": {"benchmark": rows}}, "model.int8.onnx") == 1.5
    assert benchmark_p95({}, "model.int8.onnx") is None
    on_gpu = {"serve_on": "cuda", "benchmark": rows, "benchmark_gpu": [row | {"p95_ms": 0.5} for row in rows]}
    assert benchmark_p95({"onnx_deployment": on_gpu}, "model.int8.onnx") == 0.5
    assert benchmark_p95({"onnx_deployment": on_gpu | {"benchmark_gpu": []}}, "model.int8.onnx") is None


def test_quiet_production_fires_no_alert(production: Production):
    production.requests(200)
    production.watch()
    assert production.json("alerts.json")["fired"] == []
    assert len(production.json("alerts.json")["rules"]) == 6


def brightened(images: np.ndarray) -> np.ndarray:
    return np.clip(images.astype(int) + 100, 0, 255).astype(np.uint8)


def doubtful(images: np.ndarray) -> np.ndarray:
    """Nearer to the middle grey at which the model cannot tell."""
    return (128 + (images.astype(float) - 128) * 0.2).astype(np.uint8)


@pytest.mark.parametrize(
    ("what", "rule"),
    [({"latency_ms": 20.0}, "p95 latency"), ({"seen_as": brightened}, "class shares"), ({"seen_as": doubtful}, "confidence")],
)
def test_each_trouble_fires_its_own_alert(production: Production, what: dict[str, Any], rule: str):
    production.requests(200, **what)
    production.watch()
    assert production.json("alerts.json")["fired"] == [rule]
    assert [alert["rule"] for alert in production.json("facts.json")["production_monitoring"]["alerts"]] == [rule]
    page = (production.folder / "dashboard.html").read_text()
    assert f"{rule}: " in page
    assert f"1 of 6 rules fired: {rule}. There is no verdict yet: this is the first watch" in page
    assert re.findall(r'<tr class="breached"><td>([\w ]+)</td>', page) == [rule]
    tile = {"p95 latency": "p95 latency", "confidence": "mean confidence"}.get(rule)
    assert re.findall(r'<div class="tile bad"><b>[^<]+</b><span>([\w ]+)</span>', page) == ([tile] if tile else [])


def test_failures_fire_an_alert(production: Production):
    production.requests(90)
    production.requests(10, at=5, status="timeout")
    production.watch()
    assert production.json("alerts.json")["fired"] == ["error share"]


def test_a_handful_of_requests_fires_no_alert_on_shares(production: Production):
    production.requests(5, seen_as=brightened, latency_ms=50)
    production.watch()
    assert production.json("alerts.json")["fired"] == []


def test_the_metrics_reach_kfp_and_the_facts(production: Production):
    ids = production.requests(100)
    production.label(ids[:20], ["bright", "dark"] * 10)
    production.watch()
    facts = production.json("facts.json")["production_monitoring"]
    assert facts["rows"] == production.metrics.values["rows"] == 100
    assert facts["labelled"] == 20
    assert facts["accuracy"]["n"] == 20
    assert facts["accuracy"]["value"] == pytest.approx(production.metrics.values["accuracy"])
    assert sum(facts["class_shares"].values()) == pytest.approx(1)
    assert facts["p50_ms"] == pytest.approx(2.0)


def test_tensorboard_reads_the_curves(production: Production):
    production.requests(200)
    production.watch()
    events = EventAccumulator(str(production.folder / "traffic" / "events"))
    events.Reload()
    tags = events.Tags()["tensors"]
    assert {"service/p95_ms", "model/mean_confidence", "class_share/dark", "statistics/brightness"} <= set(tags)
    assert len(events.Tensors("service/p95_ms")) == 10


def test_the_csv_has_a_line_for_every_request_and_its_vectors_as_columns(production: Production):
    production.requests(30)
    production.requests(5, at=3, status="timeout")
    production.requests(5, at=6, version="2")
    production.watch()
    table = pd.read_csv(production.folder / "traffic" / "production_logs.csv")
    assert len(table) == 40
    assert {"request_id", "p(bright)", "p(dark)", "brightness", "sharpness", "embedding_norm", "label", "latency_ms"} <= set(table.columns)
    good = table[table["status"] == "ok"]
    assert np.allclose(good["p(bright)"] + good["p(dark)"], 1, atol=1e-5)
    assert table.loc[table["status"] != "ok", "p(dark)"].isna().all()


def test_nothing_in_the_csv_is_a_formula(production: Production):
    production.requests(8)
    rows = production.watch().rows
    evil = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "x\r=1", "x\n=1", "plain"]
    rows["group"], rows["predicted"], rows["request_id"] = evil, evil, evil
    path = production.root / PRODUCTION_LOGS
    write_production_logs(production.root, rows, ['=HYPERLINK("x")', "dark"], list("abcdef"))
    cells = [cell for line in csv.reader(io.StringIO(path.read_text())) for cell in line]
    assert not [cell for cell in cells if cell.lstrip().startswith(("=", "+", "@"))]
    assert not [cell for cell in cells if cell.startswith("-") and not cell[1:2].isdigit()]
    assert "'-1" in cells


def test_numbers_are_left_alone():
    assert harmless(-1.5) == -1.5
    assert harmless("-1.5") == "'-1.5"


def test_what_is_expected_of_production_goes_by_the_classes_that_are_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    regime = draw_regime("reference", 60, rng)
    folder = write_champion_with_references(tmp_path, [regime])
    model = read_model(folder)
    likeliest = read_expected_metrics(folder, model).reference
    alike = read_expected_metrics(folder, model.model_copy(update={"class_shares": [0.05, 0.95]})).reference
    named = (regime.probabilities / [0.05, 0.95]).argmax(axis=1)
    assert alike.class_shares == dict(zip(model.classes, [np.mean(named == 0), np.mean(named == 1)], strict=True))
    assert alike.class_shares != likeliest.class_shares
    assert alike.mean_confidence == pytest.approx(regime.probabilities[range(60), named].mean(), abs=1e-6)
    assert likeliest.mean_confidence == pytest.approx(regime.probabilities.max(axis=1).mean(), abs=1e-6)
