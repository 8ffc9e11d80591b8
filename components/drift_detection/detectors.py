"""The detectors that take part in the decision about a window: `DETECTORS` registers them, and everything else iterates over it.

A detector compares a window with its reference and gives a p-value. The level of a window's test is shared equally: with k detectors
each rejects at alpha / k. Its p-value goes by its `name` into drift_report.json, the metrics and the watch record, and by its `title`
into the reports. To add one, write a function with the signature of `Detector.test` and register it at the end of `DETECTORS`: those
before it draw their random numbers first, so their results stay what they are.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from matplotlib.figure import Figure

from components.drift_detection.embedding_map import embedding_map
from components.drift_detection.ks import ks_test
from components.drift_detection.mmd import mmd_test
from components.drift_detection.reference import Sample

#: Permutations after which a test looks whether it may stop, at least.
LEAST_FIRST_LOOK = 999


@dataclass(frozen=True)
class DetectorResult:
    """What a detector says of one window."""

    p_value: float
    """In [0, 1], of "the window comes from the reference's distribution"."""
    effect: float | None = None
    """How far the two are apart, in the detector's own unit; None where it has no such number."""
    by_statistic: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Further numbers for drift_report.json, by name: one for each image statistic, (F,)."""


@dataclass(frozen=True)
class Picture:
    """A figure of the explained window beside its reference, for the report."""

    title: str
    """Heading of its section."""
    caption: str
    """Text below it; `{window}` stands for the window's number."""
    draw: Callable[[Sample, Sample], Figure]
    """Draws it from reference and window."""


@dataclass(frozen=True)
class Detector:
    """A two-sample test of a window against its reference, and how its result is shown."""

    name: str
    """In files and metrics: a Python identifier."""
    title: str
    """For people: what it looks at."""
    method: str
    """For people: how it tests, in a word or two."""
    sentence: str
    """Completes "A window is compared with the reference by ..."; `{permutations}` stands for their number."""
    test: Callable[[Sample, Sample, int, np.random.Generator], DetectorResult]
    """Takes reference, window, number of permutations and random generator."""
    effect: str = ""
    """Name of its effect size in drift_report.json and the metrics; empty where it has none."""
    effect_title: str = ""
    """For people: its effect size."""
    picture: Picture | None = None
    """What the report draws of it, beside its p-values."""


def level_of_each(alpha: float) -> float:
    """The level at which each detector rejects, for a window's test at level `alpha` (Bonferroni)."""
    return alpha / len(DETECTORS)


def _test_statistics(reference: Sample, window: Sample, permutations: int, rng: np.random.Generator) -> DetectorResult:
    result = ks_test(reference.statistics, window.statistics)
    return DetectorResult(result.p_value, by_statistic={"statistics_p_values": result.p_values, "statistics_holm": result.adjusted})


def _test_embedding(reference: Sample, window: Sample, permutations: int, rng: np.random.Generator) -> DetectorResult:
    # Of 40 / alpha permutations, as `permutations_for` takes: where none of an eighth reaches, p is at most alpha / 5.
    first = max(LEAST_FIRST_LOOK, (permutations + 1) // 8 - 1) if len(DETECTORS) <= 5 else 0
    result = mmd_test(reference.embedding, window.embedding, permutations=permutations, rng=rng, first_look=first)
    return DetectorResult(result.p_value, effect=result.mmd2)


DETECTORS: tuple[Detector, ...] = (
    Detector(
        name="statistics",
        title="image statistics",
        method="KS, Holm",
        sentence="Kolmogorov-Smirnov over its image statistics (Holm)",
        test=_test_statistics,
    ),
    Detector(
        name="embedding",
        title="embedding",
        method="MMD",
        sentence="kernel MMD over embeddings ({permutations:,} permutations)",
        test=_test_embedding,
        effect="mmd2",
        effect_title="MMD²",
        picture=Picture("Embedding map", "Reference and window {window} on the main axes of the champion's embedding.", embedding_map),
    ),
)
