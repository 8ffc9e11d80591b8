"""Resuming a killed retraining from the store: on a cluster a retried pod starts with an empty disk.

The checkpoint lies beside the dataset that the step has just written, in the one place of the store that this step may write to, under a
name that stands for everything that determines the training; it goes when the bundle is written.
"""

import hashlib
import io
import json
from typing import Any

import torch

from driftloop.dataset import Description
from driftloop.errors import NotFound
from driftloop.store import Store
from driftloop.training.weights import read_tensors


class StoreCheckpoint:
    """The last finished epoch of one training, as one object that is replaced as a whole.

    Args:
        store: the dataset's home.
        dataset: that is trained on.
        identity: what else determines the training, as JSON takes it.
    """

    def __init__(self, store: Store, dataset: Description, identity: dict[str, Any]) -> None:
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]
        self.store = store
        self.key = f"datasets/{dataset.manifest_hash}/checkpoints/{digest}.pth"

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
            print(f"{self.store.uri}/{self.key}: not a readable checkpoint; fine-tuning starts from the beginning", flush=True)
            return None

    def clear(self) -> None:
        """Remove the checkpoint: the training is over and its bundle written."""
        self.store.delete(self.key)
