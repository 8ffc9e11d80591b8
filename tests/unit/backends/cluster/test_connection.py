"""Speaking to KFP: every way in which it cannot be reached or refuses is one line with its cure, and the token is in none of them."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftloop.backends.cluster.connection import API, ClusterConnection, ClusterError
from driftloop.errors import InputError
from tests.unit.cli.answering import Answers, answering

TOKEN = "eyJhbGciOi.secret-of-a-person"
HEALTH = {"commit_sha": "unknown", "tag_name": "2.17.0", "multi_user": False, "pipeline_store": "database"}


@pytest.fixture
def kfp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    with answering() as answers:
        monkeypatch.setenv("KFP_ENDPOINT", answers.url)
        monkeypatch.setenv("KFP_TOKEN", TOKEN)
        answers.add(f"{API}/healthz", HEALTH)
        answers.add(f"{API}/experiments", {})
        yield answers


def refused() -> str:
    """The line that tells why the server of KFP_ENDPOINT cannot be used."""
    with pytest.raises(ClusterError) as caught:
        _ = ClusterConnection.from_environment().server
    assert TOKEN not in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_kfp_of_the_tested_version_is_accepted_and_gets_the_token(kfp: Answers) -> None:
    server = ClusterConnection.from_environment().server
    assert (server.version, server.multi_user, server.tested) == ("2.17.0", False, True)
    assert kfp.asked[-1][3]["Authorization"] == f"Bearer {TOKEN}"


def test_the_answer_of_the_ui_in_front_of_it_is_read_as_well(kfp: Answers) -> None:
    through_the_ui = {"frontendTagName": "2.17.0", "apiServerReady": True, "apiServerTagName": "unknown", "multi_user": True}
    kfp.add(f"{API}/healthz", through_the_ui)
    server = ClusterConnection.from_environment().server
    assert (server.version, server.multi_user) == ("2.17.0", True)
    assert "namespace=kubeflow" in kfp.asked[-1][1]


def test_another_version_2_is_accepted_and_known_as_untested(kfp: Answers) -> None:
    kfp.add(f"{API}/healthz", HEALTH | {"tag_name": "2.5.0"})
    assert not ClusterConnection.from_environment().server.tested


def test_an_older_kfp_is_refused(kfp: Answers) -> None:
    kfp.add(f"{API}/healthz", HEALTH | {"tag_name": "1.8.22"})
    assert "is Kubeflow Pipelines 1.8.22; driftloop needs 2.x" in refused()


@pytest.mark.parametrize("status", [401, 302])
def test_a_token_that_is_refused_is_told_as_that(kfp: Answers, status: int) -> None:
    kfp.add(f"{API}/experiments", {"error": "Unauthenticated"}, status)
    assert "KFP_TOKEN is refused" in refused()


def test_a_server_that_wants_a_token_says_which_variable_to_set(kfp: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KFP_TOKEN")
    kfp.add(f"{API}/experiments", {"error": "Unauthenticated"}, 401)
    assert "set KFP_TOKEN" in refused()


def test_a_namespace_that_is_not_the_tokens_is_named(kfp: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFP_NAMESPACE", "somebody-else")
    kfp.add(f"{API}/healthz", HEALTH | {"multi_user": True})
    kfp.add(f"{API}/experiments", {"message": "User is not authorized to list experiments"}, 403)
    assert "namespace somebody-else (User is not authorized to list experiments)" in refused()


def test_a_refusal_says_who_and_leaves_kfps_go_out(kfp: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    kfp.add(f"{API}/healthz", HEALTH | {"multi_user": True})
    who = "User 'system:serviceaccount:other:default-editor' is not authorized"
    go = "with reason: (request: &ResourceAttributes{Namespace:team,Verb:list,Group:pipelines.kubeflow.org,Version:v1beta1,Resource:experim"
    said = f"List experiments failed: Failed to authorize with API: PermissionDenied: {who} {go}"
    kfp.add(f"{API}/experiments", {"message": said}, 403)
    assert refused().endswith(f"namespace kubeflow ({who}); KFP serves several users: set KFP_NAMESPACE to your profile's namespace")
    monkeypatch.setenv("KFP_NAMESPACE", "team")
    assert refused().endswith(f"namespace team ({who}); check KFP_NAMESPACE, and what this token may do there")


def test_a_ca_that_is_no_certificate_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ca.crt").write_text("not one")
    monkeypatch.setenv("KFP_CA", str(tmp_path / "ca.crt"))
    with pytest.raises(InputError, match=r"KFP_CA: .*ca.crt holds no certificate \(PEM\)"):
        ClusterConnection.from_environment()


def test_another_product_is_told_from_kfp(kfp: Answers) -> None:
    kfp.add(f"{API}/healthz", b"<!doctype html><html><title>Grafana</title></html>")
    assert "not like Kubeflow Pipelines: another product" in refused()
    kfp.by_path.clear()
    assert "not Kubeflow Pipelines 2" in refused()
    kfp.add(f"{API}/healthz", {"status": "ok"})
    assert "is not Kubeflow Pipelines 2" in refused()


def test_a_ui_without_its_api_server_is_told_as_that(kfp: Answers) -> None:
    kfp.add(f"{API}/healthz", {"apiServerReady": False})
    assert "KFP's UI answers, its API server does not" in refused()


def test_nothing_at_the_address_is_told_with_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("KFP_ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
        assert "(connection refused); check KFP_ENDPOINT" in refused()


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("driftloop.backends.cluster.connection.READ_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("KFP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "(no answer in time)" in refused()


def test_a_connection_that_breaks_is_tried_again_for_what_only_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("KFP_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")

        def serve() -> None:
            for content in (b"", answer, b""):
                connection, _ = server.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(content)

        thread = threading.Thread(target=serve)
        thread.start()
        connection = ClusterConnection.from_environment()
        assert connection.call("GET", f"{API}/runs") == {}
        with pytest.raises(ClusterError, match="the connection broke"):
            connection.call("POST", f"{API}/runs", body={})
        thread.join()


def test_plain_http_where_https_was_named_points_at_the_certificate(kfp: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFP_ENDPOINT", kfp.url.replace("http:", "https:"))
    assert "KFP_CA" in refused()


def test_kfps_own_words_are_passed_on_in_one_line(kfp: Answers) -> None:
    kfp.add(f"{API}/runs", {"code": 3, "message": "Failed to create\n a run"}, 400)
    with pytest.raises(ClusterError, match="answers 400: Failed to create a run") as caught:
        ClusterConnection.from_environment().call("POST", f"{API}/runs", body={})
    assert not caught.value.passing


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("KFP_ENDPOINT", "localhost:8080"),
        ("KFP_ENDPOINT", "http://me:password@localhost:8080"),
        ("KFP_ENDPOINT", "http://localhost:8080/?x=1"),
        ("KFP_TOKEN", "two words"),
        ("KFP_CA", "no/such/file.pem"),
    ],
)
def test_a_variable_that_cannot_be_meant_is_refused_by_its_name(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=variable) as caught:
        ClusterConnection.from_environment()
    assert "password" not in str(caught.value)


def test_the_token_is_not_in_the_connections_representation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFP_TOKEN", TOKEN)
    assert TOKEN not in repr(ClusterConnection.from_environment())
