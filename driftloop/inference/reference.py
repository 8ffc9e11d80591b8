"""`reference.npz`: the accepted regimes that a model carries, as vectors; windows of its log are compared with them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from driftloop import contracts
from driftloop.errors import InputError, IntegrityError
from driftloop.inference.image_statistics import image_statistics, statistic_names
from driftloop.inference.served_model import ServedModel

#: The first regime of every model, the clean hold-out, is named after its split.
CLEAN_REGIME = contracts.REFERENCE
THUMBNAIL_SIDE = 64
REGIME_ARRAYS = ("embedding", "statistics", "probabilities", "groups", "thumbnails")
#: A further one, which references of images without tags do not have.
TAGS = "tags"


@dataclass(frozen=True)
class Regime:
    """N images of one kind of traffic that a model was accepted for, in the number types of the log."""

    name: str
    """`CLEAN_REGIME`, or the name of a drift learned since."""
    embedding: np.ndarray
    """float16 (N, D)."""
    statistics: np.ndarray
    """float32 (N, F), columns as in `statistic_names`."""
    probabilities: np.ndarray
    """float32 (N, K), calibrated."""
    groups: np.ndarray
    """str (N,): images of one group are one independent case."""
    thumbnails: np.ndarray
    """uint8 (N, h, w, C), sides of at most 64."""
    tags: np.ndarray = field(default_factory=lambda: np.zeros(0, np.str_))
    """str (N,), as `driftloop.tags` stores them; where it is not given, no image has any."""

    def __post_init__(self) -> None:
        if not len(self.tags):
            object.__setattr__(self, "tags", np.full(len(self), "", np.str_))

    def __len__(self) -> int:
        return len(self.embedding)


def measure_regime(
    name: str, model: ServedModel, images: np.ndarray, groups: Sequence[str] | np.ndarray, tags: Sequence[str] | np.ndarray = ()
) -> Regime:
    """The regime of uint8 images (N, H, W, C) as the served graph sees them: the same computation as for the log."""
    predictions = model.predict(images)
    return Regime(
        name=name,
        embedding=predictions.embedding,
        statistics=image_statistics(images),
        probabilities=predictions.probabilities,
        groups=np.asarray(groups, dtype=np.str_),
        thumbnails=thumbnails(images),
        tags=np.asarray(tags, dtype=np.str_),
    )


def write_reference(path: str | Path, regimes: Sequence[Regime], names: Sequence[str]) -> None:
    """Write the regimes, the clean one first, with the names of their statistics; appears whole or not at all.

    Raises:
        ValueError: no regimes, the first not called "reference", a name twice, or arrays of different lengths.
    """
    if not regimes or regimes[0].name != CLEAN_REGIME or len({regime.name for regime in regimes}) != len(regimes):
        raise ValueError(f"write_reference: distinct regimes, the first called {CLEAN_REGIME!r}; got {[regime.name for regime in regimes]}")
    arrays = {"regimes": np.array([regime.name for regime in regimes]), "statistic_names": np.array(list(names))}
    for regime in regimes:
        fields = (*REGIME_ARRAYS, TAGS) if (regime.tags != "").any() else REGIME_ARRAYS
        lengths = {field: len(getattr(regime, field)) for field in fields}
        if len(set(lengths.values())) != 1 or regime.statistics.shape[1] != len(names):
            raise ValueError(f"write_reference: {regime.name}: lengths {lengths}, {regime.statistics.shape[1]} of {len(names)} statistics")
        arrays |= {f"{regime.name}.{field}": getattr(regime, field) for field in fields}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial.npz")
    np.savez_compressed(partial, allow_pickle=False, **arrays)
    partial.replace(path)


def read_reference(path: str | Path) -> list[Regime]:
    """The regimes of a `reference.npz`, the clean one first. Nothing in it is ever unpickled.

    Raises:
        InputError: no such file.
        IntegrityError: not a reference file, or one whose statistics differ from those this version computes.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no drift reference; onnx_deployment writes it")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            regimes = [
                Regime(str(name), **{field: arrays[f"{name}.{field}"] for field in (*REGIME_ARRAYS, TAGS) if f"{name}.{field}" in arrays})
                for name in arrays["regimes"]
            ]
            names = tuple(str(name) for name in arrays["statistic_names"])
    except (ValueError, KeyError, TypeError, OSError, EOFError) as broken:
        raise IntegrityError(f"{path}: not a drift reference ({str(broken).splitlines()[0]})") from None
    if names != statistic_names(regimes[0].thumbnails.shape[-1]):
        raise IntegrityError(f"{path}: made for other statistics ({', '.join(names)}); run onnx_deployment on the model again")
    return regimes


def thumbnails(images: np.ndarray) -> np.ndarray:
    """Images (N, H, W, C) shrunk, by averaging, to sides of at most 64; smaller ones as they are."""
    height, width = images.shape[1:3]
    scale = max(height, width) / THUMBNAIL_SIDE
    if scale <= 1 or not len(images):
        return np.array(images)
    size = (max(1, round(width / scale)), max(1, round(height / scale)))
    small = [np.asarray(Image.fromarray(image.squeeze()).resize(size, Image.Resampling.BOX)) for image in images]
    return np.stack(small).reshape(len(images), size[1], size[0], images.shape[-1])
