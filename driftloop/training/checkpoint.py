"""Resuming a killed training: one object, replaced as a whole after every epoch, in the dataset's store or in a directory.

On a cluster a retried pod starts with an empty disk, so the store is where it lies, beside the dataset that is trained on. It is named by
what is trained on what and how, so that another recipe, seed or dataset starts afresh; it goes when the bundle is written.
"""

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any, Self

import torch

from driftloop.dataset import Description
from driftloop.errors import NotFound
from driftloop.store import Store, open_store
from driftloop.training.weights import read_tensors


def identity_digest(identity: dict[str, Any]) -> str:
    """The name of a checkpoint: what determines the training, as JSON takes it, in 24 hexadecimal digits."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]


def checkpoints_folder(dataset: Description) -> str:
    """Where in the store what is kept of unfinished trainings on `dataset` lies; ends in "/"."""
    return f"datasets/{dataset.manifest_hash}/checkpoints/"


class StoreCheckpoint:
    """The last finished epoch of one training, in the store.

    Args:
        store: the dataset's home.
        key: where in it the checkpoint lies.
    """

    def __init__(self, store: Store, key: str) -> None:
        self.store, self.key = store, key

    @classmethod
    def of(cls, store: Store, dataset: Description, identity: dict[str, Any]) -> Self:
        """That of the training on `dataset` which `identity`, as JSON takes it, determines."""
        return cls(store, f"{checkpoints_folder(dataset)}{identity_digest(identity)}.pth")

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint; a kill at any moment leaves the old one or the new one."""
        stream = io.BytesIO()
        torch.save(state, stream)
        self.store.put(self.key, stream.getvalue())

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """The last finished epoch, or None where there is none, or none that can be read."""
        try:
            return read_tensors(io.BytesIO(self.store.read(self.key)), device)
        except NotFound:
            return None
        except ValueError:
            print(f"{self.store.uri}/{self.key}: not a readable checkpoint; training starts from the beginning", flush=True)
            return None

    def clear(self) -> None:
        """Remove the checkpoint: the training is over and its bundle written."""
        self.store.delete(self.key)


class FileCheckpoint:
    """The last finished epoch of one training, as a file.

    Args:
        directory: one that outlives the process (on a cluster: a mounted volume).
        identity: what determines the training, as JSON takes it.
    """

    def __init__(self, directory: str | Path, identity: dict[str, Any]) -> None:
        self.path = Path(directory, f"{identity_digest(identity)}.checkpoint")

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint; a kill at any moment leaves the old one or the new one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        with open(partial, "wb") as stream:
            torch.save(state, stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(self.path)

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """The last finished epoch, or None where there is none, or none that can be read."""
        if not self.path.exists():
            return None
        try:
            return read_tensors(self.path, device)
        except ValueError:
            print(f"{self.path}: not a readable checkpoint; training starts from the beginning", flush=True)
            return None

    def clear(self) -> None:
        """Remove the checkpoint: the training is over and its bundle written."""
        self.path.unlink(missing_ok=True)


def checkpoint_for(directory: str, dataset: Description, identity: dict[str, Any]) -> StoreCheckpoint | FileCheckpoint:
    """The checkpoint of a training on `dataset`: in `directory` where one is given, else in the dataset's store.

    Raises:
        StoreError: the store cannot be opened.
    """
    if directory:
        return FileCheckpoint(directory, {"dataset": dataset.manifest_hash} | identity)
    return StoreCheckpoint.of(open_store(dataset.store), dataset, identity)
