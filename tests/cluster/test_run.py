"""`driftloop run --on cluster`: both branches, what they leave here, the cache, and failures of a step."""

import os

import pytest

from driftloop.backends.cluster.connection import API
from driftloop.backends.run_folder import CHAMPION_FILES, DELIVERABLES
from tests.cluster.conftest import OnCluster, Run


def test_drift_takes_the_branch_that_retrains(drifted: Run) -> None:
    assert drifted.summary["drift"]["verdict"] == "retrain"
    assert drifted.summary["error"] is None
    for title in ("1 data analysis", "2 baseline", "3 optimization", "4 ONNX", "first champion", "5 monitoring", "7 retraining", "7 gate"):
        assert drifted.line(title).startswith("✓"), drifted.output
    assert "not taken" in drifted.line("no retraining")
    assert "accuracy" in drifted.line("2 baseline")


def test_no_drift_takes_the_other(undrifted: Run) -> None:
    assert undrifted.summary["drift"]["verdict"] in ("stable", "alert")
    assert "not taken" in undrifted.line("drifted: retrain")
    assert "7 retraining" not in undrifted.output
    assert undrifted.line("8 report").startswith("✓")


def test_the_second_training_comes_from_the_cache(drifted: Run, undrifted: Run) -> None:
    for title in ("1 data analysis", "2 baseline", "3 optimization", "4 ONNX"):
        assert "cached" not in drifted.line(title)
        assert "cached" in undrifted.line(title)
    assert "cached" not in undrifted.line("first gate")


def test_reports_and_results_are_brought_back(drifted: Run) -> None:
    brought = {path.name for path in (drifted.folder / "deliverables").iterdir()}
    assert brought >= {*DELIVERABLES, *CHAMPION_FILES}
    assert (drifted.folder / "report.pdf").read_bytes().startswith(b"%PDF")
    assert "<html" in (drifted.folder / "report.html").read_text()[:1000].lower()
    assert drifted.summary["accuracy"]["onnx_int8"]["value"] > 0.5
    assert "[driftloop figures]" in (drifted.folder / "run.log").read_text()


def test_the_run_is_where_the_last_line_says(cluster: OnCluster, drifted: Run) -> None:
    address = drifted.output.splitlines()[-1].split()[-1]
    run = cluster.connection.call("GET", f"{API}/runs/{address.rpartition('/')[2]}")
    assert (run["state"], run["display_name"]) == ("SUCCEEDED", drifted.folder.name)


def test_the_same_pipeline_is_not_uploaded_again(drifted: Run, undrifted: Run) -> None:
    versions = [line for line in undrifted.output.splitlines() if line.startswith("full-loop 0.")]
    assert len(versions) == 1
    assert not versions[0].endswith("uploaded")


def test_a_step_that_fails_ends_the_run_with_its_own_line(cluster: OnCluster) -> None:
    """Without the store's address here, only the step itself can find out that there is no champion."""
    hidden = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"))
    failed = cluster("run", "drift-watch", "--on", "cluster", "--store", f"{cluster.store}-empty", "--gpus", "0", status=2, **hidden)
    assert failed.stderr.startswith("driftloop: 5 monitoring: ")
    assert "no champion" in failed.stderr
    assert len(failed.stderr.strip().splitlines()) == 1
    assert "✗ 5 monitoring" in failed.stdout
    assert f"{cluster.connection.endpoint}/#/runs/details/" in failed.stdout


def test_no_log_and_no_report_holds_a_secret(drifted: Run) -> None:
    secret = os.environ.get("AWS_SECRET_ACCESS_KEY") or pytest.skip("the store's keys are not known here")
    files = [path for path in drifted.folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert not [path for path in files if secret.encode() in path.read_bytes()]
