"""No class may lose more than the margin: one criterion over all classes that have images enough to show it.

With many classes some bound always falls short by chance, so a class is only held to its bound where an equal candidate would pass with
all of them together. The others veto when shown worse, and the decision says what cannot be excluded for them. A critical class has a
criterion of its own, however few its images are, on every kind of images: there unknown is not good enough.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from components.validation_gate.answers import Answers
from components.validation_gate.criteria import Criterion, difference_above, without_images
from driftloop.evaluation.paired import PairedDifference, tango_lower_bound

#: How often an equal candidate shall pass this criterion, all classes together.
PASS_TOGETHER = 0.90
#: Classes that a sentence names.
MOST_NAMED = 3


@dataclass(frozen=True)
class ClassDifference:
    """How candidate and champion compare on the clean images of one class."""

    name: str
    """of the class"""
    rows: np.ndarray
    """its images, bool (N,)"""
    difference: PairedDifference
    """candidate minus champion"""
    held: bool
    """whether it is held to the bound with the others; else it only vetoes"""
    critical: bool = False
    """whether it is held to the bound by itself"""

    def criterion(self, class_margin: float) -> Criterion:
        """That it loses less than the margin."""
        if self.critical:
            return replace(difference_above(f"critical class {self.name}", self.difference, -class_margin), critical=True)
        return difference_above(f"class {self.name}", self.difference, -class_margin)


def compare_classes(clean: Answers, classes: list[str], class_margin: float, critical: Collection[str] = ()) -> list[ClassDifference]:
    """The classes that have images.

    Args:
        clean: answers on the test split.
        classes: names, in the order of the labels.
        class_margin: accuracy that a class may lose at most, as a share.
        critical: names of critical classes.
    """
    present = {name: clean.labels == index for index, name in enumerate(classes) if (clean.labels == index).any()}
    together = PASS_TOGETHER ** (1 / len(present))
    compared = []
    for name, rows in present.items():
        difference = clean.difference(rows)
        held = name not in critical and could_hold(difference, class_margin, together)
        compared.append(ClassDifference(name, rows, difference, held, name in critical))
    return compared


def could_hold(difference: PairedDifference, class_margin: float, chance: float) -> bool:
    """Whether an equal candidate with as many discordant images would show a loss below the margin, with probability `chance` at least.

    Each discordant image is then a coin toss, whatever came of it: who won them does not choose the classes. It is asked of the outcome
    that an equal candidate stays above with that probability.
    """
    effect = difference.n / difference.effective_n
    discordant = (difference.gained + difference.lost) / effect
    unlucky = min(discordant, NormalDist().inv_cdf(chance) * math.sqrt(discordant))
    gained, lost = (discordant - unlucky) / 2, (discordant + unlucky) / 2
    return tango_lower_bound(gained, lost, difference.effective_n, confidence=difference.one_sided) > -class_margin


def worst_class(compared: list[ClassDifference], class_margin: float) -> list[Criterion]:
    """The criterion of the class that is furthest from holding; none where no class is held to it."""
    criteria = [item.criterion(class_margin) for item in compared if item.held]
    which = "the only class" if len(criteria) == 1 else f"the worst of {len(criteria)} classes"
    note = f"{which} with images enough, of {len(compared)}"
    return [replace(min(criteria, key=_standing), note=note)] if criteria else []


def critical_classes(compared: list[ClassDifference], critical: Sequence[str], class_margin: float) -> list[Criterion]:
    """A criterion for each critical class; open where the test split has no image of it."""
    present = {item.name: item for item in compared}
    return [present[name].criterion(class_margin) if name in present else without_images(f"critical class {name}") for name in critical]


def not_excluded(compared: list[ClassDifference], class_margin: float) -> str:
    """What the images leave open for the classes that only veto, the widest first, and how many would tell; empty where there are none."""
    only_veto = [(item, item.criterion(class_margin)) for item in compared if not item.held and not item.critical]
    # Too few images for an equal candidate may still be enough for a better one: its loss is excluded.
    loose = sorted(((item, shown) for item, shown in only_veto if not shown.holds), key=lambda pair: pair[0].difference.low)
    named = []
    for item, shown in loose[:MOST_NAMED]:
        low, high, labels = item.difference.low, item.difference.high, shown.labels
        would = f", about {labels:,} would tell" if labels else ""
        named.append(f"class {item.name} between {100 * low:+.1f} and {100 * high:+.1f} pt (n = {item.difference.n:,}{would})")
    more = [f"{len(loose) - MOST_NAMED} more classes (gate.json)"] if len(loose) > MOST_NAMED else []
    return ", ".join(named + more)


def _standing(criterion: Criterion) -> tuple[bool, float]:
    """The order from refuted to shown, the lower bound deciding among equals."""
    return not criterion.refuted, criterion.low or 0.0
