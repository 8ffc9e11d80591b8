"""A model bundle: one directory layout from the first training to the champion in the store.

    model.json model.pth facts.json [model.onnx model.int8.onnx reference.npz gate.json MODEL_CARD.md] SHA256SUMS

Weights are state dicts (never pickled objects), and every file is listed in SHA256SUMS, which `verify` checks.
"""

import hashlib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from driftloop.errors import InputError, IntegrityError
from driftloop.evaluation.intervals import Proportion
from driftloop.step_facts import write_json

DESCRIPTION = "model.json"
WEIGHTS = "model.pth"
ONNX_FP32 = "model.onnx"
ONNX_INT8 = "model.int8.onnx"
REFERENCE = "reference.npz"
CARD = "MODEL_CARD.md"
SUMS = "SHA256SUMS"


class ModelDescription(BaseModel):
    """`model.json`: everything about a model but its weights.

    `served` names the ONNX file that users get (empty before export); `temperature` is the calibration inside the graph; `dataset`
    is the manifest hash of the training dataset; `parent` the version this model was fine-tuned from.
    """

    model_config = ConfigDict(frozen=True)

    architecture: str
    classes: list[str]
    image_size: int
    channels: int
    mean: list[float]
    std: list[float]
    dataset: str
    seed: int
    training: dict[str, Any]
    metrics: dict[str, Proportion]
    libraries: dict[str, str]
    parent: str | None = None
    served: str = ""
    temperature: float = 1.0


def read_model(directory: str | Path) -> ModelDescription:
    """The description of the bundle in `directory`.

    Raises:
        InputError: the directory holds no bundle.
    """
    path = Path(directory, DESCRIPTION)
    if not path.exists():
        raise InputError(f"{directory}: not a model bundle (no {DESCRIPTION})")
    return ModelDescription.model_validate_json(path.read_bytes())


def write_model(directory: str | Path, model: ModelDescription) -> None:
    """Write `model.json`; call `seal` once the bundle's files are all there."""
    write_json(Path(directory, DESCRIPTION), model.model_dump())


def seal(directory: str | Path) -> None:
    """Write SHA256SUMS over every file of the bundle, in the format of the `sha256sum` command."""
    directory = Path(directory)
    lines = [f"{sha256_file(path)}  {path.name}\n" for path in sorted(directory.iterdir()) if path.is_file() and path.name != SUMS]
    (directory / SUMS).write_text("".join(lines))


def verify(directory: str | Path) -> None:
    """Check the bundle against its SHA256SUMS.

    Raises:
        IntegrityError: a file is missing, changed, or not listed.
    """
    directory = Path(directory)
    if not (directory / SUMS).exists():
        raise IntegrityError(f"{directory}: no {SUMS}; this bundle was never completed")
    listed = {}
    for line in (directory / SUMS).read_text().splitlines():
        digest, _, name = line.partition("  ")
        listed[name] = digest
    present = {path.name for path in directory.iterdir() if path.is_file()} - {SUMS}
    for name in sorted(present | listed.keys()):
        if name not in present:
            raise IntegrityError(f"{directory / name}: missing, though {SUMS} lists it")
        if name not in listed:
            raise IntegrityError(f"{directory / name}: not listed in {SUMS}")
        if sha256_file(directory / name) != listed[name]:
            raise IntegrityError(f"{directory / name}: does not match its checksum in {SUMS}")


def sha256_file(path: str | Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
