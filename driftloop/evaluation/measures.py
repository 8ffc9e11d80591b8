"""What a classifier can do beyond accuracy: overall, by class and by tag, with intervals that draw whole patients or lots again.

The areas are scikit-learn's, and in the draws of an interval the same numbers. A class is told from the others at the threshold that kept
so many of the others apart on the validation images: where the test split itself set it, the sensitivity would flatter.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy import stats
from sklearn import config_context
from sklearn.metrics import average_precision_score

from driftloop.evaluation.calibration import CALIBRATION_ERROR, expected_calibration_error
from driftloop.evaluation.classification import confusion_matrix, named_classes
from driftloop.evaluation.paired import brier_scores
from driftloop.evaluation.roc import DrawnAreas, area_of
from driftloop.tags import level_name, levels_by_tag

#: Specificities at which sensitivities are told, by the endings of their names.
SPECIFICITIES = {"90": 0.90, "95": 0.95}
#: How often the groups are drawn again.
RESAMPLES = 200
#: With more classes than these, or fewer groups than those, there are no intervals: they take too long, class by class, or say nothing.
MOST_CLASSES, LEAST_GROUPS = 100, 8
#: A measure that fewer draws than these define has no interval: a rare class is missing from the others, and what is left is a choice.
LEAST_DEFINED = 0.9
#: By name, as people read them; the order of a table.
MEASURES = {
    "balanced_accuracy": "balanced accuracy",
    "auroc": "area under the ROC curve (AUROC)",
    "auprc": "area under the precision-recall curve (AUPRC)",
    "f1": "F1",
    **{
        name: text
        for share in SPECIFICITIES
        for name, text in (
            (f"sensitivity_at_{share}", f"sensitivity where validation kept {share} % specificity"),
            (f"specificity_at_{share}", f"specificity there, {share} % on validation"),
        )
    },
    CALIBRATION_ERROR: "expected calibration error (ECE)",
    "brier": "Brier score",
}

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Probabilities (N, K), labels (N,), and the classes that are named (N,)."""
Areas = Callable[[int], tuple[float, float]]
"""AUROC and AUPRC of a class against the rest, by its index; NaN where they are not defined."""


@dataclass(frozen=True)
class Measure:
    """A measure on labelled images."""

    value: float
    """What was measured."""
    low: float | None = None
    """Lower end of the 95 % interval; None where there is none."""
    high: float | None = None
    """Upper end."""

    def __str__(self) -> str:
        return f"{self.value:.3f}" if self.low is None else f"{self.value:.3f} ({self.low:.3f}-{self.high:.3f})"


@dataclass(frozen=True)
class Measured:
    """All measures of a classifier; what is not defined on its images is not there."""

    overall: dict[str, Measure]
    """By name, of `MEASURES`. Of two classes, areas, sensitivities and specificities are those of the second against the first, of more,
    means over one against the rest; F1 is the mean over the classes."""
    classes: dict[str, dict[str, Measure]]
    """By class, of one against the rest."""
    tags: dict[str, dict[str, Measure]]
    """By level of a tag, such as site=B."""
    groups: int
    """Patients or lots that the images come from."""

    def described(self) -> dict[str, Any]:
        """The measures as JSON takes them."""
        return asdict(self)


def thresholds_of(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """For each of `SPECIFICITIES` and each class the least probability that keeps so large a share of the others below it, (K,).

    Args:
        probabilities: (N, K), of images that nothing is measured on: the validation split's.
        labels: int (N,).
    """
    others = [np.sort(probabilities[labels != index, index]) for index in range(probabilities.shape[1])]
    return {
        name: np.array([_just_above(scores, share) if len(scores) else np.nan for scores in others])
        for name, share in SPECIFICITIES.items()
    }


def _just_above(scores: np.ndarray, share: float) -> float:
    """The least number below which at least `share` of the sorted scores lie."""
    return float(np.nextafter(scores[int(np.ceil(share * len(scores) - 1e-9)) - 1], np.inf))


def measure_classifier(
    probabilities: np.ndarray,
    labels: np.ndarray,
    classes: list[str],
    *,
    thresholds: Mapping[str, np.ndarray],
    groups: np.ndarray,
    tags: np.ndarray | None = None,
    shares: Sequence[float] = (),
    intervals: bool = True,
) -> Measured:
    """All measures on labelled images, with percentile intervals of a bootstrap over groups (Field and Welsh 2007).

    Args:
        probabilities: (N, K).
        labels: int (N,), in 0..K-1.
        classes: the K names.
        thresholds: of `thresholds_of`, from other images.
        groups: (N,), the patient or lot of each image.
        tags: (N,) as stored; None for none.
        shares: as for `named_classes`.
        intervals: False for the measures alone, in no time.
    """
    probabilities = np.asarray(probabilities, np.float64)

    def everything(rows: Rows, areas: Areas) -> dict[str, float]:
        recalls, f1 = _by_class(rows)
        by_class = [_of_class(rows, index, areas, thresholds) for index in range(len(classes))]
        positive = by_class[1:] if len(classes) == 2 else by_class
        means = {name: _mean([found[name] for found in positive]) for name in by_class[0]}
        each = {
            f"{index} {name}": value for index, found in enumerate(by_class) for name, value in (found | {"f1": float(f1[index])}).items()
        }
        return _of_all(rows, recalls, f1) | means | each

    named = named_classes(probabilities, shares)
    found = _with_intervals(everything, (probabilities, labels, named), groups, intervals=intervals and len(classes) <= MOST_CLASSES)
    levels = {
        level_name(tag, level): of_level == level
        for tag, of_level in levels_by_tag(tags if tags is not None else []).items()
        for level in sorted(set(of_level.tolist()) - {""})
    }
    by_tag = {
        name: _with_intervals(_of_level, (probabilities[rows], labels[rows], named[rows]), groups[rows], intervals=intervals)
        for name, rows in levels.items()
    }
    return Measured(
        overall={name: found[name] for name in MEASURES if name in found},
        classes={
            title: {name: found[f"{index} {name}"] for name in MEASURES if f"{index} {name}" in found}
            for index, title in enumerate(classes)
        },
        tags=by_tag,
        groups=len(np.unique(groups)),
    )


def _of_all(rows: Rows, recalls: np.ndarray, f1: np.ndarray) -> dict[str, float]:
    probabilities, labels, _ = rows
    return {
        "balanced_accuracy": float(np.nanmean(recalls)),
        "f1": float(np.nanmean(f1)),
        CALIBRATION_ERROR: expected_calibration_error(probabilities, labels),
        "brier": float(brier_scores(probabilities, labels).mean()),
    }


def _by_class(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Recall and F1 of each class, (K,); NaN where it has no images."""
    counts = confusion_matrix(rows[1], rows[2], rows[0].shape[1])
    hits, images = np.diag(counts), counts.sum(1).astype(float)
    images[images == 0] = np.nan
    return hits / images, 2 * hits / (images + counts.sum(0))


def _of_class(rows: Rows, index: int, areas: Areas, thresholds: Mapping[str, np.ndarray]) -> dict[str, float]:
    scores, own = rows[0][:, index], rows[1] == index
    found = dict(zip(("auroc", "auprc"), areas(index), strict=True))
    for name, by_class in thresholds.items():
        above, known = scores >= by_class[index], bool(np.isfinite(by_class[index]))
        found[f"sensitivity_at_{name}"] = float(above[own].mean()) if known and own.any() else np.nan
        found[f"specificity_at_{name}"] = float((~above[~own]).mean()) if known and not own.all() else np.nan
    return found


def _of_level(rows: Rows, areas: Areas) -> dict[str, float]:
    probabilities, labels, named = rows
    positive = range(1, 2) if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    return {
        "accuracy": float((named == labels).mean()),
        "balanced_accuracy": float(np.nanmean(_by_class(rows)[0])),
        "auroc": _mean([areas(index)[0] for index in positive]),
    }


def _mean(values: list[float]) -> float:
    """NaN where one is: a mean over other classes would be another measure."""
    return float(np.mean(values))


def _with_intervals(
    compute: Callable[[Rows, Areas], dict[str, float]], rows: Rows, groups: np.ndarray, *, intervals: bool
) -> dict[str, Measure]:
    """Each measure, with an interval where there are groups enough; those that are not defined are left out."""
    probabilities, labels, named = rows
    distinct, group = np.unique(groups, return_inverse=True)

    def areas(index: int) -> tuple[float, float]:
        own, scores = labels == index, probabilities[:, index]
        return area_of(own, scores), float(average_precision_score(own, scores)) if own.any() else np.nan

    # What is not finite is refused below, and says so better.
    with config_context(skip_parameter_validation=True, assume_finite=True):
        values = {name: value for name, value in compute(rows, areas).items() if np.isfinite(value)}
    if not intervals or len(distinct) < LEAST_GROUPS:
        return {name: Measure(value) for name, value in values.items()}
    ranked = cache(lambda index: DrawnAreas(labels == index, probabilities[:, index]))

    def areas_of(times: np.ndarray) -> Areas:
        return lambda index: ranked(index).of(times)

    rng, drawn = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        draw = rng.integers(0, len(distinct), len(distinct))
        times = np.bincount(draw, minlength=len(distinct))[group]
        chosen = np.repeat(np.arange(len(labels)), times)
        drawn.append(compute((probabilities[chosen], labels[chosen], named[chosen]), areas_of(times)))
    tail = _tail(np.bincount(group))
    return {
        name: Measure(value) if name == CALIBRATION_ERROR else _with_interval(value, np.array([found[name] for found in drawn]), tail)
        for name, value in values.items()
    }


def _tail(sizes: np.ndarray) -> float:
    """The share of the draws that is left out at each end: 2.5 % of many groups, less of few (Hesterberg 2015, expanded percentiles).

    Draws of G groups scatter less than G groups do, by the root of (G - 1) / G, and how much they do is known from G groups only, as
    Student's t has it. Of unequal groups as many count as equal ones would say as much.

    Args:
        sizes: images of each group.
    """
    equal = sizes.sum() ** 2 / (sizes**2).sum()
    return float(stats.norm.cdf(math.sqrt(equal / (equal - 1)) * stats.t.ppf(0.025, equal - 1)))


def _with_interval(value: float, drawn: np.ndarray, tail: float) -> Measure:
    defined = drawn[np.isfinite(drawn)]
    if len(defined) < LEAST_DEFINED * len(drawn):
        return Measure(value)
    low, high = np.quantile(defined, (tail, 1 - tail))
    return Measure(value, float(low), float(high))
