"""How unusual one image looks to the model that serves it: a conformal p-value against the regimes that the model was accepted for.

An image has a score for each statistic, two-sided, and one for its appearance: the distance of its embedding to the k-th nearest among
the reference (Sun et al. 2022). The image is put among the reference images, and every one of them, it too, is compared with all the
others (full conformal prediction, Vovk et al. 2005): its tail count by each score, the least of them, and how many images have one as
small. An image like the reference's has p <= a with probability a at most, whatever the number and the dependence of the scores; what
its p-value loses to the number of scores is what a reference image loses too, so nothing is divided by that number.
"""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from driftloop.errors import InputError
from driftloop.inference.image_statistics import COLOUR_COLUMNS, GREY_COLUMNS
from driftloop.inference.reference import Regime

APPEARANCE = "appearance"
#: Of the nearest reference images, whose distance is the score of the appearance.
NEIGHBOUR = 5
#: Images compared with in a regime: p-values down to 1/1,001, at a cost that a request does not notice.
MOST_IMAGES = 1_000
#: Of fewer than these no image lies outside of the middle 95 % but the outermost ones.
FEW_IMAGES = 40
#: Beyond this a float32 squared distance could overflow; numbers that are none count as this far.
LARGEST = 1e15
#: Ranks that differ by less are equal, and equal ones count as being as small.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Unusual:
    """How unusual an image looks, and the score that says so most clearly."""

    p_value: float
    """Of the image being like those of an accepted regime, in (0, 1]; at most a with probability a where it is."""
    statistic: str
    """A name of `statistic_names`, or "appearance": the distance of the embedding to the reference."""
    value: float
    """Of that statistic in this image."""
    usual_low: float
    """2.5 % of the regime's images lie below."""
    usual_high: float
    """2.5 % of them lie above."""
    share_within: float
    """The share of the regime's images, 0-1, whose value is nearer to the others than this one: below it if it is high, above it if low."""

    compared: int = 0
    """The regime's images that it was compared with, one of each group; 0: not known."""

    @property
    def sentence(self) -> str:
        """What a person is told; that the images are few where they are, since to be outside of eight patients is nothing unusual."""
        name, value = self.statistic.replace("_", " "), f"{self.value:.3g}"
        # Rounded down: nothing short of all is called 100 %.
        part = "all" if self.share_within >= 1 else f"{math.floor(self.share_within * 1000) / 10:.1f} %"
        if self.statistic == APPEARANCE and self.value <= self.usual_high:
            return f"looks as usual: its distance to the reference, {value}, is no larger than {self.usual_high:.3g}"
        if self.statistic == APPEARANCE:
            return f"the image as a whole is further from the reference than {part} of the reference's own images"
        if self.usual_low <= self.value <= self.usual_high:
            return f"looks as usual: {name} {value} is within {self.usual_low:.3g} to {self.usual_high:.3g}"
        few = f", which is {self.compared} images, one of each patient or lot" if 0 < self.compared < FEW_IMAGES else ""
        return f"{name} {value} is {'higher' if self.value > self.usual_high else 'lower'} than in {part} of the reference{few}"


class Familiarity:
    """Judges images against the regimes of a model; an image that is usual in one of them is usual. Safe to share between threads.

    Example:
        familiarity = Familiarity(read_reference(bundle / REFERENCE))
        [unusual] = familiarity.judge(image_statistics(images), model.predict(images).embedding)
    """

    def __init__(self, regimes: Sequence[Regime]) -> None:
        """The regimes, prepared.

        Raises:
            InputError: no regime, or one without images.
        """
        if not regimes or not all(len(regime) for regime in regimes):
            raise InputError("the champion's reference holds no images; run onnx_deployment on the model again")
        self._regimes = [_Known(regime) for regime in regimes]

    def judge(self, statistics: np.ndarray, embedding: np.ndarray) -> list[Unusual]:
        """How unusual each of N images looks.

        Args:
            statistics: (N, F), as of `image_statistics`.
            embedding: (N, D), of the served graph.

        Raises:
            ValueError: other columns than the reference's.
        """
        expected = (len(self._regimes[0].statistics), len(self._regimes[0].centre))
        if len(statistics) != len(embedding) or (statistics.shape[1], embedding.shape[1]) != expected:
            raise ValueError(f"judge: statistics {statistics.shape}, embedding {embedding.shape}; the reference has {expected} columns")
        by_regime = [known.judge(statistics, embedding) for known in self._regimes]
        return [max(of_image, key=lambda unusual: unusual.p_value) for of_image in zip(*by_regime, strict=True)]


class _Known:
    """A regime's n images, with everything that does not depend on the image in question.

    One image more moves a rank by so little that the order of the references' ranks is known but for those near the image's own: only
    these are computed. A rank is a two-sided tail count, in twos, less a tie break below 1.
    """

    def __init__(self, regime: Regime) -> None:
        rows = _independent_rows(regime.groups)
        self.count = len(rows)
        self.names = (*(GREY_COLUMNS + COLOUR_COLUMNS)[: regime.statistics.shape[1]], APPEARANCE)
        # (F, n), a row a statistic. In double precision: an image that is in the reference must get the very rank that it has there.
        statistics = regime.statistics[rows].T.astype(np.float64)
        ordered = np.sort(statistics, axis=1)
        pairs = list(zip(ordered, statistics, strict=True))
        at_most = np.stack([np.searchsorted(of, values, "right") for of, values in pairs])
        at_least = self.count - np.stack([np.searchsorted(of, values, "left") for of, values in pairs])
        # The images are kept in the order of their smallest tail: those that are near a rank then stand side by side.
        tails = np.minimum(at_most, at_least).min(axis=0)
        order = np.argsort(tails, kind="stable")
        self.tails: list[int] = tails[order].tolist()
        self.statistics, self.at_most, self.at_least = (np.ascontiguousarray(of[:, order]) for of in (statistics, at_most, at_least))
        # Lists, as numpy takes longer to look into an array than a list takes to be searched.
        self.ordered: list[list[float]] = ordered.tolist()
        middle = self.count // 2
        # By statistic: the numbers around the median of n + 1, and the sum of those above it less that of those below.
        self.before = ordered[:, middle - 1] if middle else np.full(len(ordered), -np.inf)
        self.after = ordered[:, middle]
        self.sums = ordered[:, middle:].sum(axis=1) - ordered[:, :middle].sum(axis=1)

        embedding = _finite(regime.embedding[rows[order]])
        self.centre = np.median(embedding, axis=0)
        centred = embedding - self.centre
        # (D, n): a product of few rows with it takes BLAS a third of the time that one with the transpose of (n, D) does.
        self.embedding = np.ascontiguousarray(centred.T)
        self.lengths = np.einsum("ij,ij->i", centred, centred)
        self.neighbour = min(NEIGHBOUR, self.count)
        self.nearer, self.further = self._distances_of_neighbours(centred)
        own = np.where(np.isfinite(self.further), self.further, self.nearer)
        scores = np.sort(np.vstack([self.statistics, own]), axis=1)
        self.usual = np.quantile(scores, [0.025, 0.975], axis=1).T.tolist()
        self.scores: list[list[float]] = scores.tolist()

    def judge(self, statistics: np.ndarray, embedding: np.ndarray) -> list[Unusual]:
        distances = self._distances(_finite(embedding) - self.centre)
        nearest = np.partition(distances, self.neighbour - 1, axis=1)[:, self.neighbour - 1]
        # A neighbour may take a reference image's k-th place, which pushes the one before it there.
        moved = np.minimum(np.maximum(distances, self.nearer), self.further)
        appearances = np.column_stack([moved, nearest])
        values = statistics.astype(np.float32).astype(np.float64)
        scales = _Appearances.of(appearances)
        return [self._judge_one(*image) for image in zip(values, *self._middles(values), appearances, scales, strict=True)]

    def _judge_one(
        self, values: np.ndarray, medians: np.ndarray, means: np.ndarray, appearances: np.ndarray, scale: "_Appearances"
    ) -> Unusual:
        scored = values.tolist()
        own = [self._rank(*score) for score in zip(scored, self.ordered, medians.tolist(), means.tolist(), strict=True)]
        scored.append(float(appearances[-1]))
        own.append(scale.rank(scored[-1]))
        least = min(own) + ROUNDING
        as_small = appearances >= scale.from_where(least)
        as_small[-1] = True
        # A reference's tail grows by 0 or 1, and its tie break is below 1.
        surely = bisect.bisect_right(self.tails, least / 2 - 1)
        perhaps = slice(surely, bisect.bisect_left(self.tails, (least + 1) / 2))
        as_small[:surely] = True
        as_small[perhaps] |= (self._ranks(perhaps, values, medians, means) <= least).any(axis=0)
        p_value = float(np.count_nonzero(as_small) / len(as_small))

        chosen = own.index(min(own))
        value, scores = scored[chosen], self.scores[chosen]
        below, above = bisect.bisect_left(scores, value), self.count - bisect.bisect_right(scores, value)
        within = below if self.names[chosen] == APPEARANCE else max(below, above)
        low, high = self.usual[chosen]
        return Unusual(p_value, self.names[chosen], value, low, high, within / self.count, self.count)

    def _middles(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """By image and statistic, the median of the n + 1 numbers and the mean distance from it: (N, F) each."""
        surplus = 2 * (self.count // 2) - self.count
        medians = np.minimum(np.maximum(values, self.before), self.after)
        means = (self.sums + surplus * medians + np.abs(values - medians)) / (self.count + 1)
        return medians, np.where(means > 0, means, 1.0)

    def _rank(self, value: float, ordered: list[float], median: float, mean: float) -> float:
        """The rank of the image by one statistic."""
        tail = 1 + min(self.count - bisect.bisect_left(ordered, value), bisect.bisect_right(ordered, value))
        offset = abs(value - median)
        return 2 * tail - offset / (offset + mean)

    def _ranks(self, images: slice, values: np.ndarray, medians: np.ndarray, means: np.ndarray) -> np.ndarray:
        """The ranks of some reference images by each statistic, among all n + 1: (F, images)."""
        statistics, value = self.statistics[:, images], values[:, None]
        tails = np.minimum(self.at_most[:, images] + (value <= statistics), self.at_least[:, images] + (value >= statistics))
        offsets = np.abs(statistics - medians[:, None])
        return 2 * tails - offsets / (offsets + means[:, None])

    def _distances(self, rows: np.ndarray) -> np.ndarray:
        """From each row (N, D) to each reference image: (N, n)."""
        squared = rows @ self.embedding
        squared *= -2
        squared += np.einsum("ij,ij->i", rows, rows)[:, None]
        squared += self.lengths
        return np.sqrt(np.maximum(squared, 0))

    def _distances_of_neighbours(self, centred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each reference image the distances to its (k-1)-th and its k-th neighbour among the others: 0 where k is 1, and inf where
        there are not so many."""
        distances = self._distances(centred)
        np.fill_diagonal(distances, -1)
        # With itself, at -1, in front, and one that is infinitely far behind.
        padded = np.pad(distances, ((0, 0), (0, 1)), constant_values=np.inf)
        k = self.neighbour
        places = np.partition(padded, (k - 1, k), axis=1)[:, k - 1 : k + 1]
        return np.maximum(places[:, 0], 0), places[:, 1]


class _Appearances:
    """Distances to the reference of n + 1 images, in order: the larger, the more unusual, so that ranks fall with them.

    Ranks are counted in twos, like the tails of a statistic, that the outermost by any score are peers. Of these the one that is further
    out is more unusual: without a tie break the outermost image by any of ten scores would be as unusual as any other, and p at least
    20 / (n + 1).
    """

    def __init__(self, ordered: np.ndarray, median: float, mean: float) -> None:
        """Of `ordered` distances; `mean` is that of their distances from the median."""
        self.ordered, self.median, self.mean = ordered, median, mean or 1.0

    @classmethod
    def of(cls, distances: np.ndarray) -> "list[_Appearances]":
        """One for each row."""
        ordered = np.sort(distances, axis=1)
        medians = ordered[:, ordered.shape[1] // 2]
        means = np.abs(ordered - medians[:, None]).mean(axis=1)
        return [cls(*row) for row in zip(ordered, medians.tolist(), means.tolist(), strict=True)]

    def rank(self, distance: float) -> float:
        """Of an image at this distance."""
        as_far = len(self.ordered) - int(np.searchsorted(self.ordered, np.float32(distance)))
        offset = max(distance - self.median, 0.0)
        return as_far + as_far % 2 - offset / (offset + self.mean)

    def from_where(self, least: float) -> float:
        """The smallest distance whose rank is at most `least`; inf where none is."""
        # As many as these are surely so far out that theirs is, but for one that shares its distance with one further in.
        begin = len(self.ordered) - min(2 * int(least / 2), len(self.ordered))
        if 0 < begin < len(self.ordered) and self.ordered[begin - 1] == self.ordered[begin]:
            begin = int(np.searchsorted(self.ordered, self.ordered[begin], "right"))
        while begin > 0 and self.rank(float(self.ordered[begin - 1])) <= least:
            begin = int(np.searchsorted(self.ordered, self.ordered[begin - 1]))
        return float(self.ordered[begin]) if begin < len(self.ordered) else math.inf


def _finite(embedding: np.ndarray) -> np.ndarray:
    return np.fmax(np.fmin(embedding.astype(np.float32), LARGEST), -LARGEST)  # of a number and none both take the number


def _independent_rows(groups: np.ndarray) -> np.ndarray:
    """One row of each group, drawn at random, and at most MOST_IMAGES of them, in order.

    Images of one patient are alike, and a request's image is of none of the reference's patients: beside all images of a patient it
    would look unusual too often. One image of each leaves images that are exchangeable with it (Dunn et al. 2022, "subsampling once").
    """
    shuffled = np.random.default_rng(0).permutation(len(groups))
    _, first = np.unique(groups[shuffled], return_index=True)
    return np.sort(shuffled[np.sort(first)[:MOST_IMAGES]])
