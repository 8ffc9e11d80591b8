"""The one window that the report explains, seen from close by."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from components.drift_detection.explain import Explanation, explain
from components.drift_detection.gallery import ShiftedPair, most_shifted
from components.drift_detection.inputs import Accepted
from components.drift_detection.judging import Judged
from components.drift_detection.regimes import gather
from components.drift_detection.samples import Sample
from components.drift_detection.windows import CutWindow
from driftloop.inference.window import IMAGE_INDEX, Window
from driftloop.settings import DriftSettings


@dataclass(frozen=True)
class Spotlight:
    """The decisive window: the newest drifted one of this watch, else its newest; `reference` is what it was compared with."""

    number: int
    judged: Judged
    reference: Sample
    explanation: Explanation
    gallery: list[ShiftedPair]


def spotlight(
    watch: Window,
    rows: pd.DataFrame,
    windows: Sequence[CutWindow],
    judged: Sequence[Judged],
    accepted: Accepted,
    *,
    alpha: float,
    settings: DriftSettings,
    rng: np.random.Generator,
) -> Spotlight | None:
    """Explain the decisive window; None where no window was judged.

    Args:
        watch: holds the images.
        rows: the rows that were cut into `windows`.
        windows: as cut.
        judged: the same windows, judged.
        accepted: the champion's references.
        alpha: level of one window's test.
        settings: size of the gallery.
        rng: thins the rows from which densities are estimated, where there are very many.
    """
    if not judged:
        return None
    number = max((index for index, one in enumerate(judged) if one.window.drifted), default=len(judged) - 1)
    chosen = judged[number]
    reference = gather(accepted.regimes, chosen.judgement.drawn)
    gallery = most_shifted(
        chosen.sample.embedding,
        rows[IMAGE_INDEX].to_numpy()[windows[number].sample],
        watch.images,
        reference.embedding,
        accepted.thumbnails(chosen.judgement.drawn),
        count=settings.gallery_size,
        rng=rng,
    )
    explanation = explain(chosen.sample, reference, chosen.judgement, names=watch.info.statistic_names, alpha=alpha)
    return Spotlight(number, chosen, reference, explanation, gallery)
