"""Does the drift matter? The drop in accuracy, from labels of uniformly random requests only.

Labels that someone chose to give (the most shifted images, the complaints) would bias the estimate; they train, and are left out here.
"""

import math
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from scipy import optimize, stats

from components.drift_detection.reference import first_of_each
from driftloop.contracts import RANDOM
from driftloop.evaluation.intervals import Proportion


@dataclass(frozen=True)
class AccuracyDrop:
    """Clean accuracy minus accuracy on drifted requests."""

    value: float
    """The estimate."""
    low: float
    """One-sided 95 % lower bound."""
    high: float
    """One-sided 95 % upper bound."""
    n: int
    """Labelled drifted requests."""

    def as_dict(self) -> dict[str, float | int]:
        return asdict(self)


def accuracy_drop(clean_correct: int, clean_n: int, drifted_correct: int, drifted_n: int, *, confidence: float = 0.95) -> AccuracyDrop:
    """The drop between two independent proportions, with Miettinen and Nurminen's (1985) score bounds.

    Args:
        clean_correct, clean_n: the champion as served on its clean test split.
        drifted_correct, drifted_n: the same champion on labelled requests of the drifted windows.
        confidence: one-sided, of each bound.

    Raises:
        ValueError: no cases, or more correct than cases.
    """
    for correct, n in ((clean_correct, clean_n), (drifted_correct, drifted_n)):
        if n < 1 or not 0 <= correct <= n:
            raise ValueError(f"accuracy drop: needs 0 <= correct <= n and n >= 1, got {correct} of {n}")
    z = float(stats.norm.ppf(confidence))
    value = clean_correct / clean_n - drifted_correct / drifted_n

    def score(difference: float) -> float:
        return _score(clean_correct, clean_n, drifted_correct, drifted_n, difference)

    # The score falls as the assumed difference grows; at the ends of its range a proportion may fit perfectly, hence the sign tests.
    low = -1.0 if score(-1.0) <= z else optimize.brentq(lambda d: score(d) - z, -1.0, value, xtol=1e-10)
    high = 1.0 if score(1.0) >= -z else optimize.brentq(lambda d: score(d) + z, value, 1.0, xtol=1e-10)
    return AccuracyDrop(value, float(low), float(high), drifted_n)


def _score(x1: int, n1: int, x2: int, n2: int, difference: float) -> float:
    """How many standard errors the observed difference lies above an assumed one; the errors under the assumption."""
    p1, p2 = _constrained(x1, n1, x2, n2, difference)
    variance = (p1 * (1 - p1) / n1 + p2 * (1 - p2) / n2) * (n1 + n2) / max(n1 + n2 - 1, 1)
    gap = x1 / n1 - x2 / n2 - difference
    if variance <= 1e-18:
        return 0.0 if abs(gap) < 1e-12 else math.copysign(math.inf, gap)
    return gap / math.sqrt(variance)


def _constrained(x1: int, n1: int, x2: int, n2: int, difference: float) -> tuple[float, float]:
    """The likeliest p1 and p2 with p1 - p2 = difference: the right root of a cubic in p2, in closed form (their appendix)."""
    third = 3.0 * (n1 + n2)
    quadratic = (n1 + 2 * n2) * difference - (n1 + n2) - (x1 + x2)
    linear = (n2 * difference - (n1 + n2) - 2 * x2) * difference + x1 + x2
    constant = x2 * difference * (1 - difference)
    shift = quadratic / third
    q = shift**3 - 1.5 * linear * quadratic / third**2 + 1.5 * constant / third
    radius = math.copysign(math.sqrt(max(shift**2 - linear / third, 0.0)), q)
    angle = (math.pi + math.acos(min(max(q / radius**3, -1.0), 1.0))) / 3 if radius else 0.0
    p2 = min(max(2 * radius * math.cos(angle) - shift, 0.0, -difference), 1.0, 1.0 - difference)
    return p2 + difference, p2


def drop_from(clean: Proportion, rows: pd.DataFrame) -> AccuracyDrop | None:
    """The drop on these rows of the log against the clean accuracy; None where none of them is randomly labelled."""
    correct, labels = correct_answers(rows)
    return accuracy_drop(round(clean.value * clean.n), clean.n, correct, labels) if labels else None


def labels_to_decide(clean: Proportion, drop: AccuracyDrop, *, retrain_drop: float, harmless_drop: float) -> int | None:
    """About how many random labels in all would show harm or harmlessness, if the drop is what it looks like now.

    Returns:
        The number, at least those there are; None where even 100,000 would not do.
    """
    clean_correct = round(clean.value * clean.n)
    accuracy = clean_correct / clean.n - drop.value

    def decides(n: int) -> bool:
        there = accuracy_drop(clean_correct, clean.n, min(n, max(0, round(accuracy * n))), n)
        return (there.value >= retrain_drop and there.low > 0) or there.high < harmless_drop

    low, high = max(drop.n, 1), 100_000
    if low >= high or not decides(high):
        return None
    while high - low > max(1, low // 50):
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high


def correct_answers(rows: pd.DataFrame) -> tuple[int, int]:
    """How many randomly labelled requests the champion got right, and of how many; of each group the first counts.

    Args:
        rows: of the log, with predicted, label, label_origin and group.
    """
    labelled = rows[(rows["label_origin"] == RANDOM) & rows["label"].notna()]
    labelled = labelled.iloc[first_of_each(labelled["group"].fillna("").to_numpy(dtype=np.str_))]
    return int((labelled["predicted"] == labelled["label"]).sum()), len(labelled)
