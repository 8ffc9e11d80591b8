"""A thousand operations through a gateway that fails at random: nothing is lost, nothing is wrong, and nobody wins twice."""

import json
import random
import secrets
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from driftloop.errors import Conflict
from driftloop.store import Store, open_store
from driftloop.store.s3 import PART_BYTES
from tests.minio_server import MinioServer
from tests.unit.store.gateways import FaultyGateway

WORKERS, OPERATIONS, SWAPS = 8, 120, 6
SEED = 20261127


@pytest.fixture
def honest(s3_uri: str, minio_server: MinioServer) -> Store:
    """The store without the gateway."""
    store = open_store(s3_uri, minio_server.environment)
    store.put("bucket", b"exists")
    return store


@pytest.fixture
def gateway(minio_server: MinioServer, monkeypatch: pytest.MonkeyPatch, honest: Store) -> Iterator[FaultyGateway]:
    with FaultyGateway(minio_server, share=0.15, seed=SEED).in_between(monkeypatch) as gateway:
        yield gateway


class Worker:
    """Does one operation after the other below a folder that is its own, and knows what must be there."""

    def __init__(self, number: int, store: Store, honest: Store, folder: Path) -> None:
        self.store, self.honest, self.folder = store, honest, folder
        self.prefix, self.rng = f"work/{number}/", random.Random(SEED + number)
        self.content: dict[str, bytes] = {}
        self.done: Counter[str] = Counter()

    def work(self) -> None:
        for _ in range(OPERATIONS):
            operation = self.rng.choice(
                ("create", "create", "create_again", "replace", "replace", "replace_stale", "put", "upload", "read")
            )
            if self.content and self.rng.random() < 0.3:
                operation = self.rng.choice(("read", "download", "exists", "list", "delete"))
            if operation in ("create", "put", "upload") or self.content:
                getattr(self, operation)()
                self.done[operation] += 1
        assert {key: self.honest.read(key) for key in self.content} == self.content
        assert [info.key for info in self.honest.list(self.prefix)] == sorted(self.content)

    def some_key(self) -> str:
        return self.rng.choice(sorted(self.content))

    def new_key(self) -> str:
        return f"{self.prefix}{self.rng.randbytes(4).hex()}"

    def data(self) -> bytes:
        return self.rng.randbytes(self.rng.choice((16, 1000, 50_000)))

    def create(self) -> None:
        key, data = self.new_key(), self.data()
        self.store.create(key, data)
        self.content[key] = data

    def create_again(self) -> None:
        with pytest.raises(Conflict):
            self.store.create(self.some_key(), self.data())

    def replace(self) -> None:
        key, data = self.some_key(), self.data()
        before, tag = self.store.read_tagged(key)
        assert before == self.content[key]
        try:
            self.store.replace(key, data, tag)
        except Conflict:
            # Only the gateway can have made up the tag.
            assert self.honest.read_tagged(key) == (before, self.honest.read_tagged(key)[1])
            assert self.honest.read_tagged(key)[1] != tag
            return
        self.content[key] = data

    def replace_stale(self) -> None:
        with pytest.raises(Conflict):
            self.store.replace(self.some_key(), self.data(), "f" * 32)

    def put(self) -> None:
        key, data = self.rng.choice([self.new_key(), *sorted(self.content)[:1]]), self.data()
        self.store.put(key, data)
        self.content[key] = data

    def upload(self) -> None:
        key, data = self.new_key(), self.data()
        if not self.done["upload"]:
            data *= 1 + PART_BYTES // len(data)
        source = self.folder / key.replace("/", "-")
        source.write_bytes(data)
        self.store.upload(key, source)
        self.content[key] = data

    def read(self) -> None:
        key = self.some_key()
        assert self.store.read(key) == self.content[key]

    def download(self) -> None:
        key, copy = self.some_key(), self.folder / f"{secrets.token_hex(4)}.copy"
        self.store.download(key, copy)
        assert copy.read_bytes() == self.content[key]

    def exists(self) -> None:
        assert self.store.exists(self.some_key())
        assert not self.store.exists(self.new_key())

    def list(self) -> None:
        assert [info.key for info in self.store.list(self.prefix)] == sorted(self.content)

    def delete(self) -> None:
        key = self.some_key()
        self.store.delete(key)
        del self.content[key]


def test_what_each_worker_wrote_is_there_and_nothing_else(gateway: FaultyGateway, s3_uri: str, honest: Store, tmp_path: Path) -> None:
    workers = [Worker(number, open_store(s3_uri), honest, tmp_path) for number in range(WORKERS)]
    with ThreadPoolExecutor(WORKERS) as threads:
        for result in [threads.submit(worker.work) for worker in workers]:
            result.result()
    done = sum((worker.done for worker in workers), Counter[str]())
    assert sum(done.values()) > 900
    assert min(done[name] for name in ("create", "replace", "upload", "download", "list", "delete")) >= WORKERS
    assert min(gateway.counts[fault] for fault in FaultyGateway.FAULTS) > 10


def test_of_racing_swaps_none_is_lost_and_none_counts_twice(gateway: FaultyGateway, s3_uri: str, honest: Store) -> None:
    honest.create("pointer", b"[]")

    def swap(worker: int) -> None:
        store = open_store(s3_uri)
        for number in range(SWAPS):
            mine = f"{worker}-{number}"
            while True:
                data, tag = store.read_tagged("pointer")
                history = json.loads(data)
                # A swap whose answer was lost, and that was written over since, is found in what it was written over with.
                if mine in history:
                    break
                try:
                    store.replace("pointer", json.dumps([*history, mine]).encode(), tag)
                except Conflict:
                    continue
                break

    with ThreadPoolExecutor(WORKERS) as threads:
        list(threads.map(swap, range(WORKERS)))
    assert sorted(json.loads(honest.read("pointer"))) == sorted(
        f"{worker}-{number}" for worker in range(WORKERS) for number in range(SWAPS)
    )


def test_of_those_who_create_the_same_object_one_wins(gateway: FaultyGateway, s3_uri: str, honest: Store) -> None:
    def create(worker: int) -> list[str]:
        store, won = open_store(s3_uri), []
        for number in range(10):
            try:
                store.create(f"watch/{number}.json", b"%d" % worker + secrets.token_bytes(8))
            except Conflict:
                continue
            won.append(f"watch/{number}.json:{worker}")
        return won

    with ThreadPoolExecutor(WORKERS) as threads:
        won = [entry for entries in threads.map(create, range(WORKERS)) for entry in entries]
    assert sorted(won) == sorted(f"{info.key}:{honest.read(info.key)[:1].decode()}" for info in honest.list("watch/"))
    assert len(won) == 10
