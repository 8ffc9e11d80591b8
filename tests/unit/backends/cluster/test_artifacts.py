"""What is brought back of a run's artifacts; the metadata store, behind KFP's UI or behind Kubeflow's gateway, which has it elsewhere."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftloop.backends.cluster.artifacts import SERVICE, Execution, download, executions, files_to_fetch, why_unreachable
from driftloop.backends.cluster.connection import ClusterConnection, ClusterError
from driftloop.backends.run_folder import RunFolder
from tests.unit.cli.answering import Answers, answering

ROOT = "minio://mlpipeline/v2/artifacts/drift-watch/r1"


def test_files_are_named_in_directories_and_outputs_are_files() -> None:
    gate = Execution(
        "validation-gate-2", "complete", {}, {"evidence": f"{ROOT}/g/evidence", "summary": f"{ROOT}/g/summary", "executor-logs": "x"}
    )
    assert {path.as_posix(): uri for uri, path in files_to_fetch(gate, Path("t"))} == {
        "t/evidence/gate.json": f"{ROOT}/g/evidence/gate.json",
        "t/evidence/facts.json": f"{ROOT}/g/evidence/facts.json",
        "t/evidence/used.json": f"{ROOT}/g/evidence/used.json",
        "t/evidence/chapters.json": f"{ROOT}/g/evidence/chapters.json",
        "t/evidence/gate.html": f"{ROOT}/g/evidence/gate.html",
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


CONTEXT = f"{SERVICE}/GetContextByTypeAndName"


def framed(message: bytes, trailer: bytes = b"grpc-status:0\r\n") -> bytes:
    """A gRPC-web answer: each part with its flag and length."""
    return struct.pack(">BI", 0, len(message)) + message + struct.pack(">BI", 0x80, len(trailer)) + trailer


@pytest.fixture
def kfp() -> Iterator[Answers]:
    with answering() as answers:
        yield answers


def test_behind_the_ui_it_is_below_the_endpoint(kfp: Answers) -> None:
    kfp.add(CONTEXT, framed(b""))
    assert why_unreachable(ClusterConnection(kfp.url)) == ""
    assert [path for _, path, _, _ in kfp.asked] == [CONTEXT]


def test_behind_kubeflows_gateway_it_is_at_the_root_of_the_host(kfp: Answers) -> None:
    kfp.add(CONTEXT, framed(b""))
    connection = ClusterConnection(f"{kfp.url}/pipeline", token="t")
    assert executions(connection, "r1") == {}
    assert [path for _, path, _, _ in kfp.asked] == [f"/pipeline{CONTEXT}", CONTEXT]
    assert {headers["Authorization"] for *_, headers in kfp.asked} == {"Bearer t"}


@pytest.mark.parametrize("path", ["", "/pipeline"])
def test_an_endpoint_without_it_is_told_before_a_run(kfp: Answers, path: str) -> None:
    reason = why_unreachable(ClusterConnection(kfp.url + path))
    assert reason == f"{kfp.url}{path} does not lead to KFP's metadata store; let KFP_ENDPOINT name KFP's UI"


def test_a_refusal_of_the_store_itself_is_passed_on(kfp: Answers) -> None:
    kfp.add(CONTEXT, framed(b"", b"grpc-status:14\r\ngrpc-message:no database\r\n"))
    assert "the metadata store answers grpc-status:14 grpc-message:no database" in why_unreachable(ClusterConnection(kfp.url))
