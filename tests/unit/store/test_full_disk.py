"""A disk without room: one line that says so, and nothing half written.

A limit on the size of files stands in for the disk: the write really fails.
"""

import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from driftloop.errors import StoreError
from driftloop.store.local import LocalStore

LARGE = b"x" * (1 << 20)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    store = LocalStore(tmp_path / "store")
    store.put("there", b"before")
    store.upload("large", _file(tmp_path / "large", LARGE))
    return store


@pytest.fixture
def no_room(store: LocalStore) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, ignored)


def _file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


WRITES: dict[str, Callable[[LocalStore, Path], object]] = {
    "create": lambda store, _: store.create("new", LARGE),
    "replace": lambda store, _: store.replace("there", LARGE, store.read_tagged("there")[1]),
    "put": lambda store, _: store.put("there", LARGE),
    "upload": lambda store, folder: store.upload("there", folder / "large"),
    "download": lambda store, folder: store.download("large", folder / "fetched"),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.usefixtures("no_room")
def test_it_is_one_line_and_nothing_is_half_written(store: LocalStore, tmp_path: Path, write: str) -> None:
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    with pytest.raises(StoreError, match=rf"^{store.root}/(new|there|large): File too large") as refused:
        WRITES[write](store, tmp_path)
    assert "\n" not in str(refused.value)
    assert store.read("there") == b"before"
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == files
