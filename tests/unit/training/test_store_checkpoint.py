"""A checkpoint in the store is read without running anything that a stranger may have put in it."""

import io
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from driftloop.dataset import Description
from driftloop.store import Store
from driftloop.training.checkpoint import StoreCheckpoint

CPU = torch.device("cpu")


def checkpoint_in(store: Store) -> StoreCheckpoint:
    return StoreCheckpoint.of(store, cast(Description, SimpleNamespace(manifest_hash="ab")), {"seed": 1})


def old_format(state: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(state, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


def test_what_was_saved_comes_back(store: Store) -> None:
    checkpoint = checkpoint_in(store)
    assert checkpoint.load(CPU) is None
    checkpoint.save({"epoch": 3, "weights": torch.arange(3)})
    loaded = checkpoint.load(CPU)
    assert loaded is not None
    assert (loaded["epoch"], loaded["weights"].tolist()) == (3, [0, 1, 2])
    checkpoint.clear()
    assert checkpoint.load(CPU) is None


@pytest.mark.parametrize(
    "data", [b"", b"half a file", pickle.dumps({"epoch": 1}), pickle.dumps(Path("x")), old_format({"epoch": 1, "weights": torch.zeros(1)})]
)
def test_anything_else_starts_the_training_over(store: Store, capsys: pytest.CaptureFixture[str], data: bytes) -> None:
    checkpoint = checkpoint_in(store)
    store.put(checkpoint.key, data)
    assert checkpoint.load(CPU) is None
    assert f"{checkpoint.key}: not a readable checkpoint; training starts from the beginning" in capsys.readouterr().out
