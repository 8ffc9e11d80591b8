"""What is compared: the vectors of a window's requests or of a reference, one image a group."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from driftloop.errors import InputError
from driftloop.inference.reference import Regime


@dataclass(frozen=True)
class Sample:
    """N images as vectors: embedding (N, D), statistics (N, F) and probabilities (N, K), all float32."""

    embedding: np.ndarray
    statistics: np.ndarray
    probabilities: np.ndarray

    def __len__(self) -> int:
        return len(self.embedding)

    def take(self, rows: np.ndarray) -> "Sample":
        """The sample of these rows, in this order."""
        return Sample(self.embedding[rows], self.statistics[rows], self.probabilities[rows])


def join(samples: Sequence[Sample]) -> Sample:
    """The samples, one below the other."""
    return Sample(
        embedding=np.concatenate([sample.embedding for sample in samples]),
        statistics=np.concatenate([sample.statistics for sample in samples]),
        probabilities=np.concatenate([sample.probabilities for sample in samples]),
    )


def regime_sample(regime: Regime) -> tuple[Sample, np.ndarray]:
    """A regime with one image a group, and which of its rows (N,) those are.

    Images of one patient resemble each other; counting them as independent makes false alarms.
    """
    rows = first_of_each(regime.groups)
    sample = Sample(
        embedding=regime.embedding[rows].astype(np.float32),
        statistics=regime.statistics[rows].astype(np.float32),
        probabilities=regime.probabilities[rows].astype(np.float32),
    )
    _require_finite(sample, f"reference {regime.name}", [f"row {row}" for row in rows])
    return sample, rows


def window_sample(rows: pd.DataFrame) -> Sample:
    """The vectors of rows of the inference log.

    Raises:
        InputError: vectors of different lengths, or a number that is not finite; the message names the request.
    """
    ids = rows["request_id"].tolist()
    sample = Sample(
        embedding=_stack([np.frombuffer(data, dtype="<f2") for data in rows["embedding"]], ids, "embedding"),
        statistics=_stack(rows["statistics"], ids, "statistics"),
        probabilities=_stack(rows["probabilities"], ids, "probabilities"),
    )
    _require_finite(sample, "inference log", [f"request {name}" for name in ids])
    return sample


def first_of_each(groups: np.ndarray) -> np.ndarray:
    """The first row of each group, ascending; a row without a group (an empty name) is a group of its own."""
    _, first = np.unique(groups, return_index=True)
    return np.unique(np.concatenate([first, np.flatnonzero(groups == "")]))


def _stack(vectors: Iterable[Sequence[float] | np.ndarray], ids: Sequence[str], what: str) -> np.ndarray:
    arrays = [np.asarray(vector, dtype=np.float32) for vector in vectors]
    for name, array in zip(ids, arrays, strict=True):
        if array.shape != arrays[0].shape:
            raise InputError(
                f"inference log: request {name}: {what} has {array.size} numbers where others of this version have {arrays[0].size}"
            )
    return np.stack(arrays)


def _require_finite(sample: Sample, where: str, names: Sequence[str]) -> None:
    for what, values in (("embedding", sample.embedding), ("statistics", sample.statistics), ("probabilities", sample.probabilities)):
        broken = ~np.isfinite(values).all(axis=1)
        if broken.any():
            raise InputError(
                f"{where}: {names[int(broken.argmax())]}: {what} holds a number that is not finite; the model must be repaired"
            )
