"""The commands of docs/operations.md, run as they stand there: a store copied from one MinIO server to another, and back."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftloop import registry
from driftloop.store import Store, open_store
from driftloop.watch_store import move_heartbeat, read_records
from tests.factories.store_history import StoreHistory
from tests.minio_client import find_client
from tests.minio_server import MinioServer

GUIDE = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
COPY, VERIFY = (block for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL) if "mc mirror" in block or "models verify" in block)
STORE = "driftloop/demo"


class Servers:
    """Two servers, and what is done between them."""

    def __init__(self, main: MinioServer, second: MinioServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.main, self.second, self.folder = main, second, folder
        self._monkeypatch = monkeypatch
        self.programs = folder / "bin"
        self.programs.mkdir()
        (self.programs / "mc").symlink_to(find_client())
        (self.programs / "driftloop").write_text(f'#!/bin/sh\nexec {sys.executable} -m driftloop.cli.main "$@"\n')
        (self.programs / "driftloop").chmod(0o755)

    def store(self, server: MinioServer) -> Store:
        """The store on a server; the AWS_* variables name that server from now on."""
        for name, value in server.environment.items():
            self._monkeypatch.setenv(name, value)
        return open_store(f"s3://{STORE}")

    def copy(self, source: MinioServer, target: MinioServer) -> None:
        """Run the guide's commands."""
        hosts = {f"MC_HOST_{name}": _host(server) for name, server in (("from", source), ("to", target))}
        self._run(COPY, hosts | {"MC_CONFIG_DIR": str(self.folder / "mc")})

    def verify(self, server: MinioServer) -> str:
        """Run the guide's check."""
        return self._run(f"set -e\n{VERIFY}", server.environment)

    def _run(self, script: str, environment: dict[str, str]) -> str:
        path = f"{self.programs}{os.pathsep}{os.environ['PATH']}"
        given = os.environ | environment | {"STORE": STORE, "PATH": path}
        done = subprocess.run(["sh", "-c", script], env=given, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def _host(server: MinioServer) -> str:
    return server.endpoint.replace("http://", f"http://{server.access_key}:{server.secret_key}@")


@pytest.fixture
def servers(minio_server: MinioServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Servers]:
    """The session's server, emptied of the store, and a second one."""
    other = MinioServer(tmp_path / "other")
    other.start()
    servers = Servers(minio_server, other, tmp_path, monkeypatch)
    store = servers.store(minio_server)
    for entry in list(store.list()):
        store.delete(entry.key)
    yield servers
    other.kill()


@pytest.fixture
def history(servers: Servers) -> StoreHistory:
    """On the first server: a champion with a past, a version that is not promoted, a watch."""
    history = StoreHistory(servers.store(servers.main), servers.folder)
    history.promote(history.register(history.dataset(10).manifest_hash))
    history.register(history.dataset(30).manifest_hash, parent="1")
    move_heartbeat(history.store, history.watched(1, "1"))
    return history


def contents(store: Store) -> dict[str, bytes]:
    return {entry.key: store.read(entry.key) for entry in store.list()}


def test_a_store_is_copied_and_restored_byte_by_byte_and_verifies(servers: Servers, history: StoreHistory) -> None:
    before = contents(history.store)
    servers.copy(servers.main, servers.second)
    assert contents(servers.store(servers.second)) == before
    assert servers.verify(servers.second).count("all as in SHA256SUMS") == 2

    lost = servers.store(servers.main)
    for key in before:
        lost.delete(key)
    servers.copy(servers.second, servers.main)
    assert contents(servers.store(servers.main)) == before
    history.check()
    history.promote("2")
    assert registry.rollback(history.store, reason="the restored store works").version == "1"


def test_a_second_backup_brings_what_is_new(servers: Servers, history: StoreHistory) -> None:
    servers.copy(servers.main, servers.second)
    servers.store(servers.main)
    history.promote("2")
    move_heartbeat(history.store, history.watched(2, "2"))
    after = contents(history.store)
    servers.copy(servers.main, servers.second)
    copied = servers.store(servers.second)
    assert contents(copied) == after
    assert [record.sequence for record in read_records(copied, 9)] == [1, 2]


def test_a_damaged_copy_does_not_verify(servers: Servers, history: StoreHistory) -> None:
    servers.copy(servers.main, servers.second)
    servers.store(servers.second).put("versions/1/model.onnx", b"damaged")
    with pytest.raises(AssertionError, match=r"version 1 is damaged.*model\.onnx"):
        servers.verify(servers.second)


def test_a_backup_during_a_promotion_names_only_what_it_has(servers: Servers, history: StoreHistory) -> None:
    # The client itself, but right before it copies versions and datasets version 2 is promoted and a watch says so.
    client = servers.programs / "mc"
    real = client.resolve()
    client.unlink()
    promote = "driftloop models promote 2 --store s3://driftloop/demo"
    environment = " ".join(f"{name}={value}" for name, value in servers.main.environment.items())
    client.write_text(f'#!/bin/sh\ncase "$*" in *--exclude*) {environment} {promote} >&2 || exit 9 ;; esac\nexec {real} "$@"\n')
    client.chmod(0o755)
    servers.copy(servers.main, servers.second)
    promoted, copied = registry.current(servers.store(servers.main)), registry.current(servers.store(servers.second))
    assert promoted is not None
    assert copied is not None
    assert (promoted.version, copied.version) == ("2", "1")
    StoreHistory(servers.store(servers.second), servers.folder / "copied").check()
