"""Conditional writes are signed whole: a real server refuses what something on the way has changed of them, and takes it in no way."""

from collections.abc import Callable, Iterator

import pytest

from driftloop.errors import NotFound, StoreError
from driftloop.store.s3 import S3Store
from tests.minio_server import MinioServer
from tests.unit.store.gateways import Request, TamperingGateway


def _drop_condition(request: Request) -> None:
    request.headers.pop("if-none-match", None)
    request.headers.pop("if-match", None)


def _weaken_condition(request: Request) -> None:
    for name in request.headers.keys() & {"if-match", "if-none-match"}:
        request.headers[name] = '"0123456789abcdef0123456789abcdef"' if name == "if-none-match" else "*"


def _change_body(request: Request) -> None:
    request.body = request.body[:-1] + b"!"
    request.headers.pop("content-md5")


def _change_body_and_hash(request: Request) -> None:
    _change_body(request)
    request.headers["x-amz-content-sha256"] = "UNSIGNED-PAYLOAD"


TAMPERING = [_drop_condition, _weaken_condition, _change_body, _change_body_and_hash]


@pytest.fixture
def through(minio_server: MinioServer, s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., S3Store]]:
    """Opens the store through a gateway that tampers."""
    gateways = []

    def open_through(tamper: Callable[[Request], None]) -> S3Store:
        gateways.append(TamperingGateway(minio_server, lambda request: tamper(request) if request.path.endswith("champion.json") else None))
        monkeypatch.setenv("AWS_ENDPOINT_URL", gateways[-1].endpoint)
        bucket, _, prefix = s3_uri.removeprefix("s3://").partition("/")
        return S3Store(bucket, prefix, patience_s=0)

    yield open_through
    for gateway in gateways:
        gateway.close()


def test_a_gateway_that_changes_nothing_is_not_noticed(through: Callable[..., S3Store]) -> None:
    store = through(lambda request: None)
    tag = store.create("champion.json", b"one")
    store.replace("champion.json", b"two", tag)
    assert store.read("champion.json") == b"two"


@pytest.mark.parametrize("tamper", TAMPERING)
def test_a_create_that_was_tampered_with_is_refused(through: Callable[..., S3Store], tamper: Callable[[Request], None]) -> None:
    store = through(tamper)
    store.put("bucket", b"exists")
    with pytest.raises(StoreError, match=r"champion\.json: .*(SignatureDoesNotMatch|AccessDenied|XAmzContentSHA256Mismatch)"):
        store.create("champion.json", b"one")
    with pytest.raises(NotFound):
        store.read("champion.json")


@pytest.mark.parametrize("tamper", TAMPERING)
def test_a_replacement_that_was_tampered_with_is_refused(
    through: Callable[..., S3Store], tamper: Callable[[Request], None], s3_uri: str
) -> None:
    through(lambda request: None).create("champion.json", b"one")
    store = through(tamper)
    with pytest.raises(StoreError, match=r"champion\.json: .*(SignatureDoesNotMatch|AccessDenied|XAmzContentSHA256Mismatch)"):
        store.replace("champion.json", b"two", "0" * 32)
    assert store.read("champion.json") == b"one"
