"""What is brought back of a run's artifacts."""

from pathlib import Path

from driftloop.cli.cluster.artifacts import wanted
from driftloop.cli.cluster.metadata import Execution
from driftloop.cli.run_folder import RunFolder

ROOT = "minio://mlpipeline/v2/artifacts/drift-watch/r1"


def test_files_are_named_in_directories_and_outputs_are_files() -> None:
    gate = Execution(
        "validation-gate-2", "complete", {}, {"evidence": f"{ROOT}/g/evidence", "summary": f"{ROOT}/g/summary", "executor-logs": "x"}
    )
    assert {path.as_posix(): uri for uri, path in wanted(gate, Path("t"))} == {
        "t/evidence/gate.json": f"{ROOT}/g/evidence/gate.json",
        "t/evidence/facts.json": f"{ROOT}/g/evidence/facts.json",
        "t/summary": f"{ROOT}/g/summary",
    }


def test_a_step_that_failed_left_nothing_to_fetch_and_a_cached_one_has_it_all() -> None:
    report = {"html": f"{ROOT}/h", "pdf": f"{ROOT}/p", "summary": f"{ROOT}/s"}
    assert wanted(Execution("synthesis-report-3", "failed", {}, report), Path("t")) == []
    assert len(wanted(Execution("synthesis-report-3", "cached", {}, report), Path("t"))) == 3


def test_they_lie_where_a_local_run_leaves_them(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for uri, path in wanted(
        Execution("synthesis-report-3", "complete", {}, {"html": f"{ROOT}/h"}), folder.artifacts / "r1" / "synthesis-report-3"
    ):
        path.parent.mkdir(parents=True)
        path.write_text(uri)
    assert folder.collect_deliverables() == ["report.html"]
