"""Resuming a killed training: one file, replaced as a whole after every epoch.

The file is named by what is trained on what and how, so that another recipe, seed or dataset in the same directory starts afresh.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch

from driftloop.training.weights import read_tensors


class FileCheckpoint:
    """The last finished epoch of one training.

    Args:
        directory: one that outlives the process (on a cluster: a mounted volume).
        identity: what determines the training, as JSON takes it.
    """

    def __init__(self, directory: str | Path, identity: dict[str, Any]) -> None:
        text = json.dumps(identity, sort_keys=True)
        self.path = Path(directory, f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.checkpoint")

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
