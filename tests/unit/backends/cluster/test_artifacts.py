"""What is brought back of a run's artifacts."""

import os
from pathlib import Path

import pytest

from driftloop.backends.cluster.artifacts import Execution, download, files_to_fetch
from driftloop.backends.cluster.connection import ClusterConnection, ClusterError
from driftloop.backends.run_folder import RunFolder
from tests.unit.cli.answering import answering

ROOT = "minio://mlpipeline/v2/artifacts/drift-watch/r1"


def test_files_are_named_in_directories_and_outputs_are_files() -> None:
    gate = Execution(
        "validation-gate-2", "complete", {}, {"evidence": f"{ROOT}/g/evidence", "summary": f"{ROOT}/g/summary", "executor-logs": "x"}
    )
    assert {path.as_posix(): uri for uri, path in files_to_fetch(gate, Path("t"))} == {
        "t/evidence/gate.json": f"{ROOT}/g/evidence/gate.json",
        "t/evidence/facts.json": f"{ROOT}/g/evidence/facts.json",
        "t/summary": f"{ROOT}/g/summary",
    }


def test_a_step_that_failed_left_nothing_to_fetch_and_a_cached_one_has_it_all() -> None:
    report = {"html": f"{ROOT}/h", "pdf": f"{ROOT}/p", "summary": f"{ROOT}/s"}
    assert files_to_fetch(Execution("synthesis-report-3", "failed", {}, report), Path("t")) == []
    assert len(files_to_fetch(Execution("synthesis-report-3", "cached", {}, report), Path("t"))) == 3


def test_they_lie_where_a_local_run_leaves_them(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for uri, path in files_to_fetch(
        Execution("synthesis-report-3", "complete", {}, {"html": f"{ROOT}/h"}), folder.artifacts / "r1" / "synthesis-report-3"
    ):
        path.parent.mkdir(parents=True)
        path.write_text(uri)
    assert folder.collect_deliverables() == ["report.html"]


@pytest.mark.parametrize("status", [401, 403])
def test_an_artifact_that_neither_the_ui_nor_the_bucket_gives_names_the_gateway(
    status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    with answering() as kfp:
        kfp.add("/artifacts/minio/mlpipeline/h", b"", status)
        with pytest.raises(ClusterError, match="neither KFP's UI gives it to this token, nor bucket mlpipeline to AWS_"):
            download(ClusterConnection(kfp.url, token="t"), "minio://mlpipeline/h", tmp_path / "h")
