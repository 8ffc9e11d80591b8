"""Intervals for the proportions that every report shows."""

import math
from statistics import NormalDist

from pydantic import BaseModel, ConfigDict

from driftloop.plurals import counted


class Proportion(BaseModel):
    """A share with its two-sided 95 % interval."""

    model_config = ConfigDict(frozen=True)

    value: float
    """the share"""
    low: float
    """lower end of the interval"""
    high: float
    """upper end"""
    n: int
    """cases behind it"""
    effective_n: float | None = None
    """independent cases that would say as much, where cases come in groups; null: each stands for itself, or it is not known"""
    groups: int = 0
    """patients or lots that they come from; 0 where that is not known"""

    @property
    def independent(self) -> float:
        """Independent cases that would say as much, as far as is known."""
        return self.n if self.effective_n is None else self.effective_n

    @property
    def of_groups(self) -> str:
        """`say_groups` of these."""
        return say_groups(self.groups, self.n)

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}-{self.high:.3f}, n={self.n}{self.of_groups})"


def say_groups(groups: int, n: int) -> str:
    """What goes behind a number of images: " of 20 groups"; empty where each stands for itself, or that is not known (0)."""
    return f" of {counted(groups, 'group')}" if 0 < groups < n else ""


def groups_of_more(images: int | None, groups: int, n: int) -> int:
    """Of about how many groups so many images would be, at as many each as `n` images of `groups` are; 0 where each stands for itself."""
    return math.ceil(images * groups / n) if images and 0 < groups < n else 0


def wilson(successes: int, n: int, *, confidence: float = 0.95) -> Proportion:
    """Wilson's score interval for a binomial proportion (Wilson 1927), which holds its coverage near 0 and 1.

    Args:
        successes: number of successes, 0 <= successes <= n.
        n: number of cases, at least 1.

    Raises:
        ValueError: no cases, or successes outside 0..n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"wilson: needs 0 <= successes <= n and n >= 1, got {successes} of {n}")
    low, high = score_ends(successes / n, n, NormalDist().inv_cdf(0.5 + confidence / 2))
    return Proportion(value=successes / n, low=low, high=high, n=n)


def score_ends(share: float, n: float, z: float) -> tuple[float, float]:
    """The ends of Wilson's interval, `z` standard errors away; n may be a fraction, of cases that say as much as so many."""
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # At 0 and 1 an end of the interval is the share itself, which rounding must not leave outside.
    return min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))
