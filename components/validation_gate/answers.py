"""What both models answer, as served, on the same labelled images."""

from dataclasses import dataclass, field

import numpy as np

from driftloop.bundle import ModelDescription
from driftloop.dataset.description import Description
from driftloop.evaluation.intervals import Proportion, wilson
from driftloop.evaluation.paired import PairedDifference, compare


@dataclass(frozen=True)
class Answers:
    """One split's labels and what candidate and champion say of its N images.

    labels: int (N,). candidate, champion: probabilities (N, K); the champion's are None where there is none. groups: (N,) patient or
    site of each image, or None. slices: name -> bool (N,), parts of the split that may veto.
    """

    labels: np.ndarray
    candidate: np.ndarray
    champion: np.ndarray | None = None
    groups: np.ndarray | None = None
    slices: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def candidate_right(self) -> np.ndarray:
        """bool (N,)."""
        return self.candidate.argmax(axis=1) == self.labels

    @property
    def champion_right(self) -> np.ndarray:
        """bool (N,)."""
        if self.champion is None:
            raise ValueError("there is no champion to compare with")
        return self.champion.argmax(axis=1) == self.labels

    def difference(self, rows: np.ndarray | None = None) -> PairedDifference:
        """The accuracy difference, candidate minus champion, on all images or those of the mask `rows`."""
        return self.difference_to(self.champion_right, rows)

    def difference_to(self, right: np.ndarray, rows: np.ndarray | None = None) -> PairedDifference:
        """The same against another model, given what that one has `right` of the N images."""
        chosen = slice(None) if rows is None else rows
        groups = None if self.groups is None else self.groups[chosen]
        return compare(self.candidate_right[chosen], right[chosen], groups=groups)


def accuracy(right: np.ndarray) -> Proportion:
    """A model's accuracy with its two-sided 95 % interval."""
    return wilson(int(right.sum()), len(right))


def schema_problems(candidate: ModelDescription, dataset: Description, champion: ModelDescription | None) -> list[str]:
    """Why these models cannot be compared on this dataset, one sentence each; empty when they can."""
    problems = []
    for owner, other in (("the dataset", dataset), ("the champion", champion)):
        if other is None:
            continue
        if candidate.classes != other.classes:
            problems.append(f"the candidate's classes are {_names(candidate.classes)}, {owner}'s {_names(other.classes)}")
        if candidate.image_size != other.image_size:
            problems.append(f"the candidate takes images of {candidate.image_size} px, {owner} {other.image_size} px")
        if candidate.channels != other.channels:
            problems.append(f"the candidate takes {candidate.channels} channels, {owner} {other.channels}")
    return problems


def output_problems(probabilities: np.ndarray) -> list[str]:
    """What is wrong with a model's probabilities (N, K): values that are not finite or do not sum to 1."""
    if not np.isfinite(probabilities).all():
        broken = int((~np.isfinite(probabilities)).any(axis=1).sum())
        return [f"the candidate gives probabilities that are not finite on {broken} of {len(probabilities)} images"]
    worst = float(np.abs(probabilities.sum(axis=1) - 1).max(initial=0))
    return [f"the candidate's probabilities sum to 1 only within {worst:.2g}"] if worst > 0.01 else []


def _names(classes: list[str]) -> str:
    return "/".join(classes) if len(classes) <= 6 else f"{'/'.join(classes[:6])}/... ({len(classes)})"
