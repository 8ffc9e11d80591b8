"""A model bundle: one directory layout from the first training to the champion in the store.

    model.json model.pth facts.json [used.json chapters.json model.onnx model.int8.onnx model.fp16.onnx reference.npz gate.json
    MODEL_CARD.md] SHA256SUMS

Weights are state dicts (never pickled objects), and every file is listed in SHA256SUMS, which `verify` checks.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from driftloop.contracts import STRETCH
from driftloop.errors import InputError, IntegrityError
from driftloop.evaluation.intervals import Proportion
from driftloop.schema import of_known_form, parse_stored
from driftloop.step_facts import write_json

DESCRIPTION = "model.json"
WEIGHTS = "model.pth"
ONNX_FP32 = "model.onnx"
ONNX_INT8 = "model.int8.onnx"
ONNX_FP16 = "model.fp16.onnx"
REFERENCE = "reference.npz"
CARD = "MODEL_CARD.md"
SUMS = "SHA256SUMS"
#: The form in which `model.json` is written.
DESCRIPTION_SCHEMA = 1

#: The metric of the served graph's accuracy on the clean test images, and the same on those of one level of a tag, such as site=B.
SERVED_ACCURACY, SERVED_ACCURACY_OF = "served_accuracy", "served_accuracy[{level}]"

#: Of many classes so many are named in a sentence.
MOST_NAMED = 6


class ModelDescription(BaseModel):
    """`model.json`: everything about a model but its weights."""

    model_config = ConfigDict(frozen=True)

    architecture: str
    """its name in `driftloop.training.architectures`"""
    classes: list[str]
    """names, in the order of the outputs"""
    image_size: int
    """side in pixels of the images that it takes"""
    channels: int
    """1 for grey images, 3 for colour"""
    resize: str = STRETCH
    """how pictures that are no square become one, as in its dataset's description"""
    deep_range: int = 0
    """level that becomes 255 in images of more than 8 bits, likewise; 0: each image's own range decides"""
    mean: list[float]
    """of each channel, which is subtracted from it; grey levels in [0, 1]"""
    std: list[float]
    """of each channel, by which it is divided"""
    dataset: str
    """manifest hash of the dataset it was trained on"""
    seed: int
    """of everything random in its training"""
    training: dict[str, Any]
    """how it was trained"""
    metrics: dict[str, Proportion]
    """accuracies by name, such as `test_accuracy`"""
    libraries: dict[str, str]
    """versions of what it was made with"""
    parent: str | None = None
    """version that it was fine-tuned from"""
    served: str = ""
    """ONNX file that users get; empty before export"""
    temperature: float = 1.0
    """of the calibration inside the graph"""
    class_shares: list[float] = []
    """of the training images, by class, where the training let every class count alike; empty where it did not. The graph's probabilities
    are those of images that come in these shares"""
    schema_version: int = DESCRIPTION_SCHEMA
    """form of the file"""

    _of_a_known_form = of_known_form(DESCRIPTION, DESCRIPTION_SCHEMA)

    @property
    def naming_shares(self) -> list[float]:
        """What `named_classes` holds the graph's probabilities against: a temperature changes them, and not what is named."""
        return [share ** (1 / self.temperature) for share in self.class_shares]

    @property
    def naming_rule(self) -> str:
        """How whoever runs the graph without driftloop finds the number of the class, in NumPy."""
        held_against = f" / [{', '.join(f'{share:.6g}' for share in self.naming_shares)}]"
        return f"(probabilities{held_against}).argmax(axis=-1)" if self.class_shares else "probabilities.argmax(axis=-1)"


@dataclass(frozen=True)
class Checksums:
    """What a SHA256SUMS says."""

    digest: str
    """SHA-256 of the list itself: it names the bundle by its content"""
    files: dict[str, str]
    """SHA-256 of each file by its name"""


def read_model(directory: str | Path) -> ModelDescription:
    """The description of the bundle in `directory`.

    Raises:
        InputError: the directory holds no bundle.
        IntegrityError: its description is damaged.
    """
    path = Path(directory, DESCRIPTION)
    if not path.exists():
        raise InputError(f"{directory}: not a model bundle (no {DESCRIPTION})")
    return parse_stored(ModelDescription, path.read_bytes(), str(path))


def write_model(directory: str | Path, model: ModelDescription) -> None:
    """Write `model.json`; call `seal` once the bundle's files are all there."""
    write_json(Path(directory, DESCRIPTION), model.model_dump())


def seal(directory: str | Path) -> None:
    """Write SHA256SUMS over every file of the bundle, in the format of the `sha256sum` command."""
    directory = Path(directory)
    files = {path.name: sha256_file(path) for path in directory.iterdir() if path.is_file() and path.name != SUMS}
    (directory / SUMS).write_bytes(write_checksums(files))


def verify(directory: str | Path) -> Checksums:
    """Check the bundle against its SHA256SUMS.

    Returns:
        The checksums of what was just read: whoever needs them later need not read the files again.

    Raises:
        IntegrityError: a file is missing, changed, or not listed.
    """
    directory = Path(directory)
    if not (directory / SUMS).exists():
        raise IntegrityError(f"{directory}: no {SUMS}; this bundle was never completed")
    checksums = read_checksums((directory / SUMS).read_bytes(), str(directory / SUMS))
    present = {path.name for path in directory.iterdir() if path.is_file()} - {SUMS}
    for name in sorted(present | checksums.files.keys()):
        if name not in present:
            raise IntegrityError(f"{directory / name}: missing, though {SUMS} lists it")
        if name not in checksums.files:
            raise IntegrityError(f"{directory / name}: not listed in {SUMS}")
        if sha256_file(directory / name) != checksums.files[name]:
            raise IntegrityError(f"{directory / name}: does not match its checksum in {SUMS}")
    return checksums


def write_checksums(files: dict[str, str]) -> bytes:
    """The content of a SHA256SUMS: SHA-256 by file name, sorted by name."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items())).encode()


def read_checksums(content: bytes, where: str) -> Checksums:
    """What the `content` of a SHA256SUMS says; `where` it lies is for the error.

    Raises:
        IntegrityError: a line that is not a checksum and a name, or a name that would lead out of the bundle.
    """
    files = {}
    for line in content.decode(errors="replace").splitlines():
        digest, separator, name = line.partition("  ")
        if not separator or len(digest) != 64 or not name or "/" in name or name.startswith("."):
            raise IntegrityError(f"{where}: not a list of checksums and file names: {line[:80]!r}")
        files[name] = digest
    return Checksums(hashlib.sha256(content).hexdigest(), files)


def digest_of(directory: str | Path) -> str:
    """The digest that names the bundle in `directory`, without checking its files; empty where it was never sealed."""
    path = Path(directory, SUMS)
    return sha256_file(path) if path.exists() else ""


def sha256_file(path: str | Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def schema_problems(
    model: ModelDescription,
    *,
    classes: list[str],
    image_size: int,
    resize: str,
    deep_range: int = 0,
    channels: int | None = None,
    owner: str,
    other: str,
) -> list[str]:
    """Why a model and something else are not for the same images, one sentence each; empty when they are.

    Args:
        model: what takes images and gives classes.
        classes: names of the other side, in order.
        image_size: side in pixels of its images.
        resize: how they are made square.
        deep_range: level that becomes 255 in those of more than 8 bits; 0 where that is not known yet, or differs by image.
        channels: of its images; None where that is not known yet.
        owner: how a sentence calls the model: "the candidate".
        other: how it calls the other side: "the dataset".
    """
    problems = []
    if model.classes != classes:
        problems.append(f"{owner} knows {class_names(model.classes)}, and {other} has {class_names(classes)}")
    if model.image_size != image_size:
        problems.append(f"{owner} takes images of {model.image_size} px, and {other}'s have {image_size} px")
    if model.resize != resize:
        problems.append(f"{owner} takes images made square by '{model.resize}', and {other}'s are by '{resize}'")
    if deep_range and model.deep_range and model.deep_range != deep_range:
        problems.append(
            f"{owner} takes levels of 0 to {model.deep_range:,} in images of more than 8 bits, and {other}'s go to {deep_range:,}"
        )
    if channels is not None and model.channels != channels:
        problems.append(f"{owner} takes images of {model.channels} channels, and {other}'s have {channels}")
    return problems


def class_names(classes: list[str]) -> str:
    """The classes' names for a sentence; of many, the first."""
    return ", ".join(classes) if len(classes) <= MOST_NAMED else f"{', '.join(classes[:MOST_NAMED])}, ... ({len(classes)})"
