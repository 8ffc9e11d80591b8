"""The whole loop on real scanned digits, through KFP's local runner: drift, retraining, promotion, and the peace after it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tests.factories.pdf import pages_of
from tests.pipelines.command import Command

#: Small enough for a test; the margin is wide because 200 test images cannot decide two points.
SMALL = (
    *("--source", "digits", "--set", "data_image_size=32", "--set", "train_epochs=6", "--set", "gate_margin=0.1", "--gpus", "0"),
    *("--set", "data_config.train_share=0.5", "--set", "data_config.stream_share=0.5"),
    *("--set", "train_config.ablation_epochs=1", "--set", "deploy_config.benchmark_seconds=0.2"),
)
#: The policy does not wait for labels that digits do not have: of 180 a part is kept for the gate.
TRAFFIC = (
    *("--set", "traffic_config.clean_windows=0", "--set", "traffic_config.drifted_windows=2"),
    *("--set", "drift_config.gate_power=0", "--set", "drift_config.harm_labels=50"),
)
DRIFT = "rotation:1.0"
DELIVERABLES = [
    *(
        "baseline_metrics.pt",
        "best_model.pth",
        "optimized_best.pth",
        "lr_finder.png",
        "ablation.csv",
        "model.onnx",
        "model.int8.onnx",
        "benchmark.json",
        "reference.npz",
    ),
    *(
        "production_logs.csv",
        "alerts.json",
        "drift_report.json",
        "label_requests.csv",
        "labelling_sheet.html",
        "model_retrained.pth",
        "gate.json",
        "report.html",
        "report.pdf",
        "summary.json",
    ),
]


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """A finished full loop whose traffic drifts."""
    command = Command(tmp_path_factory.mktemp("loop"))
    command("run", "full-loop", *SMALL, *TRAFFIC, "--drift", DRIFT, "--set", "retrain_config.epochs=8")
    return command


@pytest.fixture(scope="module")
def summary(loop: Command) -> dict[str, Any]:
    path = sorted((loop.folder / "runs").glob("*-full-loop"))[0] / "summary.json"
    return json.loads(path.read_text())


def test_drift_is_confirmed_the_model_retrained_and_promoted(summary: dict[str, Any]) -> None:
    assert summary["drift"]["verdict"] == "retrain"
    assert summary["gate"]["decision"] == "promote"
    assert summary["champion"] == {"before": "1", "after": "2"}
    assert summary["accuracy"]["retrained_on_drifted"]["value"] > summary["accuracy"]["champion_on_drifted"]["value"]


def test_every_field_of_the_summary_is_there(summary: dict[str, Any]) -> None:
    assert summary["schema_version"] == 1
    assert summary["pipeline"] == "full-loop"
    assert summary["source"] == "digits"
    assert summary["error"] is None
    assert all(summary["accuracy"][name] is not None for name in summary["accuracy"])
    assert summary["speedup"]["onnx_int8"] > 0
    assert {"source-resolution", "data-analysis", "traffic-replay", "production-monitoring", "drift-detection"} <= summary["steps"].keys()
    assert summary["report"] == {"html": "report.html", "pdf": "report.pdf"}


def test_the_files_of_the_course_are_there(loop: Command, summary: dict[str, Any]) -> None:
    folder = loop.folder / "runs" / summary["run_id"]
    assert [name for name in DELIVERABLES if not (folder / "deliverables" / name).is_file()] == []
    assert pages_of(folder / "report.pdf") >= 40
    loop("report", summary["run_id"])
    manifest = json.loads((folder / "deliverables" / "manifest.json").read_text())
    assert (manifest["champion"]["version"], manifest["candidate"], manifest["note"]) == ("2", None, None)
    for name in ("model.onnx", "model.int8.onnx", "reference.npz", "benchmark.json"):
        served = (folder / "store" / "versions" / "2" / name).read_bytes()
        assert (folder / "deliverables" / name).read_bytes() == (folder / "deliverables" / "champion" / name).read_bytes() == served


def test_the_store_holds_both_versions_and_the_watch_record(loop: Command, summary: dict[str, Any]) -> None:
    store = loop.folder / "runs" / summary["run_id"] / "store"
    assert json.loads((store / "champion.json").read_text())["version"] == "2"
    for version in ("1", "2"):
        assert {"model.onnx", "model.int8.onnx", "model.pth", "model.json", "reference.npz", "gate.json", "SHA256SUMS"} <= {
            path.name for path in (store / "versions" / version).iterdir()
        }
    record = json.loads((store / "watch" / "00000001.json").read_text())
    assert (record["verdict"], record["decision"], record["outcome"], record["promoted_version"]) == ("retrain", "promote", "promoted", "2")
    assert record["run_id"] == summary["run_id"]
    assert {"requests", "p95_ms", "mean_confidence"} <= record["metrics"].keys()
    assert record["baseline"].keys() == {"p95_ms", "mean_confidence"}


def test_new_images_of_the_accepted_drift_are_stable(loop: Command, summary: dict[str, Any]) -> None:
    store = str(loop.folder / "runs" / summary["run_id"] / "store")
    sent = json.loads(loop("replay", "--drift", DRIFT, "--store", store, "--json").stdout)
    assert (sent["version"], sent["clean"]) == ("2", 0)
    assert sent["drifted"] > 0
    assert "truth" not in sent
    after = json.loads(loop("run", "drift-watch", "--store", store, "--set", "gpus=0", "--json").stdout)
    assert after == loop.summary()
    assert after["drift"]["verdict"] == "stable", after["drift"]
    assert pages_of(loop.folder / "runs/latest/report.pdf") <= 6
    assert after["gate"] is None
    assert after["champion"] == {"before": "2", "after": "2"}
    assert json.loads(Path(store, "watch", "00000002.json").read_text())["rows"] > 0
    assert json.loads(loop("models", "list", "--store", store, "--json").stdout)


def test_images_of_a_new_site_can_be_sent_as_traffic(loop: Command, summary: dict[str, Any], tmp_path: Path) -> None:
    store = str(loop.folder / "runs" / summary["run_id"] / "store")
    digits = load_digits()
    for number in range(260):
        folder = tmp_path / "site" / str(digits.target[number])
        folder.mkdir(parents=True, exist_ok=True)
        # White on black at the first site, black on white at this one.
        Image.fromarray(np.uint8(255 - 15.9375 * digits.images[number])).save(folder / f"{number}.png")
    site = str(tmp_path / "site")
    sent = loop("replay", "--source", site, "--labels", "50", "--count", "250", "--store", store)
    assert sent.stdout.startswith(f"250 unchanged requests of {site}, 50 labels, version 2"), "whether they are clean nobody knows"
    loop("run", "drift-watch", "--store", store, "--set", "gpus=0")
    assert loop.summary()["drift"]["p_values"]["statistics"] < 1e-6
