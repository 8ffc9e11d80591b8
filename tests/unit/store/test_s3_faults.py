"""What the S3 store does when requests fail: it settles lost answers, outlasts a restart, and otherwise says one clear line."""

import json
import re
import secrets
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from minio import Minio, MinioAdmin
from minio.credentials import StaticProvider

from driftloop.errors import Conflict, StoreError
from driftloop.store import open_store
from driftloop.store.s3 import PART_BYTES, S3Store
from tests.minio_server import MinioServer
from tests.unit.store.gateways import Gateway, LateErrorGateway, TaglessGateway
from tests.unit.store.lossy_proxy import LossyProxy


@pytest.fixture
def proxy(minio_server: MinioServer, s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[LossyProxy]:
    open_store(s3_uri).put("bucket", b"exists")
    proxy = LossyProxy(minio_server.port)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    yield proxy
    proxy.close()


@pytest.fixture
def own_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MinioServer]:
    """A server to be killed."""
    server = MinioServer(tmp_path / "data")
    server.start()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    yield server
    server.kill()


@pytest.mark.parametrize("lost", [1, 3])
def test_a_create_whose_answer_was_lost_has_still_won(proxy: LossyProxy, s3_uri: str, lost: int) -> None:
    store = open_store(s3_uri)
    data = secrets.token_bytes(16)
    proxy.swallow(lost)
    tag = store.create("champion.json", data)
    assert store.read_tagged("champion.json") == (data, tag)


def test_a_replace_whose_answer_was_lost_has_still_won(proxy: LossyProxy, s3_uri: str) -> None:
    store = open_store(s3_uri)
    tag = store.create("champion.json", b"one")
    data = secrets.token_bytes(16)
    proxy.swallow(1)
    new = store.replace("champion.json", data, tag)
    assert store.read_tagged("champion.json") == (data, new)


def test_a_create_whose_answer_was_lost_does_not_claim_another_writers_object(proxy: LossyProxy, s3_uri: str) -> None:
    store = open_store(s3_uri)
    store.create("champion.json", b"another writer's")
    proxy.swallow(1)
    with pytest.raises(Conflict, match="exists already"):
        store.create("champion.json", secrets.token_bytes(16))
    assert store.read("champion.json") == b"another writer's"


def test_a_replace_of_an_object_that_is_gone_has_lost_even_where_its_answer_was_lost(proxy: LossyProxy, s3_uri: str) -> None:
    store = open_store(s3_uri)
    tag = store.create("champion.json", b"one")
    store.delete("champion.json")
    proxy.swallow(1)
    with pytest.raises(Conflict, match=r"champion\.json: changed since it was read"):
        store.replace("champion.json", secrets.token_bytes(16), tag)
    assert not store.exists("champion.json")


def test_writes_that_may_be_repeated_survive_lost_answers(proxy: LossyProxy, s3_uri: str, tmp_path: Path) -> None:
    store = open_store(s3_uri)
    source = tmp_path / "shard"
    source.write_bytes(secrets.token_bytes(20 << 20))
    proxy.swallow(2)
    store.upload("shard", source)
    assert store.read("shard") == source.read_bytes()


def test_work_goes_on_over_a_server_that_is_killed_and_restarted(own_server: MinioServer) -> None:
    store = open_store("s3://driftloop/demo")
    kill_now = threading.Event()

    def work(worker: int) -> None:
        tag = store.create(f"pointer/{worker}", b"0")
        for step in range(1, 31):
            store.create(f"log/{worker}/{step}", secrets.token_bytes(1000))
            tag = store.replace(f"pointer/{worker}", b"%d" % step, tag)
            if step == 10:
                kill_now.set()

    with ThreadPoolExecutor(4) as workers:
        running = [workers.submit(work, worker) for worker in range(4)]
        assert kill_now.wait(60)
        own_server.kill()
        own_server.start()
        for write in running:
            write.result()
    assert len(list(store.list("log/"))) == 4 * 30
    assert [store.read(f"pointer/{worker}") for worker in range(4)] == [b"30"] * 4


def test_a_server_that_stays_away_is_one_clear_line(own_server: MinioServer) -> None:
    store = S3Store("driftloop", "demo", patience_s=0)
    store.put("key", b"x")
    own_server.kill()
    refused = rf"cannot reach {own_server.endpoint} \(connection refused\); check AWS_ENDPOINT_URL .*gave up after 3 tries"
    expected = rf"demo/(key|\.conditional-writes\.json): {refused}"
    for use in (store.read, store.exists, store.delete, lambda key: store.put(key, b""), lambda key: store.create(key, b"")):
        with pytest.raises(StoreError, match=expected):
            use("key")


def test_check_says_quickly_that_an_endpoint_is_not_reachable(s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(StoreError, match=r"cannot reach http://127\.0\.0\.1:1 "):
        open_store(s3_uri).check()


def test_a_host_that_does_not_exist_is_one_clear_line(s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://minio.invalid:9000")
    with pytest.raises(StoreError, match=r"cannot reach http://minio.invalid:9000 \(failed to resolve\)"):
        open_store(s3_uri).check()


@pytest.mark.parametrize(
    ("variable", "code"), [("AWS_ACCESS_KEY_ID", "InvalidAccessKeyId"), ("AWS_SECRET_ACCESS_KEY", "SignatureDoesNotMatch")]
)
def test_wrong_credentials_are_one_clear_line_and_never_printed(
    s3_uri: str, monkeypatch: pytest.MonkeyPatch, variable: str, code: str
) -> None:
    monkeypatch.setenv(variable, "wrong-and-secret")
    store = open_store(s3_uri)
    for use in (store.check, lambda: store.read("key"), lambda: store.put("key", b""), lambda: store.create("key", b"")):
        with pytest.raises(StoreError, match=rf"refuses the credentials \({code}\); check AWS_ACCESS_KEY_ID") as caught:
            use()
        assert "wrong-and-secret" not in str(caught.value)
    with pytest.raises(StoreError, match="check AWS_ACCESS_KEY_ID"):
        store.exists("key")


@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_missing_credentials_are_one_clear_line(s3_uri: str, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.delenv(variable)
    with pytest.raises(StoreError, match=f"{variable} is not set"):
        open_store(s3_uri)


@pytest.mark.parametrize("url", ["localhost:9000", "ftp://host", "http://", "http://host/path"])
def test_an_endpoint_that_is_no_url_is_one_clear_line(s3_uri: str, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    with pytest.raises(StoreError, match="write it like http://localhost:9000"):
        open_store(s3_uri)


@pytest.mark.parametrize("uri", ["s3://", "s3:///prefix", "s3://ab", "s3://Upper/x", "s3://with space/x", "s3://a..b/x"])
def test_a_bad_buckets_name_is_one_clear_line(s3_uri: str, uri: str) -> None:
    with pytest.raises(StoreError, match="not a bucket's name"):
        open_store(uri)


def test_a_server_that_does_not_speak_s3_is_one_clear_line(s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Website(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Website) as website:
        serving = threading.Thread(target=website.serve_forever)
        serving.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{website.server_port}")
        with pytest.raises(StoreError, match="does not answer like an S3 server; check AWS_ENDPOINT_URL"):
            open_store(s3_uri).check()
        website.shutdown()
        serving.join()


def test_a_missing_bucket_reads_like_an_empty_store_and_the_first_write_creates_it(s3_uri: str) -> None:
    bucket = f"new-{secrets.token_hex(6)}"
    store = open_store(f"s3://{bucket}/demo")
    store.check()
    assert list(store.list()) == []
    assert not store.exists("champion.json")
    store.delete("champion.json")
    with pytest.raises(StoreError, match=f"there is no bucket '{bucket}'"):
        store.read("champion.json")
    store.create("champion.json", b"{}")
    assert store.read("champion.json") == b"{}"


def test_the_first_writers_of_a_new_bucket_do_not_hinder_each_other(s3_uri: str) -> None:
    store = open_store(f"s3://new-{secrets.token_hex(6)}")
    with ThreadPoolExecutor(8) as writers:
        list(writers.map(lambda number: store.put(f"key/{number}", b"x"), range(8)))
    assert len(list(store.list())) == 8


def test_a_missing_bucket_that_may_not_be_created_is_one_clear_line(
    minio_server: MinioServer, s3_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, password = secrets.token_hex(6), secrets.token_hex(12)
    _add_user(minio_server, user, password, bucket="only-this-one")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", user)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", password)
    with pytest.raises(StoreError, match=re.escape("there is no bucket 'only-this-one'") + ".*create it; these credentials may not"):
        open_store("s3://only-this-one/demo").put("key", b"x")
    with pytest.raises(StoreError, match="denies access"):
        open_store("s3://another-one/demo").put("key", b"x")


def _add_user(server: MinioServer, user: str, password: str, *, bucket: str) -> None:
    """A user who may do everything inside one bucket, and nothing else."""
    root = StaticProvider(server.access_key, server.secret_key)
    admin = MinioAdmin(endpoint=server.endpoint.removeprefix("http://"), credentials=root, secure=False)
    resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    actions = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"]
    statement = {"Effect": "Allow", "Action": actions, "Resource": resources}
    admin.user_add(user, password)
    admin.policy_add(f"only-{user}", policy={"Version": "2012-10-17", "Statement": [statement]})
    admin.attach_policy([f"only-{user}"], user=user)
    assert json.loads(admin.user_info(user))["status"] == "enabled"


@pytest.mark.parametrize("refusal", ["", "NotImplemented", "AccessDenied"])
def test_logs_are_tagged_where_that_is_allowed_and_written_in_any_case(
    minio_server: MinioServer, s3_uri: str, monkeypatch: pytest.MonkeyPatch, refusal: str
) -> None:
    server = minio_server.endpoint.removeprefix("http://")
    root = Minio(server, minio_server.access_key, minio_server.secret_key, secure=False, region="us-east-1")
    gateway = TaglessGateway(minio_server, refusal) if refusal else Gateway(minio_server)
    with gateway.in_between(monkeypatch):
        store = open_store(s3_uri)
        for key in ("logs/a", "logs/b", "catalogs/c"):
            store.create(key, b"x")
            with pytest.raises(Conflict):
                store.create(key, b"y")
    bucket, _, prefix = s3_uri.removeprefix("s3://").partition("/")
    tags = {key: root.get_object_tags(bucket, f"{prefix}/{key}") for key in ("logs/a", "logs/b", "catalogs/c")}
    log = None if refusal else {"driftloop": "log"}
    assert tags == {"logs/a": log, "logs/b": log, "catalogs/c": None}
    assert [path for _, path in gateway.requests].count("tagged") == bool(refusal)


@pytest.mark.parametrize("code", ["SlowDown", "InvalidTag"])
def test_any_other_refusal_of_a_log_is_told(minio_server: MinioServer, s3_uri: str, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    bucket, _, prefix = s3_uri.removeprefix("s3://").partition("/")
    with TaglessGateway(minio_server, code).in_between(monkeypatch), pytest.raises(StoreError, match=f"logs/a: .* answers 501 {code}"):
        S3Store(bucket, prefix, patience_s=0).create("logs/a", b"x")


def test_more_objects_than_fit_one_page_are_all_listed(s3_uri: str) -> None:
    store = open_store(s3_uri)
    keys = [f"logs/{number:05d}" for number in range(1005)]
    store.put("labels/x", b"")
    with ThreadPoolExecutor(8) as writers:
        list(writers.map(lambda key: store.put(key, b""), keys))
    assert [info.key for info in store.list("logs/")] == keys
    assert [info.key for info in store.list("logs/", after=keys[999])] == keys[1000:]


def test_an_upload_that_fails_in_an_answer_that_began_well_is_tried_again(
    minio_server: MinioServer, s3_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = tmp_path / "shard"
    shard.write_bytes(secrets.token_bytes(PART_BYTES + 1))
    with LateErrorGateway(minio_server).in_between(monkeypatch) as gateway:
        open_store(s3_uri).upload("shard", shard)
    assert ("POST", "late error") in gateway.requests
    assert open_store(s3_uri, minio_server.environment).read("shard") == shard.read_bytes()


def test_a_large_upload_is_never_in_memory_as_a_whole(s3_uri: str, tmp_path: Path) -> None:
    shard = tmp_path / "shard"
    with open(shard, "wb") as stream:
        stream.truncate(20 * PART_BYTES)
    store = open_store(s3_uri)
    tracemalloc.start()
    store.upload("shard", shard)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 9 * PART_BYTES
