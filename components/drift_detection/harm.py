"""Does the drift matter? The drop in accuracy, from labels of uniformly random requests only, with bounds that hold at every look.

Labels that someone chose to give (the most shifted images, the complaints) would bias the estimate; they train, and are left out here.
A watch looks again whenever labels come. A bound for one look, used at each of many, is wrong far more often than it says: so these are
confidence sequences, one for all looks at a drift together.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

from driftloop.evaluation.intervals import Proportion
from driftloop.inference.reference import CLEAN_REGIME
from driftloop.watch_record import WindowLabels

#: How often a bound may ever be wrong: of a drift's harm, and of harm on images that look as accepted. Together 5 %.
DRIFT_ALPHA, CONCEPT_ALPHA = 0.04, 0.01
#: How many standard errors exclude a harm that grew since the labels were drawn: one-sided 1 %, which with the 4 % of a drift makes 5 %.
#: One look's quantile: a drop that grows passes the bound of harm once, what was said before is true, and later looks are further off.
GROWN_Z = 2.326
#: How many standard errors contradict the acceptance of a drift, which asks for labels and retrains nothing: one look's one-sided 1 %. The
#: estimates alone did so on 18 of 100 days where nothing was lost (bench/accepted_noise.py).
CONTRADICTS_Z = 2.326
#: Labels at which the bounds are tightest: four windows' worth, where most drifts are decided.
TIGHTEST = 264
#: The boundary's information there, by which it is least (Howard et al. 2021, proposition 3, at these levels).
BEST_RATIO = 5.0
#: A share of fewer labels says too little: neighbouring windows are taken together until they have so many.
STRATUM_LABELS = 20
#: What came last is weighed with a half-life this many times shorter.
RECENT = 4
#: Of the bound that claims harm: few errors are skewed towards more, and half a label against the claim keeps its level.
HALF_LABEL = 0.5
#: More labels than these are no advice.
MOST_LABELS = 100_000
#: "About N labels would decide" is right with this probability, as far as is known now.
RIGHT = 0.8


@dataclass(frozen=True)
class AccuracyDrop:
    """Accuracy that was accepted, for such images, minus accuracy on labelled requests now."""

    value: float
    """The estimate, by windows and with more weight on what is recent."""
    low: float
    """Lower bound: valid at all looks together."""
    high: float
    """Upper bound: likewise."""
    n: int
    """Labelled requests."""
    effective: float = math.nan
    """Equally weighted labels that would be as sure: at most n."""
    expected: float = math.nan
    """The accuracy that was accepted."""
    expected_n: float = math.nan
    """Images that it was measured on; where they came in groups, as many independent ones as would say as much."""
    recent: float = math.nan
    """The estimate for what came last."""
    high_if_grown: float = math.nan
    """Upper bound on the drop in the newest window, had the drop grown evenly since the first; one-sided 99 %."""
    come: float = 1.0
    """How far an evenly growing drop had come in the labels, on average, of what it has come to in the newest window."""
    information: float = 0.0
    """1 / (1 / expected_n + 1 / effective): where the boundary was looked up."""
    z: float = math.nan
    """The boundary there, in standard errors."""
    alpha: float = math.nan
    """How often a bound may ever be wrong."""
    effect: float = 1.0
    """Labels over as many independent ones: above 1 where several are of one patient or lot."""
    low_now: float = math.nan
    """Lower bound at this look alone, one-sided 99 %."""
    recent_low: float = math.nan
    """The same for what came last."""

    @property
    def independent(self) -> float:
        """As many independent labels as these are worth."""
        return self.n / self.effect

    def as_dict(self) -> dict[str, float | int]:
        return asdict(self)


def information_of(clean_n: npt.ArrayLike, n: npt.ArrayLike) -> np.ndarray:
    """What a clean sample of `clean_n` images and `n` labels tell of their difference, t = 1 / (1/n0 + 1/n)."""
    return 1 / (1 / np.asarray(clean_n, float) + 1 / np.asarray(n, float))


def boundary(clean_n: npt.ArrayLike, n: npt.ArrayLike, epochs: npt.ArrayLike, alpha: float) -> np.ndarray:
    """How many standard errors a score must reach to count, at whichever look it does.

    With a fixed clean sample of n0 images the score process of the difference, at n labels, is a Brownian motion in the information
    t = 1 / (1/n0 + 1/n), so one boundary for Brownian motion, Robbins' normal mixture
    z(t)^2 = (1 + 1/(rt)) 2 log(1 + sqrt(1 + rt) / (2 alpha)), holds at all looks at once, with the clean sample's own error in it
    (asymptotic confidence sequences: Waudby-Smith et al. 2021, arXiv 2103.06476; Howard et al. 2021).
    Where old labels fade, a sum never stays one Brownian motion: of every `epochs` independent stretches each gets its part of alpha.

    Args:
        clean_n: n0, which the information never exceeds. Of a smaller one than `TIGHTEST` the boundary is least there: with 20 independent
            clean images it would else never come below five standard errors.
        n: effective number of labels, above 0.
        epochs: all labels that ever counted, over the effective number; 1 where none has faded.
        alpha: one-sided.
    """
    scaled = information_of(clean_n, n) * BEST_RATIO / np.minimum(TIGHTEST, clean_n)
    level = alpha / np.maximum(epochs, 1.0)
    return np.sqrt((1 + 1 / scaled) * 2 * np.log1p(np.sqrt(1 + scaled) / (2 * level)))


def accuracy_drop(
    clean_correct: float, clean_n: float, drifted_correct: float, drifted_n: float, *, z: float
) -> tuple[float, float, float]:
    """The drop between two independent proportions and its score bounds (Miettinen and Nurminen 1985), z standard errors away.

    Counts may be fractional: those of as many equally weighted labels as weighted ones are worth.

    Returns:
        The estimate, the lower and the upper bound.

    Raises:
        ValueError: no cases, or more correct than cases.
    """
    for correct, n in ((clean_correct, clean_n), (drifted_correct, drifted_n)):
        if n <= 0 or not 0 <= correct <= n:
            raise ValueError(f"accuracy drop: needs 0 <= correct <= n and n > 0, got {correct} of {n}")
    value = clean_correct / clean_n - drifted_correct / drifted_n
    careful = min(drifted_correct + HALF_LABEL, drifted_n)

    def harm(difference: float) -> float:
        return float(score(clean_correct, clean_n, careful, drifted_n, difference)) - z

    def harmless(difference: float) -> float:
        return float(score(clean_correct, clean_n, drifted_correct, drifted_n, difference)) + z

    # The score falls as the assumed difference grows; at the ends of its range a proportion may fit perfectly, hence the sign tests.
    low = -1.0 if harm(-1.0) <= 0 else optimize.brentq(harm, -1.0, value, xtol=1e-10)
    high = 1.0 if harmless(1.0) >= 0 else optimize.brentq(harmless, value, 1.0, xtol=1e-10)
    return value, float(low), float(high)


def score(x1: npt.ArrayLike, n1: npt.ArrayLike, x2: npt.ArrayLike, n2: npt.ArrayLike, difference: npt.ArrayLike) -> np.ndarray:
    """How many standard errors the observed difference lies above an assumed one; the errors under the assumption."""
    x1, n1, x2, n2, difference = (np.asarray(value, dtype=float) for value in (x1, n1, x2, n2, difference))
    p1, p2 = _constrained(x1, n1, x2, n2, difference)
    variance = (p1 * (1 - p1) / n1 + p2 * (1 - p2) / n2) * (n1 + n2) / np.maximum(n1 + n2 - 1, 1)
    gap = x1 / n1 - x2 / n2 - difference
    with np.errstate(divide="ignore", invalid="ignore"):
        certain = np.where(np.abs(gap) < 1e-12, 0.0, np.copysign(np.inf, gap))
        return np.where(variance <= 1e-18, certain, gap / np.sqrt(variance))


def _constrained(x1: np.ndarray, n1: np.ndarray, x2: np.ndarray, n2: np.ndarray, difference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest p1 and p2 with p1 - p2 = difference: the right root of a cubic in p2, in closed form (their appendix)."""
    third = 3.0 * (n1 + n2)
    quadratic = (n1 + 2 * n2) * difference - (n1 + n2) - (x1 + x2)
    linear = (n2 * difference - (n1 + n2) - 2 * x2) * difference + x1 + x2
    constant = x2 * difference * (1 - difference)
    shift = quadratic / third
    q = shift**3 - 1.5 * linear * quadratic / third**2 + 1.5 * constant / third
    radius = np.copysign(np.sqrt(np.maximum(shift**2 - linear / third, 0.0)), q)
    with np.errstate(divide="ignore", invalid="ignore"):
        angle = np.where(radius == 0, 0.0, (math.pi + np.arccos(np.clip(q / radius**3, -1.0, 1.0))) / 3)
    p2 = np.clip(2 * radius * np.cos(angle) - shift, np.maximum(0.0, -difference), np.minimum(1.0, 1.0 - difference))
    return p2 + difference, p2


@dataclass(frozen=True)
class Stratum:
    """Neighbouring windows of enough labels: their labels stand for all their rows."""

    weight: float
    """Rows, less for those of long ago."""
    labels: int
    right: int
    mixture: Mapping[str, float]
    """Shares of the accepted regimes that its windows are nearest to; empty: the clean one."""
    growth: float = 1.0
    """How far a drift that grows evenly had come in it, of what it has come to in the newest window."""
    effect: float = 1.0
    """Labels over as many independent ones."""


def growth_of(windows: Sequence[WindowLabels]) -> list[float]:
    """How far a drift that grows evenly from the first window on had come in each, as a share of what it has come to in the last.

    Labels of days ago are of a weaker drift than today's, where it grows. It began one window's distance before the first one's end.
    First and last go by their times, whatever the order: a device that was offline brings its requests later than they were answered.

    Returns:
        Of each, above 0 and at most 1.
    """
    first = min(window.time for window in windows)
    days = [(window.time - first).total_seconds() / 86400 for window in windows]
    length = max(days)
    if length <= 0:
        return [1.0] * len(windows)
    distance = length / (len(windows) - 1)
    return [(day + distance) / (length + distance) for day in days]


def strata(windows: Sequence[WindowLabels], half_life_days: float) -> list[Stratum]:
    """The windows from the first to the last labelled one, in time order, taken together until `STRATUM_LABELS` are reached."""
    windows = sorted(windows, key=lambda window: window.time)
    labelled = [index for index, window in enumerate(windows) if window.labels]
    if not labelled:
        return []
    known = list(zip(windows, growth_of(windows), strict=True))[labelled[0] : labelled[-1] + 1]
    newest = max(window.time for window, _ in known)
    parts: list[list[tuple[WindowLabels, float]]] = [[]]
    labels = 0
    for window in known:
        if labels >= STRATUM_LABELS:
            parts.append([])
            labels = 0
        parts[-1].append(window)
        labels += window[0].labels
    if len(parts) > 1 and labels < STRATUM_LABELS:
        last = parts.pop()
        parts[-1] += last
    return [
        _stratum(
            [member for member, _ in part],
            [0.5 ** ((newest - member.time).total_seconds() / 86400 / half_life_days) for member, _ in part],
            [growth for _, growth in part],
        )
        for part in parts
    ]


def _stratum(members: Sequence[WindowLabels], fading: Sequence[float], growth: Sequence[float]) -> Stratum:
    weights = [member.rows * share for member, share in zip(members, fading, strict=True)]
    total = sum(weights)
    mixture: dict[str, float] = {}
    for member, weight in zip(members, weights, strict=True):
        for name, share in (member.mixture or {CLEAN_REGIME: 1.0}).items():
            mixture[name] = mixture.get(name, 0.0) + share * weight / total
    labels, right = sum(member.labels for member in members), sum(member.right for member in members)
    effect = labels / sum(member.labels / member.effect for member in members)
    return Stratum(total, labels, right, mixture, float(np.average(growth, weights=weights)), effect)


def drop_of(
    windows: Sequence[WindowLabels], accepted: Mapping[str, Proportion], *, half_life_days: float, alpha: float
) -> AccuracyDrop | None:
    """The drop over windows, each standing for its rows whatever its share of labels, half as much for each half-life that it is old.

    Labels were drawn uniformly within their window, so rows over labels is the inverse of the probability with which each was drawn.
    Accuracy is compared with what was accepted for the mixture of regimes that the windows are nearest to.

    Args:
        windows: in any order: neighbours are found by their times.
        accepted: the champion's accuracy by regime, the clean one among them; one that is not in it counts as clean.
        half_life_days: of the weights.
        alpha: one-sided, of each bound, at all looks together.

    Returns:
        None where there are no labels.
    """
    parts = strata(windows, half_life_days)
    if not parts:
        return None
    right, effective = share_right(parts)
    expected, expected_n = expected_of(parts, accepted)
    labels = sum(part.labels for part in parts)
    independent = sum(part.labels / part.effect for part in parts)
    z = float(boundary(expected_n, effective, independent / effective, alpha))
    counts = expected * expected_n, expected_n, right * effective, effective
    value, low, high = accuracy_drop(*counts, z=z)
    _, low_now, _ = accuracy_drop(*counts, z=CONTRADICTS_Z)
    recent, recent_low, _ = _drop_at_one_look(strata(windows, half_life_days / RECENT), accepted, CONTRADICTS_Z)
    grown, come = if_grown(parts, accepted)
    return AccuracyDrop(
        value=value,
        low=low,
        high=high,
        n=labels,
        effective=effective,
        expected=expected,
        expected_n=expected_n,
        recent=recent,
        high_if_grown=grown,
        come=come,
        information=float(information_of(expected_n, effective)),
        z=z,
        alpha=alpha,
        effect=labels / independent,
        low_now=low_now,
        recent_low=recent_low,
    )


def _drop_at_one_look(parts: Sequence[Stratum], accepted: Mapping[str, Proportion], z: float) -> tuple[float, float, float]:
    """The estimate over strata and its bounds, `z` standard errors away."""
    right, effective = share_right(parts)
    expected, expected_n = expected_of(parts, accepted)
    return accuracy_drop(expected * expected_n, expected_n, right * effective, effective, z=z)


def if_grown(parts: Sequence[Stratum], accepted: Mapping[str, Proportion]) -> tuple[float, float]:
    """Upper bound on the newest window's drop, had it grown evenly since the first window, and the share of it that the labels saw.

    Then the drop in a stratum is the newest one's times its `growth`. Weighted by that again, as least squares through the origin would,
    the labels bound the mean of growth x drop; the mean of growth turns this into the newest one's. A drift that came at once is bounded
    by `high`; one that grew and slowed lies between the two. One that grows ever faster is not covered: no labels of before can tell.

    Returns:
        A share, above 1 where the labels say next to nothing; and the mean of growth, above 0 and at most 1.
    """
    leaning = [replace(part, weight=part.weight * part.growth) for part in parts]
    _, _, high = _drop_at_one_look(leaning, accepted, GROWN_Z)
    come = sum(part.weight * part.growth for part in leaning) / sum(part.weight for part in leaning)
    return high / come, come


def share_right(parts: Sequence[Stratum]) -> tuple[float, float]:
    """The weighted share of right answers, and Kish's effective number of labels, of independent ones."""
    total = sum(part.weight for part in parts)
    share = sum(part.weight * part.right / part.labels for part in parts) / total
    return min(1.0, share), total**2 / sum(part.weight**2 * part.effect / part.labels for part in parts)


def expected_of(parts: Sequence[Stratum], accepted: Mapping[str, Proportion]) -> tuple[float, float]:
    """The accuracy that was accepted for these strata, and as many independent images as it stands on."""
    total = sum(part.weight for part in parts)
    shares: dict[str, float] = {}
    for part in parts:
        for name, share in (part.mixture or {CLEAN_REGIME: 1.0}).items():
            known = name if name in accepted else CLEAN_REGIME
            shares[known] = shares.get(known, 0.0) + share * part.weight / total
    value = sum(share * accepted[name].value for name, share in shares.items())
    return min(1.0, value), 1 / sum(share**2 / accepted[name].independent for name, share in shares.items())


def labels_to_decide(drop: AccuracyDrop, *, retrain_drop: float, harmless_drop: float) -> int | None:
    """About how many random labels in all would show harm or harmlessness, with probability `RIGHT` by all that is known now.

    What the accuracy is, and how further labels will fall, are both uncertain: the posterior of the one (Jeffreys) and the spread of the
    other are averaged over. Further labels are taken to be as late as those that there are: of late ones it takes more to exclude a drop
    that has grown since; and to be as much alike within a patient.

    Returns:
        The number, more than those there are; None where even `MOST_LABELS` would not do.
    """
    points = (np.arange(20) + 0.5) / 20
    right = (drop.expected - drop.value) * drop.effective
    accuracy = stats.beta.ppf(points, right + 0.5, max(drop.effective - right, 0.0) + 0.5)[:, None]
    luck = stats.norm.ppf(points)[None, :]
    clean = drop.expected * drop.expected_n

    def decides(more: int) -> bool:
        n = drop.effective + more
        fresh = np.clip(accuracy * more + luck * np.sqrt(accuracy * (1 - accuracy) * more), 0, more)
        correct = right + fresh
        z = boundary(drop.expected_n, n, (drop.independent + more) / n, drop.alpha)
        careful = np.minimum(correct + HALF_LABEL, n)
        harm = (score(clean, drop.expected_n, careful, n, 0.0) > z) & (drop.expected - correct / n >= retrain_drop)
        harmless = score(clean, drop.expected_n, correct, n, harmless_drop) < -z
        harmless &= score(clean, drop.expected_n, correct, n, harmless_drop * drop.come) < -GROWN_Z
        return bool(np.mean(harm | harmless) >= RIGHT)

    low, high = 0, int(MOST_LABELS / drop.effect)
    if not decides(high):
        return None
    while high - low > max(1, low // 50):
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return drop.n + math.ceil(high * drop.effect)
