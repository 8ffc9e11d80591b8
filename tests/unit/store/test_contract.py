"""What every store promises, whatever its backend."""

import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from driftloop.errors import Conflict, NotFound, StoreError
from driftloop.store import Store, s3


def test_what_is_written_is_read_back(store: Store) -> None:
    store.put("datasets/a/dataset.json", b"{}")
    assert store.read("datasets/a/dataset.json") == b"{}"


def test_an_empty_object_is_an_object(store: Store) -> None:
    store.put("empty", b"")
    assert store.read("empty") == b""
    assert store.exists("empty")


def test_put_writes_over(store: Store) -> None:
    store.put("heartbeat.json", b"old and longer")
    store.put("heartbeat.json", b"new")
    assert store.read("heartbeat.json") == b"new"


def test_a_store_that_was_never_written_to_is_empty(store: Store) -> None:
    store.check()
    assert not store.exists("champion.json")
    assert list(store.list()) == []
    store.delete("champion.json")
    with pytest.raises(NotFound, match=r"champion\.json"):
        store.read("champion.json")


def test_an_object_that_is_missing_is_not_found_by_any_reader(store: Store, tmp_path: Path) -> None:
    store.put("present", b"1")
    for read in (store.read, store.read_tagged, lambda key: store.download(key, tmp_path / "copy")):
        with pytest.raises(NotFound, match="absent"):
            read("absent")
    assert list(tmp_path.glob("*copy*")) == []
    assert not store.exists("absent")


def test_a_folder_is_not_an_object(store: Store) -> None:
    store.put("versions/1/model.json", b"{}")
    assert not store.exists("versions/1")
    with pytest.raises(NotFound):
        store.read("versions/1")


def test_create_refuses_an_object_that_exists(store: Store) -> None:
    store.create("watch/00000001.json", b"first")
    with pytest.raises(Conflict, match=r"watch/00000001.json: exists already"):
        store.create("watch/00000001.json", b"second")
    assert store.read("watch/00000001.json") == b"first"


def test_create_refuses_even_the_same_bytes(store: Store) -> None:
    store.create("key", b"same")
    with pytest.raises(Conflict):
        store.create("key", b"same")


def test_replace_needs_the_tag_of_what_is_there(store: Store) -> None:
    first = store.create("champion.json", b"one")
    second = store.replace("champion.json", b"two", first)
    with pytest.raises(Conflict, match="changed since it was read"):
        store.replace("champion.json", b"three", first)
    assert store.read_tagged("champion.json") == (b"two", second)
    store.replace("champion.json", b"three", second)
    assert store.read("champion.json") == b"three"


def test_replace_refuses_an_object_that_is_gone(store: Store) -> None:
    tag = store.create("champion.json", b"one")
    store.delete("champion.json")
    with pytest.raises(Conflict):
        store.replace("champion.json", b"two", tag)
    assert not store.exists("champion.json")


def test_an_object_can_be_created_again_after_it_was_deleted(store: Store) -> None:
    store.create("key", b"one")
    store.delete("key")
    store.create("key", b"two")
    assert store.read("key") == b"two"


def test_many_objects_are_deleted_in_batches(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "DELETE_BATCH", 3)
    store.delete_many(iter(["nothing/there/yet"]))
    for number in range(8):
        store.put(f"a/{number}", b"")
    store.delete_many(f"a/{number}" for number in range(7))
    store.delete_many(["a/3", "absent"])
    assert [info.key for info in store.list()] == ["a/7"]
    with pytest.raises(StoreError, match="not a key"):
        store.delete_many(["../champion.json"])


def test_exactly_one_of_forty_racing_creators_wins(store: Store) -> None:
    contents = [secrets.token_bytes(16) for _ in range(40)]
    winners = _race(contents, lambda data: store.create("versions/1/registration.json", data))
    assert len(winners) == 1
    assert store.read("versions/1/registration.json") == winners[0]


def test_exactly_one_of_forty_racing_replacers_wins(store: Store) -> None:
    tag = store.create("champion.json", b"version 1")
    contents = [secrets.token_bytes(16) for _ in range(40)]
    winners = _race(contents, lambda data: store.replace("champion.json", data, tag))
    assert len(winners) == 1
    assert store.read("champion.json") == winners[0]


def _race(contents: list[bytes], write: Callable[[bytes], str]) -> list[bytes]:
    """The contents whose writers did not lose, all of them having started at once."""
    together = threading.Barrier(len(contents))

    def attempt(data: bytes) -> bool:
        together.wait()
        try:
            write(data)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(len(contents)) as writers:
        won = list(writers.map(attempt, contents))
    return [data for data, has_won in zip(contents, won, strict=True) if has_won]


def test_increments_by_compare_and_swap_are_never_lost(store: Store) -> None:
    store.create("counter", b"0")

    def increment(_: int) -> None:
        while True:
            data, tag = store.read_tagged("counter")
            try:
                store.replace("counter", b"%d" % (int(data) + 1), tag)
            except Conflict:
                continue
            return

    with ThreadPoolExecutor(8) as writers:
        list(writers.map(increment, range(40)))
    assert store.read("counter") == b"40"


def test_listing_is_in_the_order_of_whole_keys(store: Store) -> None:
    keys = ["a-b", "a/b", "a/b.c", "a/b/c", "a0", "b"]
    keys.remove("a/b")  # an object and a folder cannot share a name on either backend
    for key in reversed(keys):
        store.put(key, key.encode())
    assert [info.key for info in store.list()] == sorted(keys)


@pytest.mark.parametrize(
    ("prefix", "after", "expected"),
    [
        ("logs/", "", ["logs/dt=1/a", "logs/dt=1/b", "logs/dt=2/a"]),
        ("logs/dt=1", "", ["logs/dt=1/a", "logs/dt=1/b"]),
        ("logs/dt=1/b", "", ["logs/dt=1/b"]),
        ("logs/", "logs/dt=1/a", ["logs/dt=1/b", "logs/dt=2/a"]),
        ("logs/", "logs/dt=1/zz", ["logs/dt=2/a"]),
        ("logs/", "logs/dt=2/a", []),
        ("logs/", "labels/x", ["logs/dt=1/a", "logs/dt=1/b", "logs/dt=2/a"]),
        ("logs/", "watch/1", []),
        ("", "logs/dt=2", ["logs/dt=2/a", "watch/1"]),
        ("nothing/", "", []),
    ],
)
def test_listing_keeps_to_its_prefix_and_starts_after_a_key(store: Store, prefix: str, after: str, expected: list[str]) -> None:
    for key in ("labels/x", "logs/dt=1/a", "logs/dt=1/b", "logs/dt=2/a", "watch/1"):
        store.put(key, b"x")
    assert [info.key for info in store.list(prefix, after)] == expected


def test_listing_tells_sizes_and_times(store: Store) -> None:
    store.put("key", b"12345")
    (info,) = store.list("key")
    assert info.size == 5
    assert abs(datetime.now(UTC) - info.modified) < timedelta(minutes=5)


def test_a_large_file_is_streamed_in_and_out(store: Store, tmp_path: Path) -> None:
    source, copy = tmp_path / "shard.npy", tmp_path / "new" / "copy.npy"
    block = secrets.token_bytes(1 << 20)
    with open(source, "wb") as stream:
        for number in range(37):  # three parts on S3, the last one partial
            stream.write(number.to_bytes(4, "big") + block)
    store.upload("datasets/a/images-0.npy", source)
    store.download("datasets/a/images-0.npy", copy)
    assert copy.read_bytes() == source.read_bytes()
    (info,) = store.list("datasets/")
    assert info.size == source.stat().st_size


def test_a_download_goes_into_folders_that_are_there_or_not_and_replaces_a_file(store: Store, tmp_path: Path) -> None:
    store.put("key", b"new")
    for copy in (tmp_path / "copy", tmp_path / "not" / "there" / "copy"):
        for _ in ("once", "again"):
            store.download("key", copy)
            assert copy.read_bytes() == b"new"
            copy.write_bytes(b"an older file, and longer")
        assert [path.name for path in copy.parent.iterdir() if path.is_file()] == ["copy"]


def test_several_may_delete_an_object_at_once(store: Store) -> None:
    with ThreadPoolExecutor(8) as deleters:
        for number in range(10):
            store.put(f"key/{number}", b"x")
            together = threading.Barrier(8)

            def delete(_: int, number: int = number, together: threading.Barrier = together) -> None:
                together.wait()
                store.delete(f"key/{number}")

            list(deleters.map(delete, range(8)))
    assert list(store.list()) == []


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../secret", "a/../b", "a//b", "a/", "a/.", ".lock", "a/.hidden", "a\\b"])
def test_keys_that_are_not_plain_relative_paths_are_refused(store: Store, key: str) -> None:
    for use in (store.read, store.exists, store.delete, lambda key: store.put(key, b"x"), lambda key: store.create(key, b"x")):
        with pytest.raises(StoreError, match="not a key"):
            use(key)
