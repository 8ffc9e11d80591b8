"""The criteria, one function each: what was measured, what it must exceed, and whether that is shown, refuted, or open.

`low` and `high` are one-sided 95 % bounds. A criterion *holds* when its bound clears the limit, is *refuted* when the opposite bound
does, and is open otherwise: then `labels` says how many labelled images would decide.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from components.validation_gate.latency import Latency
from driftloop.evaluation.clustered import clusters_of, proportion_right
from driftloop.evaluation.intervals import say_groups
from driftloop.evaluation.paired import BrierIncrease, PairedDifference, labels_needed

#: Regimes: kinds of images that the models answer.
CLEAN, ACCEPTED, NEW, RECENT = "clean", "accepted drift", "new drift", "recent"
#: What a first candidate must show where skewed classes count alike.
ONE_CLASS = "better than naming one class"
#: How a value is shown, by the unit of its criterion.
FORMATS: dict[str, Callable[[float], str]] = {
    "points": lambda value: f"{100 * value:+.1f} pt",
    "share": lambda value: f"{100 * value:.1f} %",
    "recall": lambda value: f"{100 * value:.1f} %",
    "brier": lambda value: f"{value:+.4f}",
    "ratio": lambda value: f"{value:.2f}",
    "count": lambda value: f"{value:.0f}",
}


@dataclass(frozen=True)
class Criterion:
    """One requirement; shares and differences are in [-1, 1], not percent."""

    name: str
    """as reasons and tables call it"""
    holds: bool
    """whether it is shown"""
    refuted: bool
    """whether the contrary is shown"""
    estimate: float | None = None
    """what was measured"""
    low: float | None = None
    """one-sided lower 95 % bound"""
    high: float | None = None
    """one-sided upper 95 % bound"""
    bound: float | None = None
    """limit that the estimate is held against"""
    n: int = 0
    """images or rounds behind the estimate"""
    unit: str = ""
    """how to show the numbers: points (differences of accuracy), share, recall, brier, ratio, count, or empty for a plain fact"""
    labels: int | None = None
    """labelled images of that kind that would decide it, those at hand included; None where no number helps or nothing is open"""
    note: str = ""
    """what else a reader should know"""
    regime: str = ""
    """kind of images that it stands on; empty where it stands on none"""
    groups: int = 0
    """patients or lots that they come from; n where each image stands for itself"""
    critical: bool = False
    """whether unknown is not good enough, whatever else speaks for the candidate"""

    @property
    def open(self) -> bool:
        """Neither shown nor refuted."""
        return not self.holds and not self.refuted

    @property
    def stands_on(self) -> str:
        """The images or rounds behind it: "1,500 clean images of 60 groups"."""
        if not self.n:
            return ""
        return f"{self.n:,} {self.regime} images{say_groups(self.groups, self.n)}" if self.regime else f"{self.n:,}"

    def show(self, value: float | None) -> str:
        """A value in the criterion's unit, as people read it; a dash for none."""
        if value is None:
            return "–"
        return FORMATS[self.unit](value) if self.unit in FORMATS else f"{value:g}"


def difference_above(
    name: str, difference: PairedDifference, limit: float, *, regime: str = CLEAN, hopeless_below: float | None = None
) -> Criterion:
    """The accuracy difference lies above `limit`: -margin for "not worse", 0 for "better".

    It is refuted when the upper bound lies below `hopeless_below` (default: the limit).
    """
    ceiling = limit if hopeless_below is None else hopeless_below
    holds = difference.low > limit
    refuted = not holds and difference.high < ceiling
    labels = None
    if not holds and not refuted:
        # Never no discordance: where no image was discordant yet, the next one might be.
        psi, effect = max(1, difference.gained + difference.lost) / difference.n, difference.n / difference.effective_n
        labels = labels_needed(
            difference.estimate, math.sqrt(psi * effect), difference.n, limit, hopeless=ceiling, confidence=difference.one_sided
        )
    return Criterion(
        name,
        holds,
        refuted,
        difference.estimate,
        difference.low,
        difference.high,
        limit,
        difference.n,
        unit="points",
        labels=labels,
        regime=regime,
        groups=difference.groups,
    )


def without_images(name: str, images: str = "test split", regime: str = CLEAN) -> Criterion:
    """A critical class of which the `images` hold none: nothing can be shown of it."""
    return Criterion(name, False, False, unit="points", note=f"the {images} has no image of it", regime=regime, critical=True)


def brier_below(increase: BrierIncrease, limit: float) -> Criterion:
    """The Brier score rises by less than `limit`."""
    holds, refuted = increase.high < limit, increase.low > limit
    labels = None
    if not holds and not refuted:
        labels = labels_needed(-increase.estimate, increase.error * math.sqrt(increase.n), increase.n, -limit)
    return Criterion(
        "Brier score",
        holds,
        refuted,
        increase.estimate,
        increase.low,
        increase.high,
        limit,
        increase.n,
        unit="brier",
        labels=labels,
        regime=CLEAN,
        groups=increase.groups,
    )


def latency_within(latency: Latency, limit: float, slack_ms: float) -> Criterion:
    """The ratio of p95 latencies is at most `limit`, or the increase at most `slack_ms`, which no request notices.

    Timings scatter: it is refuted only when the ratio's lower bound lies above the limit, and open in between.
    """
    tolerated = latency.candidate_p95_ms - latency.champion_p95_ms <= slack_ms
    holds = latency.ratio <= limit or tolerated
    note = f"{latency.candidate_p95_ms:.2f} ms against {latency.champion_p95_ms:.2f} ms"
    if latency.ratio > limit and tolerated:
        note += f"; an increase up to {slack_ms:g} ms is tolerated"
    refuted = not holds and latency.low > limit
    return Criterion(
        "p95 latency", holds, refuted, latency.ratio, latency.low, latency.high, limit, latency.rounds, unit="ratio", note=note
    )


def size_within(candidate_bytes: int, champion_bytes: int, limit: float, slack_mb: float) -> Criterion:
    """The served file is at most `limit` times as large, or larger by at most `slack_mb` megabytes."""
    ratio = candidate_bytes / max(1, champion_bytes)
    holds = ratio <= limit or candidate_bytes - champion_bytes <= slack_mb * 1e6
    note = f"{candidate_bytes / 1e6:.2f} MB against {champion_bytes / 1e6:.2f} MB"
    if ratio > limit and holds:
        note += f"; an increase up to {slack_mb:g} MB is tolerated"
    return Criterion("size", holds, not holds, ratio, bound=limit, unit="ratio", note=note)


def schema_fits(problems: list[str]) -> Criterion:
    """The candidate takes the images and gives the classes that the dataset has and the champion serves."""
    return Criterion("schema", not problems, bool(problems), note="; ".join(problems))


def better_than_commonest(right: np.ndarray, labels: np.ndarray, least_gain: float, groups: np.ndarray | None = None) -> Criterion:
    """A first candidate's accuracy lies above the share of the commonest class, which needs no model.

    Wilson's one-sided bound, widened where several images are of one patient. It is refuted when even the upper bound gains less than
    `least_gain` of what lies above that share.

    Args:
        right: bool (N,), images that the candidate has right.
        labels: int (N,).
        least_gain: 0.1 for five points above a share of one half, and for one above 90 %.
        groups: (N,), the patient or site of each image; None where each stands for itself.
    """
    n = len(labels)
    share = float(np.bincount(labels).max() / n)
    accuracy, clusters = proportion_right(right, groups, confidence=0.90), clusters_of(right, groups)
    holds = accuracy.low > share
    hopeless = share + least_gain * (1 - share)
    refuted = not holds and accuracy.high < hopeless
    needed = None
    if not holds and not refuted and share < 1:  # Of one class alone no number of images shows anything.
        deviation, confidence = math.sqrt(share * (1 - share) * clusters.effect), clusters.one_sided(0.95)
        needed = labels_needed(accuracy.value, deviation, n, share, hopeless=hopeless, confidence=confidence)
    bounds = accuracy.value, accuracy.low, accuracy.high, share, n
    name = "better than the commonest class"
    return Criterion(name, holds, refuted, *bounds, unit="share", labels=needed, regime=CLEAN, groups=accuracy.groups)


def better_than_one_class(right: np.ndarray, labels: np.ndarray, least_gain: float, groups: np.ndarray | None = None) -> Criterion:
    """The mean of a first candidate's recalls lies above 1 / K, which naming any one class reaches.

    For skewed classes that count alike: who names the rare one as often as it takes gives up accuracy for it, and is no worse a model than
    one that never does. The bounds combine those of the recalls (MOVER; Zou & Donner 2008), Wilson's, widened where several images are of
    one patient.

    Args:
        right, labels, least_gain, groups: as for `better_than_commonest`.
    """
    of_class = [labels == label for label in np.unique(labels)]
    groups_of = [None if groups is None else groups[rows] for rows in of_class]
    recalls = [proportion_right(right[rows], of, confidence=0.90) for rows, of in zip(of_class, groups_of, strict=True)]
    k, n = len(recalls), len(labels)
    value, share = float(np.mean([recall.value for recall in recalls])), 1 / k
    low = value - math.sqrt(sum((recall.value - recall.low) ** 2 for recall in recalls)) / k
    high = value + math.sqrt(sum((recall.high - recall.value) ** 2 for recall in recalls)) / k
    holds, hopeless = low > share, share + least_gain * (1 - share)
    refuted = not holds and high < hopeless
    needed = None
    if not holds and not refuted and k > 1:  # Of one class alone no number of images shows anything.
        # As many more of each class as there are: the deviation that the bound had, of an image of the whole.
        deviation = (value - low) / NormalDist().inv_cdf(0.95) * math.sqrt(n)
        needed = labels_needed(value, deviation, n, share, hopeless=hopeless, confidence=0.95)
    whose = n if groups is None else len(np.unique(groups))
    return Criterion(ONE_CLASS, holds, refuted, value, low, high, share, n, unit="share", labels=needed, regime=CLEAN, groups=whose)


def other_graph(identical: bool) -> Criterion:
    """The candidate is not, byte for byte, what the champion serves already."""
    return Criterion("differs from the champion", not identical, identical, note="it serves the very same graph" if identical else "")


def quantisation(drop: dict[str, float] | None, reason: str) -> Criterion:
    """What INT8 costs, as theme 4 measured it: a fact for the reader, which onnx_deployment has acted on already."""
    drop = drop or {}
    return Criterion("INT8 drop", True, False, drop.get("value"), drop.get("low"), drop.get("high"), unit="points", note=reason)


def uses_left(uses: int, limit: int) -> Criterion:
    """The test split was looked at fewer than `limit` times, this one included: what is looked at often is fitted to."""
    return Criterion("uses of the test split", uses < limit, False, float(uses), bound=float(limit), unit="count", note="this one included")
