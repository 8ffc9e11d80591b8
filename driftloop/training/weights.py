"""A bundle's weights: plain state dicts, checked against SHA256SUMS.

Files of tensors are read without running anything that a stranger may have put in them: they are never unpickled as objects.
"""

import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import nn

from driftloop import bundle
from driftloop.errors import InputError, IntegrityError
from driftloop.training import architectures
from driftloop.training.classifier import Classifier


def read_tensors(path: str | Path | BinaryIO, device: torch.device) -> Any:
    """What `torch.save` wrote to `path`, or to a stream of bytes: tensors and plain values, on `device`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: anything else than tensors and plain values in the format of `torch.save`; nothing of it was run.
    """
    if isinstance(path, str | Path) and not Path(path).exists():
        raise FileNotFoundError(path)
    # Without this check torch falls back to the format of 2018, a bare pickle.
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: not a file of tensors")
    if not isinstance(path, str | Path):
        path.seek(0)
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as refused:  # the restricted unpickler fails in as many ways as there are bytes
        raise ValueError(f"{path}: not a file of tensors") from refused


def save_weights(module: nn.Module, directory: str | Path) -> None:
    """Write the state dict of `module` as `model.pth`, on the CPU and contiguous; call `bundle.seal` once the bundle is whole."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    Path(directory).mkdir(parents=True, exist_ok=True)
    torch.save(state, Path(directory, bundle.WEIGHTS))


def load_model(directory: str | Path) -> Classifier:
    """The network of the bundle in `directory`, on the CPU and in evaluation mode.

    Raises:
        InputError: no bundle, or weights of another architecture.
        IntegrityError: a file does not match SHA256SUMS, or the weights hold anything but tensors.
    """
    description = bundle.read_model(directory)
    bundle.verify(directory)
    path = Path(directory, bundle.WEIGHTS)
    try:
        state = read_tensors(path, torch.device("cpu"))
    except FileNotFoundError:
        raise InputError(f"{path}: missing; this bundle has no weights to train or export from") from None
    except ValueError:
        raise IntegrityError(f"{path}: not a plain state dict; it was not loaded (write it with save_weights)") from None
    try:
        model = architectures.build_network(
            description.architecture,
            channels=description.channels,
            classes=len(description.classes),
            image_size=description.image_size,
        )
        model.load_state_dict(state)
    except (ValueError, RuntimeError, TypeError, AttributeError) as mismatch:
        reason = " ".join(str(mismatch).split())[:160]
        raise InputError(f"{path}: does not fit {bundle.DESCRIPTION} of the same bundle ({reason})") from None
    return model.eval()
