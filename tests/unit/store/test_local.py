"""What the local folder promises on top: several processes, kills at any moment, and one clear line when it cannot be used."""

import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from driftloop.errors import StoreError
from driftloop.store import open_store
from driftloop.store.local import LocalStore
from tests.unit.store.writers import OBJECT_BYTES

ROOT = Path(__file__).parents[3]
NOBODY = 65534


def _start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.unit.store.writers", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("mode", ["create", "replace"])
def test_exactly_one_of_racing_processes_wins_each_object(tmp_path: Path, mode: str) -> None:
    keys = 40
    store = LocalStore(tmp_path / "store")
    if mode == "replace":
        for number in range(keys):
            store.create(f"key/{number}", b"first")
    racers = [_start(mode, str(store.root), str(keys)) for _ in range(6)]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    won = Counter(number for racer in racers for number in racer.communicate()[0].split())
    assert won == {str(number): 1 for number in range(keys)}


def test_a_process_killed_while_writing_leaves_whole_objects_and_no_lock(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    for writes in range(1, 13):
        writer = _start("for-ever", str(store.root))
        assert writer.stdout is not None
        for _ in range(writes):
            writer.stdout.readline()
        writer.kill()
        writer.communicate()
    keys = [info.key for info in store.list()]
    assert len(keys) > 12
    for key in keys:
        data = store.read(key)
        assert data == data[:1] * OBJECT_BYTES, key
    _, tag = store.read_tagged("put")
    store.replace("put", b"the lock is free", tag)


def test_unfinished_files_and_the_lock_are_never_listed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    store.put("versions/1/model.json", b"{}")
    (store.root / "versions" / "1" / ".model.pth.4711.0a1b2c3d").write_bytes(b"half")
    assert (store.root / ".lock").exists()
    assert [info.key for info in store.list()] == ["versions/1/model.json"]


def test_opening_and_checking_creates_nothing(tmp_path: Path) -> None:
    open_store(str(tmp_path / "new" / "store")).check()
    assert list(tmp_path.iterdir()) == []


def test_the_uri_stays_with_the_run_that_a_link_pointed_to(tmp_path: Path) -> None:
    (tmp_path / "run-1").mkdir()
    (tmp_path / "latest").symlink_to("run-1")
    assert open_store(str(tmp_path / "latest" / "store")).uri == str(tmp_path / "run-1" / "store")


def test_a_relative_path_and_a_file_uri_name_the_same_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_store("a store").uri == open_store(f"file://{tmp_path}/a%20store").uri == str(tmp_path / "a store")


def test_a_listing_reads_only_the_folders_that_can_hold_its_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)
    for key in ("logs/dt=1/hour=1/a", "logs/dt=1/hour=2/a", "logs/dt=2/hour=1/a", "watch/1/a"):
        store.put(key, b"x")
    read: list[str] = []
    scandir = os.scandir

    def noting(folder: Path) -> Any:
        read.append(os.path.relpath(folder, tmp_path))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", noting)
    assert [info.key for info in store.list("logs/dt=1")] == ["logs/dt=1/hour=1/a", "logs/dt=1/hour=2/a"]
    assert read == ["logs", "logs/dt=1", "logs/dt=1/hour=1", "logs/dt=1/hour=2"]
    read.clear()
    assert [info.key for info in store.list("logs/", after="logs/dt=1/hour=1/a")] == ["logs/dt=1/hour=2/a", "logs/dt=2/hour=1/a"]
    assert "logs/dt=1/hour=1" in read
    read.clear()
    assert [info.key for info in store.list("", after="logs/dt=2")] == ["logs/dt=2/hour=1/a", "watch/1/a"]
    assert not [folder for folder in read if folder.startswith("logs/dt=1")]


def test_a_fault_of_the_disk_names_what_it_was_about(tmp_path: Path) -> None:
    """The system's own errors name a file, or none: reading this one fails as a broken disk does."""
    store = LocalStore(tmp_path)
    (tmp_path / "broken").symlink_to("/proc/self/mem")
    for use in (lambda: store.read("broken"), lambda: store.download("broken", tmp_path / "copy")):
        with pytest.raises(StoreError, match=rf"^{tmp_path}/broken: Input/output error$"):
            use()
    with pytest.raises(StoreError, match=rf"^{tmp_path}/key: Input/output error; a store is a folder with room in it"):
        store.upload("key", "/proc/self/mem")
    store.put("object", b"x")
    with pytest.raises(StoreError, match=rf"^{tmp_path}/object: "):
        store.put("object/below", b"x")
    assert [info.key for info in store.list("k")] == []
    assert not list(tmp_path.glob(".key*"))


def test_a_file_in_the_stores_place_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    store = open_store(str(tmp_path / "file"))
    with pytest.raises(StoreError, match=r"file: is a file; a store is a folder"):
        store.check()
    with pytest.raises(StoreError, match="a store is a folder"):
        store.put("key", b"x")


@pytest.fixture
def ordinary_folder() -> Iterator[Path]:
    """A folder of somebody who is not root, for whom there are permissions; root's tests run as nobody meanwhile."""
    with tempfile.TemporaryDirectory() as name:
        if os.geteuid() == 0:
            os.chown(name, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, 0)
        try:
            yield Path(name)
        finally:
            if os.getresuid()[2] == 0:
                os.setresuid(0, 0, 0)


@pytest.mark.parametrize("mode", [0o500, 0o300, 0o600])
def test_a_folder_in_which_we_may_not_read_write_and_search_is_one_clear_line(ordinary_folder: Path, mode: int) -> None:
    store = open_store(str(ordinary_folder / "store"))
    store.check()
    ordinary_folder.chmod(mode)
    with pytest.raises(StoreError, match="no permission"):
        open_store(str(ordinary_folder)).check()
    if mode != 0o300:
        with pytest.raises(StoreError, match="Permission denied"):
            store.put("key", b"x")
    ordinary_folder.chmod(0o700)


def test_an_object_that_goes_while_a_listing_is_read_is_left_out(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for key in ("a", "b", "c"):
        store.put(key, b"x")
    listing = store.list()
    assert next(listing).key == "a"
    store.delete("b")
    assert [info.key for info in listing] == ["c"]


@pytest.mark.parametrize("uri", ["", "  ", "gs://bucket/prefix", "minio://bucket", "http://localhost:9000/bucket", "file://host/folder"])
def test_another_kind_of_uri_is_one_clear_line(uri: str) -> None:
    with pytest.raises(StoreError, match="give a folder or s3://bucket/prefix"):
        open_store(uri)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_an_adopted_file_is_the_stores_alone(tmp_path: Path, elsewhere: bool) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if elsewhere else tmp_path) as folder:
        file = Path(folder, "shard")
        file.write_bytes(b"pixels")
        if elsewhere and file.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("one file system here")
        number = file.stat().st_ino
        store = LocalStore(tmp_path / "store")
        store.adopt("datasets/a/shard", file)
        assert not file.exists()
    assert store.read("datasets/a/shard") == b"pixels"
    assert [info.key for info in store.list()] == ["datasets/a/shard"]
    assert elsewhere or store.path("datasets/a/shard").stat().st_ino == number, "renamed, not copied"
    assert sorted(path.name for path in store.root.rglob("*") if path.is_file()) == [".lock", "shard"]
