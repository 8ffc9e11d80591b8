"""What is read before anything is judged: the champion with its accepted regimes, and the rows that can be judged."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from components.drift_detection.regimes import MOST, Regimes, prepare
from components.drift_detection.samples import regime_sample
from driftloop.bundle import REFERENCE, read_model
from driftloop.errors import InputError
from driftloop.evaluation.intervals import Proportion
from driftloop.inference.reference import Regime, read_reference
from driftloop.inference.window import Window

#: Two windows of two images need this many.
LEAST = 8


@dataclass(frozen=True)
class Accepted:
    """What a champion was accepted for: its references as read, the same with one image a group, and its clean accuracy.

    `kept` are, by regime, the rows that stand for their groups; `clean` is the accuracy of the served graph on the clean test split,
    None where the bundle does not know it.
    """

    references: list[Regime]
    kept: list[np.ndarray]
    regimes: Regimes
    clean: Proportion | None

    def thumbnails(self, drawn: Sequence[np.ndarray]) -> list[tuple[str, np.ndarray]]:
        """Name of the regime and thumbnail (h, w, C) of each drawn row, in the order of the gathered sample."""
        return [
            (reference.name, reference.thumbnails[kept[row]])
            for reference, kept, rows in zip(self.references, self.kept, drawn, strict=True)
            for row in rows
        ]


def read_champion(directory: str | Path, rng: np.random.Generator) -> Accepted:
    """The champion in `directory`.

    Raises:
        InputError: no bundle, no reference, one too small to judge anything, or more references than a champion may carry.
    """
    model = read_model(directory)
    references = read_reference(Path(directory, REFERENCE))
    if len(references) > MOST:
        raise InputError(f"{directory}: {len(references)} references; a champion carries at most {MOST}")
    pairs = [regime_sample(reference) for reference in references]
    if len(pairs[0][0]) < LEAST:
        raise InputError(
            f"{directory}: the drift reference holds {len(pairs[0][0])} images of distinct groups, at least {LEAST} are needed; "
            "raise data_config.reference_share or give more images"
        )
    # A regime too small to compare anything with cannot be fitted; the others still stand.
    used = [index for index, (sample, _) in enumerate(pairs) if len(sample) >= LEAST]
    regimes = prepare([references[index].name for index in used], [pairs[index][0] for index in used], rng)
    clean = model.metrics.get("served_accuracy") or model.metrics.get("test_accuracy")
    return Accepted([references[index] for index in used], [pairs[index][1] for index in used], regimes, clean)


def judgeable(watch: Window) -> pd.DataFrame:
    """The rows that the champion answered, in time order: a window never mixes versions, and failed requests have no vectors."""
    rows = watch.rows
    mine = rows[(rows["model_version"] == watch.info.champion_version) & (rows["status"] == "ok")]
    return mine.sort_values(["time", "request_id"], kind="stable").reset_index(drop=True)
