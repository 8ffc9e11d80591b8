"""Reading files of tensors without running anything that a stranger may have put in them."""

import zipfile
from pathlib import Path
from typing import Any

import torch


def read_tensors(path: str | Path, device: torch.device) -> Any:
    """What `torch.save` wrote to `path`: tensors and plain values, on `device`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: anything else than tensors and plain values in the format of `torch.save`; nothing of it was run.
    """
    if not Path(path).exists():
        raise FileNotFoundError(path)
    # Without this check torch falls back to the format of 2018, a bare pickle.
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: not a file of tensors")
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as refused:  # the restricted unpickler fails in as many ways as there are bytes
        raise ValueError(f"{path}: not a file of tensors") from refused
