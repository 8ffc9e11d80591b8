"""A store in which there is something to prune."""

import time
from pathlib import Path

import pytest

from driftloop.store import Store
from tests.factories.store_history import UNFINISHED, StoreHistory


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetched shards do not outlive a test."""
    monkeypatch.setenv("DRIFTLOOP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def history(store: Store, tmp_path: Path) -> StoreHistory:
    """Version 1 served, 2 (fine-tuned from it on a dataset that grew out of its own) serves, 3 was never promoted, 4 never completed.

    Named by nothing: the dataset of version 3, and one of which only a shard was written.
    """
    history = StoreHistory(store, tmp_path)
    first = history.dataset(10)
    history.promote(history.register(first.manifest_hash))
    second = history.register(history.grown(first, 20).manifest_hash, parent="1")
    history.register(history.dataset(30).manifest_hash, parent="2")
    store.create("versions/4/registration.json", b'{"run": ""}')
    store.put("versions/4/model.onnx", b"half")
    time.sleep(0.002)  # S3 tells times to the millisecond, and what was claimed in that of the pointer may be in promotion
    history.promote(second)
    store.put(f"datasets/{UNFINISHED}/images-train-00000.npy", b"half")
    store.put("doctor/0123/probe", b"left")
    return history
