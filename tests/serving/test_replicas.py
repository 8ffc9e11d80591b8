"""Two replicas under load, as the user of MinIO that they are on a cluster: an update and a kill lose no request and no row."""

import asyncio
import io
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import urllib3
from PIL import Image

from driftloop.inference.log_files import LOGS_PREFIX, SUFFIX
from driftloop.store import Store, open_store
from tests.docker.test_policy import make_user
from tests.factories.serving_store import build_serving_store, textured_squares
from tests.minio_server import MinioServer
from tests.serving.replicas import Proxy, Replica, proxy

#: Callers at once, and the pause of each between two requests: well below what two cores can answer.
CALLERS, PAUSE_S = 3, 0.02
#: The status of a process that ended because it was told to: 128 + SIGTERM.
ENDED = 143


@dataclass
class Production:
    """A store in MinIO, replicas of its service, and a proxy before them."""

    store: Store
    start: Callable[[str], Replica]
    proxy: Proxy
    replicas: list[Replica] = field(default_factory=list)

    def join(self, replica: Replica) -> None:
        replica.await_ready()
        self.replicas.append(replica)
        self.proxy.ports.append(replica.port)

    def leave(self, replica: Replica) -> None:
        asyncio.run_coroutine_threadsafe(self.proxy.take_out(replica.port), self.proxy.loop).result(timeout=30)
        self.replicas.remove(replica)

    def logged(self) -> Counter[str]:
        """How often each request is in the log."""
        files = [entry.key for entry in self.store.list(LOGS_PREFIX) if entry.key.endswith(SUFFIX)]
        tables = [pq.read_table(io.BytesIO(self.store.read(key)), columns=["request_id"]) for key in files]
        return Counter(name for table in tables for name in table.column("request_id").to_pylist())


@pytest.fixture
def production(tmp_path: Path, minio_server: MinioServer) -> Iterator[Production]:
    """Two replicas that are ready."""
    made, _ = build_serving_store(tmp_path, stream=10)
    uri = f"s3://driftloop/{tmp_path.name}-{uuid.uuid4().hex[:8]}"
    store = open_store(uri, minio_server.environment)
    for entry in made.list():
        store.put(entry.key, made.read(entry.key))
    environment = minio_server.environment | make_user(tmp_path, minio_server, "driftloop-service")
    started: list[Replica] = []

    def start(name: str) -> Replica:
        (tmp_path / name).mkdir(exist_ok=True)
        started.append(Replica(uri, tmp_path / name, environment))
        return started[-1]

    with proxy() as before:
        running = Production(store, start, before)
        try:
            for replica in [start("a"), start("b")]:
                running.join(replica)
            yield running
        finally:
            for replica in started:
                replica.kill()


class Load:
    """Callers that send requests one after the other until they are told to stop."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/predict"
        self._stop = threading.Event()
        stream = io.BytesIO()
        Image.fromarray(textured_squares(1, seed=5)[0][0, :, :, 0]).save(stream, "PNG")
        self._image = stream.getvalue()
        self.answers: dict[str, int] = {}
        self._threads = [threading.Thread(target=self._call) for _ in range(CALLERS)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        self.more(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def more(self, count: int) -> None:
        """Wait until so many more were answered."""
        wanted, deadline = len(self.answers) + count, time.monotonic() + 60
        while len(self.answers) < wanted and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(self.answers) >= wanted

    def _call(self) -> None:
        with urllib3.PoolManager(retries=False, timeout=30) as http:
            while not self._stop.wait(PAUSE_S):
                name = uuid.uuid4().hex
                headers = {"Content-Type": "image/png", "X-Request-Id": name, "Connection": "close"}
                try:
                    self.answers[name] = http.request("POST", self._url, body=self._image, headers=headers).status
                except urllib3.exceptions.HTTPError:
                    self.answers[name] = 0


def test_a_rolling_update_loses_no_request_and_repeats_none(production: Production) -> None:
    with Load(production.proxy.port) as load:
        for old, new in zip(list(production.replicas), ("c", "d"), strict=True):
            production.join(production.start(new))
            production.leave(old)
            assert old.terminate() == ENDED
            load.more(20)
    assert Counter(load.answers.values()) == {200: len(load.answers)}
    assert production.proxy.repeated == 0
    for replica in production.replicas:
        replica.terminate()
    assert production.logged() == dict.fromkeys(load.answers, 1)


def test_a_killed_replica_loses_no_request_and_its_rows_come_after_it(production: Production) -> None:
    with Load(production.proxy.port) as load:
        victim = production.replicas[0]
        victim.kill()
        load.more(20)  # the proxy does not know yet
        production.leave(victim)
        load.more(20)
        production.join(production.start(victim.spool.name))  # the container again, with the pod's spool
        load.more(20)
    assert Counter(load.answers.values()) == {200: len(load.answers)}
    assert production.proxy.repeated > 0
    for replica in production.replicas:
        replica.terminate()
    logged = production.logged()
    assert logged.keys() == load.answers.keys()
    # Only what was in the killed one's spool, and not answered, can be there twice: under the same id.
    assert sum(count > 1 for count in logged.values()) <= CALLERS
