"""The window that the report explains: what moved and by how much, which images moved most. All of it explains, nothing decides.

Effect sizes of the image statistics (shift in standard deviations, population stability index), black-box shift detection on the
classifier's own outputs (Lipton et al. 2018; Rabanser et al. 2019), the shares of the predicted classes, and the most shifted images
beside the reference images that the champion finds most alike.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from components.drift_detection.detectors import level_of_each
from components.drift_detection.ks import KSResult, bbsd_test, ks_test
from components.drift_detection.mmd import nearest, shift_scores
from components.drift_detection.reference import AcceptedTraffic, Sample, drawn_sample
from components.drift_detection.teaching import EmbeddingDrift, detect_embedding_drift
from components.drift_detection.window_test import TestedWindow
from components.drift_detection.windows import CutWindow
from driftloop.evaluation.classification import named_classes
from driftloop.inference.log import read_kept_images
from driftloop.inference.traffic import Traffic
from driftloop.settings import DriftSettings
from driftloop.store import Store

#: The credit industry's reading of the population stability index: below the first stable, up to the second moderate, above it large.
MODERATE_PSI, LARGE_PSI = 0.1, 0.2
#: Cohen's (1988) reading of w: below the first negligible, then small, medium, large.
SMALL_W, MEDIUM_W, LARGE_W = 0.1, 0.3, 0.5


def population_stability_index(reference: np.ndarray, window: np.ndarray, *, bins: int = 10) -> float:
    """PSI = sum((q - p) ln(q / p)) over the reference's quantile bins, p and q being the two samples' shares.

    Half a case is added to each bin so that a bin that is empty on one side does not make it infinite. Without any drift it is about
    (bins - 1) (1 / N + 1 / M) on average (Yurdakul 2018), 0.056 for 800 against 200 rows: a reading near 0.1 says little then.

    Args:
        reference: (N,) values of one feature.
        window: (M,) values.
        bins: at most so many; equal quantiles (a constant feature) share one.

    Returns:
        PSI >= 0.

    Raises:
        ValueError: an empty sample or a value that is not finite.
    """
    reference, window = np.asarray(reference, dtype=np.float64), np.asarray(window, dtype=np.float64)
    for name, sample in (("reference", reference), ("window", window)):
        if sample.ndim != 1 or len(sample) == 0 or not np.isfinite(sample).all():
            raise ValueError(f"{name}: PSI needs a non-empty vector of finite numbers")
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, bins + 1)[1:-1]))
    counts = np.array([_counts(sample, edges) for sample in (reference, window)])
    smoothed = counts[:, counts.sum(axis=0) > 0] + 0.5
    p, q = smoothed / smoothed.sum(axis=1, keepdims=True)
    return float(np.sum((q - p) * np.log(q / p)))


def psi_reading(psi: float) -> str:
    """`stable`, `moderate` or `large`."""
    return "stable" if psi < MODERATE_PSI else "moderate" if psi <= LARGE_PSI else "large"


def _counts(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Counts of the bins (-inf, e0], (e0, e1], ..., (e_last, inf)."""
    return np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)


@dataclass(frozen=True)
class ClassPriorResult:
    """Whether the shares of the predicted classes have moved."""

    reference_shares: np.ndarray
    """(K,), summing to 1."""
    window_shares: np.ndarray
    """(K,), summing to 1."""
    p_value: float
    """Of the chi-square test."""
    effect_size: float
    """Cohen's w."""
    total_variation: float
    """Half the sum of the shares' absolute differences."""

    @property
    def reading(self) -> str:
        return ("negligible", "small", "medium", "large")[
            int(np.searchsorted([SMALL_W, MEDIUM_W, LARGE_W], self.effect_size, side="right"))
        ]


def class_prior_test(reference: np.ndarray, window: np.ndarray) -> ClassPriorResult:
    """Chi-square test of homogeneity over class counts, with Cohen's w = sqrt(sum((q - p)^2 / p)).

    Pearson's statistic without continuity correction. For w, p are the reference's shares; where the window holds a class that the
    reference lacks, half a case is added to each count of the reference.

    Args:
        reference: counts (K,) of the predicted classes.
        window: counts (K,).

    Raises:
        ValueError: different lengths, a negative or non-finite count, or a side without cases.
    """
    reference, window = np.asarray(reference, dtype=np.float64), np.asarray(window, dtype=np.float64)
    if reference.ndim != 1 or reference.shape != window.shape:
        raise ValueError(f"class counts must be two vectors of the same length, got shapes {reference.shape} and {window.shape}")
    for name, counts in (("reference", reference), ("window", window)):
        if not np.isfinite(counts).all() or (counts < 0).any() or counts.sum() == 0:
            raise ValueError(f"{name}: class counts must be finite, not negative and not all zero, got {counts.tolist()}")
    seen = reference + window > 0
    table = np.stack([reference[seen], window[seen]])
    p_value = float(stats.chi2_contingency(table, correction=False).pvalue) if table.shape[1] > 1 else 1.0
    p, q = reference[seen] / reference.sum(), window[seen] / window.sum()
    basis = p if (p > 0).all() else (reference[seen] + 0.5) / (reference[seen] + 0.5).sum()
    return ClassPriorResult(
        reference_shares=reference / reference.sum(),
        window_shares=window / window.sum(),
        p_value=p_value,
        effect_size=float(np.sqrt(np.sum((q - basis) ** 2 / basis))),
        total_variation=float(np.abs(p - q).sum() / 2),
    )


@dataclass(frozen=True)
class ShiftedPair:
    """A shifted image and the reference image nearest to it."""

    position: int
    """The image's row in the window's sample."""
    score: float
    """Its shift, in (-1, 1)."""
    image: np.ndarray
    """uint8 (H, W, C)."""
    thumbnail: np.ndarray
    """uint8 (h, w, C), of the reference."""
    regime: str
    """Which reference that is from."""


def most_shifted(
    window: np.ndarray,
    kept: np.ndarray,
    fetch: Callable[[np.ndarray], Mapping[int, np.ndarray]],
    reference: np.ndarray,
    thumbnails: Sequence[tuple[str, np.ndarray]],
    *,
    count: int,
    rng: np.random.Generator,
) -> list[ShiftedPair]:
    """The `count` most shifted images that were kept, the most shifted first.

    Args:
        window: embeddings (M, D) of the window's sample.
        kept: (M,) bool, whether the image was kept when it was logged.
        fetch: gives the images, uint8 (H, W, C), of positions in the window, by position; without those that are gone since.
        reference: embeddings (N, D) that the window was compared with.
        thumbnails: regime and picture of each reference row.
    """
    scores = shift_scores(reference, window, rng)
    candidates = np.flatnonzero(kept)
    chosen = candidates[np.argsort(-scores[candidates], kind="stable")[:count]]
    images = fetch(chosen)
    chosen = np.array([position for position in chosen if position in images], dtype=np.int64)
    if len(chosen) == 0:
        return []
    matches = nearest(reference, window[chosen])
    return [
        ShiftedPair(
            position=int(position),
            score=float(scores[position]),
            image=images[int(position)],
            thumbnail=thumbnails[match][1],
            regime=thumbnails[match][0],
        )
        for position, match in zip(chosen, matches, strict=True)
    ]


@dataclass(frozen=True)
class StatisticShift:
    """How an image statistic moved."""

    name: str
    """Of the statistic."""
    reference_median: float
    """Its median in the reference."""
    window_median: float
    """Its median in the window."""
    shift: float
    """Difference of the means, in standard deviations of the reference."""
    distance: float
    """Kolmogorov-Smirnov distance, in [0, 1]."""
    p_value: float
    """Holm-adjusted."""
    psi: float
    """Population stability index."""
    moved: bool
    """Whether it alone would make a detector reject."""


@dataclass(frozen=True)
class Explanation:
    """A window beside the reference that fits it best."""

    statistics: list[StatisticShift]
    """In the log's order."""
    outputs: KSResult
    """The test of the softmax outputs."""
    classes: ClassPriorResult
    """The test of the predicted classes."""
    fixed_threshold: EmbeddingDrift | None
    """The course's embedding detector; None without drift_config.teaching."""

    @property
    def moved(self) -> list[StatisticShift]:
        """The statistics that moved, the most shifted first."""
        return sorted((shift for shift in self.statistics if shift.moved), key=lambda shift: -abs(shift.shift))


def explain(
    window: Sample, reference: Sample, *, names: Sequence[str], alpha: float, teaching: bool, shares: Sequence[float] = ()
) -> Explanation:
    """Compare a window with its reference in every way that helps to understand the verdict.

    Args:
        names: of the F statistics.
        alpha: level of the window's test; a statistic moved when its adjusted p-value is at most a detector's part of it.
        teaching: run the course's detector, too.
        shares: the champion's `naming_shares`.
    """
    return Explanation(
        statistics=_statistic_shifts(window.statistics, reference.statistics, names, level_of_each(alpha)),
        outputs=bbsd_test(reference.probabilities, window.probabilities),
        classes=class_prior_test(*(_class_counts(sample, shares) for sample in (reference, window))),
        fixed_threshold=detect_embedding_drift(reference.embedding, window.embedding) if teaching else None,
    )


def _statistic_shifts(window: np.ndarray, reference: np.ndarray, names: Sequence[str], level: float) -> list[StatisticShift]:
    test = ks_test(reference, window)
    return [
        StatisticShift(
            name=name,
            reference_median=float(np.median(before)),
            window_median=float(np.median(now)),
            shift=float((now.mean(dtype=np.float64) - before.mean(dtype=np.float64)) / max(float(before.std(dtype=np.float64)), 1e-12)),
            distance=float(distance),
            p_value=float(p_value),
            psi=population_stability_index(before, now),
            moved=bool(p_value <= level),
        )
        for name, before, now, distance, p_value in zip(names, reference.T, window.T, test.distances, test.adjusted, strict=True)
    ]


def _class_counts(sample: Sample, shares: Sequence[float]) -> np.ndarray:
    """How often each class was predicted, (K,)."""
    return np.bincount(named_classes(sample.probabilities, shares), minlength=sample.probabilities.shape[1])


@dataclass(frozen=True)
class ExplainedWindow:
    """The decisive window: the newest drifted window of this watch, else its newest."""

    number: int
    """Its index among the windows of this watch."""
    tested: TestedWindow
    """The window and its test."""
    reference: Sample
    """What it was compared with."""
    explanation: Explanation
    """What moved."""
    gallery: list[ShiftedPair]
    """Its most shifted images."""


def explain_window(
    watch: Traffic,
    store: Store,
    rows: pd.DataFrame,
    windows: Sequence[CutWindow],
    tested: Sequence[TestedWindow],
    accepted: AcceptedTraffic,
    *,
    alpha: float,
    settings: DriftSettings,
    rng: np.random.Generator,
) -> ExplainedWindow | None:
    """Explain the decisive window; None where no window was tested.

    Args:
        watch: says what the statistics are called.
        store: holds the images.
        rows: the rows that were cut into `windows`.
        windows: as cut.
        tested: the same windows, tested.
        accepted: the champion's references.
        alpha: level of a window's test.
        settings: size of the gallery, and whether the course's detector runs.
        rng: thins the rows from which densities are estimated, where there are very many.
    """
    if not tested:
        return None
    number = max((index for index, window in enumerate(tested) if window.record.drifted), default=len(tested) - 1)
    chosen = tested[number]
    reference = drawn_sample(accepted.regimes, chosen.test.drawn)
    sample = rows.iloc[windows[number].sample]

    def fetch(positions: np.ndarray) -> dict[int, np.ndarray]:
        images = read_kept_images(store, sample.iloc[positions])
        return {int(positions[index]): image for index, image in images.items()}

    gallery = most_shifted(
        chosen.sample.embedding,
        sample["image"].notna().to_numpy(),
        fetch,
        reference.embedding,
        accepted.thumbnails(chosen.test.drawn),
        count=settings.gallery_size,
        rng=rng,
    )
    explanation = explain(
        chosen.sample,
        reference,
        names=watch.info.statistic_names,
        alpha=alpha,
        teaching=settings.teaching,
        shares=accepted.model.naming_shares,
    )
    return ExplainedWindow(number, chosen, reference, explanation, gallery)
