"""A first candidate must recognise every class: its accuracy as a whole can be high while one class is never named."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from components.validation_gate.answers import Answers
from components.validation_gate.criteria import CLEAN, Criterion, without_images
from driftloop.evaluation.clustered import clusters_of, proportion_right
from driftloop.evaluation.intervals import Proportion
from driftloop.evaluation.paired import Clustering, labels_needed
from driftloop.settings import listed_classes

NAME = "every class recognised"
#: Classes that a sentence names, those of the lowest recall; `gate.json` has the recall of each.
MOST_NAMED = 10


def every_class_recognised(clean: Answers, classes: list[str], allowed: str) -> Criterion:
    """Refuted by each class whose images are shown to be named right less often than a guess among all classes would name them.

    A class *is recognised* when the lower bound of its share right lies above the share of the other classes' images that get its name:
    what naming it blindly would reach. It *is not* when the upper bound lies below 1 / K. What is between is unknown, and said:
    a class with few images, or of few patients, should not hold back the others. Bounds are Wilson's, one-sided, 95 %, widened where
    several images are of one patient.

    Args:
        clean: answers on the test split.
        classes: K names, in the order of the labels.
        allowed: names of classes that may go unrecognised, separated by commas.
    """
    may_be_blind = listed_classes(allowed, classes)
    blind: list[tuple[float, str]] = []
    unknown: list[tuple[float, str]] = []
    for label, name in enumerate(classes):
        seen = _recall(clean, clean.candidate_named, label)
        if seen is None or name in may_be_blind:
            continue
        right, blindly, _ = seen
        if right.low > blindly:
            continue
        text = f"'{name}' ({100 * right.value:.1f} % of {right.n:,} test images{right.of_groups} right)"
        (blind if right.high < 1 / len(classes) else unknown).append((right.value, text))
    note = f"not shown for {_lowest(unknown)}" if unknown else ""
    if blind:
        strangers = ", ".join(f"'{name}'" for name in may_be_blind if name not in classes)
        note = (
            f"not recognised: {_lowest(blind)}; try larger images (data_image_size), images cropped to what matters, a "
            "pretrained backbone (train_config.architecture) or more labels of it, or let it pass with gate_config.allow_blind_classes"
            + (f", which names {strangers}, no class of this model" if strangers else "")
        )
    groups = 0 if clean.groups is None else len(np.unique(clean.groups))
    return Criterion(NAME, not blind, bool(blind), note=note, n=len(clean.labels), regime=CLEAN, groups=groups)


def _lowest(found: list[tuple[float, str]]) -> str:
    """The classes of the lowest recall, which stands before each."""
    named = [text for _, text in sorted(found, key=lambda item: item[0])[:MOST_NAMED]]
    return ", ".join([*named, *([f"{len(found) - MOST_NAMED} more classes (gate.json)"] if len(found) > MOST_NAMED else [])])


def critical_recognised(clean: Answers, classes: list[str], critical: Sequence[str]) -> list[Criterion]:
    """A criterion for each critical class: of these, what is unknown holds the candidate back.

    Args:
        clean: answers on the test split.
        classes: K names, in the order of the labels.
        critical: those that must be shown to be recognised.
    """
    criteria = []
    for name in critical:
        title, seen = f"critical class {name} recognised", _recall(clean, clean.candidate_named, classes.index(name))
        if seen is None:
            criteria.append(without_images(title))
            continue
        right, blindly, clusters = seen
        holds, refuted = right.low > blindly, right.high < 1 / len(classes)
        labels = None
        if not holds and not refuted:
            # Never sure: of the next images one may be answered otherwise.
            share = (right.value * right.n + 0.5) / (right.n + 1)
            deviation, confidence = math.sqrt(share * (1 - share) * clusters.effect), clusters.one_sided(0.95)
            labels = labels_needed(right.value, deviation, right.n, blindly, hopeless=1 / len(classes), confidence=confidence)
        bounds = right.value, right.low, right.high, blindly, right.n
        criterion = Criterion(title, holds, refuted, *bounds, unit="recall", labels=labels, regime=CLEAN, critical=True)
        criteria.append(replace(criterion, groups=right.groups))
    return criteria


def recognises(answers: Answers, label: int) -> bool:
    """Whether the champion is shown to recognise a class on these images: it could be right on all of it by naming nothing else."""
    seen = None if answers.champion is None else _recall(answers, answers.champion_named, label)
    return seen is not None and seen[0].low > seen[1]


def _recall(answers: Answers, answered: np.ndarray, label: int) -> tuple[Proportion, float, Clustering] | None:
    """The share of a class's images that are right, with one-sided 95 % bounds, what naming it blindly would reach, and what groups make
    of the bounds; None: no images."""
    of_class = answers.labels == label
    images = int(of_class.sum())
    if not images:
        return None
    named = float(np.mean(answered[~of_class] == label)) if images < len(of_class) else 0.0
    right, groups = answered[of_class] == label, answers.groups_of(of_class)
    return proportion_right(right, groups, confidence=0.90), named, clusters_of(right, groups)
