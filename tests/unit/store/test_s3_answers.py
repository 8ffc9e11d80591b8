"""What is made of a server's answers, each given once or always, and of the ways to write where a store is."""

from collections.abc import Callable, Iterator

import pytest

from driftloop.errors import StoreError
from driftloop.store import open_store
from driftloop.store.s3 import S3Store
from tests.minio_server import MinioServer
from tests.unit.store.gateways import Gateway, Reply, Request

pytestmark = pytest.mark.usefixtures("new_process")

XML = {"content-type": "application/xml"}


class Saying(Gateway):
    """Answers by itself what `says` has an answer for."""

    says: Callable[[Request], Reply | None] = staticmethod(lambda _: None)

    def serve(self, request: Request) -> Reply:
        return self.says(request) or self.forward(request)


@pytest.fixture
def saying(minio_server: MinioServer, s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Saying]:
    open_store(s3_uri).create("known.json", b"{}")
    with Saying(minio_server).in_between(monkeypatch) as gateway:
        yield gateway


def of_a_batch(name: str, code: str) -> Reply:
    said = f"<DeleteResult><Error><Key>{name}</Key><Code>{code}</Code><Message>because</Message></Error></DeleteResult>"
    return Reply(200, XML, said.encode())


def test_an_object_that_a_batch_could_not_delete_is_an_error_of_its_own(saying: Saying, s3_uri: str) -> None:
    store = open_store(s3_uri)
    name = f"{s3_uri.removeprefix('s3://').partition('/')[2]}/known.json"
    saying.says = lambda request: of_a_batch(name, "AccessDenied") if request.method == "POST" else None
    with pytest.raises(StoreError) as refused:
        store.delete_many(["known.json"])
    assert str(refused.value).startswith(f"{s3_uri}/known.json: {saying.endpoint} denies access (AccessDenied); ")
    saying.says = lambda request: of_a_batch(name, "Unheard") if request.method == "POST" else None
    with pytest.raises(StoreError, match=r"known\.json: .* answers .*Unheard because"):
        store.delete_many(["known.json"])


def test_an_object_that_a_batch_could_not_delete_for_the_moment_is_tried_again(saying: Saying, s3_uri: str) -> None:
    tried: list[str] = []

    def once(request: Request) -> Reply | None:
        if request.method != "POST":
            return None
        tried.append(request.path)
        return of_a_batch("known.json", "SlowDown") if len(tried) == 1 else None

    saying.says = once
    store = open_store(s3_uri)
    store.delete_many(["known.json"])
    assert len(tried) == 2
    assert not store.exists("known.json")


@pytest.mark.parametrize(
    "reply",
    [
        Reply(418, {"content-type": "text/plain"}, b"<Error><Code>NoSuchKey</Code></Error>"),
        Reply(418, {}, b"no"),
        Reply(418, XML, b""),
    ],
)
def test_who_answers_a_conditional_write_with_something_else_is_no_s3_server(saying: Saying, s3_uri: str, reply: Reply) -> None:
    store = open_store(s3_uri)
    store.create("first.json", b"{}")
    saying.says = lambda request: reply if request.method == "PUT" else None
    with pytest.raises(StoreError, match=r"second\.json: .* does not answer like an S3 server"):
        store.create("second.json", b"{}")


def test_a_refused_write_names_its_object_and_a_refused_listing_its_store(saying: Saying, s3_uri: str) -> None:
    store = open_store(s3_uri)
    saying.says = lambda _: Reply(403, XML, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
    with pytest.raises(StoreError) as refused:
        store.put("thing.json", b"{}")
    assert str(refused.value).startswith(f"{s3_uri}/thing.json: ")
    with pytest.raises(StoreError) as refused:
        store.check()
    assert str(refused.value).startswith(f"{s3_uri}: ")


def test_slashes_around_a_prefix_say_nothing(s3_uri: str) -> None:
    bucket, _, prefix = s3_uri.removeprefix("s3://").partition("/")
    for written in (f"{s3_uri}/", f"s3://{bucket}//{prefix}", f"s3://{bucket}//{prefix}//"):
        assert open_store(written).uri == s3_uri
    assert open_store(f"s3://{bucket}/").uri == S3Store(bucket).uri == f"s3://{bucket}"
    open_store(f"{s3_uri}/").put("a.json", b"1")
    assert S3Store(bucket).read(f"{prefix}/a.json") == b"1"
    with pytest.raises(StoreError, match=r"'\.hidden': not a key"):
        open_store(f"s3://{bucket}/.hidden")
