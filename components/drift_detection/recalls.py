"""How often each class is still recognised under a drift: its recall, with bounds that hold at every look.

A class of 1 % whose recall falls to 0 costs one point of accuracy, which no overall test calls harm. Its recall is T / (T + M): T, the
share of requests that are predicted as it and are it; M, those that are it and are predicted otherwise. Each is the share of a known
number of requests (a label stands for the inverse of the probability with which it was drawn), so T is told by labels drawn among the
few predicted as the class, M by uniformly random ones only. Both have a confidence sequence, exact at any number of labels; several of
one patient count over their design effect, that of the share in question.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from components.drift_detection.harm import DRIFT_ALPHA, RIGHT, expected_of, share_right, strata
from components.drift_detection.label_tallies import WindowPlaces, design_effect
from components.drift_detection.windows import Coverage
from driftloop.contracts import BY_CLASS, RANDOM
from driftloop.evaluation.intervals import Proportion, score_ends
from driftloop.inference.reference import CLEAN_REGIME
from driftloop.settings import DriftSettings
from driftloop.watch_record import ClassRecall, WindowLabels

#: Classes that are looked at: the critical ones, then those that fewest requests are predicted as. The others weigh in accuracy itself.
MOST_CLASSES = 10
#: More labels than these are no advice.
MOST_LABELS = 1_000_000
#: Halvings of an interval that holds a bound: to 1e-12.
HALVINGS = 40


@dataclass(frozen=True)
class KnownShare:
    """Of the requests of one kind, the share that labels show to be something."""

    rows: float
    """The requests, fewer for those of long ago."""
    right: float
    """Labels that are it, as many as equally weighted ones would be worth."""
    n: float
    """All labels, likewise."""
    epochs: float
    """All labels that ever counted, over the effective number."""
    effect: float = 1.0
    """Labels over as many independent ones."""

    @property
    def value(self) -> float:
        """The share; 0 without labels."""
        return self.right / self.n if self.n else 0.0

    def with_more(self, right: npt.ArrayLike, n: float) -> tuple[npt.ArrayLike, float, float]:
        """Right ones and independent labels after more of them, and the epochs then."""
        return self.right + np.asarray(right), self.n + n, (self.epochs * self.n + n) / (self.n + n) if self.n + n else 1.0


def proportion_bounds(right: npt.ArrayLike, n: npt.ArrayLike, alpha: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Bounds on a share from `right` of `n` labels: the chance that either is ever wrong, at whichever look, is at most `alpha`.

    The likelihood ratio of a Beta(1/2, 1/2) mixture against a share p is a martingale under p, so the shares at which it has not reached
    1 / alpha are a confidence sequence (Robbins 1970): exact, and useful at few labels and at shares near 0.

    Args:
        right: fractions are allowed, as of weighted labels.
        n: at least as many; with none the bounds are 0 and 1.
        alpha: above 0.
    """
    right, n, alpha = np.broadcast_arrays(*(np.asarray(value, dtype=float) for value in (right, n, alpha)))
    wrong = n - right
    limit = special.betaln(right + 0.5, wrong + 0.5) - special.betaln(0.5, 0.5) + np.log(alpha)

    def plausible(share: np.ndarray) -> np.ndarray:
        return special.xlogy(right, share) + special.xlog1py(wrong, -share) > limit

    best = np.divide(right, n, out=np.full(n.shape, 0.5), where=n > 0)
    ends = []
    for outer in (np.zeros(n.shape), np.ones(n.shape)):
        inner = best.copy()
        for _ in range(HALVINGS):
            middle = (inner + outer) / 2
            inside = plausible(middle)
            inner, outer = np.where(inside, middle, inner), np.where(inside, outer, middle)
        ends.append(outer)
    return np.where(right > 0, ends[0], 0.0), np.where(wrong > 0, ends[1], 1.0)


def recall_bounds(
    found: tuple[np.ndarray, np.ndarray], missed: tuple[np.ndarray, np.ndarray], rows: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """The bounds that those of both shares (low, high) make for the recall; 0 and 1 where no request can be of the class.

    Args:
        found: of the requests predicted as the class.
        missed: of the others.
        rows: how many requests either are.
    """
    ends = []
    for hits, misses, none in ((found[0], missed[1], 0.0), (found[1], missed[0], 1.0)):
        total = rows[0] * hits + rows[1] * misses
        ends.append(np.divide(rows[0] * hits, total, out=np.full(np.shape(total), none), where=total > 0))
    return ends[0], ends[1]


def class_recalls(
    rows: pd.DataFrame,
    coverage: Coverage,
    places: WindowPlaces,
    chosen: np.ndarray,
    accepted: Mapping[str, Mapping[str, Proportion]],
    settings: DriftSettings,
    *,
    judging: np.ndarray,
    critical: Collection[str],
    classes: Sequence[str],
    gate_share: float,
) -> list[ClassRecall]:
    """What the labels of the chosen windows say of each class, critical ones first, then the rarest; empty where no window is chosen.

    Only windows whose record counts the predicted classes take part.

    Args:
        rows: of the log, with predicted, label, label_origin and group.
        coverage: which window covers each.
        places: of all windows.
        chosen: (W,) bool.
        accepted: by class, the champion's recall by regime; a class that is missing there, or its clean recall, is not known.
        settings: of the policy.
        judging: (N,) bool, the rows kept for the gate, whose labels do not count.
        critical: names of critical classes.
        classes: all names.
        gate_share: of all random labels, those that are kept for the gate.
    """
    numbers = [int(number) for number in np.flatnonzero(chosen) if places.windows[number].predicted]
    if not numbers:
        return []
    at = coverage.window + places.past
    there = rows.assign(at=at)[coverage.covered & np.isin(at, numbers) & ~judging]
    there = there[there["label"].notna() & there["label_origin"].isin((RANDOM, BY_CLASS))]
    random = there[there["label_origin"] == RANDOM]
    counts = {name: sum(places.windows[number].predicted.get(name, 0) for number in numbers) for name in classes}
    rarest = sorted(set(classes) - set(critical), key=lambda name: (counts[name], name))
    recalls = []
    for name in [*sorted(critical), *rarest][: max(MOST_CLASSES, len(critical))]:
        as_it = there[there["predicted"] == name]
        predicted = [places.windows[number].predicted.get(name, 0) for number in numbers]
        others = [places.windows[number].rows - count for number, count in zip(numbers, predicted, strict=True)]
        found = _tallies(as_it, name, numbers, places, predicted)
        missed = _tallies(random[random["predicted"] != name], name, numbers, places, others)
        shares = _known_share(found, settings.harm_half_life_days), _known_share(missed, settings.harm_half_life_days)
        expected = _accepted(missed, accepted.get(name, {}), settings.harm_half_life_days)
        recall = judged_recall(name, *shares, expected, settings, critical=name in critical)
        # Without a label among the others nothing is known of them.
        open_still = not recall.told and shares[1].n
        more = labels_to_tell(*shares, expected, settings) if open_still else None
        recalls.append(
            recall.model_copy(
                update={
                    "requests": counts[name],
                    "labels": len(as_it),
                    "cases": int((random["label"] == name).sum()),
                    "labels_to_tell": None if more is None else round((len(random) + more) / (1 - gate_share)),
                    "in_vain": bool(open_still) and more is None,
                }
            )
        )
    return recalls


def judged_recall(
    name: str, found: KnownShare, missed: KnownShare, accepted: Proportion | None, settings: DriftSettings, *, critical: bool
) -> ClassRecall:
    """A class by what is known of both kinds of requests."""
    low, high = _bounds((found.right, found.n, found.epochs), (missed.right, missed.n, missed.epochs), (found.rows, missed.rows))
    bounded, fallen = _told(found.rows * found.value, missed.rows * missed.value, low, high, accepted, settings)
    return ClassRecall(
        name=name,
        critical=critical,
        low=float(low),
        high=float(high),
        accepted=None if accepted is None else accepted.value,
        bounded=bool(bounded),
        fallen=bool(fallen),
    )


def labels_to_tell(found: KnownShare, missed: KnownShare, accepted: Proportion | None, settings: DriftSettings) -> int | None:
    """About how many more random labels would tell with probability `RIGHT`, by all that is known now, whether the recall has fallen.

    How many requests of the class are missed, and how further labels will fall, are both uncertain: the posterior of the one and the
    spread of the other are averaged over. Before any label the class is taken to be missed about as often as it is named: as half of all
    others it would be seen to have fallen at once, and a few labels do not rule that out. Further labels are taken to be as much alike
    within a patient as those that there are.

    Returns:
        None where even `MOST_LABELS` would not do.
    """
    total = found.rows + missed.rows
    if not total:
        return None
    points = (np.arange(20) + 0.5) / 20
    usual = max(0.5, 0.5 * total / found.rows - 0.5) if found.rows else 0.5
    share = special.betaincinv(missed.right + 0.5, missed.n - missed.right + usual, points)[:, None]
    luck = special.ndtri(points)[None, :]
    precision = (found.right + 0.5) / (found.n + 1)

    def tells(more: int) -> bool:
        of_it, others = (more * kind.rows / total / kind.effect for kind in (found, missed))
        fresh = np.clip(share * others + luck * np.sqrt(share * (1 - share) * others), 0, others)
        one, other = found.with_more(precision * of_it, of_it), missed.with_more(fresh, others)
        low, high = _bounds(one, other, (found.rows, missed.rows))
        hits, misses = (kind.rows * np.asarray(right) / max(n, 1.0) for kind, (right, n, _) in ((found, one), (missed, other)))
        return bool(np.mean(np.logical_or(*_told(hits, misses, low, high, accepted, settings))) >= RIGHT)

    fewest, most = 0, MOST_LABELS
    if not tells(most):
        return None
    while most - fewest > max(1, fewest // 50):
        middle = (fewest + most) // 2
        fewest, most = (fewest, middle) if tells(middle) else (middle, most)
    return most


def _bounds(
    found: tuple[npt.ArrayLike, float, float], missed: tuple[npt.ArrayLike, float, float], rows: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Of each (right, n, epochs): half of the error for each of both shares, and of every stretch of faded labels its part of it."""
    parts = [proportion_bounds(right, n, DRIFT_ALPHA / 2 / max(epochs, 1.0)) for right, n, epochs in (found, missed)]
    return recall_bounds(parts[0], parts[1], rows)


def _told(
    hits: npt.ArrayLike, misses: npt.ArrayLike, low: np.ndarray, high: np.ndarray, accepted: Proportion | None, settings: DriftSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Whether a loss of `class_drop` is excluded, and whether a loss so large is seen and some loss shown.

    The bounds on the difference to the recall that was accepted are combined from both (MOVER; Zou & Donner 2008).
    """
    hits, misses = np.asarray(hits), np.asarray(misses)
    seen = hits + misses > 0
    recall = np.divide(hits, hits + misses, out=np.zeros(np.shape(seen)), where=seen)
    if accepted is None:
        return seen & (low > 1 - settings.class_drop), np.zeros(np.shape(seen), dtype=bool)
    drop = accepted.value - recall
    most = drop + np.hypot(accepted.high - accepted.value, recall - low)
    least = drop - np.hypot(accepted.value - accepted.low, high - recall)
    return seen & (most < settings.class_drop), seen & (least > 0) & (drop >= settings.class_drop)


def _tallies(rows: pd.DataFrame, name: str, numbers: Sequence[int], places: WindowPlaces, requests: Sequence[int]) -> list[WindowLabels]:
    """By window, the labels of one kind of requests and how many of them say that it is the class."""
    of_it = (rows["label"] == name).to_numpy(dtype=bool)
    effect = design_effect(of_it, rows)
    labels = rows["at"].value_counts()
    right = rows.loc[of_it, "at"].value_counts()
    return [
        WindowLabels(
            watch=places.places[number][0],
            window=places.places[number][1],
            drift=0,
            mixture=places.windows[number].mixture,
            last=places.windows[number].last,
            rows=total,
            labels=int(labels.get(number, 0)),
            right=int(right.get(number, 0)),
            effect=effect,
        )
        for number, total in zip(numbers, requests, strict=True)
    ]


def _known_share(tallies: Sequence[WindowLabels], half_life_days: float) -> KnownShare:
    newest = max(tally.time for tally in tallies)
    rows = sum(tally.rows * 0.5 ** ((newest - tally.time).total_seconds() / 86400 / half_life_days) for tally in tallies)
    parts = strata(tallies, half_life_days)
    if not parts:
        return KnownShare(rows, 0.0, 0.0, 1.0)
    share, effective = share_right(parts)
    effect = parts[0].effect  # one for all windows
    return KnownShare(rows, share * effective, effective, sum(part.labels for part in parts) / effect / effective, effect)


def _accepted(others: Sequence[WindowLabels], accepted: Mapping[str, Proportion], half_life_days: float) -> Proportion | None:
    """The recall that was accepted for the regimes that these windows are nearest to; its interval errs as often as the other bounds."""
    if CLEAN_REGIME not in accepted:
        return None
    parts = strata(others, half_life_days)
    value, n = expected_of(parts, accepted) if parts else (accepted[CLEAN_REGIME].value, accepted[CLEAN_REGIME].independent)
    # Not in whole images: a recall of 0.64 on six patients, worth 3.7 images, would become three of four.
    low, high = score_ends(value, max(n, 1.0), NormalDist().inv_cdf(1 - DRIFT_ALPHA))
    return Proportion(value=value, low=low, high=high, n=max(1, round(n)))
