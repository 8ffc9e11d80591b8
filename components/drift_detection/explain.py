"""What moved, and by how much: the effect sizes beside the decision. None of them decides."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.drift_detection.bbsd import bbsd_test
from components.drift_detection.class_prior import ClassPriorResult, class_prior_test
from components.drift_detection.judge import Judgement
from components.drift_detection.ks import KSResult
from components.drift_detection.psi import population_stability_index
from components.drift_detection.samples import Sample
from components.drift_detection.teaching import EmbeddingDrift, detect_embedding_drift


@dataclass(frozen=True)
class StatisticShift:
    """One image statistic: its medians, the difference of the means in reference standard deviations, and how it tested.

    `distance` is the Kolmogorov-Smirnov distance in [0, 1], `p_value` is Holm-adjusted, `moved` says that it alone would reject.
    """

    name: str
    reference_median: float
    window_median: float
    shift: float
    distance: float
    p_value: float
    psi: float
    moved: bool


@dataclass(frozen=True)
class Explanation:
    """A window beside the reference that fits it best."""

    statistics: list[StatisticShift]
    outputs: KSResult
    classes: ClassPriorResult
    fixed_threshold: EmbeddingDrift

    @property
    def moved(self) -> list[StatisticShift]:
        """The statistics that moved, the most shifted first."""
        return sorted((one for one in self.statistics if one.moved), key=lambda one: -abs(one.shift))


def explain(window: Sample, reference: Sample, judgement: Judgement, *, names: Sequence[str], alpha: float) -> Explanation:
    """Compare a window with its reference in every way that helps to understand the verdict.

    Args:
        names: of the F statistics.
        alpha: level of the window's test; a statistic moved when its adjusted p is at most alpha / 2.
    """
    shifts = [
        StatisticShift(
            name=name,
            reference_median=float(np.median(before)),
            window_median=float(np.median(now)),
            shift=float((now.mean(dtype=np.float64) - before.mean(dtype=np.float64)) / max(float(before.std(dtype=np.float64)), 1e-12)),
            distance=float(distance),
            p_value=float(p_value),
            psi=population_stability_index(before, now),
            moved=bool(p_value <= alpha / 2),
        )
        for name, before, now, distance, p_value in zip(
            names, reference.statistics.T, window.statistics.T, judgement.statistics.distances, judgement.statistics.adjusted, strict=True
        )
    ]
    return Explanation(
        statistics=shifts,
        outputs=bbsd_test(reference.probabilities, window.probabilities),
        classes=class_prior_test(_class_counts(reference), _class_counts(window)),
        fixed_threshold=detect_embedding_drift(reference.embedding, window.embedding),
    )


def _class_counts(sample: Sample) -> np.ndarray:
    """How often each class was predicted, (K,)."""
    return np.bincount(sample.probabilities.argmax(axis=1), minlength=sample.probabilities.shape[1])
