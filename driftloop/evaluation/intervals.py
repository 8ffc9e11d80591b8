"""Intervals for the proportions that every report shows."""

import math
from statistics import NormalDist

from pydantic import BaseModel, ConfigDict


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

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}-{self.high:.3f}, n={self.n})"


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
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # At 0 and 1 an end of the interval is the share itself, which rounding must not leave outside.
    return Proportion(value=p, low=min(p, max(0.0, centre - half)), high=max(p, min(1.0, centre + half)), n=n)
