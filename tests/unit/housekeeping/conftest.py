"""A store in which there is something to prune."""

from pathlib import Path

import pytest

from driftloop.store import Store
from tests.unit.housekeeping.world import UNFINISHED, StoreHistory


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetched shards do not outlive a test."""
    monkeypatch.setenv("DRIFTLOOP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def world(store: Store, tmp_path: Path) -> StoreHistory:
    """Version 1 served, 2 (fine-tuned from it on a dataset that grew out of its own) serves, 3 was never promoted, 4 never completed.

    Named by nothing: the dataset of version 3, and one of which only a shard was written.
    """
    world = StoreHistory(store, tmp_path)
    first = world.dataset(10)
    world.promote(world.register(first.manifest_hash))
    world.promote(world.register(world.grown(first, 20).manifest_hash, parent="1"))
    world.register(world.dataset(30).manifest_hash, parent="2")
    store.create("versions/4/registration.json", b"{}")
    store.put("versions/4/model.onnx", b"half")
    store.put(f"datasets/{UNFINISHED}/images-train-00000.npy", b"half")
    store.put("doctor/0123/probe", b"left")
    return world
