"""No conditional write is made on a server that is not known to honour the condition."""

import json
import secrets
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from io import BytesIO

import pytest
from minio import Minio

from driftloop.errors import Conflict, NotFound, StoreError
from driftloop.store import open_store
from driftloop.store.s3 import S3Store, _Proof
from driftloop.store.s3_conditions import PROOF, PROOF_HOLDS, TRIES, _prove, _proved, prove_conditions
from tests.minio_server import MinioServer
from tests.unit.store.gateways import CarelessGateway, Gateway

pytestmark = pytest.mark.usefixtures("new_process")


@pytest.fixture
def careless(minio_server: MinioServer, s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[CarelessGateway]:
    open_store(s3_uri).put("bucket", b"exists")
    with CarelessGateway(minio_server).in_between(monkeypatch) as gateway:
        yield gateway


@pytest.fixture
def gateway(minio_server: MinioServer, s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """Counts requests."""
    open_store(s3_uri).put("bucket", b"exists")
    with Gateway(minio_server).in_between(monkeypatch) as gateway:
        yield gateway


@pytest.fixture
def raw(minio_server: MinioServer) -> Minio:
    """A client that may write what is no key."""
    return Minio(
        minio_server.endpoint.removeprefix("http://"), minio_server.access_key, minio_server.secret_key, secure=False, region="us-east-1"
    )


def note(raw: Minio, uri: str, content: bytes) -> None:
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    raw.put_object(bucket, f"{prefix}/{PROOF}", BytesIO(content), len(content))


def noted(server: str, at: datetime) -> bytes:
    return json.dumps({"schema": 1, "proved": {server: at.isoformat()}, "nonce": "x"}).encode()


def test_a_server_that_ignores_conditions_gets_no_promotion(careless: CarelessGateway, s3_uri: str) -> None:
    store = open_store(s3_uri)
    store.put("champion.json", b"version 1")
    tag = store.read_tagged("champion.json")[1]
    for write in (lambda: store.create("watch/1.json", b"{}"), lambda: store.replace("champion.json", b"version 2", tag)):
        with pytest.raises(StoreError, match=r"ignores the conditions of conditional writes: .*; take a current MinIO"):
            write()
    assert store.read("champion.json") == b"version 1"
    assert [info.key for info in store.list()] == ["bucket", "champion.json"]


def test_a_server_that_only_swaps_carelessly_is_found_too(careless: CarelessGateway, s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Gateway.serve
    monkeypatch.setattr(
        CarelessGateway,
        "serve",
        lambda self, request, ignore=CarelessGateway.serve: (honest if "if-none-match" in request.headers else ignore)(self, request),
    )
    with pytest.raises(StoreError, match="ignores the conditions"):
        open_store(s3_uri).create("watch/1.json", b"{}")


def test_what_another_server_has_proved_does_not_count(careless: CarelessGateway, minio_server: MinioServer, s3_uri: str) -> None:
    environment = minio_server.environment
    open_store(s3_uri, environment).create("watch/1.json", b"{}")
    with pytest.raises(StoreError, match="ignores the conditions"):
        open_store(s3_uri).create("watch/2.json", b"{}")
    open_store(s3_uri, environment).create("watch/3.json", b"{}")


def test_it_is_proved_once_for_all_processes(gateway: Gateway, s3_uri: str) -> None:
    open_store(s3_uri).create("watch/1.json", b"{}")
    assert [method for method, _ in gateway.requests] == ["GET", "PUT", "PUT", "PUT", "PUT", "PUT"]
    gateway.requests.clear()
    store = open_store(s3_uri)
    store.create("watch/2.json", b"{}")
    store.create("watch/3.json", b"{}")
    assert [method for method, _ in gateway.requests] == ["PUT", "PUT"]
    _proved.clear()
    gateway.requests.clear()
    store.replace("watch/3.json", b"{1}", store.read_tagged("watch/3.json")[1])
    assert [path.rpartition("/")[2] for _, path in gateway.requests] == ["3.json", PROOF, "3.json"]


def test_each_store_of_a_server_is_proved_for_itself(gateway: Gateway, s3_uri: str) -> None:
    open_store(s3_uri).create("watch/1.json", b"{}")
    gateway.requests.clear()
    open_store(f"{s3_uri}/another").create("watch/1.json", b"{}")
    assert len(gateway.requests) == 6


@pytest.mark.parametrize("age", [timedelta(days=7, minutes=1), -timedelta(days=7, minutes=1)])
def test_an_old_proof_is_made_anew_and_one_of_the_future_too(careless: CarelessGateway, raw: Minio, s3_uri: str, age: timedelta) -> None:
    note(raw, s3_uri, noted(careless.endpoint, datetime.now(UTC) - age))
    with pytest.raises(StoreError, match="ignores the conditions"):
        open_store(s3_uri).create("watch/1.json", b"{}")


def test_a_fresh_proof_of_the_same_address_is_believed(careless: CarelessGateway, raw: Minio, s3_uri: str) -> None:
    """So a server that stops honouring conditions is found a week later, not at once."""
    note(raw, s3_uri, noted(careless.endpoint, datetime.now(UTC) - timedelta(days=6)))
    open_store(s3_uri).create("watch/1.json", b"{}")


def test_a_process_that_lives_long_looks_again(gateway: Gateway, s3_uri: str) -> None:
    store = open_store(s3_uri)
    store.create("watch/1.json", b"{}")
    (place,) = _proved
    assert place == (gateway.endpoint, s3_uri)
    assert 0 <= PROOF_HOLDS.total_seconds() - (_proved[place] - time.monotonic()) < 60
    gateway.requests.clear()
    _proved[place] = time.monotonic()
    store.create("watch/2.json", b"{}")
    store.create("watch/3.json", b"{}")
    assert [path.rpartition("/")[2] for _, path in gateway.requests] == [PROOF, "2.json", "3.json"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"schema": 1}', b'{"schema": 2, "proved": {}}', b'{"schema": 1, "proved": {"a": 7}}']
)
def test_a_damaged_note_is_written_anew(gateway: Gateway, raw: Minio, s3_uri: str, content: bytes) -> None:
    note(raw, s3_uri, content)
    open_store(s3_uri).create("watch/1.json", b"{}")
    _proved.clear()
    gateway.requests.clear()
    open_store(s3_uri).create("watch/2.json", b"{}")
    assert [method for method, _ in gateway.requests] == ["GET", "PUT"]


def test_processes_that_begin_at_once_do_not_hinder_each_other(s3_uri: str, minio_server: MinioServer) -> None:
    store = open_store(s3_uri)
    store.put("bucket", b"exists")
    assert isinstance(store, S3Store)
    together = threading.Barrier(8)

    def begin(_: int) -> None:
        together.wait()
        _prove(minio_server.endpoint, s3_uri, _Proof(store))

    with ThreadPoolExecutor(8) as processes:
        list(processes.map(begin, range(8)))
    assert minio_server.endpoint in json.loads(_Proof(store).read()[0])["proved"]


class _Racing:
    """A proof object that somebody else always gets at first."""

    def __init__(self) -> None:
        self.tries = 0

    def read(self) -> tuple[bytes, str]:
        self.tries += 1
        if self.tries == 1:
            raise NotFound("nothing there")
        return b"", secrets.token_hex(4)

    def create(self, data: bytes) -> str:
        raise Conflict("exists already")

    def replace(self, data: bytes, tag: str) -> str:
        raise Conflict("changed")


def test_a_server_that_takes_no_conditional_write_at_all_is_one_clear_line() -> None:
    proof = _Racing()
    with pytest.raises(StoreError, match="http://server refuses conditional writes that it should take; take a current MinIO"):
        prove_conditions("http://server", "s3://bucket", proof)
    assert proof.tries == TRIES


def test_who_may_not_note_the_proof_reads_which_object_it_is(
    s3_uri: str, minio_server: MinioServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StoreError, match=rf"{s3_uri}/\{PROOF}: .* refuses the credentials"):
        open_store(s3_uri).create("watch/1.json", b"{}")
