"""How unusual one image looks to the model that serves it: a conformal p-value against the regimes that the model was accepted for.

An image has a score for each statistic, two-sided, and one for its appearance: the distance of its embedding to the k-th nearest among
the reference (Sun et al. 2022). The image is put among the reference images, and every one of them, it too, is compared with all the
others (full conformal prediction, Vovk et al. 2005): its tail count by each score, the least of them, and how many images have one as
small. An image like the reference's has p <= a with probability a at most, whatever the number and the dependence of the scores; what
its p-value loses to the number of scores is what a reference image loses too, so nothing is divided by that number.
"""

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
#: Beyond this a float32 squared distance could overflow; numbers that are none count as this far.
LARGEST = 1e15


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

    @property
    def sentence(self) -> str:
        """What a person is told."""
        name, value = self.statistic.replace("_", " "), f"{self.value:.3g}"
        # Rounded down: nothing short of all is called 100 %.
        part = "all" if self.share_within >= 1 else f"{math.floor(self.share_within * 1000) / 10:.1f} %"
        if self.statistic == APPEARANCE and self.value <= self.usual_high:
            return f"looks as usual: its distance to the reference, {value}, is no larger than {self.usual_high:.3g}"
        if self.statistic == APPEARANCE:
            return f"the image as a whole is further from the reference than {part} of the reference's own images"
        if self.usual_low <= self.value <= self.usual_high:
            return f"looks as usual: {name} {value} is within {self.usual_low:.3g} to {self.usual_high:.3g}"
        return f"{name} {value} is {'higher' if self.value > self.usual_high else 'lower'} than in {part} of the reference"


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
    """A regime's images, with everything that does not depend on the image in question. Arrays are (F, n): a row a statistic."""

    def __init__(self, regime: Regime) -> None:
        rows = _independent_rows(regime.groups)
        self.names = (*(GREY_COLUMNS + COLOUR_COLUMNS)[: regime.statistics.shape[1]], APPEARANCE)
        self.statistics = np.ascontiguousarray(regime.statistics[rows].T, dtype=np.float32)
        self.ordered = np.sort(self.statistics, axis=1)
        pairs = list(zip(self.ordered, self.statistics, strict=True))
        self.at_most = np.stack([np.searchsorted(ordered, values, "right") for ordered, values in pairs]).astype(np.float32)
        self.at_least = len(rows) - np.stack([np.searchsorted(ordered, values, "left") for ordered, values in pairs]).astype(np.float32)

        embedding = _finite(regime.embedding[rows])
        self.centre = np.median(embedding, axis=0)
        self.embedding = embedding - self.centre
        self.lengths = np.einsum("ij,ij->i", self.embedding, self.embedding)
        self.neighbour = min(NEIGHBOUR, len(rows))
        self.nearer, self.further = self._distances_of_neighbours()
        own = np.where(np.isfinite(self.further), self.further, self.nearer)
        self.scores = np.sort(np.vstack([self.statistics, own]), axis=1)
        self.usual = np.quantile(self.scores, [0.025, 0.975], axis=1)

    def judge(self, statistics: np.ndarray, embedding: np.ndarray) -> list[Unusual]:
        distances = self._distances(_finite(embedding) - self.centre)
        appearances = np.partition(distances, self.neighbour - 1, axis=1)[:, self.neighbour - 1]
        return [self._judge_one(*image) for image in zip(statistics.astype(np.float32), distances, appearances, strict=True)]

    def _judge_one(self, values: np.ndarray, distances: np.ndarray, appearance: float) -> Unusual:
        # A neighbour may take a reference image's k-th place, which pushes the one before it there.
        appearances = np.append(np.clip(distances, self.nearer, self.further), appearance)
        of_statistics = self._ranks(values)
        ordered = np.sort(appearances)
        as_far = len(ordered) - np.searchsorted(ordered, ordered)
        # Counted in twos, like the tails of a statistic, that the outermost by any score are peers.
        of_ordered = as_far + as_far % 2 - _tie_break(ordered - ordered[len(ordered) // 2])
        own = np.append(of_statistics[:, -1], of_ordered[np.searchsorted(ordered, appearance)])
        least = own.min()
        # Ranks of the appearance fall with the distance, so those that are as small begin at one place of the order.
        begin = len(ordered) - np.searchsorted(of_ordered[::-1], least, "right")
        as_small = of_statistics.min(axis=0) <= least
        if begin < len(ordered):
            as_small |= appearances >= ordered[begin]
        p_value = float(np.count_nonzero(as_small) / len(as_small))

        chosen = int(own.argmin())
        value = appearance if chosen == len(values) else values[chosen]
        below = int(np.searchsorted(self.scores[chosen], value, "left"))
        above = self.scores.shape[1] - int(np.searchsorted(self.scores[chosen], value, "right"))
        within = below if chosen == len(values) else max(below, above)
        low, high = (float(bound) for bound in self.usual[:, chosen])
        return Unusual(p_value, self.names[chosen], float(value), low, high, within / self.scores.shape[1])

    def _ranks(self, values: np.ndarray) -> np.ndarray:
        """By statistic, the two-sided tail counts of the reference images and, last, of the image, all among them all: (F, n + 1)."""
        value = values[:, None]
        below, above = value <= self.statistics, value >= self.statistics
        tails = np.empty((len(values), self.statistics.shape[1] + 1), np.float32)
        np.minimum(self.at_most + below, self.at_least + above, out=tails[:, :-1])
        tails[:, -1] = 1 + np.minimum(np.count_nonzero(below, axis=1), np.count_nonzero(above, axis=1))
        # The middle one of n + 1 numbers, from n in order.
        middle = self.statistics.shape[1] // 2
        before = self.ordered[:, middle - 1 : middle] if middle else -np.inf
        median = np.clip(value, before, self.ordered[:, middle : middle + 1])
        return 2 * tails - _tie_break(np.abs(np.hstack([self.statistics, value]) - median))

    def _distances(self, rows: np.ndarray) -> np.ndarray:
        """From each row (N, D) to each reference image: (N, n)."""
        squared = rows @ self.embedding.T
        squared *= -2
        squared += np.einsum("ij,ij->i", rows, rows)[:, None]
        squared += self.lengths
        return np.sqrt(np.maximum(squared, 0))

    def _distances_of_neighbours(self) -> tuple[np.ndarray, np.ndarray]:
        """For each reference image the distances to its (k-1)-th and its k-th neighbour among the others: 0 where k is 1, and inf where
        there are not so many."""
        distances = self._distances(self.embedding)
        np.fill_diagonal(distances, -1)
        # With itself, at -1, in front, and one that is infinitely far behind.
        padded = np.pad(distances, ((0, 0), (0, 1)), constant_values=np.inf)
        k = self.neighbour
        places = np.partition(padded, (k - 1, k), axis=1)[:, k - 1 : k + 1]
        return np.maximum(places[:, 0], 0), places[:, 1]


def _tie_break(offsets: np.ndarray) -> np.ndarray:
    """0 to 1, for distances (..., n) from a middle, 0 below it: of the outermost by different scores, the one that is further out is more
    unusual.

    Without it the outermost image by any of ten scores would be as unusual as any other, and p at least 20 / (n + 1).
    """
    mean = np.abs(offsets).mean(axis=-1, keepdims=True)
    outside = np.maximum(offsets, 0)
    return outside / (outside + np.where(mean > 0, mean, 1))


def _finite(embedding: np.ndarray) -> np.ndarray:
    return np.clip(np.nan_to_num(embedding.astype(np.float32), nan=LARGEST), -LARGEST, LARGEST)


def _independent_rows(groups: np.ndarray) -> np.ndarray:
    """One row of each group, drawn at random, and at most MOST_IMAGES of them, in order.

    Images of one patient are alike, and a request's image is of none of the reference's patients: beside all images of a patient it
    would look unusual too often. One image of each leaves images that are exchangeable with it (Dunn et al. 2022, "subsampling once").
    """
    shuffled = np.random.default_rng(0).permutation(len(groups))
    _, first = np.unique(groups[shuffled], return_index=True)
    return np.sort(shuffled[np.sort(first)[:MOST_IMAGES]])
