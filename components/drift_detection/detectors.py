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

from components.drift_detection.ks import ks_test
from components.drift_detection.mmd import mmd_test
from components.drift_detection.reference import Sample
from driftloop.reporting.plot_style import PALETTE, axes

#: Permutations after which a test looks whether it may stop, at least.
LEAST_FIRST_LOOK = 999
#: Points of either sample in the map of embeddings.
MOST_POINTS = 600


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


def embedding_map(reference: Sample, window: Sample) -> Figure:
    """Reference and window on the two main axes (PCA) of their embeddings, of each at most 600 images drawn at random."""
    rng = np.random.default_rng(0)
    before, now = (
        rows if len(rows) <= MOST_POINTS else rows[rng.choice(len(rows), MOST_POINTS, replace=False)]
        for rows in (reference.embedding, window.embedding)
    )
    flat, share = principal_axes(np.concatenate([before, now]))
    figure, (plot,) = axes(5.6, 4.2)
    for points, label, colour, alpha in (
        (flat[: len(before)], f"reference ({len(before)} shown)", PALETTE[0], 0.5),
        (flat[len(before) :], f"window ({len(now)} shown)", PALETTE[3], 0.6),
    ):
        plot.scatter(points[:, 0], points[:, 1], s=9, color=colour, alpha=alpha, linewidth=0, label=label)
    plot.set(xlabel=f"first axis ({share[0]:.0%} of the variance)", ylabel=f"second axis ({share[1]:.0%})")
    plot.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure


def principal_axes(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows (N, D) on their first two principal axes (N, 2), and the share of the variance on each (2,); a lone axis is padded."""
    centred = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    variances, directions = np.linalg.eigh(centred.T @ centred)
    order = np.argsort(variances)[::-1][:2]
    flat, share = centred @ directions[:, order], variances[order] / max(float(variances.sum()), 1e-30)
    missing = 2 - len(order)
    return np.pad(flat, ((0, 0), (0, missing))), np.pad(share, (0, missing))


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
