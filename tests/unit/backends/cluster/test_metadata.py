"""The metadata store, behind KFP's UI or behind Kubeflow's gateway, which has it elsewhere."""

import struct
from collections.abc import Iterator

import pytest

from driftloop.backends.cluster.artifacts import SERVICE, executions, why_unreachable
from driftloop.backends.cluster.connection import ClusterConnection
from tests.unit.cli.answering import Answers, answering

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
