"""What both models answer, as served, on the same labelled images."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from driftloop.evaluation.classification import named_classes
from driftloop.evaluation.clustered import proportion_right
from driftloop.evaluation.intervals import Proportion
from driftloop.evaluation.paired import PairedDifference, compare

#: Probabilities that miss a sum of 1 by more than this are broken.
SUM_TOLERANCE = 0.01


@dataclass(frozen=True)
class Answers:
    """The labels of a split's N images and what candidate and champion say of them."""

    labels: np.ndarray
    """true classes, int (N,)"""
    candidate: np.ndarray
    """probabilities (N, K)"""
    champion: np.ndarray | None = None
    """probabilities (N, K); None where there is no champion"""
    groups: np.ndarray | None = None
    """patient or site of each image, (N,); None where that is not known"""
    candidate_shares: Sequence[float] = ()
    """what its probabilities are held against to name a class, as in `named_classes`"""
    champion_shares: Sequence[float] = ()
    """the same of the champion"""
    slices: dict[str, np.ndarray] = field(default_factory=dict)
    """parts of the split that may veto, by name: bool (N,)"""

    @cached_property
    def candidate_named(self) -> np.ndarray:
        """What the candidate calls each image, int64 (N,)."""
        return named_classes(self.candidate, self.candidate_shares)

    @cached_property
    def champion_named(self) -> np.ndarray:
        """What the champion does.

        Raises:
            ValueError: there is no champion.
        """
        if self.champion is None:
            raise ValueError("there is no champion to compare with")
        return named_classes(self.champion, self.champion_shares)

    @cached_property
    def candidate_right(self) -> np.ndarray:
        """Images that the candidate has right, bool (N,)."""
        return self.candidate_named == self.labels

    @cached_property
    def champion_right(self) -> np.ndarray:
        """Images that the champion has right, bool (N,).

        Raises:
            ValueError: there is no champion.
        """
        return self.champion_named == self.labels

    def accuracy(self, right: np.ndarray, rows: np.ndarray | None = None) -> Proportion:
        """The share of what a model has `right` of the N images, on all or those of the mask `rows`, with its two-sided 95 % interval."""
        chosen = slice(None) if rows is None else rows
        return proportion_right(right[chosen], self.groups_of(chosen))

    def difference(self, rows: np.ndarray | None = None, *, confidence: float = 0.95) -> PairedDifference:
        """The accuracy difference, candidate minus champion, on all images or those of the mask `rows`."""
        return self.difference_to(self.champion_right, rows, confidence=confidence)

    def difference_to(self, right: np.ndarray, rows: np.ndarray | None = None, *, confidence: float = 0.95) -> PairedDifference:
        """The same against another model, given what that one has `right` of the N images."""
        chosen = slice(None) if rows is None else rows
        return compare(self.candidate_right[chosen], right[chosen], confidence=confidence, groups=self.groups_of(chosen))

    def groups_of(self, rows: np.ndarray | slice) -> np.ndarray | None:
        """The patient or site of each of these images; None where that is not known."""
        return None if self.groups is None else self.groups[rows]


def no_answers(classes: int) -> Answers:
    """For models that cannot be run on the same images."""
    return Answers(np.zeros(0, np.int64), np.zeros((0, classes)))


def output_problems(probabilities: np.ndarray) -> list[str]:
    """What is wrong with a model's probabilities (N, K): values that are not finite or do not sum to 1."""
    if not np.isfinite(probabilities).all():
        broken = int((~np.isfinite(probabilities)).any(axis=1).sum())
        return [f"the candidate gives probabilities that are not finite on {broken} of {len(probabilities)} images"]
    worst = float(np.abs(probabilities.sum(axis=1) - 1).max(initial=0))
    return [f"the candidate's probabilities sum to 1 only within {worst:.2g}"] if worst > SUM_TOLERANCE else []
